"""Arrow batches as text that the server reads: lines for LOAD DATA LOCAL, or the rows of an INSERT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.texts import to_text
from penstock.connectors.mysql import _codes
from penstock.connectors.mysql.types import GEOMETRIES, Declared
from penstock.core.errors import DataError
from penstock.core.schema import Column

_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_528, 2_932_896  # 0000-01-01 and 9999-12-31
# Charsets that take UTF-8 as it is.
UNICODE = ("utf8mb4", "utf8mb3", "utf8", "ascii")
_EWKB = b"\x20"
_WKB_BYTES = 9


@dataclass(frozen=True)
class Form:
    """How a column goes: its carrier, and the declared type of the column that takes it."""

    column: Column
    declared: Declared

    @property
    def conversion(self) -> str:
        """What makes a value of bytes, {} in it, one of the column's type, where the server does not do so by itself: it
        would take the digits of a number for bits, "0" for the year 2000, and UTF-8 for text of the column's own charset;
        and it does not read some types from bytes. "" where it does."""
        if self.declared.name in ("bit", "year"):
            return "CAST({} AS UNSIGNED)"
        as_text = self.declared.name in ("json", "inet4", "inet6", "uuid") and self.column.type != pa.uuid()
        as_text = as_text or (bool(self.declared.charset) and self.declared.charset not in UNICODE)
        return "CONVERT({} USING utf8mb4)" if as_text else ""


def ready(array: pa.Array, form: Form) -> pa.Array:
    """The array in a carrier that can be encoded. Raises DataError, with the column's name, for a value that no column
    of MySQL holds."""
    try:
        return _ready(array, form)
    except (DataError, pa.ArrowException) as error:
        raise DataError(f"column {form.column.name!r}: {error}") from error


def _ready(array: pa.Array, form: Form) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _ready(array.dictionary_decode(), form)
    if isinstance(kind, pa.UuidType):
        return array if form.declared.name in ("binary", "uuid") else to_text(array)
    if isinstance(kind, pa.BaseExtensionType):
        return _ready(array.storage, form)
    if pa.types.is_float16(kind):
        array = array.cast(pa.float32())
    if pa.types.is_floating(array.type):
        return _finite(array)
    if pa.types.is_date(kind):
        days = array.cast(pa.date32())
        _check_days(days.view(pa.int32()), _FIRST_DAY, _LAST_DAY)
        return days
    if pa.types.is_timestamp(kind):
        per_day = {"s": 86_400, "ms": 86_400_000, "us": _DAY_US, "ns": 1000 * _DAY_US}[kind.unit]
        ends = max(_FIRST_DAY * per_day, -(2**63)), min((_LAST_DAY + 1) * per_day - 1, 2**63 - 1)
        _check_days(array.view(pa.int64()), *ends)
        return array
    return _other(array, form)


def _other(array: pa.Array, form: Form) -> pa.Array:
    kind = array.type
    if pa.types.is_time32(kind):
        return array.cast(pa.time64("us"))
    if pa.types.is_interval(kind) or pa.types.is_nested(kind):
        return to_text(array)
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if pa.types.is_decimal(kind) and (kind.scale < 0 or kind.bit_width < 128):
        return array.cast(pa.decimal256(76, max(kind.scale, 0)))
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return _geometry(array) if is_bytes and form.declared.name in GEOMETRIES else array


def _finite(array: pa.Array) -> pa.Array:
    if pc.all(pc.is_finite(array)).as_py() is False:
        raise DataError(
            "a number is NaN or infinite, which MySQL cannot hold", "cast it in the job, or exclude the rows"
        )
    return array


def _check_days(ticks: pa.Array, low: int, high: int) -> None:
    ends = pc.min_max(ticks).as_py()
    if ends["min"] is not None and (ends["min"] < low or ends["max"] > high):
        raise DataError("a date lies outside the years 0 to 9999, which MySQL cannot hold", "exclude such rows")


def _geometry(array: pa.Array) -> pa.Array:
    """WKB or EWKB (little-endian) as the server stores it: the reference system's number, then WKB."""
    array = array.cast(pa.binary())
    shortest = pc.min(pc.binary_length(array)).as_py()
    if shortest is not None and shortest < _WKB_BYTES:
        raise DataError("a value is no geometry in WKB", "cast the column to binary in the job")
    plain = pc.binary_join_element_wise(b"\0\0\0\0", array, b"")
    whole = pc.fill_null(plain, bytes(4 + _WKB_BYTES))
    is_extended = pc.equal(pc.binary_slice(whole, 8, 9), _EWKB)
    if not pc.any(is_extended).as_py():
        return plain
    order, kind, system = (pc.binary_slice(whole, *ends) for ends in ((4, 5), (5, 8), (9, 13)))
    # Without an end Arrow reckons with the end of the first value.
    rest = pc.binary_slice(whole, 13, pc.max(pc.binary_length(whole)).as_py())
    extended = pc.binary_join_element_wise(system, order, kind, b"\0", rest, b"")
    return pc.if_else(is_extended, extended, plain)


# ---- bytes


def encoded(arrays: Sequence[pa.Array], rows: int, as_insert: bool, is_native: bool) -> Any:
    """The rows' text: lines with tabs between values for LOAD DATA, or (…),(…) for INSERT."""
    if not is_native:
        return _portable(arrays, rows, as_insert)
    from penstock.connectors.mysql import _rows

    return _rows.encode([_source(array) for array in arrays], rows, as_insert)


def _source(array: pa.Array) -> tuple[Any, ...]:
    found = _codes.carrier(array.type)
    assert found is not None, array.type
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    buffers = array.buffers()
    if len(buffers) == 3 and buffers[1] is None:
        array = pa.concat_arrays([array, pa.nulls(1, array.type)])
        buffers = array.buffers()
    validity = buffers[0] if array.null_count else None
    return (*found, array.offset, validity, buffers[1], buffers[2] if len(buffers) > 2 else None)


def _portable(arrays: Sequence[pa.Array], rows: int, as_insert: bool) -> bytes:
    if not rows:
        return b""
    parts: list[Any] = []
    for array in arrays:
        parts += [_cells(array, as_insert), b"," if as_insert else b"\t"]
    line = pc.binary_join_element_wise(b"(" if as_insert else b"", *parts[:-1], b")" if as_insert else b"\n", b"")
    whole = pc.binary_join(pa.ListArray.from_arrays([0, rows], line), b"," if as_insert else b"")
    return bytes(whole[0].as_buffer())


def _cells(array: pa.Array, as_insert: bool) -> pa.Array:
    kind = array.type
    bare = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    is_bytes = is_bytes or isinstance(kind, pa.UuidType)
    text = _cell_text(array)
    if as_insert and not bare and not pa.types.is_boolean(kind):
        text = pc.binary_join_element_wise(b"_binary'" if is_bytes else b"'", _escaped(text, as_insert), b"'", b"")
    elif not bare:
        text = _escaped(text, as_insert)
    return pc.fill_null(text, b"NULL" if as_insert else b"\\N")


def _cell_text(array: pa.Array) -> pa.Array:
    kind = array.type
    if isinstance(kind, pa.UuidType):
        return array.storage.cast(pa.binary())
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8()).cast(pa.string()).cast(pa.binary())
    if pa.types.is_float32(kind):
        # Exact: the server compares with the type's limits before it rounds.
        array = array.cast(pa.float64())
    if pa.types.is_timestamp(kind):
        return _moment_text(array).cast(pa.binary())
    if pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return _clock_text(array).cast(pa.binary())
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary(kind):
        return array.cast(pa.binary())
    return to_text(array).cast(pa.binary())


def _moment_text(array: pa.Array) -> pa.Array:
    """Nanoseconds are cut towards the past; the user has consented to that."""
    ticks = array.view(pa.int64())
    if array.type.unit == "ns":
        ticks = _floored(ticks, 1000)
    unit = "us" if array.type.unit == "ns" else array.type.unit
    return ticks.view(pa.timestamp(unit)).cast(pa.string())


def _clock_text(array: pa.Array) -> pa.Array:
    factor = {"s": (1_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}[array.type.unit]
    micros = _floored(pc.multiply(array.view(pa.int64()), factor[0]), factor[1])
    sign = pc.if_else(pc.less(micros, 0), "-", "")
    left = pc.abs(micros)
    parts = [
        pc.divide(left, 3_600_000_000),
        _rest(pc.divide(left, 60_000_000), 60),
        _rest(pc.divide(left, 1_000_000), 60),
    ]
    texts = [pc.ascii_lpad(part.cast(pa.string()), 2, "0") for part in parts]
    fraction = pc.ascii_lpad(_rest(left, 1_000_000).cast(pa.string()), 6, "0")
    clock = pc.binary_join_element_wise(*texts, ":")
    return pc.binary_join_element_wise(pc.binary_join_element_wise(sign, clock, ""), fraction, ".")


def _rest(values: pa.Array, by: int) -> pa.Array:
    return pc.subtract(values, pc.multiply(pc.divide(values, by), by))


def _floored(values: pa.Array, by: int) -> pa.Array:
    if by == 1:
        return values
    whole = pc.divide(values, by)
    is_above = pc.and_(pc.less(values, 0), pc.not_equal(pc.multiply(whole, by), values))
    return pc.if_else(is_above, pc.subtract(whole, 1), whole)


def _escaped(text: pa.Array, as_insert: bool) -> pa.Array:
    marks = [("\\", "\\\\"), ("\0", "\\0"), *([("'", "\\'")] if as_insert else [("\t", "\\t"), ("\n", "\\n")])]
    for mark, instead in marks:
        text = pc.replace_substring(text, mark, instead)
    return text
