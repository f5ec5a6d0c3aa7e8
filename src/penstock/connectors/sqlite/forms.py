"""How SQLite stores each carrier: the storage class its values get, the type name that is declared, and the way back.

A declared name carries the meaning and, by SQLite's rules of affinity (https://www.sqlite.org/datatype3.html, section 3.1),
never changes a value: everything that is kept as text is declared with TEXT in its name, and without INT, which would win.
That is why intervals are DURATION_TEXT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.interval import interval_from_text, interval_to_text
from penstock.connectors.sqlite import nested, texts
from penstock.core.errors import DataError
from penstock.core.schema import Column, Fidelity

INTEGER, REAL, TEXT, BLOB = "integer", "real", "text", "blob"

# What arrives from the driver for a storage class.
EXACT_INTEGERS = 2**53  # beyond it a double skips integers
_FRACTIONS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
ARROW = {INTEGER: pa.int64(), REAL: pa.float64(), TEXT: pa.string(), BLOB: pa.binary()}
_DECIMAL = re.compile(r"DECIMAL_TEXT\((\d+),\s*(\d+)\)\Z")
_LOGICAL = {"json": "JSON_TEXT", "uuid": "UUID_TEXT", "interval": "DURATION_TEXT"}

# Declared names of Penstock -> carrier and meaning, for tables whose memory is gone. BOOLEAN, INTEGER, REAL, TEXT and BLOB
# are everybody's names and judged by their values.
OWN: dict[str, tuple[pa.DataType, str]] = {
    "DATE_TEXT": (pa.date32(), ""),
    "TIME_TEXT": (pa.time64("us"), ""),
    "TIMESTAMP_TEXT": (pa.timestamp("us"), ""),
    "TIMESTAMPTZ_TEXT": (pa.timestamp("us", "UTC"), ""),
    "UUID_TEXT": (pa.uuid(), "uuid"),
    "JSON_TEXT": (pa.string(), "json"),
    "DURATION_TEXT": (pa.string(), "interval"),
}


@dataclass(frozen=True)
class Form:
    """How a carrier is stored in a new column."""

    declared: str
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    is_any = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(is_any or pa.types.is_fixed_size_binary(kind))


def decoded(kind: pa.DataType) -> pa.DataType:
    """The type behind encodings and extensions that SQLite has no use for."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return decoded(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) and kind != pa.uuid():
        return decoded(kind.storage_type)
    return kind


def storage_of(kind: pa.DataType) -> str | None:
    """The storage class of a carrier's values; None where SQLite cannot hold them."""
    kind = decoded(kind)
    if pa.types.is_boolean(kind) or pa.types.is_duration(kind):
        return INTEGER
    if pa.types.is_integer(kind):
        return TEXT if kind == pa.uint64() else INTEGER
    if pa.types.is_floating(kind):
        return REAL
    if is_bytes(kind):
        return BLOB
    if nested.is_nested(kind):
        return TEXT if nested.can_hold(kind) else None
    has_text = is_text(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind)
    return TEXT if has_text or kind in (pa.uuid(), pa.null(), pa.month_day_nano_interval()) else None


def form_of(column: Column) -> Form | None:
    """How a column is stored where no table says otherwise; None for a carrier that SQLite cannot hold."""
    kind = decoded(column.type)
    storage = storage_of(kind)
    if storage is None:
        return None
    if storage == INTEGER:
        return Form("BOOLEAN" if pa.types.is_boolean(kind) else "INTEGER")
    if storage == REAL:
        note = "NaN is refused (see the option nan), and -0.0 becomes 0.0"
        return Form("REAL", Fidelity.LOSSLESS if kind == pa.float64() else Fidelity.WIDENING, note)
    if storage == BLOB:
        return Form("BLOB")
    if is_text(kind):
        exact = column.logical in ("", "json", "uuid", "enum", "citext")
        return Form(_LOGICAL.get(column.logical, "TEXT"), Fidelity.LOSSLESS if exact else Fidelity.TEXT)
    return Form(_text_name(kind))


def _text_name(kind: pa.DataType) -> str:
    if kind == pa.uint64():
        return "DECIMAL_TEXT(20,0)"
    if pa.types.is_decimal(kind):
        return f"DECIMAL_TEXT({max(kind.precision, kind.scale, kind.precision - kind.scale)},{max(kind.scale, 0)})"
    if kind == pa.uuid():
        return "UUID_TEXT"
    if pa.types.is_date(kind):
        return "DATE_TEXT"
    if pa.types.is_time(kind):
        return "TIME_TEXT"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ_TEXT" if kind.tz else "TIMESTAMP_TEXT"
    if kind == pa.month_day_nano_interval():
        return "DURATION_TEXT"
    return "JSON_TEXT" if nested.is_nested(kind) else "TEXT"


def own_carrier(declared: str) -> tuple[pa.DataType, str] | None:
    """Carrier and meaning of a type name that only Penstock declares."""
    name = declared.upper()
    size = _DECIMAL.match(name)
    if size and 0 < int(size[1]) <= 76 and int(size[2]) <= int(size[1]):
        precision, scale = int(size[1]), int(size[2])
        return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale), ""
    return OWN.get(name)


# ---- values


def to_stored(array: pa.Array, name: str, nan: str) -> pa.Array:
    """Values as SQLite stores them: int64, double, string or binary. `nan` is "error" or "null"."""
    array = _decoded(array)
    kind = array.type
    storage = storage_of(kind)
    try:
        if storage == INTEGER:
            return array.view(pa.int64()) if pa.types.is_duration(kind) else array.cast(pa.int64())
        if storage == REAL:
            return _without_nan(array.cast(pa.float64()), name, nan)
        if storage == BLOB:
            return array.cast(pa.binary()) if not pa.types.is_large_binary(kind) else array
    except pa.ArrowInvalid as error:
        raise DataError(f"column {name!r} does not fit SQLite: {error}", "cast the column in the job") from error
    if is_text(kind):
        return array
    if kind in (pa.uint64(), pa.null()):
        return array.cast(pa.string())
    if kind == pa.month_day_nano_interval():
        return interval_to_text(array)
    return nested.to_json(array, name) if nested.is_nested(kind) else texts.to_text(array)


def widened(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """Values in the carrier that the target's column has, where that matters: of what is kept as text equal values must
    be equal text, and an integer among doubles must be one."""
    array = _decoded(array)
    if pa.types.is_floating(kind) and pa.types.is_integer(array.type):
        _check_doubles(array, name)
    if array.type == kind or storage_of(array.type) != TEXT or is_text(array.type) or is_text(kind):
        return array
    try:
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {name!r} does not fit the target's {kind}: {error}", "cast it in the job") from error


def _check_doubles(array: pa.Array, name: str) -> None:
    ends = pc.min_max(array).as_py()
    if ends["min"] is not None and not -EXACT_INTEGERS <= ends["min"] <= ends["max"] <= EXACT_INTEGERS:
        raise DataError(f"column {name!r} has integers of more digits than a double, which the target holds", "cast it")


def reformed(name: str, held: pa.DataType, wanted: pa.DataType) -> str:
    """SQL that turns text of the quoted column `name` from the form of one carrier into that of a wider one; "" where the
    forms are equal."""
    if pa.types.is_decimal(wanted) and (pa.types.is_decimal(held) or held == pa.uint64()):
        before, after = getattr(held, "scale", 0), wanted.scale
        more = "0" * (after - before)
        return "" if not more else f"{name} || '{more if before else '.' + more}'"
    if not pa.types.is_temporal(wanted) or pa.types.is_date(wanted) or held.unit == wanted.unit:
        return ""
    before, after = _FRACTIONS[held.unit], _FRACTIONS[wanted.unit]
    more = "0" * (after - before) if before else "." + "0" * after
    zone = len(texts.ZONE) if getattr(wanted, "tz", None) else 0
    longer = f"substr({name}, 1, length({name}) - {zone}) || '{more}' || substr({name}, length({name}) - {zone} + 1)"
    return f"CASE WHEN {name} LIKE '%infinity' THEN {name} ELSE {longer} END"


def _decoded(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _decoded(array.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return _decoded(pc.run_end_decode(array))
    return _decoded(array.storage) if isinstance(kind, pa.BaseExtensionType) and kind != pa.uuid() else array


def _without_nan(array: pa.Array, name: str, nan: str) -> pa.Array:
    """SQLite turns NaN into NULL without a word."""
    is_nan = pc.is_nan(array)
    if pc.any(is_nan).as_py() is not True:
        return array
    if nan == "null":
        return pc.if_else(pc.fill_null(is_nan, False), pa.scalar(None, pa.float64()), array)
    count = pc.sum(is_nan).as_py()
    raise DataError(
        f"column {name!r} has NaN in {count} rows, which SQLite cannot hold",
        'set nan: "null", or cast the column to text',
    )


def from_stored(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """The inverse: what the driver gives for the carrier's storage class, as the carrier. Raises DataError naming the
    column for a value that does not fit."""
    if array.type == kind:
        return array
    try:
        if isinstance(kind, pa.BaseExtensionType) and kind != pa.uuid():
            return pa.ExtensionArray.from_storage(kind, from_stored(array, kind.storage_type, name))
        if pa.types.is_dictionary(kind):
            return from_stored(array, kind.value_type, name).dictionary_encode().cast(kind)
        if pa.types.is_run_end_encoded(kind):
            return pc.run_end_encode(from_stored(array, kind.value_type, name), run_end_type=kind.run_end_type)
        if pa.types.is_boolean(kind):
            return _booleans(array)
        if kind == pa.month_day_nano_interval():
            return interval_from_text(array)
        if nested.is_nested(kind):
            return nested.from_json(array, kind, name)
        if storage_of(kind) == TEXT and not is_text(kind) and kind not in (pa.uint64(), pa.null()):
            return texts.from_text(array, kind, name)
        return array.cast(kind)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {name!r} holds a value that is no {kind}: {error}", "describe the source again"
        ) from error


def _booleans(array: pa.Array) -> pa.Array:
    others = pc.invert(pc.is_in(array, value_set=pa.array([0, 1, None], pa.int64())))
    if pc.any(others).as_py() is True:
        raise pa.ArrowInvalid(str(array.filter(others)[0]))
    return array.cast(pa.bool_())
