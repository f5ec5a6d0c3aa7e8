"""Types of other systems as SQL Server declares them, and in which type each carrier is staged."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors.sqlserver.types import MAX, Declared, Reading, carrier, declared_of
from penstock.core.errors import SpecError
from penstock.core.schema import Column, Fidelity

MOST_TEXT, MOST_BYTES, MOST_DIGITS = 4000, 8000, 38
# A text or bytes column of a new table is as wide as the next of these above its longest value.
STEPS = (50, 100, 250, 500, 1000, 2000, 4000, 8000)
_FRACTION = {"s": 0, "ms": 3, "us": 6, "ns": 7}
_FINE = "nanoseconds are cut to 100 nanoseconds"


@dataclass(frozen=True)
class Mapped:
    """A declared type and how faithful it is. `is_measured`: its size follows the data."""

    declared: Declared
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""
    is_measured: bool = False


def _named(name: str, fidelity: Fidelity = Fidelity.LOSSLESS) -> Mapped:
    return Mapped(Declared(name), fidelity)


_WIDER = Fidelity.WIDENING
_PLAIN: dict[pa.DataType, Mapped] = {
    pa.bool_(): _named("bit"),
    pa.int8(): _named("smallint", _WIDER),
    pa.int16(): _named("smallint"),
    pa.int32(): _named("int"),
    pa.int64(): _named("bigint"),
    pa.uint8(): _named("tinyint"),
    pa.uint16(): _named("int", _WIDER),
    pa.uint32(): _named("bigint", _WIDER),
    pa.uint64(): Mapped(Declared("decimal", 0, 20, 0), _WIDER),
    pa.float16(): _named("real", _WIDER),
    pa.float32(): _named("real"),
    pa.float64(): _named("float"),
    pa.date32(): _named("date"),
    pa.date64(): _named("date"),
    pa.uuid(): _named("uniqueidentifier"),
    pa.null(): Mapped(Declared("nvarchar", 1), note="holds nothing but NULL"),
}


def bare(kind: pa.DataType) -> pa.DataType:
    """The type behind a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(plain or pa.types.is_fixed_size_binary(kind))


def is_nested(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return bool(lists or views or pa.types.is_struct(kind) or pa.types.is_map(kind))


def mapped(column: Column) -> Mapped:
    """The type that holds the column's values. Raises SpecError for a carrier that has none."""
    kind = bare(column.type)
    found = _PLAIN.get(kind) or _sized(column, kind) or _number(kind) or _moment(kind) or _rest(kind)
    if found is None:
        raise SpecError(
            f"column {column.name!r} is {column.type}, for which SQL Server has no type", "cast or exclude it"
        )
    return found


def _sized(column: Column, kind: pa.DataType) -> Mapped | None:
    if isinstance(kind, pa.JsonType):
        return Mapped(Declared("nvarchar", MAX), Fidelity.TEXT)
    if is_text(kind):
        fidelity = Fidelity.TEXT if column.logical else Fidelity.LOSSLESS
        return Mapped(Declared("nvarchar", MAX), fidelity, is_measured=True)
    if pa.types.is_fixed_size_binary(kind):
        size = kind.byte_width if kind.byte_width <= MOST_BYTES else MAX
        return Mapped(Declared("varbinary", max(size, 1) if size != MAX else MAX))
    return Mapped(Declared("varbinary", MAX), is_measured=True) if is_bytes(kind) else None


def _number(kind: pa.DataType) -> Mapped | None:
    if not pa.types.is_decimal(kind):
        return None
    precision, scale = (kind.precision - kind.scale, 0) if kind.scale < 0 else (kind.precision, kind.scale)
    precision = max(precision, scale)
    if precision > MOST_DIGITS:
        return Mapped(Declared("nvarchar", 100), Fidelity.TEXT, f"beyond {MOST_DIGITS} digits: kept as text")
    return Mapped(Declared("decimal", 0, precision, scale))


def _moment(kind: pa.DataType) -> Mapped | None:
    if not (pa.types.is_timestamp(kind) or pa.types.is_time(kind)):
        return None
    is_fine = kind.unit == "ns"
    fidelity, note = (Fidelity.LOSSY, _FINE) if is_fine else (Fidelity.LOSSLESS, "")
    scale = _FRACTION[kind.unit]
    if pa.types.is_time(kind):
        return Mapped(Declared("time", scale=scale), fidelity, note)
    if kind.tz is None:
        return Mapped(Declared("datetime2", scale=scale), fidelity, note)
    zone = "" if kind.tz == "UTC" else f"the same moment in UTC; the zone {kind.tz} is not kept"
    return Mapped(Declared("datetimeoffset", scale=scale), fidelity, note or zone)


def _rest(kind: pa.DataType) -> Mapped | None:
    if pa.types.is_duration(kind):
        return Mapped(Declared("bigint"), _WIDER, f"a number of units ({kind.unit})")
    if pa.types.is_interval(kind):
        return Mapped(Declared("nvarchar", 100), Fidelity.TEXT, "as text of ISO 8601")
    return Mapped(Declared("nvarchar", MAX), Fidelity.TEXT, "nested values as JSON") if is_nested(kind) else None


# ---- columns that came from SQL Server itself

_ANYHOW = (Reading(), Reading("nanoseconds"), Reading("microseconds"), Reading(offsets="text"), Reading(spatial="wkb"))
# What a new table declares instead of a type that takes no values or that no longer should be used.
_INSTEAD = {
    "rowversion": Declared("binary", 8),
    "text": Declared("varchar", MAX),
    "ntext": Declared("nvarchar", MAX),
    "image": Declared("varbinary", MAX),
    "udt": Declared("varbinary", MAX),
    "sql_variant": Declared("nvarchar", MAX),
}


def native(column: Column, has_json: bool) -> Mapped | None:
    """The column's own type, where it came from SQL Server and still carries what that type does. Only values that lost
    something on the way are said to be lossy."""
    declared = declared_of(column)
    if declared is None or column.fidelity is Fidelity.LOSSY or declared.name == "vector":
        return None
    kinds = [] if declared.name == "sql_variant" else [carrier(declared, how).type for how in _ANYHOW]
    if kinds and bare(column.type) not in kinds:
        return None
    if declared.name == "json" and not has_json:
        return Mapped(Declared("nvarchar", MAX), Fidelity.TEXT, "this server has no type json")
    if declared.name in _INSTEAD:
        other = _INSTEAD[declared.name]
        kept = Fidelity.LOSSLESS if declared.name in ("text", "ntext", "image", "rowversion") else Fidelity.TEXT
        collation = declared.collation if other.name == "varchar" else ""
        return Mapped(Declared(other.name, other.size, collation=collation), kept, f"was {declared.text}")
    return Mapped(declared)


# ---- staging


def staged(column: Column) -> Declared:
    """The type of the staging column: what bulk copy fills from the carrier. Texts begin at their largest size that is no
    stream, and grow when a longer value comes."""
    kind = bare(column.type)
    if is_text(kind) or isinstance(kind, pa.JsonType):
        declared = declared_of(column)
        fits = declared is not None and declared.name in ("char", "varchar", "nchar", "nvarchar")
        size = declared.size if declared is not None and fits and 0 < declared.size <= MOST_TEXT else MOST_TEXT
        return Declared("nvarchar", size)
    if is_bytes(kind) and not pa.types.is_fixed_size_binary(kind):
        return Declared("varbinary", MOST_BYTES)
    found = mapped(column).declared
    return Declared("nvarchar", MOST_TEXT) if found.name == "nvarchar" and found.size == MAX else found


def step(length: int, most: int) -> int:
    """The size of a column whose longest value has `length`; MAX beyond `most`."""
    return next((size for size in STEPS if length <= size <= most), MAX)
