"""The ports of a connector: protocols of a few methods, the same for all jobs.

A connector never sleeps, retries, logs or prints: it raises an error that says whether, and after how long, to try again.
A Session belongs to one worker thread; only `cancel` may be called from another thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from penstock.core.load import BatchSize, Chunk, CursorValue, Expected, Load, Published, Source, Written
from penstock.core.names import TableName
from penstock.core.schema import Column, TableInfo, TableSchema, TypeChoice, TypePolicy
from penstock.core.spec import ConnectionSpec


class Ability(Enum):
    """What a connector may be able to do; shown by `penstock connectors` and checked before a run.

    CALLS: it talks in calls that a rate limit can count, as APIs do and databases do not.
    """

    CATALOG = "catalog"
    READ = "read"
    WRITE = "write"
    SPLIT = "split"
    SNAPSHOT = "snapshot"
    CURSOR = "cursor"
    QUERY = "query"
    UPSERT = "upsert"
    CALLS = "calls"
    PASS_THROUGH = "pass-through"  # noqa: S105


@dataclass(frozen=True)
class Option:
    """An option of a connection, declared once: validation, documentation and the JSON schema come from here.

    `kind` is "text", "integer", "number", "boolean", "secret", "path" or "choice" (with `choices`).
    `scope` is "connection", "source" (may stand in a job for the reading side) or "target" (for the writing side).
    """

    name: str
    kind: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    scope: str = "connection"


@dataclass(frozen=True)
class Health:
    """What `check` learned of an open connection: server and version, user, facts worth knowing."""

    server: str
    user: str = ""
    notes: tuple[str, ...] = ()


class Catalog(Protocol):
    """Names and shapes. Set-based: the number of round trips does not grow with the number of tables."""

    def tables(self) -> list[TableInfo]:
        """All tables and views the user may read, but no system objects, sorted by name."""
        ...

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        """Columns (with the carriers that `policy` asks for) and keys. A table that is gone is left out."""
        ...

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        """The columns a query gives, without running it whole."""
        ...


class Reader(Protocol):
    """Reads a source, whole or in chunks; the same chunk gives the same rows and batches for the same data."""

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Chunks that cover every row exactly once, rows with NULL keys too. [Chunk(0)] where it cannot be split."""
        ...

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        """Batches with exactly the columns (names, carriers) of `source.columns`. Closing the iterator early frees all."""
        ...

    def count(self, source: Source) -> int:
        """Rows of the source in the snapshot in use."""
        ...

    def high(self, source: Source) -> CursorValue | None:
        """The greatest value of source.window.column among all rows of the source (window ends ignored); None without rows."""
        ...

    def null_cursors(self, source: Source) -> int:
        """How many rows of the source have no value in source.window.column."""
        ...

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        """`value` minus `lag` (a duration such as "10 minutes" or "2 days", or a number), computed exactly by type."""
        ...


@runtime_checkable
class SmallTables(Protocol):
    """A reader that tells of many sources at once which of them need no split."""

    def unsplit(self, sources: Sequence[Source], chunk_bytes: int) -> list[Chunk | None]:
        """For each source the one chunk that split() would make of it, None where only split() can tell. Set-based: the
        number of round trips does not grow with the number of sources."""
        ...


@runtime_checkable
class Snapshots(Protocol):
    """A moment all readers of a run share."""

    def hold_snapshot(self) -> str:
        """Open the moment and keep it until this session closes; returns the token that other sessions join with."""
        ...

    def use_snapshot(self, token: str) -> None:
        """Read as of that moment from now on. Raises SnapshotLost when it is gone. May be repeated with the same token."""
        ...


class RawSource(Protocol):
    """An unread stream in a wire format that a writer of the same system may take untouched."""

    @property
    def format(self) -> str: ...


@runtime_checkable
class RawReader(Protocol):
    def raw(self, source: Source, chunk: Chunk) -> RawSource:
        """The chunk as raw stream; nothing is read before a writer pulls it."""
        ...

    def raw_format(self, source: Source) -> str:
        """A text that names format and exact column types; equal texts are compatible."""
        ...


@runtime_checkable
class RawWriter(Protocol):
    def raw_format(self, load: Load) -> str:
        """The text a RawReader must show for its streams to be taken for this load; "" takes none."""
        ...

    def write_raw(self, load: Load, part: str, raw: RawSource) -> Written:
        """Like Writer.write, from a raw stream."""
        ...


class Writer(Protocol):
    """Loads a table through staging and one atomic publish.

    Order of calls: prepare once (may be repeated), write per part from any number of sessions, publish once (may be
    repeated). Every call may be repeated after a crash at any moment and then changes nothing it had already done.
    """

    def types(self, load: Load) -> list[TypeChoice]:
        """How each column will be stored; an existing target's own types count. Reads the target at most."""
        ...

    def plan(self, load: Load) -> list[str]:
        """What prepare and publish would do, in the target's own words (SQL statements, file moves); writes nothing.

        Raises SchemaChanged when target and columns do not fit and the policy forbids adapting.
        """
        ...

    def prepare(self, load: Load) -> None:
        """Create staging and ledger. Leftovers of other loads of the same job and table are removed, of others never."""
        ...

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        """Put one part into staging; rows and the ledger's mark of the part become safe together or not at all.

        A part that is marked already is not read again: its Written has again=True.
        """
        ...

    def publish(self, load: Load, expected: Expected) -> Published:
        """Make the load visible in one atomic step, with the ledger's mark inside it, then remove staging.

        Raises CountMismatch, changing nothing, when staging does not hold `expected`.
        """
        ...

    def discard(self, load: Load) -> None:
        """Remove staging and ledger rows of the load; an unknown load is no error."""
        ...

    def claim(self, load: Load) -> None:
        """Hold the target table against loads of other jobs until this session closes; raises Locked with the holder."""
        ...


class Session(Protocol):
    """An open connection of one worker."""

    def check(self) -> Health: ...

    def catalog(self) -> Catalog: ...

    def reader(self) -> Reader: ...

    def writer(self) -> Writer: ...

    def cancel(self) -> None:
        """Interrupt the call in progress, which then raises TimedOut or Stopped promptly. May be called from any thread,
        at any time, more than once; does nothing when nothing runs."""
        ...

    def close(self) -> None:
        """Free everything; open transactions are rolled back. May be repeated."""
        ...


class Connector(Protocol):
    """A kind of system. One instance serves all connections of its schemes and holds no state of a connection."""

    @property
    def name(self) -> str: ...

    @property
    def schemes(self) -> tuple[str, ...]: ...

    @property
    def abilities(self) -> frozenset[Ability]: ...

    @property
    def options(self) -> tuple[Option, ...]: ...

    @property
    def one_process(self) -> bool:
        """Whether a target of this kind takes writers of one process only (DuckDB)."""
        ...

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        """Facts the planner needs without a connection; {"max_connections": n} caps the workers that may hold one."""
        ...

    def open(self, spec: ConnectionSpec) -> Session:
        """Connect. Raises Unavailable, CredentialsRefused or SpecError."""
        ...


def column_names(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)
