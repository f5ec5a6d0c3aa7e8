"""CSV: text to columns by declared or inferred types; a row that does not fit is named, never bent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from penstock.connectors._formats.batches import cut
from penstock.connectors._formats.csv_decode import Reading, csv_names, read_texts
from penstock.connectors._formats.csv_encode import CsvEncoder
from penstock.connectors._formats.infer import Guesses
from penstock.connectors._formats.port import Blob, Encoder, Refused, Request, Sink, Span
from penstock.connectors._formats.ranges import line_spans
from penstock.connectors._formats.rows_of_text import Place, converted_rows
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.streams import is_cuttable
from penstock.connectors._formats.suffixes import compression_of
from penstock.connectors._formats.textual import text_choice
from penstock.core.schema import Column, TypeChoice


class _Csv:
    """The CSV format."""

    name = "csv"
    typed = False

    def type_choice(self, column: Column) -> TypeChoice:
        return text_choice("csv", column)

    def encoder(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> Encoder:
        return CsvEncoder(sink, columns, settings)

    def columns(self, blobs: Sequence[Blob], settings: FormatSettings) -> list[tuple[Column, ...]]:
        """Types that hold all values of all files (of the first `infer_rows` of each), or the declared ones."""
        guesses = Guesses(settings)
        found = []
        for blob in blobs:
            names = csv_names(blob, settings)
            found.append(names)
            wanted = guesses.open(names)
            if not wanted:
                continue
            left = settings.infer_rows or None
            for batch in read_texts(Reading(blob, settings, names, wanted, _Lenient())):
                guesses.look(batch if left is None else batch.slice(0, left))
                left = None if left is None else left - batch.num_rows
                if left is not None and left <= 0:
                    break
        return [tuple(guesses.column(name) for name in names) for names in found]

    def spans(self, blob: Blob, settings: FormatSettings, size_bytes: int) -> list[Span]:
        """Byte ranges where a line break can only be the end of a row; the whole file elsewhere."""
        if settings.dialect.newlines_in_values or not is_cuttable(settings, compression_of(blob.name)):
            return [Span(0, blob.size_bytes, blob.size_bytes)]
        return line_spans(blob, size_bytes)

    def rows(self, blob: Blob) -> int | None:
        return None

    def read(self, blob: Blob, request: Request) -> Iterator[pa.RecordBatch]:
        settings = request.settings
        own_names = tuple(column.name for column in request.file_columns)
        names = own_names if not settings.dialect.header and own_names else csv_names(blob, settings)
        columns = tuple(column for column in request.columns if column.name in names)
        # Without a column to read, the first one still tells how many rows there are.
        wanted = tuple(column.name for column in columns) or names[:1]
        reading, done = Reading(blob, settings, names, wanted, request.refusals, request.span), 0
        for raw in read_texts(reading):
            place = Place(blob, reading.numbers, done)
            rows = converted_rows(raw, columns, settings.dialect, request.refusals, place) if columns else raw
            done += raw.num_rows
            yield from cut(rows, request.batch)


class _Lenient:
    """While types are inferred, ragged rows count for nothing; reading names them."""

    def refuse(self, blob: Blob, refused: Refused) -> None:
        """Left to the reading."""


csv = _Csv()
