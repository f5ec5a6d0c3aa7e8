"""Cursor values: exact text of a column's own type, compared and moved without rounding."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.calendar import DAY_S, TICKS_PER_S
from penstock.connectors._formats.carriers import converted
from penstock.connectors._formats.parse import parse
from penstock.connectors._formats.port import Ends
from penstock.connectors._formats.texts import is_text, to_text
from penstock.core.errors import DataError, SpecError
from penstock.core.load import CursorValue, Window
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY, Column

_LAG = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*\Z")
_SECONDS = {
    "us": Decimal("1e-6"), "microsecond": Decimal("1e-6"), "ms": Decimal("1e-3"), "millisecond": Decimal("1e-3"),
    "s": Decimal(1), "second": Decimal(1), "m": Decimal(60), "min": Decimal(60), "minute": Decimal(60),
    "h": Decimal(3600), "hour": Decimal(3600), "d": Decimal(DAY_S), "day": Decimal(DAY_S),
    "w": Decimal(7 * DAY_S), "week": Decimal(7 * DAY_S),
}  # fmt: skip
_INT64_MIN = -(2**63)


def check_cursor(column: Column) -> None:
    """Raises SpecError for a type without an order."""
    kind = column.type
    ordered = (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or is_text(kind)
        or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind)
    )  # fmt: skip
    if not ordered:
        raise SpecError(
            f"column {column.name!r} of type {kind} cannot be a cursor", "use a number, time or text column"
        )


def greatest(arrays: Iterable[pa.Array], column: Column) -> CursorValue | None:
    """The greatest value of a column's arrays, NaN above all numbers; None without values."""
    best = None
    for array in arrays:
        values = array.drop_null()
        if not len(values):
            continue
        if pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py():
            return CursorValue(str(column.type), "NaN")
        found = pc.max(values)
        if best is None or pc.greater(found, best).as_py():
            best = found
    if best is None:
        return None
    return _value(pa.repeat(best, 1), column)


def _value(one: pa.Array, column: Column) -> CursorValue:
    return CursorValue(str(column.type), to_text(one, column.logical)[0].as_py())


def cursor_array(value: CursorValue, column: Column) -> pa.Array:
    """An array with the one value, whichever system wrote its text. Raises DataError where it is none of the type."""
    kind = column.type
    text = pa.array([value.text], pa.string())
    found = parse(text, column)
    if found.null_count and pa.types.is_temporal(kind) and re.fullmatch(r"-?\d+", value.text):
        bits = pa.int32() if kind.bit_width == 32 else pa.int64()
        return text.cast(bits).view(kind)
    tries = []
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        tries = [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.timestamp("ns", "UTC")]
    elif pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        tries = [pa.decimal256(76, 18)]
    for other in tries if found.null_count else ():
        read = parse(text, Column(column.name, other))
        if not read.null_count:
            found = converted(read, kind, f"cursor value {value.text!r}")
            break
    if found.null_count:
        raise DataError(
            f"cursor value {value.text!r} (of type {value.type}) is no {kind}, the type of column {column.name!r}",
            "the column changed its type: load the table anew with --full-refresh",
        )
    return found


def in_window(values: pa.Array, window: Window, column: Column) -> pa.Array:
    """True for the rows of a window, both ends included; rows without a value as `window.nulls` says."""
    inside = values.is_valid()
    if window.low is not None:
        inside = pc.and_(inside, pc.fill_null(at_least(values, cursor_array(window.low, column)), False))
    if window.high is not None:
        inside = pc.and_(inside, pc.fill_null(at_most(values, cursor_array(window.high, column)), False))
    return pc.or_(inside, values.is_null()) if window.nulls else inside


def ends_of(window: Window, column: Column) -> Ends | None:
    """The window's ends as integers, None for types that are not made of signed integers."""
    kind = column.type
    if pa.types.is_signed_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind):
        bits = kind if pa.types.is_integer(kind) else pa.int32() if pa.types.is_date32(kind) else pa.int64()
        low, high = (
            None if end is None else int(cursor_array(end, column).view(bits)[0].as_py())
            for end in (window.low, window.high)
        )
        return Ends(column.name, kind, low, high, window.nulls)
    return None


def at_least(values: pa.Array, low: pa.Array) -> pa.Array:
    if not pa.types.is_floating(values.type):
        return pc.greater_equal(values, low[0])
    is_nan = pc.is_nan(values)
    return is_nan if math.isnan(low[0].as_py()) else pc.or_(is_nan, pc.greater_equal(values, low[0]))


def at_most(values: pa.Array, high: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type) and math.isnan(high[0].as_py()):
        return values.is_valid()
    return pc.less_equal(values, high[0])


def lagged(value: CursorValue, column: Column, lag: str) -> CursorValue:
    """`value` minus `lag`: a duration off a time, days off a date, a number off a number; infinity stays.

    Raises SpecError for a lag that does not fit the column's type.
    """
    found = _LAG.match(lag.lower())
    unit = found[2] if found else ""
    unit_s = _SECONDS.get(unit) or _SECONDS.get(unit.removesuffix("s"))
    if not found or (unit and unit_s is None):
        raise SpecError(f"lag {lag!r} is no duration and no number", 'write "10 minutes", "2 days" or a number')
    amount, kind = Decimal(found[1]), column.type
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if is_time != bool(unit):
        wanted = 'a duration such as "10 minutes" or "2 days"' if is_time else "a plain number"
        raise SpecError(f"lag {lag!r} does not fit cursor column {column.name!r} of type {kind}", f"write {wanted}")
    start = cursor_array(value, column)
    if unit_s is not None:
        return _value(_earlier(start, amount * unit_s), column)
    return _value(_lower(start, amount, column, lag), column)


def _earlier(start: pa.Array, seconds: Decimal) -> pa.Array:
    kind = start.type
    if pa.types.is_date32(kind):
        ticks, step, end, bits = start.view(pa.int32())[0].as_py(), seconds / DAY_S, DATE_INFINITY, pa.int32()
    else:
        per_s = 1000 if pa.types.is_date64(kind) else TICKS_PER_S[kind.unit]
        ticks, step, end, bits = start.view(pa.int64())[0].as_py(), seconds * per_s, TIMESTAMP_INFINITY, pa.int64()
    if abs(ticks) == end:
        return start
    return pa.array([max(ticks - math.ceil(step), _INT64_MIN if bits == pa.int64() else -(2**31))], bits).view(kind)


def _lower(start: pa.Array, amount: Decimal, column: Column, lag: str) -> pa.Array:
    kind, number = start.type, start[0].as_py()
    if pa.types.is_integer(kind):
        least = 0 if pa.types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        return pa.array([max(number - math.ceil(amount), least)], kind)
    if pa.types.is_decimal(kind):
        step = amount.quantize(Decimal(1).scaleb(-kind.scale), rounding="ROUND_CEILING")
        return pa.array([number - step], kind)
    if pa.types.is_floating(kind):
        return pa.array([number - float(amount)], kind)
    raise SpecError(
        f"lag {lag!r} does not fit cursor column {column.name!r} of type {kind}", "use a number or time column"
    )
