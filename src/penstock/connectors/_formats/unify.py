"""One schema for the files of one table: columns by name, types by widening that keeps every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from penstock.core.errors import DataError
from penstock.core.schema import Column

_UNITS = ("s", "ms", "us", "ns")
_MOST_DIGITS = 76
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_EXACT_IN_FLOAT = {16: 11, 32: 24, 64: 53}


def wider(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The smallest type that holds every value of both exactly, None where there is none."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    for mine, other in ((first, second), (second, first)):
        if pa.types.is_dictionary(mine):
            return wider(mine.value_type, other)
    for rule in (_integers, _numbers, _decimals, _texts, _times, _nested):
        found = rule(first, second)
        if found is not None:
            return found
    return None


def _integers(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_integer(first) and pa.types.is_integer(second)):
        return None
    signed = [pa.types.is_signed_integer(t) for t in (first, second)]
    if signed[0] == signed[1]:
        return first if first.bit_width >= second.bit_width else second
    plain, unsigned = (first, second) if signed[0] else (second, first)
    bits = max(plain.bit_width, 2 * unsigned.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits) or pa.decimal128(20, 0)


def _numbers(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pa.types.is_floating(first) and pa.types.is_floating(second):
        return first if first.bit_width >= second.bit_width else second
    for mine, other in ((first, second), (second, first)):
        if pa.types.is_floating(mine) and pa.types.is_integer(other):
            bits = other.bit_width
            fitting = [t for t in (mine, pa.float64()) if _EXACT_IN_FLOAT[t.bit_width] >= bits]
            return max(fitting[0], mine, key=lambda t: t.bit_width) if fitting else None
    return None


def _decimals(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_decimal(first) or pa.types.is_decimal(second)):
        return None
    shapes = []
    for kind in (first, second):
        if pa.types.is_decimal(kind):
            shapes.append((kind.precision - kind.scale, kind.scale))
        elif pa.types.is_integer(kind):
            shapes.append((_DIGITS[kind.bit_width], 0))
        else:
            return None
    whole, scale = max(s[0] for s in shapes), max(s[1] for s in shapes)
    digits = whole + scale
    if digits > _MOST_DIGITS:
        return None
    return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)


def _texts(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    for kinds, large, plain in (
        ((pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view), pa.large_string(), pa.string()),
        ((pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view), pa.large_binary(), pa.binary()),
    ):
        if all(any(kind(t) for kind in kinds) for t in (first, second)):
            return large if large in (first, second) else plain
    return None


def _times(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    for test, make in (
        (pa.types.is_timestamp, lambda unit: pa.timestamp(unit, first.tz)),
        (pa.types.is_duration, pa.duration),
        (pa.types.is_time, lambda unit: pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)),
    ):
        if test(first) and test(second):
            if pa.types.is_timestamp(first) and first.tz != second.tz:
                return pa.timestamp(_finer(first, second), "UTC") if first.tz and second.tz else None
            return make(_finer(first, second))
    if pa.types.is_date(first) and pa.types.is_date(second):
        return pa.date32()
    return None


def _finer(first: pa.DataType, second: pa.DataType) -> str:
    return str(max(first.unit, second.unit, key=_UNITS.index))


def _nested(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pa.types.is_list(first) and pa.types.is_list(second):
        inner = wider(first.value_type, second.value_type)
        return pa.list_(first.value_field.with_type(inner)) if inner is not None else None
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        if [f.name for f in first] != [f.name for f in second]:
            return None
        inners = [wider(a.type, b.type) for a, b in zip(first, second, strict=True)]
        if any(inner is None for inner in inners):
            return None
        return pa.struct([f.with_type(inner) for f, inner in zip(first, inners, strict=True)])
    return None


def joined(first: Column, second: Column) -> Column | None:
    """One column for two of the same name, None where no type holds both."""
    found = wider(first.type, second.type)
    if found is None or (first.logical != second.logical and found not in (first.type, second.type)):
        return None
    return replace(
        first,
        type=found,
        nullable=first.nullable or second.nullable,
        logical=first.logical if first.logical == second.logical else "",
        native=first.native if first.native == second.native else "",
    )


def unified(files: Sequence[tuple[str, tuple[Column, ...]]]) -> tuple[Column, ...]:
    """The columns of a table from those of its files (path, columns), in order of first appearance.

    A column that a file lacks is nullable. Raises DataError naming both files where types do not go together.
    """
    found: dict[str, tuple[Column, str]] = {}
    seen: dict[str, int] = {}
    for path, columns in files:
        for column in columns:
            seen[column.name] = seen.get(column.name, 0) + 1
            if column.name not in found:
                found[column.name] = (column, path)
                continue
            both = joined(found[column.name][0], column)
            if both is None:
                before, where = found[column.name]
                raise DataError(
                    f"column {column.name!r} is {before.type} in {where} and {column.type} in {path}",
                    "files of one table need types that go together; read them as two tables, or cast one",
                )
            before, where = found[column.name]
            found[column.name] = (both, where if both.type == before.type else path)
    return tuple(
        column if seen[name] == len(files) else replace(column, nullable=True) for name, (column, _) in found.items()
    )
