"""Arrow batches as COPY IN in binary format, encoded in C with no Python object for a row."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg.pq import ExecStatus

from penstock.connectors.postgres import _copy, _libpq
from penstock.connectors.postgres._fields import Field, carrier, encoder_columns, refused
from penstock.core.errors import DataError, Stopped

if TYPE_CHECKING:
    from penstock.connectors.postgres import _wire


class CopyWriter:
    """One COPY ... FROM STDIN (FORMAT binary), started at once; `finish` or `abort` ends it, leaving a `with` aborts.

    `sql` is the whole statement, `fields` describe its columns in order; batches have the same names in that order.
    Other types than a field's carrier are cast where Arrow does it without loss. `rows` counts the rows written so far.

    Every wait ends within 0.2 s when `stop` returns True, or for a signal. After any error the COPY is ended and
    nothing of it is kept; the connection is idle then (with an open transaction: failed), or closed when the server
    does not answer. No other thread may use or close the connection meanwhile; `cancel_safe` may be called.

    Raises psycopg's error for whatever the server reports, as soon as it is seen; DataError for a value that PostgreSQL
    cannot hold; CountMismatch when the server counted other rows; Stopped.
    """

    def __init__(
        self, conn: _copy.Connection, sql: str | bytes, fields: Sequence[Field], stop: _copy.Stop | None = None
    ) -> None:
        self.rows = 0
        self._conn = conn
        self._fields = tuple(fields)
        self._stop = stop or _copy.never
        self._encoder = encoder(fields)
        self._arrays: list[pa.Array] = []  # what the encoder reads from
        self._open = True
        result = _copy.start(conn, sql, ExecStatus.COPY_IN, self._stop)
        try:
            _copy.check_fields(result, len(self._fields))
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> CopyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def write(self, batch: pa.RecordBatch) -> None:
        """Send all rows of the batch; returns when libpq has passed them on."""
        self._check_open()
        try:
            if batch.num_rows:
                self._arrays = load(self._encoder, self._fields, batch)
                self._send()
            self.rows += batch.num_rows
        except BaseException:
            self.abort()
            raise

    def finish(self) -> int:
        """End the COPY well; the number of rows, which the server has confirmed."""
        self._check_open()
        try:
            self._encoder.end()
            self._send()
            said = _copy.end_input(self._conn, self._stop)
        except BaseException:
            self.abort()
            raise
        self._open = False
        _copy.check_count(said, self.rows, "target")
        return said

    def abort(self) -> None:
        """End the COPY so that nothing of it is kept. May be repeated; does nothing after `finish`."""
        if self._open:
            self._open = False
            _copy.abandon(self._conn, "loading was given up")

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("this CopyWriter has ended")

    def _send(self) -> None:
        from penstock.connectors.postgres import _wire

        outcome = _wire.SLICE
        while outcome == _wire.SLICE:
            if self._stop():
                raise Stopped(f"writing was stopped after {self.rows} rows")
            try:
                outcome = self._encoder.run(_copy.address(self._conn), _copy.SLICE_MS)
            except _wire.WireError as error:
                raise refused(error, self._fields) from error
        if outcome != _wire.DONE:
            raise _copy.refused_input(self._conn)


def encoder(fields: Sequence[Field]) -> _wire.Encoder:
    """An encoder for rows of `fields`. Raises NotSupported when a field's type does not travel as its wire kind."""
    _libpq.require()
    from penstock.connectors.postgres import _wire

    return _wire.Encoder(encoder_columns(fields))


def load(encoder: _wire.Encoder, fields: Sequence[Field], batch: pa.RecordBatch) -> list[pa.Array]:
    """Give the encoder a batch that is not empty; the arrays returned must stay alive until it has been sent."""
    from penstock.connectors.postgres import _wire

    names = [field.name for field in fields]
    if batch.schema.names != names:
        raise DataError(f"batch has the columns {batch.schema.names}; {names} expected")
    arrays = [_carried(array, field, encoder.rows) for array, field in zip(batch.columns, fields, strict=True)]
    try:
        encoder.load(batch.num_rows, [_values(array) for array in arrays])
    except _wire.WireError as error:
        raise refused(error, fields) from error
    return arrays


def _carried(array: pa.Array, field: Field, rows_before: int) -> pa.Array:
    """The array in the field's carrier."""
    target = carrier(field)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type == target:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    try:
        return array.cast(target)
    except pa.ArrowNotImplementedError as error:
        raise DataError(f'column "{field.name}": {array.type} does not become {field.wire}') from error
    except pa.ArrowInvalid as error:
        row = rows_before + _first_refused(array, target) + 1
        raise DataError(f'column "{field.name}", row {row}: {error} ({field.wire})') from error


def _first_refused(array: pa.Array, target: pa.DataType) -> int:
    """The position of the first value that the cast refuses, found by halving."""
    good, bad = 0, len(array)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            array.slice(good, middle - good).cast(target)
            good = middle
        except pa.ArrowInvalid:
            bad = middle
    return good


def _values(array: pa.Array) -> _wire.Values:
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    buffers = array.buffers()
    validity = _address(buffers[0]) if array.null_count else 0
    if pa.types.is_list(array.type):
        return array.offset, validity, _address(buffers[1]), 0, _values(array.values)
    if len(buffers) == 3:
        return array.offset, validity, _address(buffers[1]), _address(buffers[2]), None
    return array.offset, validity, 0, _address(buffers[1]), None


def _address(buffer: pa.Buffer | None) -> int:
    return 0 if buffer is None else int(buffer.address)
