"""Fields of binary COPY: which kind of PostgreSQL value travels in which Arrow type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from penstock.core.errors import DataError, NotSupported

if TYPE_CHECKING:
    from penstock.connectors.postgres import _wire

CARRIERS: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "oid": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "bytea": pa.binary(),
    "jsonb": pa.string(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "uuid": pa.uuid(),
}
NUMERIC = "numeric"  # its carrier is the field's own type
MAX_DECIMAL128 = 38
WHOLE_NUMERIC = pa.decimal128(20, 0)  # holds every integer of 64 bits


@dataclass(frozen=True)
class Field:
    """One column of a binary COPY.

    `wire` is the kind of value that PostgreSQL sends: bool int2 int4 int8 oid float4 float8 bytea jsonb date time
    timestamp timestamptz uuid numeric, or text for every type whose binary form is its text (text varchar bpchar name
    json xml enum citext); with "[]" behind it, an array of such values. A domain counts as the type under it.

    `type` is what batches carry. A reader needs exactly the carrier of the wire kind: CARRIERS; decimal128(p, s) for
    numeric, from 39 digits on decimal256(p, s); a list of the element's carrier for arrays. A writer takes every type
    that Arrow casts to it without loss.

    `nan` says what a reader does with NaN and infinities of numeric. `element_oid` is the type of an array's elements
    as the catalog has it; a writer needs it where that is not the built-in type named like the wire kind (varchar, an
    enum, a domain), and a reader that is given one refuses arrays of another type.
    """

    name: str
    wire: str
    type: pa.DataType
    nullable: bool = True
    nan: Literal["error", "null"] = "error"
    element_oid: int = 0

    @property
    def kind(self) -> str:
        return self.wire.removesuffix("[]")

    @property
    def is_array(self) -> bool:
        return self.wire.endswith("[]")


def arrow_schema(fields: Sequence[Field]) -> pa.Schema:
    return pa.schema([pa.field(field.name, field.type, field.nullable) for field in fields])


def carrier(field: Field) -> pa.DataType:
    """The Arrow type whose buffers the codec works on. Raises NotSupported when there is none for the field."""
    element = field.type
    if field.is_array and _is_list(element):
        element = element.value_type
    kind = _decimal(element) if field.kind == NUMERIC else CARRIERS.get(field.kind)
    if kind is None or field.is_array != _is_list(field.type):
        raise NotSupported(f'column "{field.name}": {field.wire} does not travel as {field.type}')
    return pa.list_(kind) if field.is_array else kind


def decoder_columns(fields: Sequence[Field]) -> list[_wire.DecoderColumn]:
    """The fields as the decoder wants them. Raises NotSupported when a type is not the carrier of its wire kind."""
    columns = []
    for field in fields:
        if field.type != carrier(field):
            raise NotSupported(f'column "{field.name}": {field.wire} is read as {carrier(field)}, not {field.type}')
        kind, _ = _codes(field)
        precision, scale = _digits(field)
        nan_as_null = field.nan == "null"
        columns.append((kind, field.is_array, field.nullable, field.element_oid, nan_as_null, precision, scale))
    return columns


def encoder_columns(fields: Sequence[Field]) -> list[_wire.EncoderColumn]:
    """The fields as the encoder wants them."""
    columns = []
    for field in fields:
        kind, oid = _codes(field)
        columns.append((kind, field.is_array, field.element_oid or oid, _digits(field)[1]))
    return columns


def refused(error: Exception, fields: Sequence[Field]) -> DataError:
    """The codec's error with the column's name in place of its number."""
    column, row, cause = error.args
    place = f'column "{fields[column].name}"' if column >= 0 else "binary COPY"
    return DataError(f"{place}, row {row}: {cause}")


def _codes(field: Field) -> tuple[int, int]:
    from penstock.connectors.postgres import _wire

    wide = field.kind == NUMERIC and _digits(field)[0] > MAX_DECIMAL128
    return _wire.KINDS["numeric256" if wide else field.kind]


def _digits(field: Field) -> tuple[int, int]:
    if field.kind != NUMERIC:
        return 1, 0
    decimal = carrier(field).value_type if field.is_array else carrier(field)
    return decimal.precision, decimal.scale


def _decimal(type_: pa.DataType) -> pa.DataType | None:
    if pa.types.is_integer(type_):
        return WHOLE_NUMERIC
    if not pa.types.is_decimal(type_) or not 0 <= type_.scale <= type_.precision:
        return None
    make = pa.decimal128 if type_.precision <= MAX_DECIMAL128 else pa.decimal256
    return make(type_.precision, type_.scale)


def _is_list(type_: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(type_)
        or types.is_large_list(type_)
        or types.is_fixed_size_list(type_)
        or types.is_list_view(type_)
        or types.is_large_list_view(type_)
    )
