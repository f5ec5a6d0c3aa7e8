"""PostgreSQL's types as Arrow carriers: one table for the types with a carrier of their own, exact text for the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.core.errors import SpecError
from penstock.core.schema import Column, Fidelity, TypePolicy

NATIVE = "postgresql:"
MAX_DECIMAL128, MAX_DECIMAL256 = 38, 76
_HEADER = 4  # a typmod of numeric, varchar and bpchar is the declared number plus 4


@dataclass(frozen=True)
class PgType:
    """A row of pg_type. `kind` is its typtype (b base, e enum, d domain, c composite, r range, m multirange, p pseudo);
    `base`, `base_typmod` of a domain; `element` of a true array, else 0; `has_binary`: it can be sent and received."""

    oid: int
    schema: str
    name: str
    kind: str
    text: str
    base: int = 0
    base_typmod: int = -1
    element: int = 0
    labels: Sequence[str] = ()
    has_binary: bool = True

    @property
    def is_built_in(self) -> bool:
        return self.schema == "pg_catalog"


@dataclass(frozen=True)
class Declared:
    """The type of one column. `text` is how DDL writes it; `base` is the type behind domains, `typmod` belongs to it;
    `element` is the base of an array's elements."""

    text: str
    type: PgType
    base: PgType
    typmod: int
    element: PgType | None = None


@dataclass(frozen=True)
class Carrier:
    """How values of one type travel: Arrow type, meaning, and the name of the wire form."""

    type: pa.DataType
    wire: str
    logical: str = ""


# pg_type.typname -> carrier, for the types that need no text in between.
CARRIERS: dict[str, Carrier] = {
    "bool": Carrier(pa.bool_(), "bool"),
    "int2": Carrier(pa.int16(), "int2"),
    "int4": Carrier(pa.int32(), "int4"),
    "int8": Carrier(pa.int64(), "int8"),
    "oid": Carrier(pa.int64(), "oid"),
    "float4": Carrier(pa.float32(), "float4"),
    "float8": Carrier(pa.float64(), "float8"),
    "text": Carrier(pa.string(), "text"),
    "varchar": Carrier(pa.string(), "text"),
    "bpchar": Carrier(pa.string(), "text"),
    "name": Carrier(pa.string(), "text"),
    "json": Carrier(pa.string(), "text", "json"),
    "jsonb": Carrier(pa.string(), "jsonb", "json"),
    "bytea": Carrier(pa.binary(), "bytea"),
    "date": Carrier(pa.date32(), "date"),
    "time": Carrier(pa.time64("us"), "time"),
    "timestamp": Carrier(pa.timestamp("us"), "timestamp"),
    "timestamptz": Carrier(pa.timestamp("us", "UTC"), "timestamptz"),
    "uuid": Carrier(pa.uuid(), "uuid"),
}
# Arrays of these come as lists of the element's own carrier; of other types as lists of text.
_LIST_OF_TEXT_ONLY = {"oid", "json", "jsonb", "name"}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\Z")


def carrier_of(found: PgType) -> Carrier | None:
    """The carrier of a type that has one, else None. citext is known by its name, whatever schema it lives in."""
    if found.is_built_in and found.kind == "b":
        return CARRIERS.get(found.name)
    return Carrier(pa.string(), "text", "citext") if found.name == "citext" and found.kind == "b" else None


def numeric_size(typmod: int) -> tuple[int, int] | None:
    """Precision and scale of numeric(p, s), None where it is unconstrained. The scale is a signed number of 11 bits."""
    if typmod < _HEADER:
        return None
    bits = typmod - _HEADER
    return (bits >> 16) & 0xFFFF, ((bits & 0x7FF) ^ 1024) - 1024


def decimal_type(precision: int, scale: int) -> pa.DataType | None:
    """The Arrow decimal that holds every numeric(precision, scale), None where none does. A scale beyond the precision
    (from release 15 on) widens the precision, since other systems refuse it."""
    precision = max(precision, scale)
    if scale < 0 or precision > MAX_DECIMAL256:
        return None
    return pa.decimal128(precision, scale) if precision <= MAX_DECIMAL128 else pa.decimal256(precision, scale)


def to_column(name: str, declared: Declared, nullable: bool, policy: TypePolicy) -> Column:
    """A column as batches will carry it. Raises SpecError when the policy makes the type an error."""
    base, native = declared.base, NATIVE + declared.text
    found = carrier_of(base)
    if found is not None:
        return Column(name, found.type, nullable, found.logical, native)
    if base.is_built_in and base.name == "numeric":
        return _numeric(name, declared, nullable, policy)
    if declared.element is not None and policy.arrays == "list":
        item = _element(declared, policy)
        kept = Fidelity.TEXT if pa.types.is_string(item) and carrier_of(declared.element) is None else Fidelity.LOSSLESS
        return Column(name, pa.list_(item), nullable, "", native, kept, "one dimension that starts at 1, else an error")
    logical = "enum" if base.kind == "e" else base.name.removeprefix("_") + ("[]" if declared.element else "")
    return Column(name, pa.string(), nullable, logical, native, Fidelity.TEXT)


def _numeric(name: str, declared: Declared, nullable: bool, policy: TypePolicy) -> Column:
    native = NATIVE + declared.text
    size = numeric_size(declared.typmod)
    if size is not None:
        exact = decimal_type(*size)
        if exact is not None:
            note = "NaN becomes NULL" if policy.nan == "null" else ""
            return Column(name, exact, nullable or bool(note), "", native, note=note)
        return Column(name, pa.string(), nullable, "numeric", native, Fidelity.TEXT, "beyond 76 digits: kept as text")
    if policy.numeric == "text":
        return Column(name, pa.string(), nullable, "numeric", native, Fidelity.TEXT)
    if policy.numeric == "double":
        return Column(name, pa.float64(), nullable, "", native, Fidelity.LOSSY, "numeric as double keeps 15 digits")
    if policy.numeric == "error":
        raise SpecError(
            f"column {name!r} is numeric without precision and scale, which the setting types.numeric forbids",
            "set types.numeric to text, double or decimal(p,s)",
        )
    asked = policy_decimal(policy)
    nullable = nullable or policy.nan == "null"
    return Column(name, asked, nullable, "", native, note=f"a value that does not fit {asked} is an error")


def policy_decimal(policy: TypePolicy) -> pa.DataType:
    """The decimal that types.numeric asks for. Raises SpecError where no Arrow decimal has that size."""
    match = _DECIMAL.match(policy.numeric)
    found = decimal_type(int(match[1]), int(match[2] or 0)) if match and int(match[1]) > 0 else None
    if found is None:
        raise SpecError(
            f"types.numeric is {policy.numeric!r}",
            "write text, double, error or decimal(p,s) with p from 1 to 76 and s from 0 to p",
        )
    return found


def _element(declared: Declared, policy: TypePolicy) -> pa.DataType:
    element = declared.element
    assert element is not None
    found = carrier_of(element)
    kind: pa.DataType = pa.string()
    if found is not None and element.name not in _LIST_OF_TEXT_ONLY:
        kind = found.type
    elif element.is_built_in and element.name == "numeric":
        size = numeric_size(declared.typmod)
        exact = decimal_type(*size) if size else policy_decimal(policy) if policy.numeric.startswith("dec") else None
        if exact is not None:
            kind = exact
        elif size is None and policy.numeric == "double":
            kind = pa.float64()
    return kind


# ---- the way back: what SQL and wire form give a carrier

_CASTS: dict[pa.DataType, str] = {
    pa.bool_(): "bool",
    pa.int16(): "int2",
    pa.int32(): "int4",
    pa.int64(): "int8",
    pa.float32(): "float4",
    pa.float64(): "float8",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("us", "UTC"): "timestamptz",
    pa.uuid(): "uuid",
}


@dataclass(frozen=True)
class Fetched:
    """How one column is selected and decoded: `cast` is the type its expression is cast to, `wire` the wire form of it."""

    cast: str
    wire: str


def fetched(column: Column) -> Fetched:
    """How a column is read. The cast costs nothing while the column has the type it was described with, and keeps bytes
    from being misread when it was changed meanwhile. Raises SpecError for a carrier that no type of PostgreSQL gives."""
    if pa.types.is_list(column.type):
        item = fetched(Column(column.name, column.type.value_type))
        return Fetched(f"{item.cast}[]", f"{item.wire}[]")
    if pa.types.is_decimal(column.type):
        return Fetched("numeric", "numeric")
    if pa.types.is_string(column.type) and column.native.startswith(NATIVE):
        kind = plain_name(column.native.removeprefix(NATIVE))
        if kind in ("json", "jsonb", "bpchar"):
            return Fetched(kind, "jsonb" if kind == "jsonb" else "text")
    if column.type in _CASTS:
        kind = _CASTS[column.type]
        return Fetched(kind, kind)
    raise SpecError(f"column {column.name!r} cannot be read as {column.type}", "describe the source again")


# How format_type writes the built-in types whose SQL name differs from pg_type.typname.
_SQL_NAMES = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "character varying": "varchar",
    "character": "bpchar",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "bit varying": "varbit",
    '"bit"': "bit",
    '"char"': "char",
}


def plain_name(text: str) -> str:
    """pg_type.typname of a built-in type as format_type writes it, without its modifiers: "character(3)" -> "bpchar"."""
    bare = re.sub(r"\([^)]*\)", "", text).strip()
    is_array = bare.endswith("[]")
    bare = bare.removesuffix("[]").strip()
    if bare.startswith("interval"):
        bare = "interval"
    return ("_" if is_array else "") + _SQL_NAMES.get(bare, bare)
