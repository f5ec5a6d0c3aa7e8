"""COPY OUT in binary format as Arrow batches, decoded in C with no Python object for a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg.pq import ExecStatus

from penstock.connectors.postgres import _copy, _libpq
from penstock.connectors.postgres._fields import Field, arrow_schema, decoder_columns, refused
from penstock.core.errors import DataError, Stopped

if TYPE_CHECKING:
    from penstock.connectors.postgres import _wire


class CopyReader:
    """Iterates over the batches of one COPY ... TO STDOUT (FORMAT binary); can be iterated once.

    `sql` is the whole statement, `fields` describe its columns in order. Batches have exactly `schema`. A batch ends
    after the row with which it reaches `batch_rows` (1 to 2**24) or `batch_bytes` (1 to 1 GiB; carriers plus bytes of
    text, bytea, jsonb and arrays), so that the same data gives the same batches. `rows` counts the rows given so far.

    Every wait ends within 0.2 s when `stop` returns True, or for a signal. If the iteration ends early for whatever
    reason, the COPY is cancelled; the connection is idle then (with an open transaction: failed), or closed when the
    server does not answer. No other thread may use or close the connection meanwhile; `cancel_safe` may be called.

    Raises psycopg's error for whatever the server reports, also in the middle of the data; DataError for a value that
    its carrier cannot hold or an invalid stream; CountMismatch when the server counted other rows; Stopped. Rows are
    complete only when the iteration has ended without an error.
    """

    def __init__(
        self,
        conn: _copy.Connection,
        sql: str | bytes,
        fields: Sequence[Field],
        batch_rows: int = 65_536,
        batch_bytes: int = 16 * 2**20,
        stop: _copy.Stop | None = None,
    ) -> None:
        self.schema = arrow_schema(fields)
        self.rows = 0
        self._conn = conn
        self._sql = sql
        self._fields = tuple(fields)
        self._stop = stop or _copy.never
        self._decoder: _wire.Decoder | None = decoder(fields, batch_rows, batch_bytes)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            raise RuntimeError("a CopyReader can be iterated once")
        result = _copy.start(self._conn, self._sql, ExecStatus.COPY_OUT, self._stop)
        try:
            _copy.check_fields(result, len(self._fields))
            while self._fill(decoder):
                yield self._take(decoder)
            if decoder.rows:
                yield self._take(decoder)
        finally:
            _copy.abandon(self._conn)

    def _fill(self, decoder: _wire.Decoder) -> bool:
        """Decode until a batch is full; False when the COPY has ended well, with the last rows still to be taken."""
        from penstock.connectors.postgres import _wire

        outcome = _wire.SLICE
        while outcome == _wire.SLICE:
            if self._stop():
                raise Stopped(f"reading was stopped after {self.rows} rows")
            try:
                outcome = decoder.drain(_copy.address(self._conn), _copy.SLICE_MS)
            except _wire.WireError as error:
                raise refused(error, self._fields) from error
        if outcome == _wire.BATCH:
            return True
        said = _copy.rows_of(self._conn)
        if not decoder.ended:
            raise DataError(f"binary COPY ended after {self.rows + decoder.rows} rows without its trailer")
        _copy.check_count(said, self.rows + decoder.rows, "source")
        return False

    def _take(self, decoder: _wire.Decoder) -> pa.RecordBatch:
        from penstock.connectors.postgres import _wire

        try:
            batch = record_batch(self.schema, decoder.take())
        except _wire.WireError as error:
            raise refused(error, self._fields) from error
        self.rows += batch.num_rows
        return batch


def decoder(fields: Sequence[Field], batch_rows: int, batch_bytes: int) -> _wire.Decoder:
    """A decoder for rows of `fields`. Raises NotSupported when a field's type is not its carrier."""
    _libpq.require()
    from penstock.connectors.postgres import _wire

    return _wire.Decoder(decoder_columns(fields), batch_rows, batch_bytes)


def record_batch(schema: pa.Schema, parts: Sequence[_wire.Part]) -> pa.RecordBatch:
    """The columns that a decoder gave, without a copy of their data."""
    arrays = [_array(field.type, part) for field, part in zip(schema, parts, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(type_: pa.DataType, part: _wire.Part) -> pa.Array:
    rows, nulls, memory, items = part
    buffers = [None if buffer is None else pa.py_buffer(buffer) for buffer in memory]
    if isinstance(type_, pa.BaseExtensionType):
        storage = pa.Array.from_buffers(type_.storage_type, rows, buffers, nulls)
        return pa.ExtensionArray.from_storage(type_, storage)
    children = None if items is None else [_array(type_.value_type, items)]
    return pa.Array.from_buffers(type_, rows, buffers, nulls, 0, children)
