"""The old store's polish as changes of columns: hash ids, names, constants, timestamps."""

from __future__ import annotations

from typing import Any

from penstock.api.hygge.references import carried, names_in
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, Value, flag, mapping
from penstock.jobs.copy.case_styles import restyle

_ROW_MARKER = "__rowMarker__"


def polished(value: Value | None, scene: Scene, is_mirror: bool) -> dict[str, Any]:
    """The `columns` that do what a polish meant; an open mirroring target makes its row marker itself."""
    polish = Section(mapping(value, "polish"), "store.polish", value.place if value else "")
    case = _names(polish.section("columns"), scene)
    add: dict[str, Any] = {}
    for one in _listed(polish, "hash_ids"):
        add |= _hash(one, scene)
    for one in _listed(polish, "constants"):
        add |= _constant(one, scene)
    for one in _listed(polish, "timestamps"):
        add |= _timestamp(one, scene)
    marker = polish.section("add_row_marker")
    enabled, number = marker.take("enabled"), marker.take("value")
    if enabled is not None and flag(enabled.data):
        add.setdefault(_ROW_MARKER, {"value": number.data if number else 4})
    if is_mirror and add.pop(_ROW_MARKER, None):
        scene.tell("dropped", "store.polish", "the target adds the row marker itself, by the mode", polish.place)
    for left in (marker, polish):
        left.tell_rest(scene.notes, scene.about)
    if case:
        _tell_added_names(add, case, scene, polish.place)
    return {**({"add": add} if add else {}), **({"case": case} if case else {})}


def _names(rules: Section, scene: Scene) -> str:
    case, special, spaces = rules.take("case"), rules.take("remove_special"), rules.take("remove_spaces")
    for option, value in (("remove_special", special), ("remove_spaces", spaces)):
        if value is None or not flag(value.data):
            continue
        if case is None:
            text = "name the columns under columns.rename, or choose a style with columns.case, which leaves them out"
            scene.tell("decide", rules.option(option), text, value.place)
        elif option == "remove_special":
            text = "case leaves out all but letters and digits; the words in parentheses stay where they are"
            scene.tell("differs", rules.option(option), text, value.place)
    rules.tell_rest(scene.notes, scene.about)
    if case is None:
        return ""
    if case.data in ("pascal", "camel", "snake"):
        return str(case.data)
    scene.tell(
        "decide", rules.option("case"), "no style that the old tool had; choose one for columns.case", case.place
    )
    return ""


def _listed(polish: Section, key: str) -> list[Section]:
    value = polish.take(key)
    items = value.data if value is not None and isinstance(value.data, list) else []
    return [Section(mapping(one, key), polish.option(key), one.place) for one in items]


def _name(rule: Section, scene: Scene) -> str:
    return next(iter(names_in(rule.take("name"), scene.notes)), "")


def _hash(rule: Section, scene: Scene) -> dict[str, Any]:
    name, names = _name(rule, scene), names_in(rule.take("from_columns"), scene.notes)
    algo, digits = rule.take("algo"), rule.take("hex")
    rule.tell_rest(scene.notes, scene.about)
    if not name or not names:
        scene.tell("decide", rule.name, "a hash without name or columns was left out", rule.place)
        return {}
    text = (
        "SHA-256 over the values in their types, as 64 digits; the old tool joined texts with |, so its hashes were others "
        "and two different rows could share one. Load the table anew and do not compare new hashes with old ones"
    )
    scene.tell("differs", rule.name, text, rule.place)
    for other in (algo, digits):
        if other is not None and other.data not in ("sha256", True):
            scene.tell("decide", rule.name, "only SHA-256 as hexadecimal digits is made", other.place)
    return {name: {"hash": names}}


def _constant(rule: Section, scene: Scene) -> dict[str, Any]:
    name, value = _name(rule, scene), rule.take("value")
    rule.tell_rest(scene.notes, scene.about)
    if not name or (value is not None and isinstance(value.data, (list, dict))):
        scene.tell("decide", rule.name, "a constant without name or with more than one value was left out", rule.place)
        return {}
    if value is not None and isinstance(value.data, str):
        return {name: {"value": carried(value.data, value.place, scene.notes)}}
    return {name: {"value": value.data if value else None}}


def _timestamp(rule: Section, scene: Scene) -> dict[str, Any]:
    name, source, kind, pattern = _name(rule, scene), rule.take("source"), rule.take("type"), rule.take("format")
    rule.tell_rest(scene.notes, scene.about)
    if not name:
        scene.tell("decide", rule.name, "a timestamp without name was left out", rule.place)
        return {}
    if source is not None and source.data == "now_local":
        scene.tell("differs", rule.name, "the moment is in UTC and says so; the local time was asked for", source.place)
    if (kind is not None and kind.data == "string") or pattern is not None:
        scene.tell("decide", rule.name, "the moment is a timestamp, not a text; format it where it is read", rule.place)
    return {name: {"now": "utc"}}


def _tell_added_names(add: dict[str, Any], case: str, scene: Scene, place: str) -> None:
    changed = [f"{name} becomes {new}" for name in add if (new := restyle(name, case)) != name]
    if changed:
        text = f"case holds for added columns too: {', '.join(changed)}"
        scene.tell("differs", "store.polish", text, place)
