"""Batches of a bounded size out of a stream whose rows have any width, the same for the same rows.

Used by the DuckDB and the SQLite reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from penstock.core.load import BatchSize

_FEW_ROWS = 2048


def fetch_rows(schema: pa.Schema, bounds: Mapping[str, Any], size: BatchSize) -> int:
    """How many rows to take at once: whole batches of columns with a fixed width; else few, put together by bytes, since
    nobody knows how long the next texts are. `bounds` may tell the bytes of an average row as "row_bytes"."""
    widths = [_width(field.type) for field in schema]
    if all(widths):
        return max(1, min(size.rows, size.size_bytes // max(1, sum(widths))))
    row_bytes = max(1, int(bounds.get("row_bytes", 1)))
    return max(1, min(size.rows, _FEW_ROWS, size.size_bytes // row_bytes))


def _width(kind: pa.DataType) -> int:
    """Bytes of a value, 0 where they differ from value to value."""
    if kind == pa.uuid():
        return 16
    try:
        return (int(kind.bit_width) + 7) // 8
    except ValueError:
        return 0


def sized(pieces: Iterator[pa.RecordBatch], size: BatchSize) -> Iterator[pa.RecordBatch]:
    """Pieces put together up to `size`, and cut where a single one is larger; a single row may be larger still."""
    held: list[pa.RecordBatch] = []
    rows = held_bytes = 0
    for piece in (part for whole in pieces for part in _halved(whole, size)):
        if held and (rows + piece.num_rows > size.rows or held_bytes + piece.nbytes > size.size_bytes):
            yield pa.concat_batches(held) if len(held) > 1 else held[0]
            held, rows, held_bytes = [], 0, 0
        held.append(piece)
        rows, held_bytes = rows + piece.num_rows, held_bytes + piece.nbytes
    if rows:
        yield pa.concat_batches(held) if len(held) > 1 else held[0]


def _halved(batch: pa.RecordBatch, size: BatchSize) -> Iterator[pa.RecordBatch]:
    if batch.num_rows < 2 or (batch.nbytes <= size.size_bytes and batch.num_rows <= size.rows):
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _halved(batch.slice(0, middle), size)
    yield from _halved(batch.slice(middle), size)
