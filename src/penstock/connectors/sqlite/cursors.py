"""Cursor columns of SQLite: an order that is that of the values, not of their text, and arithmetic on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._sql.lag import UNSORTED, duration, number
from penstock.connectors.sqlite.forms import TEXT, is_text, storage_of
from penstock.connectors.sqlite.texts import from_text, to_text
from penstock.core.errors import DataError, SpecError
from penstock.core.load import CursorValue
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY

_CHUNK = 18  # digits of one 64-bit integer
_INFINITIES = {"infinity": 1, "-infinity": -1}


@dataclass(frozen=True)
class Order:
    """SQL terms that sort like the values of a column, most significant first; one of them is the column itself where
    its text or number sorts right already."""

    terms: tuple[str, ...]
    kind: pa.DataType
    is_numeric_text: bool = False


def order_of(name: str, kind: pa.DataType, logical: str, is_stored_as_text: bool) -> Order:
    """How the column with the quoted `name` sorts. Raises SpecError for text whose order is not that of its values."""
    if is_text(kind) and logical in UNSORTED:
        raise SpecError(
            f"column {name} holds {logical} as text, which does not sort like its values",
            "use another cursor, or set types.numeric to decimal(p,s)",
        )
    if is_stored_as_text and (pa.types.is_decimal(kind) or kind == pa.uint64()):
        return Order(_digits(name, kind), kind, True)
    return Order((name,), kind)


def _size(kind: pa.DataType) -> tuple[int, int]:
    return (20, 0) if kind == pa.uint64() else (max(kind.precision, kind.scale), max(kind.scale, 0))


def _digits(name: str, kind: pa.DataType) -> tuple[str, ...]:
    """Chunks of 18 digits with the number's sign, from the left: decimals are longer than SQLite's integers."""
    precision, scale = _size(kind)
    width = -(-precision // _CHUNK) * _CHUNK
    whole = f"CASE instr({name}, '.') WHEN 0 THEN {name} ELSE substr({name}, 1, instr({name}, '.') - 1) END"
    part = f"CASE instr({name}, '.') WHEN 0 THEN '' ELSE substr({name}, instr({name}, '.') + 1) END"
    digits = f"replace({whole}, '-', '') || substr({part} || '{'0' * scale}', 1, {scale})"
    padded = f"substr('{'0' * width}' || {digits}, -{width})"
    sign = f"CASE WHEN {name} LIKE '-%' THEN -1 ELSE 1 END"
    return tuple(
        f"(CAST(substr({padded}, {start + 1}, {_CHUNK}) AS INTEGER) * {sign})" for start in range(0, width, _CHUNK)
    )


def type_name(kind: pa.DataType, declared: str) -> str:
    """The type that cursor values of a column are marked with."""
    return declared or str(kind)


def bound(value: CursorValue, order: Order, is_own: bool = False) -> list[object]:
    """What to bind for each term of `order` to compare with `value`, whichever system wrote its text.

    Text that this column gave (`is_own`) is bound as it is: other writers leave out the fraction of whole seconds, and an
    equal moment in our own form would sort behind theirs.
    """
    if is_own and not order.is_numeric_text and storage_of(order.kind) == TEXT:
        return [value.text]
    if order.is_numeric_text:
        precision, scale = _size(order.kind)
        with localcontext(prec=200):
            unscaled = int(_decimal(value).scaleb(scale).to_integral_value(ROUND_FLOOR))
        width = -(-precision // _CHUNK) * _CHUNK
        text = str(abs(unscaled)).zfill(width)[-width:]
        sign = -1 if unscaled < 0 else 1
        return [sign * int(text[start : start + _CHUNK]) for start in range(0, width, _CHUNK)]
    kind = order.kind
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [int(_decimal(value).to_integral_value(ROUND_FLOOR))]
    if pa.types.is_floating(kind):
        return [float(value.text)]
    if pa.types.is_decimal(kind):
        return [float(value.text)]
    if storage_of(kind) == TEXT and not is_text(kind):
        return [to_text(scalar(value, kind))[0].as_py()]
    return [value.text]


def _decimal(value: CursorValue) -> Decimal:
    try:
        return Decimal(value.text)
    except ArithmeticError as error:
        raise DataError(f"cursor value {value.text!r} of type {value.type!r} is no number", "start afresh") from error


def scalar(value: CursorValue, kind: pa.DataType) -> pa.Array:
    """The value as array of one element of type `kind`: a text of any of our systems, or ticks of an Arrow type."""
    text = value.text.strip()
    if pa.types.is_temporal(kind) and text.lstrip("-").isdigit():
        base = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        ticks = pa.array([int(text)], base)
        given = pa.date32() if "date" in value.type else _given_unit(value.type, kind)
        return ticks.view(given).cast(kind)
    if text in _INFINITIES and pa.types.is_temporal(kind):
        if pa.types.is_date(kind):
            return pa.array([_INFINITIES[text] * DATE_INFINITY], pa.int32()).view(pa.date32()).cast(kind)
        return pa.array([_INFINITIES[text] * TIMESTAMP_INFINITY], pa.int64()).view(kind)
    return from_text(pa.array([_iso(text, kind)]), kind, "cursor")


def _given_unit(name: str, kind: pa.DataType) -> pa.DataType:
    unit = next((each for each in ("ns", "us", "ms", "s") if f"[{each}" in name), kind.unit)
    return pa.timestamp(unit, kind.tz)


def _iso(text: str, kind: pa.DataType) -> str:
    """A moment as PostgreSQL or DuckDB write it, with a zone that Arrow reads ("+00" becomes "+00:00")."""
    if not pa.types.is_timestamp(kind):
        return text
    if kind.tz and len(text) > 3 and text[-3] in "+-" and text[-2:].isdigit():
        return f"{text}:00"
    return text


def written(value: object, kind: pa.DataType, declared: str) -> CursorValue:
    """A value that SQLite gave for the column, as text; floats as their shortest exact form."""
    return CursorValue(type_name(kind, declared), repr(value) if isinstance(value, float) else str(value))


def lagged(value: CursorValue, order: Order, lag: str, name: str) -> CursorValue:
    """`value` minus `lag`, rounded down to what the column holds."""
    kind = order.kind
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return CursorValue(value.type, _earlier(value, kind, duration(lag, name)))
    amount = number(lag, name) if _is_number(kind) else None
    if amount is None:
        raise SpecError(f"column {name} of type {kind} takes no lag", "use a number or time column as cursor")
    if pa.types.is_integer(kind):
        least = 0 if pa.types.is_unsigned_integer(kind) else -(2**63)
        less = int(_decimal(value)) - int(amount.to_integral_value(ROUND_CEILING))
        return CursorValue(value.type, str(max(least, less)))
    if pa.types.is_floating(kind):
        return CursorValue(value.type, repr(float(value.text) - float(amount)))
    with localcontext(prec=200):
        scale = Decimal(1).scaleb(-max(kind.scale, 0))
        return CursorValue(value.type, str((_decimal(value) - amount).quantize(scale, ROUND_FLOOR)))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _earlier(value: CursorValue, kind: pa.DataType, micros: int) -> str:
    found = scalar(value, kind)
    if pa.types.is_date(kind):
        days = -(-micros // (86_400 * 10**6))
        moved = pc.subtract(found.cast(pa.date32()).cast(pa.int32()), days).cast(pa.int32()).view(pa.date32())
        return str(to_text(moved)[0].as_py())
    per_s = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    ticks = -(-micros * per_s // 10**6)
    moved = pc.subtract_checked(found.view(pa.int64()), ticks).view(kind)
    text = str(to_text(moved)[0].as_py())
    # Of all ways to write this moment the one that sorts first, so that no row at it is left out.
    return re.sub(r"\.?0+(\+00:00)?\Z", "", text) if re.search(r":\d\d\.\d", text) else text.removesuffix("+00:00")
