"""Tables in this process's memory behind every port: the smallest whole connector, and the reference for others.

A URL `memory:NAME` names a store that all sessions of the process share until `drop_store(NAME)`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.errors import (
    CountMismatch,
    DataError,
    Locked,
    Missing,
    NotSupported,
    SnapshotLost,
    SpecError,
    Stopped,
)
from penstock.core.load import BatchSize, Chunk, CursorValue, Expected, Load, Mode, Published, Source, Written
from penstock.core.names import TableName
from penstock.core.ports import Ability, Health, Option
from penstock.core.schema import Fidelity, TableInfo, TableSchema, TypeChoice, TypePolicy, arrow_schema
from penstock.core.spec import ConnectionSpec
from penstock.testing import reference
from penstock.testing.store import Staging, Store, StoredTable, drop_store, store
from penstock.testing.values import cursor_scalar, cursor_value, lagged

__all__ = ["MemoryConnector", "MemorySession", "Store", "connector", "drop_store", "store"]

_tokens = itertools.count(1)


class MemorySession:
    """One worker's way into a store. Refuses use from a second thread, as drivers of real systems do."""

    def __init__(self, held: Store) -> None:
        self.store = held
        self._view: Mapping[TableName, StoredTable] | None = None
        self._own_token = ""
        self._thread: int | None = None
        self._calls = 0
        self._cancelled = False

    def check(self) -> Health:
        return Health("memory of this process")

    def catalog(self) -> MemoryCatalog:
        self.used()
        return MemoryCatalog(self)

    def reader(self) -> MemoryReader:
        self.used()
        return MemoryReader(self)

    def writer(self) -> MemoryWriter:
        self.used()
        return MemoryWriter(self)

    def hold_snapshot(self) -> str:
        self.used()
        with self.store.lock:
            self._own_token = f"moment-{next(_tokens)}"
            self.store.snapshots[self._own_token] = self._view = dict(self.store.tables)
        return self._own_token

    def use_snapshot(self, token: str) -> None:
        self.used()
        with self.store.lock:
            if token not in self.store.snapshots:
                self._view = None
                raise SnapshotLost(f"snapshot {token!r} is gone", "the session that held it was closed")
            self._view = self.store.snapshots[token]

    def cancel(self) -> None:
        if self._calls:
            self._cancelled = True

    def close(self) -> None:
        with self.store.lock:
            self.store.snapshots.pop(self._own_token, None)
            self.store.claims = {name: held for name, held in self.store.claims.items() if held[0] is not self}
        self._view = None

    @property
    def tables(self) -> Mapping[TableName, StoredTable]:
        """The tables as this session sees them: of its snapshot, or of now."""
        return self.store.tables if self._view is None else self._view

    def table(self, name: TableName) -> StoredTable:
        with self.store.lock:
            if name not in self.tables:
                raise Missing(f"table {name} does not exist in memory", "check the name, or load it first")
            return self.tables[name]

    def used(self) -> None:
        """Note the calling thread. Raises RuntimeError, a defect of the caller, when another one used the session."""
        self._thread = self._thread or threading.get_ident()
        if self._thread != threading.get_ident():
            raise RuntimeError("a session was used from two threads; only cancel() may be called from another one")

    def watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """`batches`, ended by Stopped when another thread calls cancel() meanwhile."""
        self._calls += 1
        try:
            for batch in batches:
                if self._cancelled:
                    raise Stopped("the call was cancelled")
                yield batch
        finally:
            self._calls -= 1
            self._cancelled = False


class MemoryCatalog:
    def __init__(self, session: MemorySession) -> None:
        self._session = session

    def tables(self) -> list[TableInfo]:
        held = sorted(self._session.tables.items())
        return [TableInfo(name, "table", table.data.num_rows, table.data.nbytes) for name, table in held]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        held = self._session.tables
        return {name: _describe(name, held[name]) for name in tables if name in held}

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        raise NotSupported("memory runs no queries", "name a table instead")


def _describe(name: TableName, table: StoredTable) -> TableSchema:
    return TableSchema(name, table.columns, table.primary_key, "table", table.data.num_rows, table.data.nbytes)


class MemoryReader:
    """Chunks are ranges of row positions; `where` is SQL as Polars understands it."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        data = self._held(source)
        if data.num_rows < 2 or data.nbytes <= chunk_bytes:
            return [Chunk(0, {}, data.num_rows, data.nbytes)]
        step = max(1, chunk_bytes * data.num_rows // data.nbytes)
        starts = range(0, data.num_rows, step)
        return [
            Chunk(ordinal, {"from": start, "to": start + step}, min(step, data.num_rows - start), chunk_bytes)
            for ordinal, start in enumerate(starts)
        ]

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        data = self._held(source)
        first = chunk.bounds.get("from", 0)
        data = _chosen(source, data.slice(first, chunk.bounds.get("to", data.num_rows) - first))
        columns = [data.column(column.name).cast(column.type) for column in source.columns]
        wanted = pa.table(columns, schema=arrow_schema(source.columns))
        parts = (part for whole in wanted.to_batches(max_chunksize=batch.rows) for part in _halved(whole, batch))
        return self._session.watched(part for part in parts if part.num_rows)

    def count(self, source: Source) -> int:
        return int(_chosen(source, self._held(source)).num_rows)

    def high(self, source: Source) -> CursorValue | None:
        values = _chosen(replace(source, window=None), self._held(source)).column(_window_column(source))
        highest = pc.max(values)
        return cursor_value(highest) if highest.is_valid else None

    def null_cursors(self, source: Source) -> int:
        values = _chosen(replace(source, window=None), self._held(source)).column(_window_column(source))
        return int(values.null_count)

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        return lagged(value, self._held(source).schema.field(_window_column(source)).type, lag)

    def _held(self, source: Source) -> pa.Table:
        self._session.used()
        if source.table is None:
            raise NotSupported("memory runs no queries", "name a table instead")
        return self._session.table(source.table).data


def _window_column(source: Source) -> str:
    if source.window is None:
        raise SpecError(f"{source} has no cursor window", "name a cursor column")
    return source.window.column


def _halved(batch: pa.RecordBatch, size: BatchSize) -> Iterator[pa.RecordBatch]:
    """`batch` in pieces of at most `size.size_bytes`; a single row may be larger."""
    if batch.num_rows < 2 or batch.nbytes <= size.size_bytes:
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _halved(batch.slice(0, middle), size)
    yield from _halved(batch.slice(middle), size)


def _chosen(source: Source, data: pa.Table) -> pa.Table:
    if source.where:
        condition = pl.sql_expr(source.where)
        frame = pl.DataFrame(pl.from_arrow(data.select(condition.meta.root_names())))
        data = data.filter(pa.array(frame.select(condition.alias("chosen"))["chosen"].to_list(), pa.bool_()))
    if source.window is not None:
        values = data.column(source.window.column)
        inside = pc.is_valid(values)
        if source.window.low is not None:
            inside = pc.and_kleene(inside, pc.greater_equal(values, cursor_scalar(source.window.low, values.type)))
        if source.window.high is not None:
            inside = pc.and_kleene(inside, pc.less_equal(values, cursor_scalar(source.window.high, values.type)))
        if source.window.nulls:
            inside = pc.or_kleene(inside, pc.is_null(values))
        data = data.filter(inside)
    return data


class MemoryWriter:
    """Stages parts beside the tables and publishes them by replacing one table under the store's lock."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session
        self._store = session.store

    def types(self, load: Load) -> list[TypeChoice]:
        return [TypeChoice(column, str(column.type), Fidelity.LOSSLESS) for column in load.columns]

    def plan(self, load: Load) -> list[str]:
        self._session.used()
        held = self._fits(load)
        made = "create" if held is None else "change"
        return [f"stage {len(load.columns)} columns", f"{made} table {load.table} by {load.mode.value} at once"]

    def prepare(self, load: Load) -> None:
        self._session.used()
        self._fits(load)
        with self._store.lock:
            self._store.stagings = {
                load_id: staging
                for load_id, staging in self._store.stagings.items()
                if load_id == load.load_id or (staging.load.job, staging.load.table) != (load.job, load.table)
            }
            self._store.stagings.setdefault(load.load_id, Staging(load))

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        self._session.used()
        marked = self._staging(load).written.get(part)
        if marked is not None:
            return replace(marked, again=True)
        schema = arrow_schema(load.columns)
        data = pa.Table.from_batches([_as(schema, batch, load) for batch in self._session.watched(batches)], schema)
        written = Written(data.num_rows, data.nbytes)
        with self._store.lock:
            staging = self._staging(load)
            if part in staging.written:
                return replace(staging.written[part], again=True)
            self._store.stagings[load.load_id] = replace(
                staging, parts={**staging.parts, part: data}, written={**staging.written, part: written}
            )
        return written

    def publish(self, load: Load, expected: Expected) -> Published:
        self._session.used()
        with self._store.lock:
            staging = self._staging(load)
            if staging.published is not None:
                return replace(staging.published, again=True)
            staged = Expected(len(staging.written), sum(part.rows for part in staging.written.values()))
            if staged != expected:
                raise CountMismatch(
                    f"staging of table {load.table} holds {staged.rows} rows in {staged.parts} parts, "
                    f"expected {expected.rows} rows in {expected.parts} parts",
                    "the table is as it was; run the job again with --fresh",
                )
            before = self._store.tables.get(load.table)
            outcome = reference.apply(
                load, before.columns if before else load.columns, before.data if before else None, staging.parts
            )
            published = Published(
                rows_staged=staged.rows,
                rows_inserted=outcome.inserted,
                rows_updated=outcome.updated,
                rows_deleted=outcome.deleted,
                rows_before=before.data.num_rows if before else 0,
                rows_after=outcome.data.num_rows,
                how=f"{load.mode.value} in one step",
            )
            key = before.primary_key if before and load.mode is not Mode.REPLACE else load.key
            self._store.tables[load.table] = StoredTable(outcome.columns, outcome.data, key)
            self._store.stagings[load.load_id] = replace(staging, parts={}, published=published)
        return published

    def discard(self, load: Load) -> None:
        self._session.used()
        with self._store.lock:
            self._store.stagings.pop(load.load_id, None)

    def claim(self, load: Load) -> None:
        self._session.used()
        with self._store.lock:
            holder, job = self._store.claims.get(load.table, (self._session, load.job))
            if holder is not self._session and job != load.job:
                raise Locked(f"table {load.table} is held by job {job!r}", "wait until that job has ended")
            self._store.claims[load.table] = (self._session, load.job)

    def _staging(self, load: Load) -> Staging:
        with self._store.lock:
            if load.load_id not in self._store.stagings:
                raise Missing(f"load {load.load_id!r} of table {load.table} was not prepared", "prepare it first")
            return self._store.stagings[load.load_id]

    def _fits(self, load: Load) -> StoredTable | None:
        reference.check_key(load)
        with self._store.lock:
            held = self._store.tables.get(load.table)
        if held is not None:
            reference.merged_columns(load, held.columns)
        return held


def _as(schema: pa.Schema, batch: pa.RecordBatch, load: Load) -> pa.RecordBatch:
    if batch.schema.names != schema.names or batch.schema.types != schema.types:
        raise DataError(
            f"a batch for table {load.table} has columns {batch.schema.names}, expected {schema.names}",
            "the source changed while it was read",
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


@dataclass(frozen=True)
class MemoryConnector:
    """`memory:NAME`. Can all but run queries and pass streams through."""

    name: str = "memory"
    schemes: tuple[str, ...] = ("memory",)
    abilities: frozenset[Ability] = frozenset(
        {Ability.CATALOG, Ability.READ, Ability.WRITE, Ability.SPLIT, Ability.SNAPSHOT, Ability.CURSOR, Ability.UPSERT}
    )
    options: tuple[Option, ...] = ()
    one_process: bool = True

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        return {}

    def open(self, spec: ConnectionSpec) -> MemorySession:
        name = spec.url.partition(":")[2]
        if not name:
            raise SpecError("a memory URL needs a name", "write memory:NAME")
        return MemorySession(store(name))


connector = MemoryConnector()
