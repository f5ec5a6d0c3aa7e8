"""Declared types of text columns by name."""

from __future__ import annotations

import re

import pyarrow as pa

from penstock.core.errors import SpecError
from penstock.core.schema import Column

_NAMES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "bool": pa.bool_(),
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "float32": pa.float32(),
    "float": pa.float64(),
    "float64": pa.float64(),
    "double": pa.float64(),
    "text": pa.string(),
    "string": pa.string(),
    "json": pa.string(),
    "binary": pa.binary(),
    "uuid": pa.uuid(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamp_ns": pa.timestamp("ns"),
    "timestamptz_ns": pa.timestamp("ns", "UTC"),
    "interval": pa.month_day_nano_interval(),
}
_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\Z")
_LIST = re.compile(r"list\s*<(.+)>\Z")
_MOST_DIGITS = 76


def declared_column(name: str, type_name: str) -> Column:
    """The column that a declared type name gives. Raises SpecError for an unknown one."""
    text = type_name.strip().lower()
    return Column(name, _type(text, name), logical="json" if text == "json" else "")


def _type(text: str, name: str) -> pa.DataType:
    if text in _NAMES:
        return _NAMES[text]
    listed = _LIST.match(text)
    if listed:
        return pa.list_(_type(listed[1].strip(), name))
    found = _DECIMAL.match(text)
    if found:
        precision, scale = int(found[1]), int(found[2] or 0)
        if 1 <= precision <= _MOST_DIGITS and scale <= precision:
            return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)
    raise SpecError(
        f"type {text!r} of column {name!r} does not exist",
        f"use {', '.join(sorted(_NAMES))}, decimal(p,s) with p up to {_MOST_DIGITS}, or list<type>",
    )
