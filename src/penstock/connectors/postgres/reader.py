"""Reading tables and queries in one snapshot, by binary COPY: natively decoded, or through the driver, with equal results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import psycopg
import pyarrow as pa
from psycopg.pq import TransactionStatus

from penstock.connectors._sql.lag import duration, number
from penstock.connectors.postgres import drift, wire
from penstock.connectors.postgres.catalog import columns_of, query_columns, resolve
from penstock.connectors.postgres.formats import copy_format
from penstock.connectors.postgres.select import relation, select
from penstock.connectors.postgres.session import Connection, PostgresSession, execute, literal, query
from penstock.connectors.postgres.split import small, split
from penstock.connectors.postgres.types import Declared, fetched
from penstock.core.errors import DataError, Missing, NotSupported, SnapshotLost, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source, Window
from penstock.core.names import TableName, quote
from penstock.core.schema import arrow_schema

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Every chunk starts its scan at its own beginning, not where another scan happens to be.
_QUIET = "SET LOCAL synchronize_seqscans = off"
# Loads run beside the count and want the server's processors. Workers of its own halve a count of a few hundred MB by
# some 0.1 s and cost it a third more CPU; for what is larger they keep the count from outlasting the loads.
_FEW_WORKERS = "SET LOCAL min_parallel_table_scan_size = '1GB'; SET LOCAL min_parallel_index_scan_size = '256MB'"
_NUMBERS = {"int2", "int4", "int8", "numeric", "float4", "float8", "oid"}
_MOMENTS = {"date", "timestamp", "timestamptz"}
# The greatest values of types that have one which no ordinary value passes.
_ENDLESS = {"infinity", "NaN", "Infinity"}


@dataclass(frozen=True)
class CopyStream:
    """The COPY of a chunk in binary format, which nobody has started: what pass-through hands to a writer."""

    reader: PostgresReader
    source: Source
    chunk: Chunk

    @property
    def format(self) -> str:
        return self.reader.raw_format(self.source)

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[Connection, str]]:
        """The connection, within the reader's transaction, and the statement to start on it. Errors are the caller's."""
        session = self.reader.session
        connection = session.reading
        with session.busy(f"cannot read {self.source}"), self.reader.transaction(connection):
            self.reader._check_drift(connection, self.source, self.chunk)
            columns = [quote(column.name) for column in self.source.columns]
            statement = select(connection, self.source, self.chunk.bounds, columns)
            yield connection, f"COPY ({statement}) TO STDOUT (FORMAT binary)"


class PostgresReader:
    """Reads on the session's reading connection. Without a shared snapshot each call sees its own."""

    def __init__(self, session: PostgresSession) -> None:
        self.session = session
        self._token = ""
        self._is_holder = False

    # ---- snapshots

    def hold_snapshot(self) -> str:
        """Open a snapshot and keep it until the session closes; the same one when called again. Works on a hot standby."""
        connection = self.session.reading
        with self.session.call("cannot hold a snapshot", connection):
            if not self._token or not _in_transaction(connection):
                self._begin(connection)
                self._token = str(query(connection, "SELECT pg_export_snapshot()")[0][0])
                self._is_holder = True
        return self._token

    def use_snapshot(self, token: str) -> None:
        connection = self.session.reading
        if token == self._token and _in_transaction(connection):
            return
        with self.session.call("cannot join the snapshot", connection):
            self._join(connection, token)

    def _join(self, connection: Connection, token: str) -> None:
        try:
            self._begin(connection)
            execute(connection, f"SET TRANSACTION SNAPSHOT {literal(connection, token)}")
            connection.execute(_QUIET)
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject) as error:
            connection.rollback()
            raise SnapshotLost(
                f"snapshot {token} of connection {self.session.spec.name!r} is gone: the session that held it ended,"
                " or the connection leads to several servers"
            ) from error
        self._token, self._is_holder = token, False

    def _begin(self, connection: Connection) -> None:
        self._token = ""
        connection.rollback()
        connection.execute(BEGIN)

    @property
    def token(self) -> str:
        """The snapshot that reading sees now, "" where each call has its own."""
        return self._token if self._token and _in_transaction(self.session.reading) else ""

    @contextlib.contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """A call's transaction. Where this session holds the shared snapshot, a savepoint in it, so that an error does not
        end it; where it has joined, the snapshot's own transaction, which is joined again after an error; else a new one."""
        if self._token and not self._is_holder:
            if not _in_transaction(connection):
                self._join(connection, self._token)
            try:
                yield
            finally:
                if not connection.closed and connection.info.transaction_status != TransactionStatus.INTRANS:
                    connection.rollback()
            return
        if self._token and _in_transaction(connection):
            with connection.transaction():
                yield
            return
        if self._token:
            raise SnapshotLost(f"the snapshot of connection {self.session.spec.name!r} ended with its transaction")
        connection.execute(BEGIN)
        connection.execute(_QUIET)
        try:
            yield
        finally:
            if not connection.closed:
                connection.rollback()

    # ---- the port

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Chunks by pages, by key, or one; see split.py. Key ranges hold for any snapshot, page ranges for the present
        one: read() refuses them (SourceChanged) in a later one if rows have moved since."""
        connection = self.session.reading
        how = self.session.option("split_by", source.options)
        with self.session.call(f"cannot split {source}", connection), self.transaction(connection):
            return split(connection, self.session.version, source, chunk_bytes, how)

    def unsplit(self, sources: Sequence[Source], chunk_bytes: int) -> list[Chunk | None]:
        """The one chunk of each source that plainly is no larger than `chunk_bytes`; one question for all of them."""
        connection = self.session.reading
        hows = [self.session.option("split_by", source.options) for source in sources]
        with self.session.call("cannot ask for the sizes of tables", connection), self.transaction(connection):
            found = small(connection, sources, chunk_bytes)
        return [None if how == "ctid" else chunk for how, chunk in zip(hows, found, strict=True)]

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        """Batches of the chunk. The order of rows is the server's."""
        if not source.columns:
            raise NotSupported(f"{source} has no columns", "leave it out")
        connection = self.session.reading
        with self.session.call(f"cannot read {source}", connection), self.transaction(connection):
            self._check_drift(connection, source, chunk)
            if self.uses_native(source):
                yield from self._read_native(connection, source, chunk, batch)
            else:
                from penstock.connectors.postgres.portable_read import read_portable

                yield from read_portable(self, connection, source, chunk, batch)

    def uses_native(self, source: Source) -> bool:
        codec = self.session.option("codec", source.options)
        if codec == "native" and not wire.available():
            raise NotSupported(
                f"option codec is native, but the codec is not usable: {wire.why_not()}", "set codec to auto"
            )
        return codec != "portable" and wire.available()

    def _read_native(
        self, connection: Connection, source: Source, chunk: Chunk, batch: BatchSize
    ) -> Iterator[pa.RecordBatch]:
        plan = [fetched(column) for column in source.columns]
        columns = [
            f"{quote(column.name)}::{how.cast} AS {quote(column.name)}"
            for column, how in zip(source.columns, plan, strict=True)
        ]
        sql = f"COPY ({select(connection, source, chunk.bounds, columns)}) TO STDOUT (FORMAT binary)"
        nan: Literal["error", "null"] = "null" if source.policy.nan == "null" else "error"
        fields = [
            wire.Field(column.name, how.wire, column.type, column.nullable, nan)
            for column, how in zip(source.columns, plan, strict=True)
        ]
        schema = arrow_schema(source.columns)
        batches = iter(wire.CopyReader(connection, sql, fields, batch.rows, batch.size_bytes, self.session.cancelled))
        with contextlib.closing(batches):  # type: ignore[type-var]
            try:
                for raw in batches:
                    self.session.stop_if_cancelled(f"cannot read {source}")
                    yield pa.RecordBatch.from_arrays(raw.columns, schema=schema)
            except DataError as error:
                hint = "set types.nan to null" if "NaN" in error.what else error.hint
                raise DataError(f"cannot read {source}: {error.what}", hint) from error

    def count(self, source: Source) -> int:
        connection = self.session.reading
        with self.session.call(f"cannot count {source}", connection), self.transaction(connection):
            sql = select(connection, source, {}, ["count(*)"])
            if source.table is None:
                return int(query(connection, sql)[0][0])
            with connection.transaction(force_rollback=True):
                connection.execute(_FEW_WORKERS)
                return int(query(connection, sql)[0][0])

    def high(self, source: Source) -> CursorValue | None:
        """Raises DataError when the greatest value is infinity or NaN: no later row would ever be greater."""
        connection = self.session.reading
        with (
            self.session.call(f"cannot read the greatest cursor of {source}", connection),
            self.transaction(connection),
        ):
            name, declared = self._cursor(connection, source)
            kind, cursor = declared.base.text, quote(name)
            filled = replace(source, window=Window(name))
            # Under a name of its own, or ORDER BY would sort the text.
            value = f"{cursor}::{kind}::text AS _penstock_value"
            sql = select(connection, filled, {}, [value]) + f"\nORDER BY {cursor} DESC LIMIT 1"
            found = query(connection, sql)
        if not found:
            return None
        if found[0][0] in _ENDLESS:
            raise DataError(
                f"the cursor column {name!r} of {source} holds {found[0][0]}, which nothing that comes later can pass",
                "exclude such rows with where, or choose another cursor",
            )
        return CursorValue(kind, found[0][0])

    def null_cursors(self, source: Source) -> int:
        connection = self.session.reading
        with self.session.call(f"cannot read the cursor of {source}", connection), self.transaction(connection):
            name, _ = self._cursor(connection, source)
            anything = replace(source, window=None)
            sql = select(connection, anything, {}, [f"count(*) FILTER (WHERE {quote(name)} IS NULL)"])
            return int(query(connection, sql)[0][0])

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        """Numbers take a number off, dates and times a duration ("10 minutes"). Raises SpecError for a lag that does not
        fit the cursor's type."""
        connection = self.session.reading
        doing = f"cannot take {lag!r} off the cursor of {source}"
        with self.session.call(doing, connection), self.transaction(connection):
            name, declared = self._cursor(connection, source)
            kind = declared.base.text
            if declared.base.name in _NUMBERS:
                amount, off = str(number(lag, name)), "$2::numeric"
            elif declared.base.name in _MOMENTS:
                amount, off = f"{duration(lag, name)} microseconds", "$2::interval"
            else:
                raise SpecError(
                    f"lag {lag!r} does not fit the cursor column {name!r} of {source}, which is {kind}",
                    "a cursor with a lag must be a number, a date or a timestamp",
                )
            before = f"($1::{kind} - {off})::{kind}::text"
            return CursorValue(kind, str(query(connection, f"SELECT {before}", [value.text, amount])[0][0]))

    def _cursor(self, connection: Connection, source: Source) -> tuple[str, Declared]:
        """The window's column and its type. Raises Missing where the source has no such column."""
        if source.window is None:
            raise SpecError(f"{source} has no cursor", "set cursor")
        name = source.window.column
        found = dict(self._declared(connection, source)).get(name)
        if found is None:
            raise Missing(
                f"{source} of connection {self.session.spec.name!r} has no column {name!r}", "check the cursor"
            )
        return name, found

    def _declared(self, connection: Connection, source: Source) -> list[tuple[str, Declared]]:
        if source.table is None:
            return query_columns(connection, relation(source))
        oid = resolve(connection, [source.table]).get(source.table)
        if oid is None:
            raise Missing(f"table {source.table} of connection {self.session.spec.name!r} does not exist")
        return [(name, declared) for name, declared, _ in columns_of(connection, [oid]).get(oid, [])]

    # ---- pass-through

    def raw_format(self, source: Source) -> str:
        """Equal to what a writer shows when it can take the source's COPY stream untouched; "" where nobody can."""
        if self.session.option("codec", source.options) == "portable" or not wire.available():
            return ""
        connection = self.session.reading
        with self.session.call(f"cannot describe {source}", connection), self.transaction(connection):
            declared = dict(self._declared(connection, source))
        if not all(column.name in declared for column in source.columns):
            return ""
        return copy_format([declared[column.name] for column in source.columns])

    def raw(self, source: Source, chunk: Chunk) -> CopyStream:
        return CopyStream(self, source, chunk)

    def _check_drift(self, connection: Connection, source: Source, chunk: Chunk) -> None:
        seen = chunk.bounds.get("seen")
        if seen is not None:
            table = TableName(tuple(chunk.bounds["table"])) if "table" in chunk.bounds else source.table
            assert table is not None
            drift.check(connection, TableName(table.parts[-2:]), dict(seen))


def _in_transaction(connection: Connection) -> bool:
    return not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE
