"""Arrow values as JSON text, a column at a time, nested ones too."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.settings import Dialect
from penstock.connectors._formats.texts import ISO, to_text

# Characters that may not stand in a JSON string as they are (RFC 8259 section 7).
_SPECIAL = r'["\\\x00-\x1f]'
_CONTROLS = r"[\x00-\x1f]"


def to_json(array: pa.Array, dialect: Dialect = ISO) -> pa.Array:
    """Each value as one JSON value; NULL stays NULL at the top and is `null` inside.

    Integers, decimals and finite floats are JSON numbers with all their digits, NaN and infinity the words NaN,
    Infinity and -Infinity (which JSON proper lacks); everything that is not a number, boolean, list or struct is a string
    as texts.to_text has it. A map is a list of {"key", "value"}.
    """
    kind = array.type
    if dialect.decimal_comma:
        dialect = replace(dialect, decimal_comma=False)
    if isinstance(kind, pa.BaseExtensionType) and pa.types.is_nested(kind.storage_type):
        return to_json(array.storage, dialect)
    if pa.types.is_map(kind):
        return _list(array, "key_value", dialect)
    if pa.types.is_struct(kind):
        return _struct(array, dialect)
    if pa.types.is_nested(kind):
        return _list(array, "list", dialect)
    text = to_text(array, dialect=dialect)
    if is_bare(kind):
        return text
    return pc.binary_join_element_wise('"', escaped(text), '"', "")


def is_bare(kind: pa.DataType) -> bool:
    """Whether values that are no lists or structs stand without quotes."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return is_bare(kind.value_type)
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )  # fmt: skip


def escaped(text: pa.Array) -> pa.Array:
    """Strings as the inside of JSON strings."""
    text = text if pa.types.is_string(text.type) else text.cast(pa.string())
    if pl.Series(text, dtype=pl.String).str.contains(_SPECIAL).any():
        text = pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), '"', '\\"')
        if pl.Series(text).str.contains(_CONTROLS).any():
            for code in range(32):
                text = pc.replace_substring(text, chr(code), json.dumps(chr(code))[1:-1])
    return text


def _struct(array: pa.Array, dialect: Dialect) -> pa.Array:
    parts: list[object] = ["{"]
    for index, (field, values) in enumerate(zip(array.type, array.flatten(), strict=True)):
        parts += [f"{',' if index else ''}{json.dumps(field.name, ensure_ascii=False)}:", _filled(values, dialect)]
    text = (
        pc.binary_join_element_wise(*parts, "}", "") if len(parts) > 1 else pa.array(["{}"] * len(array), pa.string())
    )
    return pc.if_else(array.is_valid(), text, pa.scalar(None, pa.string()))


def _list(array: pa.Array, way: str, dialect: Dialect) -> pa.Array:
    """Lists of any kind and maps: the elements' texts joined within each row."""
    if way == "key_value":
        entries = array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
        return _list(entries, "list", dialect)
    plain = array.cast(pa.list_(array.type.value_field))
    elements = _filled(plain.flatten(), dialect)
    # flatten() leaves out what stands under NULL rows, so offsets are counted anew from the lengths.
    lengths = pc.fill_null(pc.list_value_length(plain), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends]).cast(pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, elements), ",")
    return pc.if_else(array.is_valid(), pc.binary_join_element_wise("[", joined, "]", ""), pa.scalar(None, pa.string()))


def _filled(values: pa.Array, dialect: Dialect) -> pa.Array:
    return pc.fill_null(to_json(values, dialect), "null")
