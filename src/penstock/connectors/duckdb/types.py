"""DuckDB's types as Arrow carriers and back: which cast makes a column safe to export, which type holds a carrier."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from penstock.core.names import quote
from penstock.core.schema import Column, Fidelity, TypePolicy

NATIVE = "duckdb:"
_MOST_DIGITS = 38  # of DuckDB's DECIMAL


@dataclass(frozen=True)
class Carried:
    """How values of a DuckDB type travel: the Arrow type; the SQL type to cast to before export ("" where the export is
    exact as it is); the meaning; and what a user should know."""

    type: pa.DataType
    cast: str = ""
    logical: str = ""
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""


_TEXT = Fidelity.TEXT
# DuckDBPyType.id -> carrier, for types without parameters.
_CARRIED: dict[str, Carried] = {
    "boolean": Carried(pa.bool_()),
    "tinyint": Carried(pa.int8()),
    "smallint": Carried(pa.int16()),
    "integer": Carried(pa.int32()),
    "bigint": Carried(pa.int64()),
    "utinyint": Carried(pa.uint8()),
    "usmallint": Carried(pa.uint16()),
    "uinteger": Carried(pa.uint32()),
    "ubigint": Carried(pa.uint64()),
    # DuckDB exports all 128 bits as decimal128(38, 0), also of numbers with 39 digits; the cast refuses those.
    "hugeint": Carried(pa.decimal128(38, 0), "DECIMAL(38,0)"),
    "uhugeint": Carried(pa.decimal128(38, 0), "DECIMAL(38,0)"),
    "bignum": Carried(pa.string(), "VARCHAR", "numeric", _TEXT),
    "float": Carried(pa.float32()),
    "double": Carried(pa.float64()),
    "varchar": Carried(pa.string()),
    "blob": Carried(pa.binary()),
    "bit": Carried(pa.string(), "VARCHAR", "bit", _TEXT),
    "date": Carried(pa.date32()),
    "time": Carried(pa.time64("us")),
    "time_ns": Carried(pa.time64("ns")),
    "time with time zone": Carried(pa.string(), "VARCHAR", "timetz", _TEXT),
    "timestamp": Carried(pa.timestamp("us")),
    # Infinity is the greatest integer of microseconds everywhere in Penstock, so seconds and milliseconds are widened.
    "timestamp_s": Carried(pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_ms": Carried(pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_ns": Carried(pa.timestamp("ns")),
    "timestamp with time zone": Carried(pa.timestamp("us", "UTC")),
    "timestamptz_ns": Carried(pa.timestamp("ns", "UTC")),
    "interval": Carried(pa.string(), "VARCHAR", "interval", _TEXT),
    "uuid": Carried(pa.uuid(), "BLOB", "uuid"),
    "enum": Carried(pa.string(), "VARCHAR", "enum"),
    "null": Carried(pa.int32(), "INTEGER"),
}
_JSON = Carried(pa.string(), "VARCHAR", "json")
WIDE_INTEGERS = frozenset({"hugeint", "uhugeint"})
TOO_WIDE = Carried(pa.string(), "VARCHAR", "numeric", _TEXT, "holds integers of more than 38 digits: kept as text")


def _parts(kind: DuckDBPyType) -> list[tuple[str, Any]]:
    return list(kind.children)


def carried(kind: DuckDBPyType) -> Carried:
    """How values of a type travel. Types inside lists and structs lose their `logical`, which belongs to columns."""
    if str(kind) == "JSON":
        return _JSON
    name = kind.id
    if name == "decimal":
        size = dict(_parts(kind))
        return Carried(pa.decimal128(size["precision"], size["scale"]))
    if name in ("list", "array"):
        inner = _parts(kind)[0][1]
        item = carried(inner)
        cast = f"{item.cast or inner}[]" if item.cast or name == "array" else ""
        return Carried(pa.list_(item.type), cast)
    if name == "struct":
        parts = [(label, inner, carried(inner)) for label, inner in _parts(kind)]
        cast = f"STRUCT({', '.join(f'{quote(label)} {part.cast or inner}' for label, inner, part in parts)})"
        is_plain = not any(part.cast for _, _, part in parts)
        return Carried(pa.struct([(label, part.type) for label, _, part in parts]), "" if is_plain else cast)
    if name == "map":
        (_, key_kind), (_, item_kind) = _parts(kind)
        key, item = carried(key_kind), carried(item_kind)
        cast = f"MAP({key.cast or key_kind}, {item.cast or item_kind})" if key.cast or item.cast else ""
        return Carried(pa.map_(key.type, item.type), cast)
    return _CARRIED.get(name) or Carried(pa.string(), "VARCHAR", name, _TEXT, f"{kind} is read as DuckDB's own text")


def read_column(name: str, kind: DuckDBPyType, nullable: bool, policy: TypePolicy) -> Column:
    """A column of DuckDB as batches carry it; lists as DuckDB's text where the policy wants that."""
    found = carried(kind)
    if policy.arrays == "text" and kind.id in ("list", "array"):
        found = Carried(pa.string(), "VARCHAR", "list", _TEXT)
    return Column(name, found.type, nullable, found.logical, f"{NATIVE}{kind}", found.fidelity, found.note)


# ---- the way back

_STORED: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.string_view(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.binary_view(): "BLOB",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
    pa.time32("s"): "TIME",
    pa.time32("ms"): "TIME",
    pa.time64("us"): "TIME",
    pa.time64("ns"): "TIME_NS",
    pa.timestamp("s"): "TIMESTAMP_S",
    pa.timestamp("ms"): "TIMESTAMP_MS",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("ns"): "TIMESTAMP_NS",
    pa.month_day_nano_interval(): "INTERVAL",
    pa.uuid(): "UUID",
    pa.json_(): "JSON",
    pa.bool8(): "BOOLEAN",
    pa.null(): "VARCHAR",
}
# What a column of text means -> the type that holds it; other meanings stay VARCHAR.
_STORED_TEXT = {"json": "JSON", "uuid": "UUID", "interval": "INTERVAL", "timetz": "TIME WITH TIME ZONE"}


@dataclass(frozen=True)
class Stored:
    """The DuckDB type that holds a column, and how faithfully."""

    native: str
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""


def stored(column: Column) -> Stored | None:
    """How a column is stored where no table says otherwise; None for a carrier that DuckDB has no type for."""
    own = _own_type(column)
    if own:
        return Stored(own)
    if is_text(column.type):
        meant = _STORED_TEXT.get(column.logical, "VARCHAR")
        exact = meant != "VARCHAR" or column.logical in ("", "enum", "citext")
        return Stored(meant, Fidelity.LOSSLESS if exact else _TEXT)
    native = _stored_type(column.type)
    if native is None:
        return None
    if native == "VARCHAR":
        return Stored(native, _TEXT, f"DuckDB has no type for {column.type}")
    wider = column.type in (pa.float16(), pa.date64()) or pa.types.is_duration(column.type)
    return Stored(native, Fidelity.WIDENING if wider else Fidelity.LOSSLESS)


def _own_type(column: Column) -> str:
    """The type a column had in DuckDB, where it still travels as that type would."""
    if not column.native.startswith(NATIVE):
        return ""
    text = column.native.removeprefix(NATIVE)
    try:
        kind = duckdb.sqltype(text)
    except duckdb.Error:
        return ""
    travels = [carried(kind), *([TOO_WIDE] if kind.id in WIDE_INTEGERS else [])]
    is_same = any((way.type, way.logical) == (column.type, column.logical) for way in travels)
    return text if is_same and _comes_back(kind) else ""


def _comes_back(kind: DuckDBPyType) -> bool:
    """Whether the carrier restores the value: the text of a union, say, does not tell which member it was."""
    if kind.id in ("list", "array", "struct", "map"):
        return all(_comes_back(inner) for label, inner in _parts(kind) if label != "size")
    return kind.id in _CARRIED or kind.id == "decimal"


def _stored_type(kind: pa.DataType) -> str | None:
    if kind in _STORED:
        return _STORED[kind]
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NS" if kind.unit == "ns" else "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_decimal(kind):
        precision, scale = max(kind.precision, kind.scale, kind.precision - kind.scale), max(kind.scale, 0)
        return f"DECIMAL({precision},{scale})" if precision <= _MOST_DIGITS else "VARCHAR"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    if pa.types.is_duration(kind):
        return "INTERVAL"
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _stored_type(kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        item = _stored_type(kind.value_type)
        return f"{item}[{kind.list_size or ''}]" if item else None
    return _stored_nested(kind)


def _stored_nested(kind: pa.DataType) -> str | None:
    if pa.types.is_map(kind):
        entry = [_stored_type(part) for part in (kind.key_type, kind.item_type)]
        return f"MAP({', '.join(part for part in entry if part)})" if all(entry) else None
    if pa.types.is_struct(kind):
        parts = [(quote(field.name), _stored_type(field.type)) for field in kind]
        is_whole = bool(parts) and all(part for _, part in parts)
        return f"STRUCT({', '.join(f'{label} {part}' for label, part in parts)})" if is_whole else None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        inner = _stored_type(kind.value_type)
        return f"{inner}[]" if inner else None
    if isinstance(kind, pa.BaseExtensionType):
        return _stored_type(kind.storage_type)
    return None


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


# ---- which type holds the values of another

_INTEGER_BITS = {
    "TINYINT": (1, 7), "SMALLINT": (1, 15), "INTEGER": (1, 31), "BIGINT": (1, 63), "HUGEINT": (1, 127),
    "UTINYINT": (0, 8), "USMALLINT": (0, 16), "UINTEGER": (0, 32), "UBIGINT": (0, 64), "UHUGEINT": (0, 128),
}  # fmt: skip
_DIGITS = {bits: len(str(2**bits - 1)) for bits in (7, 8, 15, 16, 31, 32, 63, 64, 127, 128)}
_MANTISSA_BITS = {"FLOAT": 24, "DOUBLE": 53}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)\Z")
# Types without parameters whose values all have an equal in the others named.
_HELD_BY: dict[str, tuple[str, ...]] = {
    "FLOAT": ("DOUBLE",),
    "DATE": ("TIMESTAMP",),
    "TIMESTAMP_S": ("TIMESTAMP",),
    "TIMESTAMP_MS": ("TIMESTAMP",),
    "TIME": ("TIME_NS",),
    "JSON": ("VARCHAR",),
    "UUID": ("VARCHAR",),
    "INTERVAL": ("VARCHAR",),
    "TIME WITH TIME ZONE": ("VARCHAR",),
}


def holds(held: str, given: str) -> bool:
    """Whether every value of type `given` has an equal in type `held` (texts of the types, as DuckDB writes them)."""
    if held == given or held in _HELD_BY.get(given, ()):
        return True
    if given.endswith("[]") and held.endswith("[]"):
        return holds(held[:-2], given[:-2])
    if given.startswith("ENUM("):
        return held == "VARCHAR"
    if given in _INTEGER_BITS:
        return _holds_integer(held, *_INTEGER_BITS[given])
    wide, narrow = _DECIMAL.match(held), _DECIMAL.match(given)
    if wide and narrow:
        return int(wide[2]) >= int(narrow[2]) and int(wide[1]) - int(wide[2]) >= int(narrow[1]) - int(narrow[2])
    return False


def _holds_integer(held: str, sign: int, bits: int) -> bool:
    if held in _INTEGER_BITS:
        held_sign, held_bits = _INTEGER_BITS[held]
        return held_bits >= bits and held_sign >= sign
    wide = _DECIMAL.match(held)
    if wide:
        return int(wide[1]) - int(wide[2]) >= _DIGITS[bits]
    return _MANTISSA_BITS.get(held, 0) >= bits


def common(one: str, other: str) -> str:
    """The smallest type that holds the values of both, or "". BIGINT and DOUBLE meet in DOUBLE, whose user checks that
    no integer changes."""
    if holds(one, other):
        return one
    if holds(other, one):
        return other
    if one in _INTEGER_BITS and other in _INTEGER_BITS:
        return next((name for name in _INTEGER_BITS if holds(name, one) and holds(name, other)), "")
    if {one, other} & _MANTISSA_BITS.keys() and {one, other} & _INTEGER_BITS.keys():
        return "DOUBLE"
    sizes = [_decimal_size(name) for name in (one, other)]
    if all(sizes):
        whole = max(size[0] - size[1] for size in sizes if size)
        scale = max(size[1] for size in sizes if size)
        return f"DECIMAL({whole + scale},{scale})" if whole + scale <= _MOST_DIGITS else ""
    if one.endswith("[]") and other.endswith("[]"):
        inner = common(one[:-2], other[:-2])
        return inner and f"{inner}[]"
    return ""


def _decimal_size(name: str) -> tuple[int, int] | None:
    match = _DECIMAL.match(name)
    if match:
        return int(match[1]), int(match[2])
    return (_DIGITS[_INTEGER_BITS[name][1]], 0) if name in _INTEGER_BITS else None
