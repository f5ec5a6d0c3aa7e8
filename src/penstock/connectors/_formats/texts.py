"""Arrow values as exact text, a column at a time: what CSV, NDJSON, folder names and cursors are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.calendar import (
    DIGITS,
    FIRST_DAY,
    LAST_DAY,
    TICKS_PER_S,
    clock_expr,
    date_texts,
    timestamp_texts,
)
from penstock.connectors._formats.interval import interval_to_text
from penstock.connectors._formats.settings import Dialect
from penstock.core.errors import DataError
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY

if TYPE_CHECKING:
    import polars as pl

TransferEncoding = Literal["hex", "base64"]
TimeUnit = Literal["ns", "us", "ms"]
ISO = Dialect()
UUID_BYTES = 16
_DAY_S = 86_400


def to_text(array: pa.Array, logical: str = "", dialect: Dialect = ISO) -> pa.Array:
    """The values as strings that parse() of the same type gives back exactly; NULL stays NULL.

    Raises DataError for a value that the dialect's own date or timestamp format cannot hold.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        is_uuid = kind.extension_name == "arrow.uuid"
        return to_text(array.storage, "uuid" if is_uuid else logical, dialect)
    if pa.types.is_dictionary(kind):
        return to_text(array.dictionary_decode(), logical, dialect)
    if pa.types.is_run_end_encoded(kind):
        return to_text(pc.run_end_decode(array), logical, dialect)
    if pa.types.is_nested(kind):
        from penstock.connectors._formats.json_text import to_json

        return to_json(array, dialect)
    return _scalar_text(array, logical, dialect)


def _scalar_text(array: pa.Array, logical: str, dialect: Dialect) -> pa.Array:
    kind = array.type
    if is_text(kind):
        return array if pa.types.is_string(kind) else array.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return _comma(_float_text(array), dialect)
    if pa.types.is_decimal(kind):
        return _comma(decimal_text(array), dialect)
    if pa.types.is_date(kind):
        return _date_text(array, dialect)
    if pa.types.is_timestamp(kind):
        return _timestamp_text(array, dialect)
    if pa.types.is_time(kind):
        return _time_text(array)
    if pa.types.is_duration(kind):
        return _duration_text(array)
    if pa.types.is_interval(kind):
        return interval_to_text(array)
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == UUID_BYTES and logical == "uuid":
        return _uuid_text(array)
    return _binary_text(array, dialect)


def text_bytes(texts: pa.Array) -> pa.Buffer:
    """The bytes of a string array's values one after the other, without copying."""
    _, offsets, data = texts.buffers()
    ends = memoryview(offsets).cast("i")
    start, stop = ends[texts.offset], ends[texts.offset + len(texts)]
    return data.slice(start, stop - start) if data is not None else pa.py_buffer(b"")


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _comma(text: pa.Array, dialect: Dialect) -> pa.Array:
    return pc.replace_substring(text, ".", ",") if dialect.decimal_comma else text


def _float_text(array: pa.Array) -> pa.Array:
    """The shortest text that reads back as the same number; NaN, Infinity and -Infinity by name."""
    array = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
    text = array.cast(pa.string())
    odd = pc.invert(pc.is_finite(array))
    if not pc.any(odd).as_py():
        return text
    named = pc.if_else(pc.is_nan(array), "NaN", pc.if_else(pc.greater(array, 0.0), "Infinity", "-Infinity"))
    return pc.if_else(odd, named, text)


def decimal_text(array: pa.Array) -> pa.Array:
    """All digits of the scale, never an exponent."""
    kind = array.type
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        array = array.cast(pa.decimal128(kind.precision, kind.scale))
    scale = kind.scale
    # Arrow's own text is faster, but goes over to exponents for small values.
    text = array.cast(pa.string())
    if scale > 0 and b"E" not in bytes(text_bytes(text)):
        return text
    whole = array.view(_unscaled(array.type))
    digits = whole.cast(pa.string())
    if scale <= 0:
        return digits if not scale else pc.if_else(pc.equal(digits, "0"), "0", _with_zeros(digits, -scale))
    negative = pc.starts_with(digits, "-")
    magnitude = pc.ascii_lpad(pc.utf8_ltrim(digits, "-"), scale + 1, "0")
    text = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(magnitude, 0, -scale), pc.utf8_slice_codeunits(magnitude, -scale), "."
    )
    if not pc.any(negative).as_py():
        return text
    return pc.if_else(negative, pc.binary_join_element_wise("-", text, ""), text)


def _unscaled(kind: pa.DataType) -> pa.DataType:
    make = pa.decimal256 if pa.types.is_decimal256(kind) else pa.decimal128
    return make(76 if make is pa.decimal256 else 38, 0)


def _with_zeros(digits: pa.Array, count: int) -> pa.Array:
    return pc.binary_join_element_wise(digits, "0" * count, "")


def _date_text(array: pa.Array, dialect: Dialect) -> pa.Array:
    import polars as pl

    days = array.cast(pa.date32()) if pa.types.is_date64(array.type) else array
    number = days.view(pa.int32())
    plain = _within(number, FIRST_DAY, LAST_DAY - 1)
    if dialect.date_format:
        series = pl.Series(days)
        return _own_format(
            series, dialect.date_format, plain, lambda text: text.str.to_date(dialect.date_format, strict=False)
        )
    if plain:
        return days.cast(pa.string())
    return _arrow(date_texts(pl.Series(number), DATE_INFINITY))


def _timestamp_text(array: pa.Array, dialect: Dialect) -> pa.Array:
    import polars as pl

    unit, zoned = array.type.unit, bool(array.type.tz)
    number = array.view(pa.int64())
    per_day = _DAY_S * TICKS_PER_S[unit]
    plain = _within(number, FIRST_DAY * per_day, LAST_DAY * per_day - 1)
    if dialect.timestamp_format:
        series = pl.Series(number.view(pa.timestamp(unit)) if plain else pa.nulls(len(array), pa.timestamp(unit)))
        return _own_format(series, dialect.timestamp_format, plain, lambda text: read_timestamps(text, unit, dialect))
    zone = "Z" if zoned else ""
    if not plain:
        return _arrow(timestamp_texts(pl.Series(number), unit, zone, TIMESTAMP_INFINITY))
    text = pc.binary_replace_slice(number.view(pa.timestamp(unit)).cast(pa.string()), 10, 11, "T")
    return pc.binary_join_element_wise(text, zone, "") if zoned else text


def read_timestamps(texts: pl.Series, unit: str, dialect: Dialect) -> pl.Series:
    """Texts in the dialect's own timestamp format, in UTC where the format has no zone; NULL where they do not fit."""
    held: TimeUnit = "ms" if unit in ("s", "ms") else "us" if unit == "us" else "ns"
    found = texts.str.to_datetime(dialect.timestamp_format, strict=False, time_unit=held, exact=True)
    return found.dt.replace_time_zone(None)


def _own_format(values: pl.Series, pattern: str, plain: bool, read: Callable[[pl.Series], pl.Series]) -> pa.Array:
    """Values in a format of the user's, proven by reading them back."""
    texts = values.dt.strftime(pattern)
    back = read(texts) if plain else None
    if back is None or not back.eq_missing(values.cast(back.dtype)).all():
        raise DataError(
            f"a value cannot be written in the format {pattern!r}: reading it back gives another",
            "leave the format out (ISO 8601 holds all values), or add what it lacks, such as %.f for fractions of seconds",
        )
    return _arrow(texts)


def _within(number: pa.Array, low: int, high: int) -> bool:
    ends = pc.min_max(number).as_py()
    return ends["min"] is None or (ends["min"] >= low and ends["max"] <= high)


def _time_text(array: pa.Array) -> pa.Array:
    import polars as pl

    unit = array.type.unit
    ticks = array.view(pa.int32() if pa.types.is_time32(array.type) else pa.int64()).cast(pa.int64())
    if _within(ticks, 0, _DAY_S * TICKS_PER_S[unit] - 1):
        return array.cast(pa.string())
    # 24:00:00, which PostgreSQL has and Arrow's text has not.
    return _arrow(pl.DataFrame({"t": pl.Series(ticks)}).select(clock_expr(pl.col("t"), unit)).to_series())


def _duration_text(array: pa.Array) -> pa.Array:
    digits = DIGITS[array.type.unit]
    number = array.view(pa.int64()).cast(pa.decimal128(38, 0)).view(pa.decimal128(38, digits))
    return pc.binary_join_element_wise("PT", decimal_text(number), "S", "")


def _uuid_text(array: pa.Array) -> pa.Array:
    import polars as pl

    digits = _arrow(pl.Series(array.cast(pa.large_binary())).bin.encode("hex"))
    parts = [pc.utf8_slice_codeunits(digits, a, b) for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
    return pc.binary_join_element_wise(*parts, "-")


def _binary_text(array: pa.Array, dialect: Dialect) -> pa.Array:
    import polars as pl

    encoding: TransferEncoding = "hex" if dialect.binary_text == "hex" else "base64"
    return _arrow(pl.Series(array.cast(pa.large_binary())).bin.encode(encoding))


def _arrow(series: pl.Series) -> pa.Array:
    return series.rechunk().to_arrow().cast(pa.string())
