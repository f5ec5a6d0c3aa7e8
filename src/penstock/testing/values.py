"""Arrow values as plain comparable ones, nothing rounded, also where Python's own types have no room for them."""

from __future__ import annotations

import math
import re
from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa

from penstock.core.errors import DataError, SpecError
from penstock.core.load import CursorValue
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY

_UNIT_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_S = 86_400
# Ticks of the years 1 to 9999, in seconds since 1970: what text can say.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
_LAG = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|second|minute|hour|day|week|microsecond|millisecond|min|h|d|m)?s?\s*\Z"
)
_SECONDS = {
    "us": Decimal("1e-6"), "microsecond": Decimal("1e-6"), "ms": Decimal("1e-3"), "millisecond": Decimal("1e-3"),
    "s": Decimal(1), "second": Decimal(1), "m": Decimal(60), "min": Decimal(60), "minute": Decimal(60),
    "h": Decimal(3600), "hour": Decimal(3600), "d": Decimal(_DAY_S), "day": Decimal(_DAY_S), "week": Decimal(7 * _DAY_S),
}  # fmt: skip


def plain_values(values: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values as hashable Python values: times as integers of their unit, NaN and -0.0 as text, lists as tuples."""
    if isinstance(values, pa.ChunkedArray):
        return [value for chunk in values.chunks for value in plain_values(chunk)]
    kind = values.type
    if isinstance(kind, pa.ExtensionType | pa.UuidType):
        return plain_values(values.storage)
    if pa.types.is_dictionary(kind):
        return plain_values(values.dictionary_decode())
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return list(values.view(pa.int32()).to_pylist())
    if (
        pa.types.is_timestamp(kind)
        or pa.types.is_time64(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_date64(kind)
    ):
        return list(values.view(pa.int64()).to_pylist())
    if pa.types.is_floating(kind):
        return [_plain_float(value) for value in values.to_pylist()]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [tuple(plain_values(scalar.values)) if scalar.is_valid else None for scalar in values]
    if pa.types.is_struct(kind):
        fields = zip(*(plain_values(part) for part in values.flatten()), strict=True)
        return [row if valid else None for row, valid in zip(fields, values.is_valid().to_pylist(), strict=True)]
    return list(values.to_pylist())


def _plain_float(value: float | None) -> float | str | None:
    if value is None or not (math.isnan(value) or (value == 0 and math.copysign(1, value) < 0)):
        return value
    return "NaN" if math.isnan(value) else "-0.0"


def rows(table: pa.Table | pa.RecordBatch) -> list[tuple[Any, ...]]:
    """The rows as tuples of plain values, in order."""
    return list(zip(*(plain_values(column) for column in table.columns), strict=True))


def row_counts(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """How often each row occurs: equal counters are equal tables but for the order of rows."""
    return Counter(rows(table))


def row_codes(table: pa.Table) -> list[int]:
    """One integer a row; equal rows have equal integers, NULL equals NULL."""
    seen: dict[tuple[Any, ...], int] = {}
    return [seen.setdefault(row, len(seen)) for row in rows(table)]


def cursor_value(scalar: pa.Scalar) -> CursorValue:
    """A scalar as CursorValue: its Arrow type's name and text; times beyond the calendar as integer ticks."""
    kind = scalar.type
    if pa.types.is_timestamp(kind):
        ticks, per_s = scalar.value, _UNIT_PER_S[kind.unit]
        # Arrow reads text second by second: the outermost seconds of 64 bits do not come back.
        ends = (max(_FIRST_S * per_s, 2 * per_s - 2**63), min(_LAST_S * per_s, 2**63 - 2 * per_s))
        if not ends[0] <= ticks <= ends[1]:
            return CursorValue(str(kind), str(ticks))
    elif pa.types.is_date32(kind) and not _FIRST_S <= scalar.value * _DAY_S <= _LAST_S:
        return CursorValue(str(kind), str(scalar.value))
    elif pa.types.is_floating(kind):
        return CursorValue(str(kind), repr(scalar.as_py()))
    return CursorValue(str(kind), str(scalar.cast(pa.string()).as_py()))


def cursor_scalar(value: CursorValue, kind: pa.DataType) -> pa.Scalar:
    """The value as scalar of type `kind`, whichever system wrote its text. Raises DataError when it is none."""
    text = value.text
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        end = TIMESTAMP_INFINITY if pa.types.is_timestamp(kind) else DATE_INFINITY
        infinities = {"infinity": end, "-infinity": -end}
        if text in infinities or re.fullmatch(r"-?\d+", text):
            return (
                pa.scalar(infinities.get(text) or int(text), pa.int64())
                .cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
                .cast(kind)
            )
    for steps in ((kind,), (pa.timestamp("us"), kind)):
        scalar = pa.scalar(text)
        try:
            for step in steps:
                scalar = scalar.cast(step)
            return scalar
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    raise DataError(f"{text!r} of type {value.type!r} is no {kind}", "the cursor column changed its type; start afresh")


def lagged(value: CursorValue, kind: pa.DataType, lag: str) -> CursorValue:
    """`value` minus `lag`: "10 minutes" off a time, "2 days" off a date, a number off a number. Raises SpecError."""
    found = _LAG.match(lag)
    if not found:
        raise SpecError(f"lag {lag!r} is no duration and no number", 'write "10 minutes", "2 days" or a number')
    amount, unit = Decimal(found[1]), found[2]
    scalar = cursor_scalar(value, kind)
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        if not unit:
            raise SpecError(f"lag {lag!r} lacks a unit for a column of type {kind}", 'write "10 minutes" or "2 days"')
        steps = amount * _SECONDS[unit] * (_UNIT_PER_S[kind.unit] if pa.types.is_timestamp(kind) else 1)
        steps = steps if pa.types.is_timestamp(kind) else steps / _DAY_S
        base = pa.int64() if pa.types.is_timestamp(kind) else pa.int32()
        return cursor_value(pa.scalar(scalar.value - math.ceil(steps), base).cast(kind))
    if unit:
        raise SpecError(f"lag {lag!r} is a duration but the column is {kind}", "write a plain number")
    if pa.types.is_integer(kind):
        return cursor_value(pa.scalar(scalar.as_py() - math.ceil(amount), kind))
    if pa.types.is_decimal(kind):
        return cursor_value(pa.scalar(scalar.as_py() - amount, kind))
    if pa.types.is_floating(kind):
        return cursor_value(pa.scalar(scalar.as_py() - float(amount), kind))
    raise SpecError(f"a column of type {kind} takes no lag", "use a number or time column as cursor")
