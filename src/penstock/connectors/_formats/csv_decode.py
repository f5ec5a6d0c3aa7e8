"""CSV bytes as columns of raw values: quoting, ragged rows and NULL, before any type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.csv as pv

from penstock.connectors._formats.port import Blob, Refusals, Refused, Span
from penstock.connectors._formats.settings import Dialect, FormatSettings
from penstock.connectors._formats.streams import TextInput
from penstock.connectors._formats.suffixes import compression_of
from penstock.core.errors import DataError

# A row must fit a block; blocks grow where one does not. Arrow reads some 32 blocks ahead, so the first size is small.
_BLOCK_BYTES = (2**20, 16 * 2**20, 256 * 2**20, 2**31 - 2)


@dataclass
class RowNumbers:
    """Which data rows (1-based) were left out as ragged, so that the others keep their numbers."""

    skipped: list[int] = field(default_factory=list)

    def number(self, kept: int) -> int:
        """The number of the `kept`-th (0-based) row that was not left out."""
        number = kept + 1
        for skipped in sorted(self.skipped):
            if skipped > number:
                break
            number += 1
        return number


def _skip(_row: Any) -> str:
    return "skip"


def csv_names(blob: Blob, settings: FormatSettings) -> tuple[str, ...]:
    """The column names of a file: its header, or column_1, column_2, ... where the dialect has none. () for an empty
    file. Raises DataError for a header with a name twice."""
    if blob.size_bytes == 0:
        return ()
    with closing(_input(blob, settings)) as stream:
        try:
            reader = _reader(stream, settings.dialect, None, None, _BLOCK_BYTES[0], _skip)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return ()
            raise DataError(
                f"the header of {blob.name} cannot be read: {error}", "check delimiter and quote"
            ) from error
        names = tuple(reader.schema.names)
    if not settings.dialect.header:
        return tuple(f"column_{at + 1}" for at in range(len(names)))
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise DataError(
            f"the header of {blob.name} has the name {doubled!r} twice", "rename one, or read without header"
        )
    return names


@dataclass(frozen=True)
class Reading:
    """What to read of one file: the `wanted` columns of `names` (all columns in order), a span (None is all). `numbers`
    learns which rows were left out, `refusals` gets them."""

    blob: Blob
    settings: FormatSettings
    names: tuple[str, ...]
    wanted: tuple[str, ...]
    refusals: Refusals
    span: Span | None = None
    numbers: RowNumbers = field(default_factory=RowNumbers)


def read_texts(reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of the wanted columns as binary values; NULL for the dialect's unquoted null text.

    Ragged rows go to the refusals.
    """
    if not reading.names or reading.blob.size_bytes == 0:
        return
    done = 0
    for block_bytes in _BLOCK_BYTES:
        try:
            for batch in _once(reading, block_bytes, done):
                done += batch.num_rows
                yield batch
            return
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error) or block_bytes == _BLOCK_BYTES[-1]:
                raise DataError(
                    f"{reading.blob.name} cannot be read as CSV after row {reading.numbers.number(done) - 1}: {error}",
                    "check delimiter, quote and newlines_in_values",
                ) from error
            reading.numbers.skipped.clear()


def _once(reading: Reading, block_bytes: int, done: int) -> Iterator[pa.RecordBatch]:
    """One try with one block size, leaving out the first `done` rows, which an earlier try gave."""
    dialect = reading.settings.dialect
    has_header = dialect.header and (reading.span is None or reading.span.start == 0)
    ragged: list[Refused] = []

    def refuse(row: Any) -> str:
        number = row.number - has_header if row.number is not None else 0
        reading.numbers.skipped.append(number)
        reason = f"has {row.actual_columns} values, not {row.expected_columns}"
        ragged.append(Refused(number, "", "", reason, row.text))
        return "skip"

    def hand_over() -> None:
        while ragged:
            reading.refusals.refuse(reading.blob, ragged.pop(0))

    with closing(_input(reading.blob, reading.settings, reading.span)) as stream:
        own = None if has_header else list(reading.names)
        for batch in _batches(stream, dialect, own, list(reading.wanted), block_bytes, refuse):
            hand_over()
            left_out = min(done, batch.num_rows)
            done -= left_out
            if batch.num_rows > left_out:
                yield batch.slice(left_out)
        hand_over()


def _batches(
    stream: TextInput, dialect: Dialect, names: list[str] | None, wanted: list[str], block_bytes: int, refuse: Any
) -> Iterator[pa.RecordBatch]:
    try:
        reader = _reader(stream, dialect, names, wanted, block_bytes, refuse)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise
    with closing(reader):
        yield from reader


def _reader(
    stream: TextInput,
    dialect: Dialect,
    names: list[str] | None,
    wanted: list[str] | None,
    block_bytes: int,
    refuse: Any,
) -> Any:
    autogenerate = names is None and not dialect.header
    return pv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=pv.ReadOptions(
            use_threads=False, block_size=block_bytes, column_names=names, autogenerate_column_names=autogenerate
        ),
        parse_options=pv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            double_quote=not dialect.escape,
            escape_char=dialect.escape or False,
            newlines_in_values=dialect.newlines_in_values,
            # A table of one column shows NULL as an empty line.
            ignore_empty_lines=not (names or wanted) or len(names or wanted or ()) > 1,
            invalid_row_handler=refuse,
        ),
        convert_options=pv.ConvertOptions(
            check_utf8=False,
            column_types={name: pa.binary() for name in wanted or ()},
            include_columns=wanted,
            null_values=[dialect.null_text],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _input(blob: Blob, settings: FormatSettings, span: Span | None = None) -> TextInput:
    compression = compression_of(blob.name)
    encoding = settings.dialect.encoding
    if span is None:
        return TextInput(blob, compression, encoding)
    return TextInput(blob, compression, encoding, span.start, span.stop)
