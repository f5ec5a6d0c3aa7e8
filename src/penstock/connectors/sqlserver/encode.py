"""Arrow columns in the form that bulk copy takes; values that no type of SQL Server holds are refused by name."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors.sqlserver.mapping import bare, is_bytes, is_nested, is_text
from penstock.connectors.sqlserver.stored import Stored
from penstock.core.errors import DataError

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # the years 1 to 9999
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000}
_CASTS = {
    pa.int8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
}


def encoded(array: pa.Array, stored: Stored) -> pa.Array:
    """The values of a column as its staging column takes them. Raises DataError for a value that it cannot hold."""
    try:
        return _encoded(array)
    except (DataError, pa.ArrowException) as error:
        what = error.what if isinstance(error, DataError) else str(error)
        raise DataError(f"column {stored.name!r}: {what}", "cast it in the job, or exclude such rows") from error


def _encoded(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if kind in _CASTS:
        array = array.cast(_CASTS[kind])
        kind = array.type
    if isinstance(kind, pa.UuidType):
        return array.storage  # in the order of its text, which is what bulk copy expects
    if isinstance(kind, pa.JsonType):
        return array.storage
    if pa.types.is_floating(kind):
        return _finite(array)
    if pa.types.is_decimal(kind):
        return _decimal(array)
    if pa.types.is_duration(kind):
        return array.view(pa.int64())
    if pa.types.is_interval(kind):
        from penstock.connectors._formats.interval import interval_to_text

        return interval_to_text(array)
    if pa.types.is_temporal(kind):
        return _moment(array)
    return _json(array) if is_nested(kind) else array


def _finite(array: pa.Array) -> pa.Array:
    odd = pc.fill_null(pc.invert(pc.is_finite(array)), False)
    if pc.any(odd).as_py():
        raise DataError(f"value {array.filter(odd)[0].as_py()} is none of SQL Server's numbers")
    return array


def _decimal(array: pa.Array) -> pa.Array:
    kind = array.type
    if kind.precision - min(kind.scale, 0) > 38:
        return array.cast(pa.string())
    if kind.scale < 0:
        return array.cast(pa.decimal128(kind.precision - kind.scale, 0))
    return array if pa.types.is_decimal128(kind) else array.cast(pa.decimal128(kind.precision, kind.scale))


def _moment(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_date32(kind):
        _within(array.view(pa.int32()), _FIRST_DAY, _LAST_DAY)
        return array
    if pa.types.is_time(kind):
        return _hundreds(array) if kind.unit == "ns" else array
    if kind.unit == "ns":
        return _hundreds(array)
    day = _DAY[kind.unit]
    _within(array.view(pa.int64()), _FIRST_DAY * day, (_LAST_DAY + 1) * day - 1)
    return array if kind.tz in (None, "UTC") else array.cast(pa.timestamp(kind.unit, "UTC"))


def _within(values: pa.Array, low: int, high: int) -> None:
    ends = pc.min_max(values)
    if ends["min"].is_valid and (ends["min"].as_py() < low or ends["max"].as_py() > high):
        raise DataError("a date lies outside the years 1 to 9999, all that SQL Server holds")


def _hundreds(array: pa.Array) -> pa.Array:
    """Nanoseconds cut to hundreds towards the past; Arrow would divide towards zero."""
    values = array.view(pa.int64())
    rest = pc.subtract(values, pc.multiply(pc.divide(values, 100), 100))
    rest = pc.if_else(pc.less(rest, 0), pc.add(rest, 100), rest)
    return pc.subtract(values, rest).view(array.type)


def _json(array: pa.Array) -> pa.Array:
    """Nested values as JSON. The encoder knows objects only, so each value is wrapped into one and taken out again."""
    import polars as pl

    frame = pl.DataFrame({"v": pl.from_arrow(array)})
    wrapped = frame.select(pl.struct("v").struct.json_encode()).to_series()
    inner = wrapped.str.slice(len('{"v":')).str.head(-1).to_arrow().cast(pa.string())
    return pc.if_else(array.is_valid(), inner, pa.scalar(None, pa.string()))


def longest(array: pa.Array) -> int:
    """How long the longest value may be, in UTF-16 units or bytes: never less than it is."""
    kind = bare(array.type)
    if not (is_text(kind) or is_bytes(kind)):
        return 0
    size = pc.max(pc.binary_length(array)).as_py() or 0
    if is_bytes(kind):
        return int(size)
    # A letter of three bytes is one unit, of four bytes two.
    letters = pc.max(pc.utf8_length(array)).as_py() or 0
    return int(min(size, 2 * letters)) if size != letters else int(size)
