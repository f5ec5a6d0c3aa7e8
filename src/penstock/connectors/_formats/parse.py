"""Text as Arrow values, a column at a time: exact or refused, row by row, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.calendar import TICKS_PER_S, parse_clocks, parse_dates, parse_timestamps
from penstock.connectors._formats.carriers import any_type
from penstock.connectors._formats.interval import parse_intervals
from penstock.connectors._formats.settings import Dialect
from penstock.connectors._formats.texts import ISO, UUID_BYTES, TransferEncoding, is_text, read_timestamps
from penstock.core.errors import NotSupported
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY, Column

if TYPE_CHECKING:
    import polars as pl

_UUID = r"^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$"
_INFINITE = r"(?i)^[+-]?inf(inity)?$"
_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")
_DURATION = r"^PT(-?\d+)(?:\.(\d{1,9}))?S$"


def parse(texts: pa.Array, column: Column, dialect: Dialect = ISO) -> pa.Array:
    """Strings as values of the column's carrier. A text that is none becomes NULL: compare the nulls to find them."""
    return _parse(texts, column.type, column.logical, dialect)


def misfits(texts: pa.Array, values: pa.Array) -> pa.Array | None:
    """True where `parse` made NULL of a text; None where there is no such row."""
    if values.null_count == texts.null_count:
        return None
    return pc.and_(texts.is_valid(), values.is_null())


def _parse(texts: pa.Array, kind: pa.DataType, logical: str, dialect: Dialect) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        logical = "uuid" if kind.extension_name == "arrow.uuid" else logical
        return pa.ExtensionArray.from_storage(kind, _parse(texts, kind.storage_type, logical, dialect))
    if pa.types.is_dictionary(kind):
        return pc.dictionary_encode(_parse(texts, kind.value_type, logical, dialect)).cast(kind)
    if pa.types.is_run_end_encoded(kind):
        values = _parse(texts, kind.value_type, logical, dialect)
        return pc.run_end_encode(values, run_end_type=kind.run_end_type)
    if pa.types.is_nested(kind):
        from penstock.connectors._formats.json_values import parse_cells

        return parse_cells(texts, kind, dialect)
    return _scalars(texts, kind, logical, dialect)


def _scalars(texts: pa.Array, kind: pa.DataType, logical: str, dialect: Dialect) -> pa.Array:
    if is_text(kind) or pa.types.is_null(kind):
        return texts.cast(kind) if not pa.types.is_null(kind) else _nulls_only(texts)
    if dialect.decimal_comma and (pa.types.is_decimal(kind) or pa.types.is_floating(kind)):
        # A point would be a mark between thousands, which is not a number here.
        texts = pc.replace_substring(_without(texts, r"\."), ",", ".")
    if pa.types.is_integer(kind):
        return _each(_without(texts, r"[xX]"), lambda part: part.cast(kind))
    if pa.types.is_floating(kind):
        return _floats(texts, kind)
    if pa.types.is_decimal(kind):
        return _each(texts, lambda part: _decimals(part, kind))
    if pa.types.is_boolean(kind):
        return _booleans(texts)
    if any_type(kind, _is_temporal):
        return _temporals(texts, kind, dialect)
    return _bytes(texts, kind, logical, dialect)


def _is_temporal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind) or pa.types.is_interval(kind))


def _nulls_only(texts: pa.Array) -> pa.Array:
    return pa.nulls(len(texts))


def _without(texts: pa.Array, pattern: str) -> pa.Array:
    """NULL in place of texts that match: forms that a cast would read as something else."""
    found = pc.match_substring_regex(texts, pattern)
    return pc.if_else(found, pa.scalar(None, pa.string()), texts) if pc.any(found).as_py() else texts


def _each(texts: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """`cast` of all texts; where it refuses, the rows at fault are found by halving and become NULL."""
    try:
        return cast(texts)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return cast(pa.nulls(1, pa.string()))
        half = len(texts) // 2
        return pa.concat_arrays([_each(texts.slice(0, half), cast), _each(texts.slice(half), cast)])


def _decimals(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    if kind.scale < 0:
        return texts.cast(pa.decimal256(76, 0)).cast(kind)
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return texts.cast(pa.decimal128(kind.precision, kind.scale)).cast(kind)
    return texts.cast(kind)


def _floats(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Numbers too large for the type become infinite in a cast; only texts that say infinity may."""
    half = pa.types.is_float16(kind)
    values = _each(texts, lambda part: part.cast(pa.float32() if half else kind))
    values = values.cast(kind) if half else values
    infinite = pc.is_inf(values)
    if not pc.any(infinite).as_py():
        return values
    said = pc.match_substring_regex(texts, _INFINITE)
    return pc.if_else(pc.and_(infinite, pc.invert(said)), pa.scalar(None, kind), values)


def _booleans(texts: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(texts)
    is_true, is_false = (pc.is_in(lower, pa.array(words)) for words in (_TRUE, _FALSE))
    return pc.if_else(is_true, True, pc.if_else(is_false, False, pa.scalar(None, pa.bool_())))


def _temporals(texts: pa.Array, kind: pa.DataType, dialect: Dialect) -> pa.Array:
    import polars as pl

    if pa.types.is_interval(kind):
        return parse_intervals(texts)
    if pa.types.is_date(kind):
        return _dates(texts, dialect).cast(kind)
    if pa.types.is_timestamp(kind):
        return _timestamps(texts, kind, dialect)
    if pa.types.is_time(kind):
        ticks = parse_clocks(_polars(texts), kind.unit)
        held = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return ticks.to_arrow().cast(held).view(kind)
    groups = _polars(texts).str.extract_groups(_DURATION).struct.unnest()
    seconds, fraction = (pl.col(name) for name in groups.columns)
    digits = len(str(TICKS_PER_S[kind.unit])) - 1
    fits = fraction.fill_null("").str.len_bytes() <= digits
    digits_of = seconds + fraction.fill_null("").str.pad_end(digits, "0")
    number = groups.select(t=pl.when(fits).then(digits_of).cast(pl.Int64, strict=False)).to_series()
    return number.to_arrow().view(kind)


def _dates(texts: pa.Array, dialect: Dialect) -> pa.Array:
    import polars as pl

    if dialect.date_format:
        return _polars(texts).str.to_date(dialect.date_format, strict=False).to_arrow().cast(pa.date32())
    try:
        return texts.cast(pa.date32())
    except pa.ArrowInvalid:
        days = parse_dates(_polars(texts), DATE_INFINITY).cast(pl.Int32, strict=False)
        return days.to_arrow().view(pa.date32())


def _timestamps(texts: pa.Array, kind: pa.DataType, dialect: Dialect) -> pa.Array:
    if dialect.timestamp_format:
        found = read_timestamps(_polars(texts), kind.unit, dialect)
        return found.to_arrow().cast(pa.timestamp(kind.unit)).view(pa.int64()).view(kind)
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        ticks = parse_timestamps(_polars(texts), kind.unit, bool(kind.tz), TIMESTAMP_INFINITY)
        return ticks.to_arrow().view(kind)


def _bytes(texts: pa.Array, kind: pa.DataType, logical: str, dialect: Dialect) -> pa.Array:
    encoding: TransferEncoding = "hex" if dialect.binary_text == "hex" else "base64"
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == UUID_BYTES and logical == "uuid":
        texts = pc.replace_substring(_without_all_but(texts, _UUID), "-", "")
        encoding = "hex"
    elif not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)) and (
        not pa.types.is_fixed_size_binary(kind)
    ):
        raise NotSupported(f"type {kind} has no text form", "cast the column, or use format parquet or arrow")
    found = _polars(texts).str.decode(encoding, strict=False).to_arrow().cast(pa.binary())
    if pa.types.is_fixed_size_binary(kind):
        fits = pc.equal(pc.binary_length(found), kind.byte_width)
        return pc.if_else(fits, found, pa.scalar(None, pa.binary())).cast(kind)
    return found.cast(kind)


def _without_all_but(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, pa.scalar(None, pa.string()))


def _polars(texts: pa.Array) -> pl.Series:
    import polars as pl

    return pl.Series(texts.cast(pa.large_string()), dtype=pl.String)
