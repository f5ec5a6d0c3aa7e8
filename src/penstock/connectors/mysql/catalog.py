"""Names and shapes from information_schema: a fixed number of questions, however many tables are asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.connectors._sql.ledger import OWN_PREFIX
from penstock.connectors.mysql import memory
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.session import MysqlSession, query
from penstock.connectors.mysql.types import MARK, Declared, declare, declared_of, reading, to_column
from penstock.core.errors import PenstockError, SpecError
from penstock.core.names import TableName
from penstock.core.schema import Column, TableInfo, TableSchema, TypePolicy

Place = tuple[str, str]

KINDS = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
_SYSTEM = "('mysql', 'information_schema', 'performance_schema', 'sys')"

# Database, table, kind, estimated rows or NULL, bytes or NULL, comment. {0} chooses.
_TABLES = """
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, TABLE_ROWS, DATA_LENGTH, TABLE_COMMENT FROM information_schema.TABLES
WHERE {0} ORDER BY BINARY TABLE_SCHEMA, BINARY TABLE_NAME
"""
# Database, table, column, type, collation, may be NULL, comment, default, extra, expression, in order.
_COLUMNS = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME, IS_NULLABLE, COLUMN_COMMENT, COLUMN_DEFAULT,
    EXTRA, GENERATION_EXPRESSION
FROM information_schema.COLUMNS WHERE {0} ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION
"""
# Database, table, column of the primary key, in order.
_KEYS = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS
WHERE INDEX_NAME = 'PRIMARY' AND {0} ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX
"""
# Database, table and text of checks that may say that a column holds JSON. MySQL does not tell the table itself.
_CHECKS_MARIADB = """
SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS AS c
WHERE CHECK_CLAUSE LIKE '%%json_valid%%' AND {0}
"""
_CHECKS_MYSQL = """
SELECT t.TABLE_SCHEMA, t.TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS AS c
JOIN information_schema.TABLE_CONSTRAINTS AS t
    ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME
WHERE CHECK_CLAUSE LIKE '%%json_valid%%' AND {0}
"""
_JSON_CHECK = re.compile(r"\(*json_valid\(`((?:[^`]|``)+)`\)\)*\Z")


@dataclass(frozen=True)
class HeldColumn:
    """A column as the server has it. `declared` says json where a check does."""

    name: str
    declared: Declared
    is_nullable: bool
    comment: str
    has_default: bool
    is_auto_increment: bool
    is_generated: bool


class MysqlCatalog:
    """Tables of the connection's database, named by one part; without a database in the url, of all that are not the
    server's own, named database.table."""

    def __init__(self, session: MysqlSession) -> None:
        self._session = session

    def tables(self) -> list[TableInfo]:
        connection = self._session.any
        database = self._session.address.database
        chosen = "TABLE_SCHEMA = %s" if database else f"TABLE_SCHEMA NOT IN {_SYSTEM}"
        kinds = ", ".join(f"'{kind}'" for kind in KINDS)
        where = f"{chosen} AND TABLE_TYPE IN ({kinds}) AND LEFT(TABLE_NAME, {len(OWN_PREFIX)}) <> '{OWN_PREFIX}'"
        with self._session.call("cannot list tables", connection):
            rows = query(connection, _TABLES.format(where), [database] if database else [])
        return [
            TableInfo(TableName((row[1],) if database else tuple(row[:2])), KINDS[row[2]], row[3], row[4])
            for row in rows
        ]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        """Columns and keys; invisible columns too. `policy` has no part in it: no type here lacks an exact carrier."""
        connection = self._session.any
        places = {name: place_of(name, self._session) for name in tables}
        if not places:
            return {}
        with self._session.call(f"cannot describe {_some(tables)}", connection):
            chosen, values = _chosen("TABLE_SCHEMA", "TABLE_NAME", set(places.values()))
            facts = {(row[0], row[1]): row for row in query(connection, _TABLES.format(chosen), values)}
            columns = columns_of(connection, set(places.values()))
            keys: dict[Place, list[str]] = {}
            for schema, table, name in query(connection, _KEYS.format(chosen), values):
                keys.setdefault((schema, table), []).append(name)
        return {
            name: self._schema(name, facts[place], columns.get(place, []), tuple(keys.get(place, ())))
            for name, place in places.items()
            if place in facts
        }

    def _schema(
        self, name: TableName, row: tuple[Any, ...], columns: list[HeldColumn], key: tuple[str, ...]
    ) -> TableSchema:
        how = reading(self._session.option)
        try:
            carried = tuple(read_column(column, how) for column in columns)
        except PenstockError as error:
            raise type(error)(
                f"table {name} of connection {self._session.spec.name!r}: {error.what}", error.hint
            ) from error
        return TableSchema(name, carried, key, KINDS.get(row[2], "table"), row[3], row[4], row[5] or "")

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        """The columns a query gives; the server prepares it and runs nothing. Raises SpecError where two columns have one
        name."""
        connection = self._session.any
        with self._session.call("cannot describe the query", connection):
            statement, fields = connection.prepare_statement(f"SELECT * FROM {subquery(query)}")
            connection.close_statement(statement)
        how = reading(self._session.option)
        columns = tuple(to_column(info.name, declared_of(info), not info.is_filled, how) for info in fields)
        names = [column.name for column in columns]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise SpecError(
                f"the query gives more than one column named {double!r}", f"rename one: select ... as {MARK}name{MARK}"
            )
        return TableSchema(None, columns, kind="query")


def _some(tables: Sequence[TableName]) -> str:
    shown = ", ".join(str(name) for name in tables[:3])
    return f"table {shown}" if len(tables) == 1 else f"tables {shown}{', …' if len(tables) > 3 else ''}"


def subquery(text: str) -> str:
    """The user's query as a table expression. The line break ends a comment at its end."""
    return f"({text.strip().rstrip(';').rstrip()}\n) AS query"


def place_of(name: TableName, session: MysqlSession) -> Place:
    """Database and table of a name. Raises SpecError for a name that lacks a database, or has three parts."""
    if len(name.parts) > 2:
        raise SpecError(f"table {name} has three parts", "MySQL knows two: database.table")
    database = name.schema or session.address.database
    if not database:
        raise SpecError(
            f"table {name} names no database, and neither does the url of connection {session.spec.name!r}",
            "write database.table, or put the database into the url",
        )
    return database, name.table


def read_column(held: HeldColumn, how: Any) -> Column:
    """The column that reading gives, with what its comment recalls."""
    plain = to_column(held.name, held.declared, held.is_nullable, how)
    return memory.recalled(held.comment, held.declared.text, plain)


def _chosen(schema: str, table: str, places: set[Place]) -> tuple[str, list[str]]:
    ordered = sorted(places)
    return (
        f"({schema}, {table}) IN ({', '.join(['(%s, %s)'] * len(ordered))})",
        [part for place in ordered for part in place],
    )


def columns_of(connection: Connection, places: set[Place]) -> dict[Place, list[HeldColumn]]:
    """The columns of tables in order; two questions."""
    if not places:
        return {}
    chosen, values = _chosen("TABLE_SCHEMA", "TABLE_NAME", places)
    if connection.is_mariadb:
        checks = _CHECKS_MARIADB.format(_chosen("CONSTRAINT_SCHEMA", "TABLE_NAME", places)[0])
    else:
        checks = _CHECKS_MYSQL.format(_chosen("t.TABLE_SCHEMA", "t.TABLE_NAME", places)[0])
    json: set[tuple[str, str, str]] = set()
    for schema, table, clause in query(connection, checks, values):
        match = _JSON_CHECK.match(clause)
        if match:
            json.add((schema, table, match[1].replace("``", "`")))
    found: dict[Place, list[HeldColumn]] = {}
    for row in query(connection, _COLUMNS.format(chosen), values):
        found.setdefault((row[0], row[1]), []).append(_held(row, (row[0], row[1], row[2]) in json))
    return found


def _held(row: tuple[Any, ...], is_json: bool) -> HeldColumn:
    _, _, name, kind, collation, nullable, comment, default, extra, expression = row
    extra = (extra or "").lower()
    declared = declare(kind, collation or "")
    if declared.name == "longtext" and is_json:
        declared = declare("json")
    return HeldColumn(
        name,
        declared,
        nullable == "YES",
        comment or "",
        default is not None or "default_generated" in extra or "on update" in extra,
        "auto_increment" in extra,
        bool(expression) or ("generated" in extra and "default_generated" not in extra),
    )
