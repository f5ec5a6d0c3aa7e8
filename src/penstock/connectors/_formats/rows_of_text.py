"""Rows of raw values as rows of typed columns; those that do not fit go to the refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.csv_decode import RowNumbers
from penstock.connectors._formats.parse import misfits, parse
from penstock.connectors._formats.port import Blob, Refusals, Refused
from penstock.connectors._formats.settings import Dialect
from penstock.core.schema import Column, arrow_schema

_SHOWN = 200


@dataclass(frozen=True)
class Place:
    """Where a batch of raw values stands in its file: `first` rows that were not ragged lie before it."""

    blob: Blob
    numbers: RowNumbers
    first: int

    def number(self, row: int) -> int:
        """The row's number among the data rows of the file (of the span, where one is read), from 1 on."""
        return self.numbers.number(self.first + row)


def converted_rows(
    raw: pa.RecordBatch, columns: tuple[Column, ...], dialect: Dialect, refusals: Refusals, place: Place
) -> pa.RecordBatch:
    """`raw` (binary columns by name) with the columns' carriers."""
    arrays, wrong = [], []
    for column in columns:
        values = raw.column(column.name)
        texts = _texts(values)
        parsed = parse(texts, column, dialect)
        bad = misfits(values, parsed)
        arrays.append(parsed)
        if bad is not None:
            wrong.append((column, bad))
    whole = pa.RecordBatch.from_arrays(arrays, schema=_nullable(columns))
    if not wrong:
        return _strict(whole, columns, raw, refusals, place)
    kept = _refuse(raw, wrong, refusals, place)
    return _strict(whole.filter(kept), columns, raw.filter(kept), refusals, place)


def _texts(values: pa.Array) -> pa.Array:
    """UTF-8 strings; NULL where the bytes are none."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, pa.string())
        half = len(values) // 2
        return pa.concat_arrays([_texts(values.slice(0, half)), _texts(values.slice(half))])


def _nullable(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in arrow_schema(columns)])


def _strict(
    rows: pa.RecordBatch, columns: tuple[Column, ...], raw: pa.RecordBatch, refusals: Refusals, place: Place
) -> pa.RecordBatch:
    """`rows` with the columns' own nullability: a missing value in a column that may have none is refused too."""
    missing = [(c, rows.column(c.name).is_null()) for c in columns if not c.nullable and rows.column(c.name).null_count]
    if missing:
        kept = _refuse(raw, missing, refusals, place)
        rows = rows.filter(kept)
    return pa.RecordBatch.from_arrays(rows.columns, schema=arrow_schema(columns))


def _refuse(raw: pa.RecordBatch, wrong: list[tuple[Column, pa.Array]], refusals: Refusals, place: Place) -> pa.Array:
    """Hand each row at fault to the refusals, with the first column at fault; True for the rows that stay."""
    any_bad = wrong[0][1]
    for _, bad in wrong[1:]:
        any_bad = pc.or_(any_bad, bad)
    # A loop over rows, but only over those that do not fit.
    for row in pc.indices_nonzero(any_bad).to_pylist():
        column = next(column for column, bad in wrong if bad[row].as_py())
        value = raw.column(column.name)[row].as_py()
        shown = "" if value is None else value.decode("utf-8", "backslashreplace")
        reason = "is missing, which the column does not allow" if value is None else f"is no {_called(column)}"
        refusals.refuse(
            place.blob, Refused(place.number(row), column.name, shown[:_SHOWN], reason, _row_text(raw, row))
        )
    return pc.invert(any_bad)


def _called(column: Column) -> str:
    return f"{column.logical} ({column.type})" if column.logical else str(column.type)


def _row_text(raw: pa.RecordBatch, row: int) -> str:
    values = {
        name: None if (value := raw.column(name)[row].as_py()) is None else value.decode("utf-8", "backslashreplace")
        for name in raw.schema.names
    }
    return json.dumps(values, ensure_ascii=False)
