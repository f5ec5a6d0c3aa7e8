"""From run type, watermark and what the store says of existing tables to mode, key and cursor."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.api.hygge.references import default_of, names_in
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, Value, flag, mapping
from penstock.api.hygge.sources import Source
from penstock.api.hygge.targets import Target

_KEEPS_OLD_ROWS = {
    "parquet": "the old tool left the old files in the folder and read on as if they were new",
    "local": "the old tool left the old files in the folder and read on as if they were new",
    "sqlite": "the old tool appended to the table in every run",
    "mssql": "the old tool left the rows in a table named after the target with _hygge_tmp and never brought them over",
}
_ROW_MARKERS = {0: "append", 4: "upsert"}


@dataclass(frozen=True)
class Writing:
    """How a table is written. `cursor` is "" where everything is read."""

    mode: str
    key: tuple[str, ...] = ()
    cursor: str = ""


def writing(keys: Section, source: Source, target: Target, scene: Scene) -> Writing:
    """What the author meant by run type, watermark and store. Where that is in doubt, what deletes nothing."""
    run_type, full_drop = keys.take("run_type"), keys.take("full_drop")
    watermark = Section(mapping(keys.take("watermark"), "watermark"), "watermark", keys.place)
    column, primary = watermark.take("watermark_column"), watermark.take("primary_key")
    named = keys.take("key_column")
    watermark.tell_rest(scene.notes, scene.about)
    is_incremental = _is_incremental(run_type, full_drop, target, scene)
    mode = _mode(is_incremental, target, scene)
    if target.kind == "open_mirroring" and mode == "append" and column is not None:
        text = "rows at the watermark are read again and told apart by the key, so rows are upserted, not inserted"
        scene.tell("differs", "store.row_marker", text, column.place)
        mode = "upsert"
    key = target.key or (tuple(names_in(primary or named, scene.notes)) if mode == "upsert" else ())
    if mode == "upsert" and not key:
        scene.tell("decide", "store.key_columns", "mode upsert needs the key columns; append was taken", keys.place)
        mode = "append"
    _tell_key(mode, "watermark.primary_key", primary, scene)
    _tell_key(mode, "key_column", named, scene)
    if mode == "replace":
        _tell_replace(target, column, run_type or full_drop, scene)
        return Writing(mode, key)
    return Writing(mode, key, _cursor(column, source, target, scene))


def _is_incremental(run_type: Value | None, full_drop: Value | None, target: Target, scene: Scene) -> bool:
    if full_drop is not None:
        found = flag(default_of(str(full_drop.data))) is False
    else:
        text = default_of(str(run_type.data)) if run_type else "full_drop"
        found = text != "full_drop"
        if text not in ("full_drop", "incremental") and run_type is not None:
            told = "no run type that the file alone makes clear; it is taken for incremental, which deletes nothing"
            scene.tell("decide", "run_type", told, run_type.place)
    for value in (run_type, full_drop):
        if value is not None and "${" in str(value.data):
            told = "a mode cannot come from this variable, whose values are others; the default was taken"
            scene.tell("decide", "run_type", told, value.place)
    over = target.incremental
    if over is None or flag(over.data) is None or flag(over.data) == found:
        return found
    texts = {
        True: "the store says to append although the flow is a full load; every run adds all rows unless a watermark is set",
        False: "the store says to reload although the flow is incremental; the whole table is read and replaced",
    }
    scene.tell("decide", "store.incremental", texts[bool(flag(over.data))], over.place)
    return bool(flag(over.data))


def _mode(is_incremental: bool, target: Target, scene: Scene) -> str:
    if target.kind == "mssql" and target.if_exists is not None:
        return _of_existing(is_incremental, target.if_exists, scene)
    if not is_incremental:
        return "replace"
    if target.kind != "open_mirroring":
        return "append"
    marker = target.row_marker.data if target.row_marker else 4
    if marker not in _ROW_MARKERS and target.row_marker is not None:
        text = f"row marker {marker} was put on every row; rows are upserted by the key columns"
        scene.tell("decide", "store.row_marker", text, target.row_marker.place)
    return _ROW_MARKERS.get(marker, "upsert")


def _of_existing(is_incremental: bool, if_exists: Value, scene: Scene) -> str:
    said = default_of(str(if_exists.data))
    if said == "replace" and not is_incremental:
        return "replace"
    texts = {
        "replace": "the flow is incremental, and replacing the table by the new rows alone would lose the others: they are appended",
        "fail": "an existing table was to be an error; rows are appended now, so see that the table is empty before the first run",
    }
    if said in texts:
        scene.tell("decide", "store.if_exists", texts[said], if_exists.place)
    elif said != "append":
        scene.tell("decide", "store.if_exists", "neither fail, append nor replace; append was taken", if_exists.place)
    return "append"


def _tell_key(mode: str, option: str, primary: Value | None, scene: Scene) -> None:
    if primary is None or mode == "upsert":
        return
    if mode == "append":
        text = f"named the key and changed nothing; for one row a key write mode: upsert and key: {primary.plain()}"
    else:
        text = "named the key and changed nothing; a table that is replaced needs none"
    scene.tell("dropped", option, text, primary.place)


def _tell_replace(target: Target, column: Value | None, said: Value | None, scene: Scene) -> None:
    told = _KEEPS_OLD_ROWS.get(target.kind)
    if told:
        scene.notes.add("differs", "run_type", f"full_drop replaces the table; {told}", said.place if said else "")
    if column is not None:
        text = "a table that is replaced is read whole, so the watermark is left out"
        scene.tell("dropped", "watermark.watermark_column", text, column.place)


def _cursor(column: Value | None, source: Source, target: Target, scene: Scene) -> str:
    if column is None:
        text = (
            "no watermark is set: every run reads all rows and adds them again, as the old tool did; set cursor to read only "
            "new ones, or mode: replace"
        )
        if target.kind != "open_mirroring":
            scene.tell("decide", "watermark", text, "")
        return ""
    if source.is_file or source.query:
        what = "a query" if source.query else "files"
        text = (
            f"the old tool could not read {what} from a watermark on: it loaded everything and appended it, in silence"
        )
        scene.tell("differs", "watermark", text, column.place)
    return next(iter(names_in(column, scene.notes)), "")
