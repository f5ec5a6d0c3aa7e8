"""Types of other systems as PostgreSQL declares them: from Arrow carriers and their meaning."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from penstock.core.errors import SpecError
from penstock.core.schema import Column, Fidelity


@dataclass(frozen=True)
class Mapped:
    """A declared type and how faithful it is."""

    text: str
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""


MAX_NUMERIC = 1000

# Arrow types that PostgreSQL has under another name.
_PLAIN: dict[pa.DataType, Mapped] = {
    pa.bool_(): Mapped("boolean"),
    pa.int8(): Mapped("smallint", Fidelity.WIDENING),
    pa.int16(): Mapped("smallint"),
    pa.int32(): Mapped("integer"),
    pa.int64(): Mapped("bigint"),
    pa.uint8(): Mapped("smallint", Fidelity.WIDENING),
    pa.uint16(): Mapped("integer", Fidelity.WIDENING),
    pa.uint32(): Mapped("bigint", Fidelity.WIDENING),
    pa.uint64(): Mapped("numeric(20,0)", Fidelity.WIDENING),
    pa.float16(): Mapped("real", Fidelity.WIDENING),
    pa.float32(): Mapped("real"),
    pa.float64(): Mapped("double precision"),
    pa.date32(): Mapped("date"),
    pa.date64(): Mapped("date"),
    pa.null(): Mapped("text", note="holds nothing but NULL"),
    pa.month_day_nano_interval(): Mapped("interval", Fidelity.TEXT, "a part below a microsecond is an error"),
    pa.uuid(): Mapped("uuid"),
}
# Meanings whose text the type of that name reads back to the same value.
_LOGICAL = {
    "json": "json",
    "uuid": "uuid",
    "numeric": "numeric",
    "timetz": "time with time zone",
    "interval": "interval",
}
_NANOSECONDS = "nanoseconds are cut to microseconds"


def mapped(column: Column) -> Mapped:
    """The type that holds the column's values. Raises SpecError for a carrier that has none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    found = _PLAIN.get(kind) or _text(column, kind) or _number(kind) or _moment(kind) or _nested(column, kind)
    if found is None:
        raise SpecError(
            f"column {column.name!r} is {column.type}, for which PostgreSQL has no type", "cast or exclude it"
        )
    return found


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    is_view = pa.types.is_binary_view(kind)
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or is_view
    )


def is_list(kind: pa.DataType) -> bool:
    plain = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(plain or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _text(column: Column, kind: pa.DataType) -> Mapped | None:
    if is_text(kind):
        return Mapped(_LOGICAL.get(column.logical, "text"))
    if isinstance(kind, pa.JsonType):
        return Mapped("json")
    return Mapped("bytea") if is_bytes(kind) else None


def _number(kind: pa.DataType) -> Mapped | None:
    if not pa.types.is_decimal(kind):
        return None
    precision, scale = (kind.precision - kind.scale, 0) if kind.scale < 0 else (kind.precision, kind.scale)
    return Mapped(f"numeric({max(precision, scale)},{scale})")


def _moment(kind: pa.DataType) -> Mapped | None:
    is_lossy = pa.types.is_temporal(kind) and getattr(kind, "unit", "") == "ns"
    fidelity, note = (Fidelity.LOSSY, _NANOSECONDS) if is_lossy else (Fidelity.LOSSLESS, "")
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            return Mapped("timestamp without time zone", fidelity, note)
        zone = "" if kind.tz == "UTC" else f"the same moment in UTC; the zone {kind.tz} is not kept"
        return Mapped("timestamp with time zone", fidelity, note or zone)
    if pa.types.is_time(kind):
        return Mapped("time without time zone", fidelity, note)
    return Mapped("interval", fidelity, note) if pa.types.is_duration(kind) else None


def _nested(column: Column, kind: pa.DataType) -> Mapped | None:
    if is_list(kind):
        item = kind.value_type
        if not (is_list(item) or pa.types.is_struct(item) or pa.types.is_map(item) or pa.types.is_null(item)):
            inner = mapped(Column(column.name, item))
            return Mapped(f"{inner.text}[]", inner.fidelity, inner.note)
    if is_list(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind):
        return Mapped("jsonb", Fidelity.TEXT, "nested values as JSON")
    return None
