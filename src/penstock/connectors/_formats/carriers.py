"""Arrow types a format changes or cannot hold: written as the nearest type or text, and restored from field metadata."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pyarrow as pa

from penstock.core.errors import DataError
from penstock.core.schema import LOGICAL_KEY, NATIVE_KEY, Column

CARRIER_KEY = b"penstock.carrier"


def type_to_text(carrier: pa.DataType) -> str:
    """An Arrow type as text that restores it exactly (the IPC message of a schema with one field)."""
    schema = pa.schema([pa.field("", carrier)])
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def type_from_text(text: str) -> pa.DataType:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type


def any_type(carrier: pa.DataType, test: Callable[[pa.DataType], bool]) -> bool:
    """Whether `carrier` or a type inside it passes `test`."""
    if test(carrier):
        return True
    if isinstance(carrier, pa.BaseExtensionType):
        return any_type(carrier.storage_type, test)
    if pa.types.is_dictionary(carrier):
        return any_type(carrier.value_type, test)
    if pa.types.is_map(carrier):
        return any_type(carrier.key_type, test) or any_type(carrier.item_type, test)
    return any(any_type(carrier.field(i).type, test) for i in range(carrier.num_fields))


def stored_field(column: Column, stored: pa.DataType) -> pa.Field:
    """The field a file gets: the stored type, the column's metadata, and its carrier where that differs."""
    field = column.to_field().with_type(stored)
    if stored == column.type:
        return field
    return field.with_metadata({**(field.metadata or {}), CARRIER_KEY: type_to_text(column.type).encode()})


def column_of(field: pa.Field, own: bool) -> Column:
    """The column of a file's field. In files of other makers (`own` False) encodings become the plain type they stand
    for: dictionaries their values, views and large types the common ones, the JSON extension text."""
    column = Column.from_field(field)
    carrier = (field.metadata or {}).get(CARRIER_KEY)
    if carrier:
        return Column(column.name, type_from_text(carrier.decode()), column.nullable, column.logical, column.native)
    if own or LOGICAL_KEY in (field.metadata or {}) or NATIVE_KEY in (field.metadata or {}):
        return column
    logical = column.logical
    if isinstance(column.type, pa.BaseExtensionType) and column.type.extension_name == "arrow.json":
        logical = "json"
    return Column(column.name, plain_type(column.type), column.nullable, logical)


def plain_type(carrier: pa.DataType) -> pa.DataType:
    """The common type for an encoding of it; other types as they are."""
    if isinstance(carrier, pa.BaseExtensionType):
        return plain_type(carrier.storage_type) if carrier.extension_name == "arrow.json" else carrier
    if pa.types.is_dictionary(carrier):
        return plain_type(carrier.value_type)
    if pa.types.is_run_end_encoded(carrier):
        return plain_type(carrier.value_type)
    if pa.types.is_large_string(carrier) or pa.types.is_string_view(carrier):
        return pa.string()
    if pa.types.is_large_binary(carrier) or pa.types.is_binary_view(carrier):
        return pa.binary()
    if pa.types.is_map(carrier):
        return pa.map_(plain_type(carrier.key_type), plain_type(carrier.item_type))
    if pa.types.is_struct(carrier):
        return pa.struct([f.with_type(plain_type(f.type)) for f in carrier])
    if pa.types.is_list(carrier) or pa.types.is_large_list(carrier) or pa.types.is_list_view(carrier):
        return pa.list_(carrier.value_field.with_type(plain_type(carrier.value_type)))
    return carrier


def decoded_type(carrier: pa.DataType) -> pa.DataType:
    """`carrier` with the values' type in place of every dictionary."""
    if pa.types.is_dictionary(carrier):
        return decoded_type(carrier.value_type)
    if pa.types.is_struct(carrier):
        return pa.struct([f.with_type(decoded_type(f.type)) for f in carrier])
    if pa.types.is_map(carrier):
        return pa.map_(decoded_type(carrier.key_type), decoded_type(carrier.item_type))
    if pa.types.is_list(carrier):
        return pa.list_(carrier.value_field.with_type(decoded_type(carrier.value_type)))
    return carrier


def converted(array: pa.Array, carrier: pa.DataType, what: str) -> pa.Array:
    """`array` in another type with every value equal. Raises DataError naming `what` when a value does not fit."""
    if array.type == carrier:
        return array
    try:
        return _cast(array, carrier)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(f"{what} cannot be carried as {carrier} (it is {array.type}): {error}") from error


def _cast(array: pa.Array, carrier: pa.DataType) -> pa.Array:
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if isinstance(carrier, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(carrier, _cast(array, carrier.storage_type))
    if array.type == carrier:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        import pyarrow.compute as pc

        array = pc.run_end_decode(array)
    if pa.types.is_run_end_encoded(carrier):
        import pyarrow.compute as pc

        return pc.run_end_encode(_cast(array, carrier.value_type), run_end_type=carrier.run_end_type)
    if pa.types.is_dictionary(carrier):
        return _cast(array, carrier.value_type).dictionary_encode().cast(carrier)
    return array.cast(carrier)
