"""The form in which staging takes an Arrow column: the wire form of its type, or text."""

from __future__ import annotations

import pyarrow as pa

from penstock.connectors.postgres.mapping import is_bytes, is_list, is_text
from penstock.connectors.postgres.types import Declared, PgType
from penstock.core.schema import Column

_TEXT_WIRES = {"text", "varchar", "bpchar", "name", "json"}


def wire_form(column: Column, declared: Declared) -> tuple[str, int] | None:
    """The wire form in which the column's carrier goes into a column of that type, and the oid of array elements; None
    where the carrier must go as text."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if declared.element is None:
        form = _scalar(kind, declared.base)
        return (form, 0) if form else None
    form = _scalar(kind.value_type, declared.element) if is_list(kind) else None
    return (f"{form}[]", declared.base.element) if form else None


def _scalar(kind: pa.DataType, base: PgType) -> str | None:
    name = base.name
    if is_text(kind) or isinstance(kind, pa.JsonType):
        if base.kind == "e" or name == "citext" or (base.is_built_in and name in _TEXT_WIRES):
            return "text"
        return "jsonb" if name == "jsonb" and base.is_built_in else None
    if not base.is_built_in:
        return None
    fits = {
        "bool": pa.types.is_boolean(kind),
        **dict.fromkeys(("int2", "int4", "int8", "oid"), pa.types.is_integer(kind)),
        "float4": pa.types.is_float16(kind) or pa.types.is_float32(kind),
        "float8": pa.types.is_floating(kind),
        "numeric": pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and 0 <= kind.scale <= kind.precision),
        "bytea": is_bytes(kind),
        "date": pa.types.is_date(kind),
        "time": pa.types.is_time(kind),
        "timestamp": pa.types.is_timestamp(kind) and kind.tz is None,
        "timestamptz": pa.types.is_timestamp(kind) and kind.tz is not None,
        "uuid": isinstance(kind, pa.UuidType),
    }
    return name if fits.get(name) else None


def text_type(column: Column) -> str:
    """The type of a staging column that holds the column as text."""
    return "text[]" if is_list(column.type) and is_text(column.type.value_type) else "text"


def micro_type(kind: pa.DataType) -> pa.DataType:
    """The type in which nanoseconds are stored; other types as they are."""
    if getattr(kind, "unit", "") != "ns" or pa.types.is_interval(kind):
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")


def in_microseconds(array: pa.Array) -> pa.Array:
    """Nanoseconds cut towards the past; the user has consented to that. Other types as they are."""
    kind = micro_type(array.type)
    if kind == array.type:
        return array
    from penstock.connectors.postgres.texts import floored

    return floored(array.view(pa.int64()), 1000).cast(kind)
