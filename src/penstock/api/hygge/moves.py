"""One table of a flow, everything merged: what is read, what is written, and the settings of a copy between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.api.hygge.databases import number
from penstock.api.hygge.modes import writing
from penstock.api.hygge.old_project import JOURNAL, JOURNAL_KEYS, OldEntity, OldFlow
from penstock.api.hygge.polish import polished
from penstock.api.hygge.references import carried, names_in
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, Value, flag, mapping
from penstock.api.hygge.sources import Source, merged_home, read_source
from penstock.api.hygge.targets import Target, read_target

# What a table may say of its store beside the store itself.
_OF_STORE = ("if_exists", "batch_size", "parallel_workers", "timeout", "folder_deletion_wait_seconds")
_QUEUE = "batches waiting between reader and writer; queues are bounded by bytes here, and there is nothing to set"
_BATCH = "a size of batches that nothing read; Penstock cuts its work by size, see chunk_size"


@dataclass(frozen=True)
class Move:
    """One table's way. `settings` are keys of a copy job for this table, `run` those of the whole job."""

    flow: OldFlow
    entity: str
    source: Source
    target: Target
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


def moves_of(flow: OldFlow, scene: Scene) -> Iterator[Move]:
    """The tables of a flow in the order of its files; those that cannot be taken over are noted and left out."""
    run = _run(flow, scene)
    for entity in flow.entities or (OldEntity("", flow.place),):
        move = _move(flow, entity, replace(scene, entity=entity.name), run)
        if move is not None:
            yield move


def _run(flow: OldFlow, scene: Scene) -> dict[str, Any]:
    """How the whole job runs; notes the keys of the flow that are about that."""
    keys = Section(flow.keys, "", flow.place)
    found: dict[str, Any] = {}
    options = keys.section("options")
    timeout, inner = keys.take("timeout"), options.take("timeout")
    limit = timeout or inner
    if limit is not None:
        text = "the old tool never used it; now an item that makes no progress for so long is cancelled and tried again"
        scene.tell("differs", "timeout", text, limit.place)
        found["item_timeout"] = number(limit, "timeout", scene.notes, scene.about, is_whole=False)
    go_on = options.take("continue_on_error")
    if go_on is not None and flag(go_on.data):
        found["max_errors"] = "100%"
    for one in (keys, options):
        one.drop({"queue_size": _QUEUE, "batch_size": _BATCH}, scene.notes, scene.about)
    options.tell_rest(scene.notes, scene.about)
    return {key: value for key, value in found.items() if value is not None}


def _move(flow: OldFlow, entity: OldEntity, scene: Scene, run: Mapping[str, Any]) -> Move | None:
    own = dict(entity.keys)
    of_store = {name: own.pop(name) for name in _OF_STORE if name in own}
    home = merged_home(flow.keys.get("home"), own.pop("home", None))
    of_store = mapping(own.pop("store", None), "store") | of_store
    extra = Section(mapping(own.pop("options", None), "options"), "options", entity.place)
    shared = {key: value for key, value in flow.keys.items() if key not in ("home", "store", "options", "timeout")}
    keys = Section({**shared, **own}, "", entity.place)
    keys.take("name")
    keys.take("queue_size")
    for what, given in (("home", home.keys), ("store", flow.keys.get("store"))):
        if not given:
            scene.tell("lacking", what, f"the {what} is missing", entity.place)
            return None
    trial = replace(scene, connections=deepcopy(scene.connections))
    source, target = read_source(home, trial), read_target(flow.keys.get("store"), of_store, trial)
    if source is None or target is None:
        return None
    scene.connections.take_over(trial.connections)
    settings = _settings(keys, source, target, scene)
    extra.drop({"batch_size": _BATCH}, scene.notes, scene.about)
    for one in (keys, extra):
        one.tell_rest(scene.notes, scene.about)
    return Move(flow, entity.name, source, target, settings, run)


def _settings(keys: Section, source: Source, target: Target, scene: Scene) -> dict[str, Any]:
    keys.drop_section("journal", JOURNAL_KEYS, JOURNAL, scene.notes, scene.about)
    how = writing(keys, source, target, scene)
    found: dict[str, Any] = {"mode": how.mode}
    if how.key:
        found["key"] = list(how.key)
    if how.cursor:
        found["cursor"] = how.cursor
    where = _where(keys, source, scene)
    if where:
        found["where"] = where
    made = polished(target.polish, scene, target.kind == "open_mirroring")
    hashed = [name for what in made.get("add", {}).values() for name in what.get("hash", ())]
    columns = _include(keys.take("columns"), [*how.key, how.cursor, *hashed], scene) | made
    return found | ({"columns": columns} if columns else {}) | dict(target.options)


def _where(keys: Section, source: Source, scene: Scene) -> str:
    config = keys.section("source_config")
    value = config.take("where")
    config.tell_rest(scene.notes, scene.about)
    if value is None:
        return ""
    if source.query:
        text = "the old tool ignored it; a query has its condition inside, so write it there"
        scene.tell("decide", config.option("where"), text, value.place)
        return ""
    scene.tell("differs", config.option("where"), "the old tool ignored it and read all rows", value.place)
    if source.is_file:
        text = (
            "a condition for files is read as SQL of Polars, not of a server: let `penstock plan` say whether it fits"
        )
        scene.tell("decide", config.option("where"), text, value.place)
    return carried(str(value.data), value.place, scene.notes)


def _include(value: Value | None, needed: Sequence[str], scene: Scene) -> dict[str, Any]:
    """The columns that are read: those listed, and key, cursor and what is hashed, which the load cannot do without."""
    if value is None:
        return {}
    names = names_in(value, scene.notes) if isinstance(value.data, list) else []
    if not names or len(names) < len(value.data):
        text = "a list of names was expected; choose columns with columns.include or columns.exclude"
        scene.tell("decide", "columns", text, value.place)
        return {}
    scene.tell("differs", "columns", "the old tool ignored it and copied every column", value.place)
    return {"include": list(dict.fromkeys([*names, *filter(None, needed)]))}
