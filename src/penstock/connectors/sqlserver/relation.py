"""The target table as the server has it: columns, keys, what hangs on it; and where a name without schema leads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.connectors.sqlserver.catalog import Typed, described, resolve
from penstock.connectors.sqlserver.line import Line, Row
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.connectors.sqlserver.types import Declared
from penstock.core.errors import Missing, NotSupported, SpecError
from penstock.core.names import TableName

MAX_NAME = 128  # UTF-16 units

OBJECT = """
SELECT s.name, o.name, RTRIM(o.type) FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE o.object_id = ?
"""
# What the catalog's own columns do not tell: number, identity, computed, default, period of a temporal table.
DETAILS = """
SELECT c.column_id, c.is_identity, c.is_computed, c.default_object_id, c.generated_always_type
FROM sys.columns AS c WHERE c.object_id = ?
"""
INDEXES = """
SELECT i.index_id, i.is_primary_key, i.is_unique, i.has_filter FROM sys.indexes AS i WHERE i.object_id = ? AND i.is_disabled = 0
"""
INDEX_COLUMNS = "SELECT index_id, key_ordinal, column_id FROM sys.index_columns WHERE object_id = ? AND key_ordinal > 0"
REFERENCES = """
SELECT f.name, f.parent_object_id, OBJECT_NAME(f.parent_object_id) FROM sys.foreign_keys AS f
WHERE f.referenced_object_id = ? AND f.is_disabled = 0
"""


@dataclass(frozen=True)
class TargetColumn:
    """A column of the target. `is_generated`: the server alone gives it values (computed, rowversion, period)."""

    number: int
    name: str
    declared: Declared
    nullable: bool
    is_identity: bool
    is_generated: bool
    has_default: bool

    @property
    def fills_itself(self) -> bool:
        """Whether the server gives it a value when a row brings none."""
        return self.has_default or self.is_identity or self.is_generated


@dataclass(frozen=True)
class Target:
    """An existing target table. `unique_keys` are those that decide for every row; `referenced_by` are foreign keys of
    other tables."""

    name: TableName
    columns: tuple[TargetColumn, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[frozenset[str], ...]
    referenced_by: tuple[str, ...]

    def column(self, name: str) -> TargetColumn | None:
        return next((column for column in self.columns if column.name == name), None)

    @property
    def identity(self) -> str:
        """The name of its identity column, or ""."""
        return next((column.name for column in self.columns if column.is_identity), "")


def check_name(name: str, what: str) -> None:
    """Raises SpecError for a name that is longer than the server keeps."""
    if len(name.encode("utf-16-le")) // 2 > MAX_NAME:
        raise SpecError(
            f"{what} {name!r} has more than {MAX_NAME} characters, the most that SQL Server keeps",
            "choose a shorter name",
        )


def located(session: SqlServerSession, line: Line, table: TableName) -> tuple[TableName, int | None]:
    """Schema and name of a table, and its object id if it exists. A name without schema belongs into the user's default
    schema."""
    for part in table.parts:
        check_name(part, "name")
    found = resolve(session, line, [table]).get(table)
    return TableName((table.schema or session.server.schema, table.table)), found


def target_of(line: Line, table: int) -> Target:
    """All that a load needs to know of its target. Raises NotSupported where rows cannot be put."""
    rows = line.query(OBJECT, [table])
    if not rows:
        raise Missing("the target table was dropped meanwhile", "run again")
    schema, name, kind = rows[0]
    where = TableName((str(schema), str(name)))
    if kind != "U":
        raise NotSupported(f"{where} is no table, and takes no load", "choose another target_name")
    columns = target_columns(described(line, [table]).get(table, []), line.query(DETAILS, [table]))
    primary, unique = _keys(columns, line.query(INDEXES, [table]), line.query(INDEX_COLUMNS, [table]))
    others = [row for row in line.query(REFERENCES, [table]) if int(row[1]) != table]
    references = tuple(sorted(f"{row[0]} ({row[2]})" for row in others))
    return Target(where, columns, primary, unique, references)


def target_columns(columns: Iterable[Typed], details: Iterable[Row]) -> tuple[TargetColumn, ...]:
    """The columns with what DETAILS tells of each."""
    told = {int(row[0]): row[1:] for row in details}
    found = []
    for column in columns:
        identity, computed, default, period = told[column.number]
        is_generated = bool(computed) or bool(period) or column.declared.name == "rowversion"
        found.append(
            TargetColumn(
                column.number,
                column.name,
                column.declared,
                column.nullable,
                bool(identity),
                is_generated,
                bool(default),
            )
        )
    return tuple(found)


def _keys(
    columns: tuple[TargetColumn, ...], indexes: Iterable[Row], places: Iterable[Row]
) -> tuple[tuple[str, ...], tuple[frozenset[str], ...]]:
    names = {column.number: column.name for column in columns}
    by_index: dict[int, list[tuple[int, str]]] = {}
    for index, place, column in places:
        by_index.setdefault(int(index), []).append((int(place), names[int(column)]))
    primary: tuple[str, ...] = ()
    unique = []
    for index, is_primary, is_unique, has_filter in indexes:
        key = tuple(name for _, name in sorted(by_index.get(int(index), [])))
        if is_primary:
            primary = key
        if is_unique and not has_filter and key:
            unique.append(frozenset(key))
    return primary, tuple(unique)
