"""Stores of the old project as targets: folders of files here and in lakes, SQLite, SQL Server, Fabric's open mirroring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.api.hygge.databases import table_name, with_schema
from penstock.api.hygge.ends import FilePath, Place, below, cut, file_url, joined, root_name
from penstock.api.hygge.file_options import FORMATS, compression, text_options
from penstock.api.hygge.lakes import DROPPED as LAKE_DROPPED
from penstock.api.hygge.lakes import lake, lake_path, landing_zone
from penstock.api.hygge.references import carried, default_of, names_in
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, Value, mapping
from penstock.api.hygge.sources import named_database
from penstock.core.names import TableName

DROPPED = {
    "batch_size": "rows of one write or file; Penstock cuts its work by size, see chunk_size",
    "file_pattern": "the names of files; they follow from the plan here, so that no two runs can take the same one",
    "temp_pattern": "where files were staged; a load is staged beside its target and published as a whole",
    "final_pattern": "where files went in the end; the table's folder is the place",
    "row_multiplier": "rows between two lines of progress; progress is shown all the time",
    "progress_interval": "rows between two lines of progress; progress is shown all the time",
    "parallel_workers": "writers of one batch; workers and max_connections say how many there are in all",
    "table_hints": "hints for the insert; the connector of the target knows when to lock a table",
    "write_strategy": "named a way to write and was ignored; every load is staged and published at once",
    "timeout": "a time limit that the old tool read and never used; see connect_timeout_s of the connection",
}
_DATABASE_DROPPED = {
    "batch_size": "rows of one write; a bulk copy commits as many rows at once as bulk_rows says, which is more",
}


@dataclass(frozen=True)
class Target:
    """Where one table goes. `kind` is the store's type; `key` names the columns that the store keys rows by."""

    connection: str
    table: TableName
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    if_exists: Value | None = None
    incremental: Value | None = None
    row_marker: Value | None = None
    key: tuple[str, ...] = ()
    polish: Value | None = None


def read_target(store: Value | None, own: Mapping[str, Value], scene: Scene) -> Target | None:
    """The target of a table. `own` holds what the table says of its store. None, with a note, where it cannot be."""
    base = {"path": store} if store is not None and isinstance(store.data, str) else mapping(store, "store")
    place = store.place if store else scene.flow
    options = Section({**base, **own}, "store", place)
    kind = options.text("type") or "parquet"
    options.absorb("options")
    readers = {"parquet": _files, "local": _files, "sqlite": _sqlite, "mssql": _database}
    readers |= dict.fromkeys(("adls", "onelake", "open_mirroring"), _lake)
    if kind in readers:
        found = readers[kind](options, kind, scene)
    else:
        text = f"the old tool had no store of type {kind}; write connection and job anew"
        scene.tell("lacking", "store.type", text, place)
        found = None
    options.drop({**DROPPED, **LAKE_DROPPED}, scene.notes, scene.about)
    options.tell_rest(scene.notes, scene.about)
    return found


def _files(options: Section, kind: str, scene: Scene) -> Target | None:
    format_name = (options.text("format") or "parquet").lower() if kind == "local" else "parquet"
    given = options.section("format_options")
    path = options.text("path")
    if not path or format_name not in FORMATS:
        scene.tell("lacking", "store.path" if not path else "store.format", "missing or unknown", options.place)
        return None
    found: dict[str, Any] = {"format": format_name}
    if format_name == "parquet":
        found |= compression(given if "compression" in given else options, scene.notes, scene.about)
    found |= text_options(given, format_name, scene.notes, scene.about)
    where = _where(path, scene, options.place)
    url = file_url(where.root, scene.from_folder, options.place, scene.notes)
    connection = scene.connections.add(root_name(where.root), Place(url))
    _tell_files(where.below, scene, options.place)
    table = TableName((carried(where.below, options.place, scene.notes),))
    return Target(connection, table, kind, found, polish=options.take("polish"))


def _tell_files(name: str, scene: Scene, place: str) -> None:
    text = (
        "a folder that holds files of the old tool is refused: empty it, or set adopt: true at the connection for a first "
        "run with --full-refresh, which replaces them. The old tool lost rows in its second and every later run, so what "
        "lies there may not be whole"
    )
    scene.notes.add("decide", "store", text, place)
    if name != name.lower():
        text = (
            "folders are named so that every file system tells them apart: a table Account lies in the folder +account, "
            "and names in capitals begin with ++"
        )
        scene.notes.add("differs", "store.path", text, place)


def _where(path: str, scene: Scene, place: str) -> FilePath:
    """Root and table of a path: the flow's path is the root, the table's name the folder in it."""
    found = cut(path)
    if scene.entity and "{entity}" in path:
        front, _, behind = path.partition("{entity}")
        rest, _, lost = behind.partition("/")
        found = cut(front + scene.entity + rest)
        if lost.strip("/"):
            text = f"a table's folder ends with the step that holds {{entity}}; {lost.strip('/')} below it is left out"
            scene.tell("decide", "store.path", text, place)
    elif scene.entity:
        found = below(path, joined(path, scene.entity)) or cut(joined(path, scene.entity))
    if not found.below:
        text = f"the path is a reference; the table lies in the folder {scene.name} below it"
        scene.tell("decide", "store.path", text, place)
        return FilePath(found.root, scene.name)
    return found


def _sqlite(options: Section, kind: str, scene: Scene) -> Target | None:
    path, table = options.take("path"), options.take("table")
    if path is None or table is None or "" in (path.data, table.data):
        scene.tell("lacking", "store", "path or table is missing", options.place)
        return None
    url = file_url(str(path.data), scene.from_folder, path.place, scene.notes).replace("file:", "sqlite:", 1)
    if "/" in str(path.data):
        text = "the folder of the file must be there before the first run; the old tool made it"
        scene.tell("decide", "store.path", text, path.place)
    stem = default_of(str(path.data)).rpartition("/")[2].partition(".")[0] or "sqlite"
    name = carried(scene.filled(str(table.data)), table.place, scene.notes)
    return Target(scene.connections.add(stem, Place(url)), TableName((name,)), kind)


def _database(options: Section, kind: str, scene: Scene) -> Target | None:
    connection = named_database(options, scene)
    table, if_exists = options.take("table"), options.take("if_exists")
    if connection is None:
        return None
    if table is None:
        scene.tell("lacking", "store.table", "the table is missing", options.place)
        return None
    shown = carried(scene.filled(str(table.data)), table.place, scene.notes)
    name = with_schema(table_name(shown, table.place))
    options.drop(_DATABASE_DROPPED, scene.notes, scene.about)
    return Target(connection, name, kind, {"table_kind": "columnstore"}, if_exists)


def _lake(options: Section, kind: str, scene: Scene) -> Target | None:
    key = tuple(names_in(options.take("key_columns"), scene.notes))
    marker = options.take("row_marker")
    found: dict[str, Any] = dict(compression(options, scene.notes, scene.about))
    incremental, polish = options.take("incremental"), options.take("polish")
    path = lake_path(options, kind, scene)
    place = lake(options, scene)
    if path is None or place is None:
        return None
    where = _where(path, scene, options.place)
    root = "" if where.root == "." else where.root.strip("/")
    url = "/".join([place.url, *([carried(root, options.place, scene.notes)] if root else [])])
    beside, schema = dict(place.options), ""
    if kind == "open_mirroring":
        beside |= landing_zone(options, scene)
        schema = options.text("schema", "schema_name")
    else:
        found = {"format": "parquet", **found}
    names = {"open_mirroring": "mirror", "onelake": "lakehouse"}
    connection = scene.connections.add(names.get(kind) or root_name(where.root), Place(url, beside))
    parts = [carried(part, options.place, scene.notes) for part in (schema, where.below) if part]
    return Target(connection, TableName(tuple(parts)), kind, found, None, incremental, marker, key, polish)
