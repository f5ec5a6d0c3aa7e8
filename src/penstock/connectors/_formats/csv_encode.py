"""Batches as CSV bytes, a column at a time: quotes only where a value needs them, NULL told from the empty text."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.batches import cut
from penstock.connectors._formats.port import Sink
from penstock.connectors._formats.settings import Dialect, FormatSettings
from penstock.connectors._formats.streams import Encoded
from penstock.connectors._formats.texts import text_bytes, to_text
from penstock.core.errors import DataError
from penstock.core.load import BatchSize
from penstock.core.schema import Column

_PIECE = BatchSize()
# Delimiters that occur in no number, time or uuid.
_HARMLESS = ",;\t|"
# A file that began with this character would lose it as a byte order mark.
_BOM = "\ufeff"


class CsvEncoder:
    """Writes rows; the header, where the dialect has one, comes first."""

    def __init__(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> None:
        self._columns = columns
        self._dialect = settings.dialect
        self._has_breaks = False
        self._out = Encoded(sink, settings.dialect.encoding)
        if settings.dialect.header:
            names = self._quoted(pa.array([column.name for column in columns]))
            self._out.write(pa.py_buffer((self._dialect.delimiter.join(names.to_pylist()) + "\n").encode()))

    def write(self, batch: pa.RecordBatch) -> None:
        for piece in cut(batch, _PIECE):
            if piece.num_rows:
                self._out.write(text_bytes(self._lines(piece)))

    def close(self) -> None:
        """Nothing is held here."""

    def flush(self) -> None:
        """Nothing is held here."""

    @property
    def held_bytes(self) -> int:
        return 0

    @property
    def is_cuttable(self) -> bool:
        return not self._has_breaks

    def _lines(self, batch: pa.RecordBatch) -> pa.Array:
        parts: list[object] = []
        for values, column in zip(batch.columns, self._columns, strict=True):
            parts += [self._cells(values, column), self._dialect.delimiter]
        parts[-1] = "\n"
        return pc.binary_join_element_wise(*parts, "")

    def _cells(self, values: pa.Array, column: Column) -> pa.Array:
        dialect = self._dialect
        try:
            text = to_text(values, column.logical, dialect)
            if not _is_bare(values.type, dialect):
                text = self._quoted(text)
        except DataError as error:
            raise DataError(f"column {column.name!r}: {error.what}", error.hint) from error
        return pc.fill_null(text, dialect.null_text)

    def _quoted(self, text: pa.Array) -> pa.Array:
        """Quotes around values that hold a mark or a line break, or that look like NULL."""
        dialect = self._dialect
        held = bytes(text_bytes(text))
        if b"\n" in held or b"\r" in held:
            if not dialect.newlines_in_values:
                raise DataError(
                    "a value holds a line break, and newlines_in_values is false", "set newlines_in_values: true"
                )
            self._has_breaks = True
        needs = pc.or_(pc.equal(text, dialect.null_text), pc.starts_with(text, _BOM))
        marks = dialect.delimiter + dialect.quote + dialect.escape + "\r\n"
        # Looking through the bytes at once is a tenth of looking through each value, and mostly finds nothing.
        if any(mark.encode() in held for mark in marks):
            pattern = "[" + "".join(f"\\x{ord(mark):02x}" for mark in marks) + "]"
            needs = pc.or_(needs, pl.Series(text).str.contains(pattern).rechunk().to_arrow())
        return _in_quotes(text, needs, dialect) if pc.any(needs).as_py() else text


def _is_bare(kind: pa.DataType, dialect: Dialect) -> bool:
    """Whether no text of this type can hold a mark of the dialect or equal its NULL."""
    if dialect.delimiter not in _HARMLESS or dialect.quote != '"' or dialect.null_text not in ("", "\\N", "NULL"):
        return False
    if pa.types.is_temporal(kind):
        return not dialect.date_format and not dialect.timestamp_format
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_floating(kind)
    )


def _in_quotes(text: pa.Array, needs: pa.Array, dialect: Dialect) -> pa.Array:
    inner = text
    if dialect.escape:
        inner = pc.replace_substring(inner, dialect.escape, dialect.escape * 2)
    inner = pc.replace_substring(inner, dialect.quote, (dialect.escape or dialect.quote) + dialect.quote)
    return pc.if_else(needs, pc.binary_join_element_wise(dialect.quote, inner, dialect.quote, ""), text)
