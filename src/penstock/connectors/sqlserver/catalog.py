"""Names and shapes from the system catalog: flat questions, a fixed number of them, joined on this side.

Joins of many catalog views are slow on every server with many tables, and each view shows only what the login may see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.connectors.sqlserver.line import Line, Row
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.connectors.sqlserver.types import Declared, Reading, declare, parse, to_column
from penstock.core.errors import PenstockError, SpecError
from penstock.core.names import TableName
from penstock.core.schema import Column, TableInfo, TableSchema, TypePolicy

KINDS = {"U": "table", "V": "view"}
OWN_PREFIX = "_penstock_"
_PAGE_BYTES = 8192
_MANY = 1000  # beyond so many tables a question is asked about all of them

OBJECTS = """
SELECT o.object_id, s.name, o.name, RTRIM(o.type) FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
"""
ROWS = "SELECT object_id, SUM(rows) FROM sys.partitions WHERE index_id IN (0, 1){more} GROUP BY object_id"
SIZES = """
SELECT p.object_id, SUM(a.total_pages) FROM sys.partitions AS p JOIN sys.allocation_units AS a ON a.container_id = p.partition_id
WHERE p.index_id IN (0, 1){more} GROUP BY p.object_id
"""
# Table, number, name, base type, bytes, precision, scale, nullable, collation, own type's name, user's type, hidden.
COLUMNS = """
SELECT c.object_id, c.column_id, c.name, c.system_type_id, c.max_length, c.precision, c.scale, c.is_nullable,
    c.collation_name, c.user_type_id, c.is_hidden
FROM sys.columns AS c{more}
"""
TYPES = "SELECT system_type_id, user_type_id, name, is_user_defined, is_assembly_type FROM sys.types"
KEYS = """
SELECT x.object_id, x.key_ordinal, x.column_id FROM sys.indexes AS i
JOIN sys.index_columns AS x ON x.object_id = i.object_id AND x.index_id = i.index_id
WHERE i.is_primary_key = 1 AND x.key_ordinal > 0{more}
"""
COMMENTS = """
SELECT major_id, CAST(value AS nvarchar(4000)) FROM sys.extended_properties
WHERE class = 1 AND minor_id = 0 AND name = N'MS_Description'{more}
"""


@dataclass(frozen=True)
class Typed:
    """A column as sys.columns tells it."""

    number: int
    name: str
    declared: Declared
    nullable: bool
    is_hidden: bool


@dataclass(frozen=True)
class TypeRow:
    """A row of sys.types."""

    system: int
    user: int
    name: str
    is_alias: bool
    is_clr: bool


def types_of(rows: Iterable[Row]) -> list[TypeRow]:
    return [TypeRow(int(row[0]), int(row[1]), str(row[2]), bool(row[3]), bool(row[4])) for row in rows]


def columns_of(rows: Iterable[Row], types: Sequence[TypeRow]) -> dict[int, list[Typed]]:
    """Columns by table, in order, from rows of COLUMNS; types behind aliases are found by their system type."""
    by_user = {kind.user: kind for kind in types}
    base = {kind.system: kind for kind in types if not kind.is_alias and kind.user == kind.system}
    base |= {kind.system: kind for kind in types if not kind.is_alias and kind.system not in base}
    found: dict[int, list[Typed]] = {}
    for table, number, name, system, length, precision, scale, nullable, collation, user, hidden in rows:
        kind = by_user.get(user)
        if kind is not None and not kind.is_alias:
            plain = kind.name
        elif kind is not None and kind.is_clr:
            plain = "udt"
        else:
            plain = base[system].name if system in base else "udt"
        alias = kind.name if kind is not None and kind.is_alias else ""
        declared = declare(plain, int(length), int(precision), int(scale), str(collation or ""), alias)
        found.setdefault(int(table), []).append(Typed(int(number), str(name), declared, bool(nullable), bool(hidden)))
    return {table: sorted(columns, key=lambda column: column.number) for table, columns in found.items()}


def keys_of(rows: Iterable[Row], columns: Mapping[int, Sequence[Typed]]) -> dict[int, tuple[str, ...]]:
    """Primary keys by table, in order, from rows of KEYS."""
    found: dict[int, list[tuple[int, str]]] = {}
    for table, place, number in rows:
        names = {column.number: column.name for column in columns.get(int(table), ())}
        if int(number) in names:
            found.setdefault(int(table), []).append((int(place), names[int(number)]))
    return {table: tuple(name for _, name in sorted(places)) for table, places in found.items()}


class SqlServerCatalog:
    """Tables and views of the connection's database. Names of three parts must name this database."""

    def __init__(self, session: SqlServerSession) -> None:
        self._session = session

    def tables(self) -> list[TableInfo]:
        """Tables and views by schema and name, without the system's and Penstock's own."""
        with self._session.call("cannot list tables"):
            line = self._session.any
            objects = [row for row in line.query(OBJECTS) if not str(row[2]).startswith(OWN_PREFIX)]
            rows, sizes = _estimates(line, None)
        found = [
            TableInfo(TableName((row[1], row[2])), KINDS[row[3]], rows.get(row[0]), sizes.get(row[0]))
            for row in objects
        ]
        return sorted(found, key=lambda info: info.name)

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        """Columns and keys. Raises SpecError for a column that cannot be carried."""
        if not tables:
            return {}
        reading = reading_of(self._session)
        with self._session.call(f"cannot describe {_some(tables)}"):
            line = self._session.any
            ids = resolve(self._session, line, tables)
            wanted = sorted(set(ids.values()))
            columns = described(line, wanted)
            keys = keys_of(line.query(KEYS.format(more=_among("x.object_id", wanted))), columns)
            kinds = {row[0]: KINDS[row[3]] for row in line.query(OBJECTS + _among("o.object_id", wanted))}
            comments = dict(map(tuple, line.query(COMMENTS.format(more=_among("major_id", wanted)))))
            rows, sizes = _estimates(line, wanted)
        found = {}
        for name, table in ids.items():
            if table not in kinds:
                continue
            try:
                shown = tuple(_column(column, reading) for column in columns.get(table, []) if not column.is_hidden)
            except SpecError as error:
                raise SpecError(f"table {name}: {error.what}", error.hint) from error
            found[name] = TableSchema(
                name,
                shown,
                keys.get(table, ()),
                kinds[table],
                rows.get(table),
                sizes.get(table),
                comments.get(table) or "",
            )
        return found

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        """The columns a query gives; the server compiles it and returns no row. Raises SpecError where a column has no name
        or two have one."""
        with self._session.call("cannot describe the query"):
            columns = query_columns(self._session.any, query)
        names = [name for name, _, _ in columns]
        if "" in names:
            raise SpecError("the query gives a column without a name", 'name it: select ... as "name"')
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise SpecError(
                f"the query gives more than one column named {double!r}", 'rename one: select ... as "name"'
            )
        reading = reading_of(self._session)
        shown = tuple(to_column(name, declared, nullable, reading) for name, declared, nullable in columns)
        return TableSchema(None, shown, kind="query")


def reading_of(session: SqlServerSession) -> Reading:
    return Reading(*(session.option(name) for name in ("fine_times", "offsets", "sql_variant", "spatial")))


def _column(column: Typed, reading: Reading) -> Column:
    return to_column(column.name, column.declared, column.nullable, reading)


def _some(tables: Sequence[TableName]) -> str:
    shown = ", ".join(str(name) for name in tables[:3])
    return f"table {shown}" if len(tables) == 1 else f"tables {shown}{', …' if len(tables) > 3 else ''}"


def _among(name: str, ids: Sequence[int]) -> str:
    """A condition on object ids (numbers that the server gave), "" where there are too many to name."""
    if len(ids) > _MANY:
        return ""
    return f" AND {name} IN ({', '.join(str(int(number)) for number in ids) or '-1'})"


def _estimates(line: Line, ids: Sequence[int] | None) -> tuple[dict[int, int], dict[int, int]]:
    """Rows and bytes by table, from the catalog's own counts; a view has none."""
    some = "" if ids is None else _among("object_id", ids)
    rows = {int(row[0]): int(row[1]) for row in line.query(ROWS.format(more=some)) if row[1] is not None}
    of_p = "" if ids is None else _among("p.object_id", ids)
    pages = {int(row[0]): int(row[1]) for row in line.query_if_known(SIZES.format(more=of_p)) if row[1] is not None}
    return rows, {table: count * _PAGE_BYTES for table, count in pages.items()}


def described(line: Line, ids: Sequence[int]) -> dict[int, list[Typed]]:
    """The columns of tables; two questions."""
    more = _among("c.object_id", ids).replace(" AND ", " WHERE ", 1)
    return columns_of(line.query(COLUMNS.format(more=more)), types_of(line.query(TYPES)))


def resolve(session: SqlServerSession, line: Line, tables: Sequence[TableName]) -> dict[TableName, int]:
    """The object ids of tables; those that do not exist are left out. A name without schema is looked for in the user's
    default schema. Raises SpecError for a name in another database."""
    for name in tables:
        if len(name.parts) == 3 and name.parts[0].lower() != session.server.database.lower():
            raise SpecError(
                f"table {name} is in another database than the connection ({session.server.database!r})",
                "leave the first part out, or declare a connection for that database",
            )
    quoted = [TableName(name.parts[-2:]).quoted() for name in tables]
    if len(tables) > _MANY:
        return _resolve_all(session, line, tables)
    listed = ", ".join(f"({number}, CAST(? AS nvarchar(800)))" for number in range(len(tables)))
    sql = f"SELECT w.place, OBJECT_ID(w.name) FROM (VALUES {listed}) AS w (place, name)"
    return {tables[int(place)]: int(found) for place, found in line.query(sql, quoted) if found is not None}


def _resolve_all(session: SqlServerSession, line: Line, tables: Sequence[TableName]) -> dict[TableName, int]:
    held = {(row[1], row[2]): int(row[0]) for row in line.query(OBJECTS)}
    wanted = {name: (name.schema or session.server.schema, name.table) for name in tables}
    return {name: held[place] for name, place in wanted.items() if place in held}


def query_columns(line: Line, query: str) -> list[tuple[str, Declared, bool]]:
    """Names and types that a query gives, and whether they may be NULL."""
    with line.cursor("EXEC sp_describe_first_result_set ?, NULL, 0", [query]) as cursor:
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = []
    for row in sorted(rows, key=lambda one: int(one["column_ordinal"])):
        if row.get("is_hidden"):
            continue
        text = str(row["system_type_name"] or "udt").lower()
        declared = parse(text) or parse("udt")
        if declared is None:
            raise PenstockError(f"the query gives a column of the type {text}, which is unknown", "cast it")
        found.append((str(row["name"] or ""), _collated(declared, row.get("collation_name")), bool(row["is_nullable"])))
    return found


def _collated(declared: Declared, collation: object) -> Declared:
    return parse(f"{declared.text} COLLATE {collation}") or declared if collation else declared
