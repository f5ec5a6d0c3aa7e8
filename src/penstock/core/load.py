"""What is read and what is loaded: the plain descriptions that readers and writers work from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from penstock.core.names import TableName
from penstock.core.schema import Column, TypePolicy


class Mode(Enum):
    """What a load does to the target table; one meaning for every target.

    REPLACE: afterwards the target holds exactly the rows read (none, if none were read). APPEND: all rows read are added.
    UPSERT: by key, rows are updated or inserted. DELETE_INSERT: target rows whose key occurs in the load are deleted,
    then all rows read are inserted (a key may occur many times: a slice). INSERT_ONLY: rows whose key the target lacks
    are inserted, the others are left as they are.

    A NULL in a key equals a NULL, so that a load which runs twice adds nothing. UPSERT and INSERT_ONLY bring one row a
    key: of several in the load the one with the greatest cursor (a value is greater than NULL), and among equal cursors
    the same one whatever the order in which parts arrive. UPSERT leaves columns that the load lacks as they are.
    """

    REPLACE = "replace"
    APPEND = "append"
    UPSERT = "upsert"
    DELETE_INSERT = "delete_insert"
    INSERT_ONLY = "insert_only"


@dataclass(frozen=True)
class CursorValue:
    """A value of a cursor column with nothing rounded: the source's own type name and its exact text."""

    type: str
    text: str


@dataclass(frozen=True)
class Window:
    """Rows whose `column` lies in [low, high]; both ends belong to it, None is open.

    `nulls` says whether rows without a value are read too.
    """

    column: str
    low: CursorValue | None = None
    high: CursorValue | None = None
    nulls: bool = False


@dataclass(frozen=True)
class Source:
    """What to read: a table or a query, its columns in order, a filter in the source's own SQL, a cursor window."""

    table: TableName | None
    query: str = ""
    columns: tuple[Column, ...] = ()
    where: str = ""
    window: Window | None = None
    policy: TypePolicy = TypePolicy()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"table {self.table}" if self.table else "query"


@dataclass(frozen=True)
class Chunk:
    """A part of a source. `bounds` (JSON) mean something to the reader that made them; {} is the whole source.

    Boundaries come from the plan alone, never from timing or the number of workers.
    """

    ordinal: int
    bounds: Mapping[str, Any] = field(default_factory=dict)
    rows_estimate: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class BatchSize:
    """The most that one record batch may hold; whichever is reached first."""

    rows: int = 65_536
    size_bytes: int = 16 * 2**20


@dataclass(frozen=True)
class SchemaPolicy:
    """What to do when source and target differ: "evolve" (adapt the target), "strict" (fail), "ask" (fail unless
    answered in advance; a terminal is asked before the run)."""

    new_column: str = "evolve"
    dropped_column: str = "evolve"
    widened: str = "evolve"
    narrowed: str = "evolve"
    nullability: str = "evolve"


@dataclass(frozen=True)
class Load:
    """One table's load into one target.

    `load_id` is stable over resumes of the same plan and differs between plans; staging objects and the ledger carry it.
    `columns` are as they arrive after column expressions. `cursor` is the target's name of the cursor column or "";
    in UPSERT the row with the greatest cursor of a key wins. `reread_to` is the last watermark when rows at or below it
    are read again on purpose (ties, lag): an APPEND then adds only those of them that the target does not hold yet,
    compared as a multiset over all columns but the `volatile` ones (load timestamps). `one_part` says that the load has a
    single part, and that whoever publishes it has called prepare and write just before in the same session, again after a
    crash: a target may then stage it in whatever way is cheapest.
    """

    load_id: str
    job: str
    table: TableName
    columns: tuple[Column, ...]
    mode: Mode
    key: tuple[str, ...] = ()
    cursor: str = ""
    reread_to: CursorValue | None = None
    volatile: tuple[str, ...] = ()
    policy: SchemaPolicy = SchemaPolicy()
    options: Mapping[str, Any] = field(default_factory=dict)
    one_part: bool = False


@dataclass(frozen=True)
class Written:
    """What one part of a load put into staging, or had put there before."""

    rows: int
    size_bytes: int
    again: bool = False


@dataclass(frozen=True)
class Expected:
    """What staging must hold before it may be published: the number of parts and the sum of their rows."""

    parts: int
    rows: int


@dataclass(frozen=True)
class Published:
    """What a publish did to the target table, counted by the target itself.

    `rows_staged` came from the load; `rows_after` is the whole table. `rows_before` and `rows_after` are None where only
    a scan of a large table would tell. `counted_by` is "scan" where the rows of the load were counted in the target, or
    "acknowledged" where they are the sum of what the target confirmed part by part. `how` says in words which way was
    taken.
    """

    rows_staged: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_before: int | None
    rows_after: int | None
    how: str
    again: bool = False
    notes: tuple[str, ...] = ()
    counted_by: str = "scan"
