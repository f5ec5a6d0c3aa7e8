"""JSON text as Arrow values: numbers keep their digits, texts are parsed as their column's type, nested values too."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from penstock.connectors._formats.parse import misfits, parse
from penstock.connectors._formats.settings import Dialect
from penstock.connectors._formats.texts import is_text, text_bytes
from penstock.core.errors import NotSupported
from penstock.core.schema import Column

_CELL = "v"


def json_type(kind: pa.DataType) -> pa.DataType:
    """The type the JSON reader is asked for: numbers and booleans as they are, everything else as the text it is."""
    if isinstance(kind, pa.BaseExtensionType):
        return json_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return json_type(kind.value_type)
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([("key", json_type(kind.key_type)), ("value", json_type(kind.item_type))]))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, json_type(f.type)) for f in kind])
    if pa.types.is_nested(kind):
        return pa.list_(json_type(kind.value_type))
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind):
        return _decimal(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return kind
    return pa.string()


def _decimal(kind: pa.DataType) -> pa.DataType:
    if kind.scale < 0:
        return pa.decimal256(76, 0)
    return kind if pa.types.is_decimal256(kind) else pa.decimal128(kind.precision, kind.scale)


def from_json(values: pa.Array, column: Column, dialect: Dialect) -> tuple[pa.Array, pa.Array | None]:
    """Values as json_type() reads them in the column's carrier, and True for the rows that do not fit (None: all do)."""
    kind = column.type
    if values.type == kind:
        return values, None
    if isinstance(kind, pa.BaseExtensionType) and pa.types.is_nested(kind.storage_type):
        inner, bad = from_json(values, Column(column.name, kind.storage_type), dialect)
        return pa.ExtensionArray.from_storage(kind, inner), bad
    if pa.types.is_nested(kind):
        return _nested(values, column, dialect)
    if pa.types.is_string(values.type) and not is_text(kind):
        parsed = parse(values, column, dialect)
        return parsed, misfits(values, parsed)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, values.cast(kind.storage_type)), None
    if pa.types.is_dictionary(kind):
        return pc.dictionary_encode(values).cast(kind), None
    return values.cast(kind), None


def _nested(values: pa.Array, column: Column, dialect: Dialect) -> tuple[pa.Array, pa.Array | None]:
    kind = column.type
    if pa.types.is_struct(kind):
        made = [
            from_json(part, Column(field.name, field.type), dialect)
            for part, field in zip(values.flatten(), kind, strict=True)
        ]
        wrong = [bad for _, bad in made if bad is not None]
        arrays = [array for array, _ in made]
        out = pa.StructArray.from_arrays(arrays, fields=list(kind), mask=values.is_null()) if arrays else values
        return out, _any(wrong)
    inner = pa.struct([("key", kind.key_type), ("value", kind.item_type)]) if pa.types.is_map(kind) else kind.value_type
    elements, bad = from_json(values.flatten(), Column(column.name, inner), dialect)
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends]).cast(pa.int32())
    rows = None if bad is None else pc.is_in(pa.array(range(len(values))), pc.list_parent_indices(values).filter(bad))
    return _listed(offsets, elements, kind, values.is_null()), rows


def _listed(offsets: pa.Array, elements: pa.Array, kind: pa.DataType, mask: pa.Array) -> pa.Array:
    plain = pa.ListArray.from_arrays(offsets, elements, mask=mask)
    if pa.types.is_map(kind):
        key, item = elements.flatten()
        # A map takes no mask: NULL rows are marked by NULL offsets.
        marked = pc.if_else(pa.concat_arrays([mask, pa.array([False])]), pa.scalar(None, pa.int32()), offsets)
        return pa.MapArray.from_arrays(marked, key, item).cast(kind)
    return plain.cast(kind)


def _any(masks: list[pa.Array]) -> pa.Array | None:
    found = None
    for mask in masks:
        found = mask if found is None else pc.or_(found, mask)
    return found


def parse_cells(texts: pa.Array, kind: pa.DataType, dialect: Dialect) -> pa.Array:
    """Strings that each hold a JSON value as nested values; NULL where one does not fit."""
    try:
        return _cells(texts, kind, dialect)
    except pa.ArrowInvalid:
        if len(texts) <= 1:
            return pa.nulls(len(texts), kind)
        half = len(texts) // 2
        return pa.concat_arrays(
            [parse_cells(texts.slice(0, half), kind, dialect), parse_cells(texts.slice(half), kind, dialect)]
        )


def _cells(texts: pa.Array, kind: pa.DataType, dialect: Dialect) -> pa.Array:
    if not len(texts):
        return pa.nulls(0, kind)
    if pc.any(pc.match_substring_regex(texts, r"[\r\n]")).as_py():
        texts = pc.replace_substring_regex(texts, r"[\r\n]", " ")
    lines = pc.binary_join_element_wise('{"v":', pc.fill_null(texts, "null"), "}\n", "")
    read = read_block(text_bytes(lines), pa.schema([(_CELL, json_type(kind))]))
    if read.num_rows != len(texts):
        raise pa.ArrowInvalid("a text holds more than one JSON value")
    values, bad = from_json(read.column(_CELL), Column(_CELL, kind), dialect)
    if bad is None:
        return values
    return pc.if_else(bad, pa.scalar(None, kind), values)


def read_block(data: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """NDJSON bytes as one batch with exactly `schema`; NULL where a row lacks a field. Raises pa.ArrowInvalid.

    Raises NotSupported for a type the JSON reader does not know.
    """
    parse_options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    # One block: rows never straddle two, and an error's place is within it.
    read_options = pj.ReadOptions(use_threads=False, block_size=max(data.size + 1, 64))
    try:
        table = pj.read_json(pa.BufferReader(data), read_options, parse_options)
    except pa.ArrowNotImplementedError as error:
        raise NotSupported(f"JSON cannot be read as {schema}: {error}", "declare other types") from error
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else schema.empty_table().to_batches(1)[0]
