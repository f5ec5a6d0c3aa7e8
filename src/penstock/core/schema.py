"""Tables, columns and types as all connectors see them: an Arrow carrier, its meaning, and how faithfully it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import pyarrow as pa

from penstock.core.names import TableName

LOGICAL_KEY = b"penstock.logical"
NATIVE_KEY = b"penstock.native"

# Infinity of timestamps (microseconds) and dates (days), DuckDB's convention: an ordinary integer no calendar reaches.
TIMESTAMP_INFINITY = 2**63 - 1
DATE_INFINITY = 2**31 - 1


class Fidelity(Enum):
    """How a column survives: LOSSLESS (equal value by value), WIDENING (equal, in a larger type), TEXT (equal, as the
    source's own text), LOSSY (some values change; needs the user's consent)."""

    LOSSLESS = "lossless"
    WIDENING = "widening"
    TEXT = "text"
    LOSSY = "lossy"


@dataclass(frozen=True)
class Column:
    """One column of a table or query.

    `type` is what a batch carries. `logical` says what the carrier alone does not: "json", "uuid", "enum", "interval",
    "timetz", "numeric" (unconstrained), "inet", ... or "" when the Arrow type says all. `native` is the declared type of
    the system it came from with that system's name in front, for instance "postgresql:character varying(20)"; a target
    of the same system restores it exactly. `fidelity` and `note` tell what reading did to it.
    """

    name: str
    type: pa.DataType
    nullable: bool = True
    logical: str = ""
    native: str = ""
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""

    def to_field(self) -> pa.Field:
        """The Arrow field, with logical and native kept as field metadata so that files carry them."""
        metadata = {LOGICAL_KEY: self.logical.encode(), NATIVE_KEY: self.native.encode()}
        return pa.field(self.name, self.type, self.nullable, {k: v for k, v in metadata.items() if v} or None)

    @classmethod
    def from_field(cls, field: pa.Field) -> Column:
        metadata = field.metadata or {}
        return cls(
            field.name,
            field.type,
            field.nullable,
            metadata.get(LOGICAL_KEY, b"").decode(),
            metadata.get(NATIVE_KEY, b"").decode(),
        )


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of `columns`, in order."""
    return pa.schema([column.to_field() for column in columns])


@dataclass(frozen=True)
class TableInfo:
    """A table, view or file set that a connection holds. Estimates are None where the system has none."""

    name: TableName
    kind: str = "table"
    rows_estimate: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class TableSchema:
    """Columns in order and the primary key of a table, view, file set or query."""

    name: TableName | None
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    kind: str = "table"
    rows_estimate: int | None = None
    size_bytes: int | None = None
    comment: str = field(default="", compare=False)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class TypeChoice:
    """How a target stores one column: its declared type there and how faithful that is."""

    column: Column
    native: str
    fidelity: Fidelity
    note: str = ""


@dataclass(frozen=True)
class TypePolicy:
    """What to do with types that have no exact carrier.

    numeric: an unconstrained numeric becomes "text" (exact), "double" (lossy), "decimal(p,s)" (exact or an error), or
    is an "error". nan: a NaN inside a decimal column is an "error" or becomes "null". arrays: "list" (one dimension,
    else an error) or "text" (the source's literal, always exact).
    """

    numeric: str = "text"
    nan: str = "error"
    arrays: str = "list"
