"""Shaping of record batches: cutting to a size, gathering row groups, fitting to a table's columns."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from penstock.connectors._formats.carriers import converted
from penstock.core.errors import DataError
from penstock.core.load import BatchSize
from penstock.core.schema import Column, arrow_schema


def cut(batch: pa.RecordBatch, size: BatchSize) -> Iterator[pa.RecordBatch]:
    """`batch` in slices of at most `size`; a single row may be larger. Depends on the batch alone."""
    if batch.num_rows > size.rows:
        for start in range(0, batch.num_rows, size.rows):
            yield from cut(batch.slice(start, size.rows), size)
    elif batch.num_rows > 1 and batch.nbytes > size.size_bytes:
        half = batch.num_rows // 2
        yield from cut(batch.slice(0, half), size)
        yield from cut(batch.slice(half), size)
    else:
        yield batch


class RowGroups:
    """Gathers batches into groups of exactly `rows` rows, fewer where `size_bytes` is reached first."""

    def __init__(self, schema: pa.Schema, rows: int, size_bytes: int) -> None:
        self._schema = schema
        self._rows = rows
        self._size_bytes = size_bytes
        self._held: list[list[pa.Array]] = []
        self._held_rows = 0
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take a batch; gives the groups it completes."""
        while batch.num_rows:
            head = batch.slice(0, self._rows - self._held_rows)
            self._held.append(head.columns)
            self._held_rows += head.num_rows
            self._held_bytes += head.nbytes
            batch = batch.slice(head.num_rows)
            if self._held_rows == self._rows or self._held_bytes >= self._size_bytes:
                yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """What is gathered and not given yet, as one batch."""
        if self._held_rows:
            held, rows = self._held, self._held_rows
            self._held, self._held_rows, self._held_bytes = [], 0, 0
            # Copied even if it is one, so that a slice's buffers are no larger than its rows: bytes follow from rows alone.
            # Column by column, each let go when it is copied, so that the rows are not in memory twice.
            whole = [pa.concat_arrays([*pieces, pieces[0].slice(0, 0)]) for pieces in _by_column(held)]
            yield pa.RecordBatch.from_arrays(whole, schema=self._schema) if whole else _without_columns(rows)


def _by_column(held: list[list[pa.Array]]) -> Iterator[list[pa.Array]]:
    """The pieces of each column in turn; empties `held`."""
    for columns in held:
        columns.reverse()
    while held[0]:
        yield [columns.pop() for columns in held]


def _without_columns(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), rows, [None]))


def fitted(batch: pa.RecordBatch, columns: tuple[Column, ...], what: str) -> pa.RecordBatch:
    """`batch` with exactly `columns`: by name, in their carriers; NULL where the batch lacks a nullable column."""
    if not columns:
        return batch.select([])
    schema = arrow_schema(columns)
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    arrays = []
    for column in columns:
        index = batch.schema.get_field_index(column.name)
        if index >= 0:
            arrays.append(converted(batch.column(index), column.type, f"column {column.name!r} of {what}"))
        elif column.nullable or not batch.num_rows:
            arrays.append(nulls(batch.num_rows, column.type))
        else:
            raise DataError(
                f"{what} has no column {column.name!r}, which may not be NULL", "declare the column nullable"
            )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def nulls(rows: int, carrier: pa.DataType) -> pa.Array:
    if isinstance(carrier, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(carrier, pa.nulls(rows, carrier.storage_type))
    return pa.nulls(rows, carrier)
