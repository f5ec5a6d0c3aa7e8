"""The driver's Arrow columns as carriers: a few casts, and the bytes of a uniqueidentifier out of its text."""

from __future__ import annotations

import pyarrow as pa

from penstock.core.errors import DataError
from penstock.core.schema import Column


def decoded(given: pa.RecordBatch, schema: pa.Schema, columns: tuple[Column, ...], doing: str) -> pa.RecordBatch:
    """A batch with exactly the columns of `schema`. Raises DataError naming the column whose value does not fit."""
    arrays = []
    for array, column in zip(given.columns, columns, strict=True):
        try:
            arrays.append(_carried(array, column.type))
        except pa.ArrowException as error:
            raise DataError(f"{doing}: column {column.name!r}: {error}", "describe the source again") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _carried(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if kind == pa.uuid():
        return _uuids(array)
    if pa.types.is_timestamp(kind) and pa.types.is_integer(array.type):
        return array.view(kind)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(array.type):
        # The driver's zone says nothing but that values are moments in UTC.
        return array.cast(pa.timestamp(kind.unit, array.type.tz), safe=False).view(pa.int64()).view(kind)
    if pa.types.is_floating(kind) and pa.types.is_floating(array.type):
        return array.cast(kind, safe=False)
    return array.cast(kind)


def _uuids(array: pa.Array) -> pa.Array:
    """Sixteen bytes each, in the order in which the text shows them: the server's own order swaps the first eight."""
    import polars as pl

    if pa.types.is_fixed_size_binary(array.type):
        return array.cast(pa.binary(16)).cast(pa.uuid())
    text = pl.from_arrow(array)
    assert isinstance(text, pl.Series)
    digits = text.str.replace_all("-", "", literal=True)
    return digits.str.decode("hex").to_arrow().cast(pa.binary(16)).cast(pa.uuid())
