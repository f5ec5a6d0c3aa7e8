"""Names and shapes from SQLite's schema: what Penstock remembers, else what is declared and what the values really are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors._sql.ledger import OWN_PREFIX
from penstock.connectors.sqlite import memory, probe
from penstock.connectors.sqlite.database import Connection
from penstock.connectors.sqlite.forms import own_carrier
from penstock.connectors.sqlite.session import SqliteSession
from penstock.core.errors import DataError, SpecError
from penstock.core.names import TableName, quote
from penstock.core.schema import Column, Fidelity, TableInfo, TableSchema, TypePolicy

MAIN = "main"

# One row for each table, virtual table and view: name, kind, columns (0 where a view is broken), WITHOUT ROWID, STRICT.
_TABLES = """
SELECT name, type, ncol, wr, strict FROM pragma_table_list
WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
ORDER BY name
"""
# One row for each column in order: table, column, declared type, NOT NULL, place in the primary key, hidden, has default.
_COLUMNS = """
SELECT l.name, x.name, x.type, x."notnull", x.pk, x.hidden, x.dflt_value IS NOT NULL
FROM pragma_table_list AS l JOIN pragma_table_xinfo(l.name) AS x
WHERE l.schema = 'main' AND l.name IN (SELECT value FROM json_each(?)) AND x.hidden <> 1
ORDER BY l.name, x.cid
"""
_STRICT = {"INT": pa.int64(), "INTEGER": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string(), "BLOB": pa.binary()}
_NUMBERED = re.compile(r"(.+):\d+\Z", re.DOTALL)


@dataclass(frozen=True)
class HeldColumn:
    """A column as declared. `place` is its position in the primary key from 1, or 0; `remembered` what Penstock wrote."""

    name: str
    declared: str
    required: bool = False
    place: int = 0
    is_generated: bool = False
    has_default: bool = False
    remembered: memory.Remembered | None = None


@dataclass(frozen=True)
class Held:
    """A table, view or virtual table. `kind` is "table", "view" or "virtual"."""

    name: str
    kind: str
    has_rowid: bool
    is_strict: bool
    columns: tuple[HeldColumn, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in sorted(self.columns, key=lambda each: each.place) if column.place)

    @property
    def alias(self) -> str:
        """The column that is the row id under another name, or ""."""
        keys = [column for column in self.columns if column.place]
        is_one = self.has_rowid and len(keys) == 1 and keys[0].declared.upper() == "INTEGER"
        return keys[0].name if is_one else ""

    @property
    def rowid(self) -> str:
        """A name that gives the row id, quoted, or "" where no name does."""
        taken = {column.name.lower() for column in self.columns}
        free = [name for name in ("rowid", "_rowid_", "oid") if name not in taken]
        if self.kind != "table" or not self.has_rowid or not (free or self.alias):
            return ""
        return quote(self.alias) if self.alias else free[0]


class SqliteCatalog:
    """Tables of the file; names have one part (`main.` may stand in front)."""

    def __init__(self, session: SqliteSession) -> None:
        self._session = session

    def tables(self) -> list[TableInfo]:
        with self._session.call("cannot list tables"):
            rows = self._session.reading.ask(_TABLES)
        kinds = {"virtual": "virtual table"}
        return [
            TableInfo(TableName((name,)), kinds.get(kind, kind))
            for name, kind, *_ in rows
            if not name.startswith(OWN_PREFIX)
        ]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        """Tables that Penstock did not write are read once, to see what their columns hold. `policy` changes nothing:
        SQLite has neither unconstrained decimals nor lists."""
        if not tables:
            return {}
        with self._session.call("cannot describe tables"):
            connection = self._session.reading
            names = {table: local_name(table) for table in tables}
            held = held_tables(connection, list(names.values()))
            return {table: self._schema(table, held[name]) for table, name in names.items() if name in held}

    def _schema(self, table: TableName, held: Held) -> TableSchema:
        doing = f"cannot describe table {table}"
        self._session.stop_if_cancelled(doing)
        columns = described(self._session.reading, quote(held.name), held)
        return TableSchema(table, columns, held.key, "virtual table" if held.kind == "virtual" else held.kind)

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        """Runs the query once: without values there are no types. All columns may be NULL. Raises SpecError where two
        columns have one name."""
        with self._session.call("cannot describe the query"):
            connection = self._session.reading
            connection.ask(f"CREATE TEMPORARY VIEW _penstock_query AS SELECT * FROM {subquery(query)}")
            try:
                rows = connection.ask("SELECT name, type FROM pragma_table_xinfo('_penstock_query', 'temp')")
            finally:
                connection.ask("DROP VIEW temp._penstock_query")
            names = {row[0] for row in rows}
            double = next((found[1] for name in names if (found := _NUMBERED.match(name)) and found[1] in names), None)
            if double is not None:
                raise SpecError(
                    f"the query gives more than one column named {double!r}", 'rename one: select ... as "name"'
                )
            held = Held("", "query", False, False, tuple(HeldColumn(name, declared) for name, declared in rows))
            return TableSchema(None, described(connection, subquery(query), held), kind="query")


def local_name(table: TableName) -> str:
    """The table's own name. Raises SpecError for a name in another schema than main."""
    if len(table.parts) > 2 or table.schema not in ("", MAIN):
        raise SpecError(f"table {table} has a schema, which SQLite does not know", "name the table only")
    return table.table


def held_tables(connection: Connection, names: Sequence[str]) -> dict[str, Held]:
    """Tables and views by name, with what is remembered of their columns. Raises DataError for a broken view."""
    rows = [row for row in connection.ask(_TABLES) if row[0] in set(names)]
    remembered = memory.read(connection, names)
    broken = next((row[0] for row in rows if row[1] == "view" and not row[2]), None)
    if broken is not None:
        raise DataError(f"view {quote(broken)} refers to a table or column that is gone", "drop or correct the view")
    columns: dict[str, list[HeldColumn]] = {row[0]: [] for row in rows}
    for table, name, declared, required, place, hidden, has_default in connection.ask(
        _COLUMNS, (json.dumps([row[0] for row in rows]),)
    ):
        known = remembered.get((table, name))
        known = known if known is not None and known.declared == declared else None
        column = HeldColumn(name, declared, bool(required), place, hidden > 1, bool(has_default), known)
        columns[table].append(column)
    return {
        name: Held(name, kind, kind == "table" and not without_rowid, bool(is_strict), tuple(columns[name]))
        for name, kind, _, without_rowid, is_strict in rows
    }


def described(connection: Connection, relation: str, held: Held) -> tuple[Column, ...]:
    """The columns of a table, view or query as batches carry them."""
    known = {column.name: _known(held, column) for column in held.columns}
    asked = [probe.Asked(column.name, column.declared) for column in held.columns if known[column.name] is None]
    counts = probe.look(connection, relation, asked)
    judged = {each.name: probe.judged(each, not _is_required(held, each.name), counts[each.name]) for each in asked}
    return tuple(known[column.name] or judged[column.name] for column in held.columns)


def _is_required(held: Held, name: str) -> bool:
    """A primary key of a table with row ids may be NULL in SQLite, unless it is the row id."""
    column = next(each for each in held.columns if each.name == name)
    has_no_rowid = held.kind == "table" and not held.has_rowid
    return column.required or name == held.alias or bool(column.place and has_no_rowid)


def _known(held: Held, column: HeldColumn) -> Column | None:
    """The column where its values need not be looked at: remembered, of a type that Penstock declares, the row id, or of
    a STRICT table."""
    nullable = not _is_required(held, column.name)
    native = f"{probe.NATIVE}{column.declared}"
    if column.remembered is not None:
        found = column.remembered
        is_text = found.carrier == pa.string() and found.logical not in ("", "json", "enum", "citext")
        fidelity = Fidelity.TEXT if is_text else Fidelity.LOSSLESS
        return Column(column.name, found.carrier, nullable, found.logical, found.native or native, fidelity)
    own = own_carrier(column.declared)
    if own is not None:
        kind, logical = own
        return Column(column.name, kind, nullable, logical, native)
    if column.name == held.alias:
        return Column(column.name, pa.int64(), nullable, "", native)
    if held.is_strict and column.declared.upper() in _STRICT:
        return Column(column.name, _STRICT[column.declared.upper()], nullable, "", native)
    return None


def subquery(text: str) -> str:
    """A user's query as table expression; the line break ends a comment at its end."""
    return f"({text.strip().rstrip(';').rstrip()}\n) AS query"
