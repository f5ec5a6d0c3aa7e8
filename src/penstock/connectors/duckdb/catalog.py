"""Names and shapes from DuckDB's catalog functions: a fixed number of questions, however many tables are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
from duckdb.sqltypes import DuckDBPyType

from penstock.connectors._sql.ledger import OWN_PREFIX
from penstock.connectors.duckdb import memory
from penstock.connectors.duckdb.session import DuckdbSession, ask
from penstock.connectors.duckdb.types import TOO_WIDE, WIDE_INTEGERS, read_column
from penstock.core.errors import SpecError
from penstock.core.names import TableName, quote
from penstock.core.schema import Column, TableInfo, TableSchema, TypePolicy

DEFAULT_SCHEMA = "main"

# One row for each table and view of the connection's database: schema, name, kind, estimated rows or NULL, comment.
_TABLES = """
SELECT schema_name, table_name, 'table', estimated_size, comment FROM duckdb_tables()
WHERE database_name = current_database() AND NOT internal AND NOT temporary
UNION ALL
SELECT schema_name, view_name, 'view', NULL, comment FROM duckdb_views()
WHERE database_name = current_database() AND NOT internal AND NOT temporary
ORDER BY 1, 2
"""

# One row for each column in order: schema, table, column, type, may be NULL, comment. $1: names as schema, NUL, table.
_COLUMNS = """
SELECT schema_name, table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns()
WHERE database_name = current_database() AND list_contains($1, schema_name || chr(0) || table_name)
ORDER BY schema_name, table_name, column_index
"""

# One row for each primary key: schema, table, its columns in order.
_KEYS = """
SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND constraint_type = 'PRIMARY KEY'
    AND list_contains($1, schema_name || chr(0) || table_name)
"""

Place = tuple[str, str]


@dataclass(frozen=True)
class HeldColumn:
    """A column of a table: its DuckDB type as text and parsed, whether it may be NULL, and its comment."""

    name: str
    type: str
    kind: DuckDBPyType
    nullable: bool
    comment: str

    def carried(self, policy: TypePolicy) -> Column:
        """The column as batches carry it, with its origin where the comment keeps it."""
        return memory.recalled(self.comment, self.type, read_column(self.name, self.kind, self.nullable, policy))


class DuckdbCatalog:
    """Tables of the connection's database; `main.` may be left out in front of a name."""

    def __init__(self, session: DuckdbSession) -> None:
        self._session = session

    def tables(self) -> list[TableInfo]:
        with self._session.call("cannot list tables"), self._session.cursor() as cursor:
            rows = ask(cursor, _TABLES)
        return [
            TableInfo(TableName((schema, name)), kind, estimate)
            for schema, name, kind, estimate, _ in rows
            if not name.startswith(OWN_PREFIX)
        ]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        if not tables:
            return {}
        with self._session.call("cannot describe tables"), self._session.cursor() as cursor:
            places = {name: place_of(name, cursor) for name in tables}
            facts = {(row[0], row[1]): row for row in ask(cursor, _TABLES)}
            columns = columns_of(cursor, list(places.values()))
            keys = keys_of(cursor, list(places.values()))
            found = {name: (place, columns[place]) for name, place in places.items() if place in columns}
            return {
                name: TableSchema(
                    name,
                    self._narrow(cursor, place_text(place), [column.carried(policy) for column in held]),
                    keys.get(place, ()),
                    facts[place][2],
                    facts[place][3],
                    comment=facts[place][4] or "",
                )
                for name, (place, held) in found.items()
                if place in facts
            }

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        """DuckDB plans the query and runs it only where it gives integers of 128 bits, to see whether 38 digits hold them.
        All columns may be NULL. Raises SpecError where two columns have one name."""
        with self._session.call("cannot describe the query"), self._session.cursor() as cursor:
            relation = cursor.sql(f"SELECT * FROM {subquery(query)}")
            kinds = list(relation.types)
            # Within a subquery DuckDB renames what is there twice; that it is one shows that the text is a query.
            names = list(cursor.sql(query).columns)
            given = [column.lower() for column in names]
            double = next((name for name in names if given.count(name.lower()) > 1), None)
            if double is not None:
                raise SpecError(
                    f"the query gives more than one column named {double!r}", 'rename one: select ... as "name"'
                )
            columns = [read_column(name, kind, True, policy) for name, kind in zip(names, kinds, strict=True)]
            return TableSchema(None, self._narrow(cursor, subquery(query), columns), kind="query")

    def _narrow(
        self, cursor: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[Column]
    ) -> tuple[Column, ...]:
        """128-bit integers as decimals where all values have 38 digits at most, else as text."""
        wide = [column for column in columns if column.native.removeprefix("duckdb:").lower() in WIDE_INTEGERS]
        if not wide:
            return tuple(columns)
        # Compared as text lengths: 10^38 itself is no literal of every integer type.
        tests = ", ".join(
            f"coalesce(max(length(ltrim(CAST({quote(column.name)} AS VARCHAR), '-'))), 0)" for column in wide
        )
        digits = ask(cursor, f"SELECT {tests} FROM {relation}")[0]
        too_wide = {column.name for column, count in zip(wide, digits, strict=True) if count > 38}
        as_text = {
            "type": TOO_WIDE.type,
            "logical": TOO_WIDE.logical,
            "fidelity": TOO_WIDE.fidelity,
            "note": TOO_WIDE.note,
        }
        return tuple(replace(column, **as_text) if column.name in too_wide else column for column in columns)


def place_of(name: TableName, cursor: duckdb.DuckDBPyConnection) -> Place:
    """Schema and table of a name. Raises SpecError for a name in another database."""
    if len(name.parts) == 3:
        database = ask(cursor, "SELECT current_database()")[0][0]
        if name.parts[0] != database:
            raise SpecError(
                f"table {name} is in another database than the connection ({database!r})",
                "leave the first part out, or declare a connection for that file",
            )
    return name.schema or DEFAULT_SCHEMA, name.table


def place_text(place: Place) -> str:
    return f"{quote(place[0])}.{quote(place[1])}"


def _asked(places: Sequence[Place]) -> list[list[str]]:
    return [["\0".join(place) for place in places]]


def columns_of(cursor: duckdb.DuckDBPyConnection, places: Sequence[Place]) -> dict[Place, list[HeldColumn]]:
    """The columns of tables and views in order; those that do not exist are left out."""
    found: dict[Place, list[HeldColumn]] = {}
    for schema, table, name, kind, nullable, comment in ask(cursor, _COLUMNS, _asked(places)):
        held = HeldColumn(name, kind, cursor.sqltype(kind), bool(nullable), comment or "")
        found.setdefault((schema, table), []).append(held)
    return found


def keys_of(cursor: duckdb.DuckDBPyConnection, places: Sequence[Place]) -> dict[Place, tuple[str, ...]]:
    rows = ask(cursor, _KEYS, _asked(places))
    return {(schema, table): tuple(columns) for schema, table, columns in rows}


def subquery(text: str) -> str:
    """A user's query as table expression; the line break ends a comment at its end."""
    return f"({text.strip().rstrip(';').rstrip()}\n) AS query"
