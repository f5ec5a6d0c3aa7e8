"""Numbers that the compiled codec and its Python twin share; _rows.h and _rows_decode.c have the same."""

from __future__ import annotations

import pyarrow as pa

INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64 = range(1, 9)
BOOL, FLOAT, DOUBLE, DECIMAL128, DECIMAL256 = range(9, 14)
STRING, BINARY, FIXED, UUID, DATE, TIMESTAMP, DURATION, TIME = range(14, 22)
LARGE_STRING, LARGE_BINARY = 22, 23

MORE, BATCH, END, REFUSED = range(4)

MALFORMED, RANGE, ZERO_DATE, NOT_UTF8, NOT_DECIMAL, NOT_UUID, WIDTH = range(1, 8)

UUID_BYTES = 16

_PLAIN = {
    pa.int8(): INT8, pa.uint8(): UINT8, pa.int16(): INT16, pa.uint16(): UINT16, pa.int32(): INT32, pa.uint32(): UINT32,
    pa.int64(): INT64, pa.uint64(): UINT64, pa.bool_(): BOOL, pa.float32(): FLOAT, pa.float64(): DOUBLE,
    pa.string(): STRING, pa.binary(): BINARY, pa.large_string(): LARGE_STRING, pa.large_binary(): LARGE_BINARY,
    pa.date32(): DATE, pa.uuid(): UUID,
}  # fmt: skip
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def carrier(kind: pa.DataType) -> tuple[int, int] | None:
    """Number and parameter of a carrier: the scale of decimals, bytes of fixed values, digits of times; None for a type
    that neither reading nor writing has."""
    if kind in _PLAIN:
        return _PLAIN[kind], UUID_BYTES if kind == pa.uuid() else 0
    if pa.types.is_decimal128(kind) and kind.scale >= 0:
        return DECIMAL128, kind.scale
    if pa.types.is_decimal256(kind) and kind.scale >= 0:
        return DECIMAL256, kind.scale
    if pa.types.is_fixed_size_binary(kind):
        return FIXED, kind.byte_width
    if pa.types.is_timestamp(kind):
        return TIMESTAMP, _DIGITS[kind.unit]
    if pa.types.is_duration(kind):
        return DURATION, _DIGITS[kind.unit]
    return (TIME, _DIGITS[kind.unit]) if pa.types.is_time64(kind) else None
