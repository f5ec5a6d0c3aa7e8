"""Casts by type name: what `columns.cast` may say, and exact conversion of whole columns."""

from __future__ import annotations

import re
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.errors import DataError, SpecError
from penstock.core.schema import Column

_NAMES = {
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "smallint": pa.int16(),
    "int32": pa.int32(),
    "int": pa.int32(),
    "integer": pa.int32(),
    "int64": pa.int64(),
    "bigint": pa.int64(),
    "float": pa.float64(),
    "float32": pa.float32(),
    "real": pa.float32(),
    "float64": pa.float64(),
    "double": pa.float64(),
    "text": pa.string(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\Z")


def parse_type(text: str) -> tuple[pa.DataType, str]:
    """The Arrow type and logical meaning of a type name. Raises SpecError for an unknown one."""
    name = text.strip().lower()
    if name == "json":
        return pa.string(), "json"
    if name in _NAMES:
        return _NAMES[name], ""
    found = _DECIMAL.match(name)
    if found:
        precision, scale = int(found[1]), int(found[2] or 0)
        if not 1 <= precision <= 76 or scale > precision:
            raise SpecError(f"cast to {text!r} is out of range", "use decimal(p,s) with 1 <= p <= 76 and 0 <= s <= p")
        kind = pa.decimal128 if precision <= 38 else pa.decimal256
        return kind(precision, scale), ""
    raise SpecError(f"cannot cast to {text!r}: no such type", f"use {', '.join(sorted(_NAMES))}, json or decimal(p,s)")


def cast(values: pa.Array, column: Column, target: pa.DataType) -> pa.Array:
    """`values` in type `target`, nothing rounded, cut or wrapped. Raises DataError naming the column and a value."""
    if values.type == target:
        return values
    try:
        return _cast(values, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"cannot cast column {column.name!r} from {values.type} to {target}: {error}",
            "choose a type that holds every value, or leave the column as it is",
        ) from error


def _cast(values: pa.Array, target: pa.DataType) -> pa.Array:
    if isinstance(values.type, pa.UuidType) and pa.types.is_string(target):
        return uuid_text(values)
    if pa.types.is_string(target) and pa.types.is_boolean(values.type):
        return pc.if_else(values, "true", "false")
    if pa.types.is_string(target) and pa.types.is_timestamp(values.type) and values.type.tz is not None:
        return pc.binary_join_element_wise(pc.cast(pc.cast(values, pa.timestamp("us")), target), "+00", "")
    if pa.types.is_decimal(target) and pa.types.is_integer(values.type):
        # Arrow wants a decimal wide enough for any integer first; the second cast checks the values themselves.
        return pc.cast(
            pc.cast(values, pa.decimal128(38, 0) if target.scale == 0 else pa.decimal256(76, target.scale)), target
        )
    return pc.cast(values, target)


def hexadecimal(values: pa.Array) -> pa.Array:
    """Binary values as lower-case hexadecimal digits."""
    import polars as pl

    series = pl.Series(pl.from_arrow(pc.cast(values, pa.binary())))
    return series.bin.encode("hex").to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def uuid_text(values: pa.Array) -> pa.Array:
    """UUIDs as their 36 characters."""
    digits = hexadecimal(values.storage if isinstance(values, pa.ExtensionArray) else values)
    ends = (0, 8, 12, 16, 20, 32)
    groups = [pc.utf8_slice_codeunits(digits, start, stop) for start, stop in pairwise(ends)]
    return pc.binary_join_element_wise(*groups, "-")
