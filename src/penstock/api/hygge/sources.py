"""Homes of the old project as sources: a folder of files, or a table or query of SQL Server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.api.hygge.databases import database, table_name, with_schema
from penstock.api.hygge.ends import FilePath, Place, below, cut, file_url, joined, root_name
from penstock.api.hygge.file_options import FORMATS, text_options
from penstock.api.hygge.references import carried
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, Value, mapping
from penstock.core.names import TableName

_SIMPLE = re.compile(r"[^\W_][\w -]*\Z")
DROPPED = {
    "batch_size": "rows of one read; Penstock cuts its work by size, see chunk_size",
    "row_multiplier": "rows between two lines of progress; progress is shown all the time",
    "progress_interval": "rows between two lines of progress; progress is shown all the time",
    "timeout": "a time limit that the old tool read and never used; see connect_timeout_s of the connection",
}


@dataclass(frozen=True)
class Source:
    """Where one table comes from: a table of a connection, or a query."""

    connection: str
    table: TableName | None
    query: str = ""
    is_file: bool = False


@dataclass(frozen=True)
class Home:
    """The keys of a home, a table's own over those of its flow; `path` is the flow's path where the table has its own."""

    keys: Mapping[str, Value] = field(default_factory=dict)
    place: str = ""
    path: str = ""
    own_path: str = ""


def merged_home(flow: Value | None, own: Value | None) -> Home:
    """The two homes in one. Text stands for the path of Parquet files."""
    base, over = _as_mapping(flow), _as_mapping(own)
    place = (own or flow or Value(None, "")).place
    return Home({**base, **over}, place, str(base["path"].data) if "path" in base else "", _path(over))


def _as_mapping(value: Value | None) -> dict[str, Value]:
    if value is not None and isinstance(value.data, str):
        return {"path": value}
    return mapping(value, "home")


def _path(keys: Mapping[str, Value]) -> str:
    return str(keys["path"].data) if "path" in keys else ""


def read_source(home: Home, scene: Scene) -> Source | None:
    """The source of a table; None, with a note, where it cannot be taken over."""
    options = Section(home.keys, "home", home.place)
    kind = options.text("type") or "parquet"
    options.absorb("options")
    if kind in ("parquet", "local"):
        found = _files(options, home, kind, scene)
    elif kind == "mssql":
        found = _database(options, scene)
    else:
        text = f"the old tool had no home of type {kind}; write connection and job anew"
        scene.tell("lacking", "home.type", text, home.place)
        found = None
    options.drop(DROPPED, scene.notes, scene.about)
    options.tell_rest(scene.notes, scene.about)
    return found


def _files(options: Section, home: Home, kind: str, scene: Scene) -> Source | None:
    format_name = (options.text("format") or "parquet").lower() if kind == "local" else "parquet"
    given = options.section("format_options")
    path = options.text("path")
    if not path or format_name not in FORMATS:
        scene.tell("lacking", "home.path" if not path else "home.format", "missing or unknown", home.place)
        return None
    found = text_options(given, format_name, scene.notes, scene.about)
    if format_name != "parquet":
        found = {"format": format_name, **found}
    where = _where(home, path, scene)
    url = file_url(where.root, scene.from_folder, home.place, scene.notes)
    name = root_name(where.root) + (f"_{format_name}" if format_name != "parquet" else "")
    connection = scene.connections.add(name, Place(url, found))
    return Source(connection, _table(where, connection, format_name, scene), is_file=True)


def _where(home: Home, path: str, scene: Scene) -> FilePath:
    if not scene.entity:
        return cut(path)
    if home.own_path:
        whole = scene.filled(joined(home.path, home.own_path) if home.path else home.own_path)
        return below(home.path, whole) or cut(whole)
    if "{entity}" in path:
        text = "{entity} in the path of files is filled in; the old tool put the name behind the path as well"
        scene.tell("differs", "home.path", text, home.place)
        return cut(scene.filled(path))
    return below(path, joined(path, scene.entity)) or cut(joined(path, scene.entity))


def _table(where: FilePath, connection: str, format_name: str, scene: Scene) -> TableName:
    """The table's name; where it is not simply that of a file or folder, its files are declared by a pattern."""
    if where.below and "/" not in where.below and _SIMPLE.match(where.stem):
        return TableName((where.stem,))
    name = scene.name.rpartition("/")[2] or scene.name
    if not where.below:
        text = f"the path is a reference; all {format_name} files below it are taken for one table, {name}"
        scene.tell("decide", "home.path", text, "")
    pattern = where.below if where.is_file else f"{where.below}/**/*.{format_name}".lstrip("/")
    table = TableName((name,))
    scene.connections.declare(connection, str(table), carried(pattern, "", scene.notes))
    return table


def _database(options: Section, scene: Scene) -> Source | None:
    connection = named_database(options, scene)
    query, table = options.take("query"), options.take("table")
    place = (query or table or Value(None, options.place)).place
    if connection is None:
        return None
    if query is not None:
        return Source(connection, None, carried(scene.filled(str(query.data)), place, scene.notes).strip())
    if table is None:
        scene.tell("lacking", "home.table", "neither table nor query is given", place)
        return None
    name = table_name(carried(scene.filled(str(table.data)), place, scene.notes), place)
    if len(name.parts) == 1:
        text = "the name has no schema, so the login's own was read; dbo is taken for it"
        scene.tell("decide", "home.table", text, place)
    return Source(connection, with_schema(name))


def named_database(options: Section, scene: Scene) -> str | None:
    """The connection that a home or store names, or the server and database in it; None, with a note, where it has none."""
    named = options.take("connection")
    if named is not None:
        for key in ("encrypt", "trust_cert", "driver"):
            options.take(key)
        found = scene.databases.get(str(named.data))
        if found is None:
            text = f"connection {named.data} is not in hygge.yml, or could not be taken over"
            scene.tell("lacking", options.option("connection"), text, named.place)
        return found
    inside = {
        key: value
        for key in ("server", "database", "driver", "encrypt", "trust_cert", "timeout")
        if (value := options.take(key))
    }
    base = inside.get("database")
    place = database(Section(inside, options.name, options.place), scene.name, scene.notes, scene.about)
    return None if place is None or base is None else scene.connections.add(str(base.data), place)
