"""Arrow batches on their way into DuckDB: carriers that it cannot take are turned into ones that it can, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.interval import interval_to_text
from penstock.connectors.duckdb.text import interval
from penstock.connectors.duckdb.types import is_text
from penstock.core.errors import DataError
from penstock.core.load import Load
from penstock.core.names import quote

# DuckDB appends faster in large pieces: 8 batches of 65,536 rows cost a fifth less CPU than one at a time.
_GROUP_BATCHES = 8
_GROUP_BYTES = 32 * 2**20
_EXACT_INTEGERS = 2**53


@dataclass(frozen=True)
class Placed:
    """A column of a load at its place in the target: the name as the target spells it, and its type there.

    `stored` is the type it would have by itself; where the two differ, values are cast.
    """

    source: str
    name: str
    type: str
    stored: str
    carrier: pa.DataType


def groups(batches: Iterator[pa.RecordBatch], load: Load) -> Iterator[tuple[pa.Table, int, int]]:
    """Batches put together for one INSERT each, as DuckDB can take them, with their rows and bytes as they came."""
    wanted = [(column.name, column.type) for column in load.columns]
    held: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        if [(field.name, field.type) for field in batch.schema] != wanted:
            raise DataError(
                f"a batch for table {load.table} has columns {batch.schema.names}, expected {[name for name, _ in wanted]}"
                " in their types",
                "the source changed while it was read",
            )
        held.append(_takeable(batch))
        rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
        if len(held) >= _GROUP_BATCHES or size_bytes >= _GROUP_BYTES:
            yield pa.Table.from_batches(held), rows, size_bytes
            held, rows, size_bytes = [], 0, 0
    if held:
        yield pa.Table.from_batches(held), rows, size_bytes


def _takeable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns get numbers for names, so that any name will do."""
    return pa.RecordBatch.from_arrays(
        [_column(array, name) for array, name in zip(batch.columns, batch.schema.names, strict=True)],
        names=[f"c{number}" for number in range(batch.num_columns)],
    )


def _column(array: pa.Array, name: str) -> pa.Array:
    kind = array.type
    try:
        if kind == pa.float16():
            return array.cast(pa.float32())
        if kind == pa.null():
            return array.cast(pa.string())
        if pa.types.is_decimal(kind):
            return _decimal(array)
        if pa.types.is_duration(kind) and kind.unit == "ns":
            return array.cast(pa.duration("us"))
        if kind == pa.date64():
            return array.cast(pa.date32())
    except pa.ArrowInvalid as error:
        raise DataError(f"column {name!r} does not fit DuckDB: {error}", "cast the column in the job") from error
    if kind == pa.month_day_nano_interval():
        _check_micros(array, name)
    return array


def _decimal(array: pa.Array) -> pa.Array:
    kind = array.type
    precision, scale = max(kind.precision, kind.scale, kind.precision - kind.scale), max(kind.scale, 0)
    if precision <= 38:
        return array.cast(pa.decimal128(precision, scale))
    return array.cast(pa.string())


def _check_micros(array: pa.Array, name: str) -> None:
    """DuckDB would cut nanoseconds off in silence."""
    exact = pc.ends_with(interval_to_text(array), pattern="000S")
    if pc.all(exact).as_py() is False:
        raise DataError(
            f"column {name!r} has an interval with nanoseconds", "DuckDB keeps microseconds: cast the column"
        )


def expression(placed: Placed, number: int) -> str:
    """SQL for a column of the registered table `incoming`, in the target's type."""
    name = f"c{number}"
    if placed.type == "INTERVAL" and is_text(placed.carrier):
        return interval(name)
    if placed.type in ("DOUBLE", "FLOAT") and pa.types.is_integer(placed.carrier):
        return (
            f"CASE WHEN abs(CAST({name} AS HUGEINT)) > {_EXACT_INTEGERS}"
            f" THEN error('a number of column {placed.source.replace(chr(39), chr(39) * 2)} has more digits than a double')"
            f" ELSE CAST({name} AS {placed.type}) END"
        )
    return f"CAST({name} AS {placed.type})"


def insert(staging: str, columns: tuple[Placed, ...]) -> str:
    names = ", ".join(quote(placed.name) for placed in columns)
    values = ", ".join(expression(placed, number) for number, placed in enumerate(columns))
    return f"INSERT INTO {staging} ({names}) SELECT {values} FROM incoming"


def exact_integers(table: str, column: str) -> str:
    """SQL that counts the integers of a column that a DOUBLE would change."""
    return f"SELECT count(*) FROM {table} WHERE abs(CAST({column} AS HUGEINT)) > {_EXACT_INTEGERS}"
