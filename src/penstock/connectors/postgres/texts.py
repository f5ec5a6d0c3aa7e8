"""Arrow values as exact text, which the server casts to the type of their column."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors.postgres.encode import in_microseconds
from penstock.connectors.postgres.mapping import is_bytes, is_list
from penstock.core.errors import DataError
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY

_DAY_US = 86_400_000_000
_JULIAN_1970 = 2_440_588  # the Julian day of 1970-01-01; PostgreSQL reads J2440588 as that date, in any century


def as_text(array: pa.Array) -> pa.Array:
    """Each value as PostgreSQL reads it in its own type; NULL stays NULL. Raises DataError for a value that it would
    round."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary_decode())
    if isinstance(kind, pa.JsonType):
        return array.storage.cast(pa.string())
    if isinstance(kind, pa.UuidType):
        return _hex(array.storage, "")
    if is_bytes(kind):
        return _hex(array, "\\x")
    if pa.types.is_interval(kind):
        return _interval(array)
    if pa.types.is_temporal(kind):
        return _moment(in_microseconds(array))
    if is_list(kind) and not _is_nested(kind.value_type):
        return _array_literal(array.cast(pa.list_(kind.value_type)))
    return _json(array) if _is_nested(kind) else array.cast(pa.string())


def _is_nested(kind: pa.DataType) -> bool:
    return bool(is_list(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind))


def _hex(array: pa.Array, prefix: str) -> pa.Array:
    import polars as pl

    digits = pl.from_arrow(array.cast(pa.large_binary()))
    assert isinstance(digits, pl.Series)
    text = digits.bin.encode("hex").to_arrow().cast(pa.string())
    return pc.binary_join_element_wise(pa.scalar(prefix), text, "") if prefix else text


def _interval(array: pa.Array) -> pa.Array:
    from penstock.connectors._formats.interval import interval_to_text

    text = interval_to_text(array)
    rounded = pc.fill_null(pc.invert(pc.match_substring_regex(text, r"000S$")), False)
    if pc.any(rounded).as_py():
        raise DataError(f"interval {text.filter(rounded)[0]} has a part below a microsecond", "cast it in the job")
    return text


def _moment(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_duration(kind):
        return _joined(array.cast(pa.duration("us")).view(pa.int64()), " microseconds")
    if pa.types.is_time(kind):
        return array.cast(pa.time64("us")).cast(pa.string())
    if pa.types.is_date(kind):
        days = array.cast(pa.date32()).view(pa.int32())
        return _endless(_julian(days.cast(pa.int64())), days, DATE_INFINITY)
    micros = array.cast(pa.timestamp("us", kind.tz)).view(pa.int64())
    finite = pc.if_else(pc.equal(pc.abs(micros), TIMESTAMP_INFINITY), 0, micros)
    days = floored(finite, _DAY_US)
    clock = pc.subtract(finite, pc.multiply(days, _DAY_US)).cast(pa.time64("us")).cast(pa.string())
    text = pc.binary_join_element_wise(_julian(days), clock, " ")
    if kind.tz is not None:
        text = pc.binary_join_element_wise(text, pa.scalar("+00"), "")
    return _endless(text, micros, TIMESTAMP_INFINITY)


def floored(values: pa.Array, divisor: int) -> pa.Array:
    """Whole parts rounded down; Arrow divides towards zero, which is up before 1970."""
    whole = pc.divide(values, divisor)
    is_above = pc.and_(pc.less(values, 0), pc.not_equal(pc.multiply(whole, divisor), values))
    return pc.if_else(is_above, pc.subtract(whole, 1), whole)


def _julian(days: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar("J"), pc.add(days, _JULIAN_1970).cast(pa.string()), "")


def _endless(text: pa.Array, values: pa.Array, infinity: int) -> pa.Array:
    text = pc.if_else(pc.equal(values, infinity), pa.scalar("infinity"), text)
    return pc.if_else(pc.equal(values, -infinity), pa.scalar("-infinity"), text)


def _joined(numbers: pa.Array, tail: str) -> pa.Array:
    return pc.binary_join_element_wise(numbers.cast(pa.string()), pa.scalar(tail), "")


def _array_literal(array: pa.Array) -> pa.Array:
    """A list as PostgreSQL writes an array of one dimension: {"a","b",NULL}."""
    items = as_text(array.values)
    escaped = pc.replace_substring(pc.replace_substring(items, "\\", "\\\\"), '"', '\\"')
    quoted = pc.binary_join_element_wise(pa.scalar('"'), escaped, pa.scalar('"'), "")
    named = pc.if_else(items.is_valid(), quoted, pa.scalar("NULL"))
    lists = pa.ListArray.from_arrays(array.offsets, named)
    joined = pc.binary_join_element_wise(pa.scalar("{"), pc.binary_join(lists, ","), pa.scalar("}"), "")
    return pc.if_else(array.is_valid(), joined, pa.scalar(None, pa.string()))


def _json(array: pa.Array) -> pa.Array:
    """Nested values as JSON. The encoder knows objects only, so each value is wrapped into one and taken out again."""
    import polars as pl

    frame = pl.DataFrame({"v": pl.from_arrow(array)})
    wrapped = frame.select(pl.struct("v").struct.json_encode()).to_series()
    bare = wrapped.str.slice(len('{"v":')).str.head(-1).to_arrow().cast(pa.string())
    return pc.if_else(array.is_valid(), bare, pa.scalar(None, pa.string()))
