"""The target table as the server has it: columns, keys, what points at it; and what the server itself can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.connectors.mysql.catalog import HeldColumn, Place, columns_of
from penstock.connectors.mysql.mapping import Server
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.session import query
from penstock.connectors.mysql.types import MARK
from penstock.core.errors import NotSupported, SchemaChanged
from penstock.core.names import TableName, quote

_BINARY_COLLATION = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}

# Kind, engine; the name as the server spells it.
_TABLE = """
SELECT TABLE_TYPE, ENGINE, TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
"""
# Index, is unique, column, prefix length, in order.
_INDEXES = """
SELECT INDEX_NAME, NON_UNIQUE = 0, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY INDEX_NAME, SEQ_IN_INDEX
"""
# Some collations of newer servers are listed without the charset that stands before their names elsewhere.
_COLLATIONS = {
    True: "SELECT FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY",
    False: "SELECT COLLATION_NAME FROM information_schema.COLLATIONS",
}
# Foreign keys of other tables that point here.
_REFERENCES = """
SELECT CONSTRAINT_NAME, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
WHERE UNIQUE_CONSTRAINT_SCHEMA = %s AND REFERENCED_TABLE_NAME = %s
    AND NOT (CONSTRAINT_SCHEMA = UNIQUE_CONSTRAINT_SCHEMA AND TABLE_NAME = REFERENCED_TABLE_NAME)
ORDER BY 1
"""


@dataclass(frozen=True)
class Target:
    """An existing target table. `unique_keys` are sets of whole columns; `indexed` are the first columns of indexes and all
    columns of unique ones; `referenced_by` are foreign keys of other tables."""

    place: Place
    columns: tuple[HeldColumn, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[frozenset[str], ...]
    leading: frozenset[tuple[str, ...]]
    indexed: frozenset[str]
    referenced_by: tuple[str, ...]

    @property
    def text(self) -> str:
        return text_of(self.place)

    def column(self, name: str) -> HeldColumn | None:
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)

    def has_index_on(self, names: tuple[str, ...]) -> bool:
        """Whether an index begins with these columns, in any order."""
        wanted = {name.lower() for name in names}
        return any({part.lower() for part in index[: len(names)]} == wanted for index in self.leading)


def text_of(place: Place) -> str:
    return f"{quote(place[0], MARK)}.{quote(place[1], MARK)}"


def exists(connection: Connection, place: Place) -> bool:
    return bool(query(connection, _TABLE, place))


def target_of(connection: Connection, place: Place, name: TableName) -> Target | None:
    """All that a load needs to know of its target; None where there is none. Raises NotSupported where rows cannot be put,
    or not within a transaction."""
    found = query(connection, _TABLE, place)
    if not found:
        return None
    kind, engine, *stored = found[0]
    if kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
        raise NotSupported(f"table {name} is a {str(kind).lower()}, which takes no load", "choose another target_name")
    if str(engine).lower() != "innodb":
        raise NotSupported(
            f"table {name} is kept by the engine {engine}, which has no transactions, so that no load could be published whole",
            "change it: ALTER TABLE ... ENGINE = InnoDB",
        )
    at = (str(stored[0]), str(stored[1]))
    indexes: dict[str, list[tuple[str, bool, bool]]] = {}
    for index, is_unique, column, prefix in query(connection, _INDEXES, at):
        # An index may be over an expression, which has no name.
        indexes.setdefault(index, []).append((column or "", bool(is_unique), prefix is None))
    unique = [frozenset(c for c, *_ in parts) for parts in indexes.values() if all(p[1] and p[2] for p in parts)]
    references = tuple(f"{key} ({table})" for key, table in query(connection, _REFERENCES, at))
    return Target(
        at,
        tuple(columns_of(connection, {at}).get(at, [])),
        tuple(column for column, *_ in indexes.get("PRIMARY", [])),
        tuple(unique),
        frozenset(tuple(column for column, *_ in parts) for parts in indexes.values()),
        frozenset(column for parts in indexes.values() for column, *_ in parts),
        references,
    )


def server_of(connection: Connection, collation: str) -> Server:
    """`collation` is the option's; "" takes one that tells every two texts apart, with spaces at their ends."""
    known = frozenset(
        row[0] for row in query(connection, _COLLATIONS[connection.is_mariadb and connection.version >= (10, 10)])
    )
    wanted = collation or _BINARY_COLLATION[connection.is_mariadb]
    if wanted not in known:
        raise NotSupported(f"the server has no collation {wanted!r}", "set another in the option collation")
    return Server(connection.is_mariadb, connection.version, wanted, frozenset(str(name) for name in known if name))


def definition_of(connection: Connection, target: Target, column: HeldColumn) -> str:
    """A column's definition as SHOW CREATE TABLE writes it, from its type on: what MODIFY has to repeat."""
    made = str(query(connection, f"SHOW CREATE TABLE {target.text}")[0][1])
    head = f"  {quote(column.name, MARK)} "
    for line in made.splitlines():
        if line.startswith(head):
            return line.removeprefix(head).rstrip().removesuffix(",")
    raise SchemaChanged(f"column {column.name!r} of table {target.text} is gone", "run again")


_TEXT_CHARSET = re.compile(r" CHARACTER SET \w+| COLLATE \w+")


def with_type(definition: str, held: HeldColumn, wider: str) -> str:
    """The definition with another type; text keeps its collation, in the type's own place."""
    from penstock.connectors.mysql.types import declare

    shown = definition
    bare = held.declared.text if held.declared.name != "json" else "longtext"
    if not shown.lower().startswith(bare.lower()):
        raise SchemaChanged(
            f"column {held.name!r} is defined as {definition!r}, which is not understood",
            f"change it to {wider} by hand",
        )
    rest = shown[len(bare) :]
    kept = "".join(_TEXT_CHARSET.findall(rest))
    rest = _TEXT_CHARSET.sub("", rest)
    return f"{wider}{kept if declare(wider).is_text else ''}{rest}"


def nullable(definition: str) -> str:
    """The definition without NOT NULL."""
    return re.sub(r" NOT NULL\b", " NULL", definition, count=1)
