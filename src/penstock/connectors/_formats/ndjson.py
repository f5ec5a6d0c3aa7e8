"""NDJSON: one JSON object a line; numbers keep their digits, a line that does not fit is named, never bent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.batches import cut
from penstock.connectors._formats.json_text import escaped, is_bare, to_json
from penstock.connectors._formats.json_values import from_json, json_type, read_block
from penstock.connectors._formats.ndjson_infer import inferred
from penstock.connectors._formats.port import Blob, Encoder, Refused, Request, Sink, Span
from penstock.connectors._formats.ranges import line_number, line_spans
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.streams import Encoded, TextInput, is_cuttable
from penstock.connectors._formats.suffixes import compression_of
from penstock.connectors._formats.texts import text_bytes, to_text
from penstock.connectors._formats.textual import text_choice
from penstock.core.errors import DataError
from penstock.core.load import BatchSize
from penstock.core.schema import Column, TypeChoice, arrow_schema

_PIECE = BatchSize()
_BLOCK_BYTES = 4 * 2**20
_SHOWN = 200


class _Ndjson:
    """The NDJSON format ("JSON lines")."""

    name = "ndjson"
    typed = False

    def type_choice(self, column: Column) -> TypeChoice:
        return text_choice("ndjson", column)

    def encoder(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> Encoder:
        return _NdjsonEncoder(sink, columns, settings)

    def columns(self, blobs: Sequence[Blob], settings: FormatSettings) -> list[tuple[Column, ...]]:
        return inferred(blobs, settings)

    def spans(self, blob: Blob, settings: FormatSettings, size_bytes: int) -> list[Span]:
        """Byte ranges: a line break is always the end of a row, since JSON texts hold none."""
        if not is_cuttable(settings, compression_of(blob.name)):
            return [Span(0, blob.size_bytes, blob.size_bytes)]
        return line_spans(blob, size_bytes)

    def rows(self, blob: Blob) -> int | None:
        return None

    def read(self, blob: Blob, request: Request) -> Iterator[pa.RecordBatch]:
        span = request.span
        schema = pa.schema(
            [pa.field(c.name, json_type(c.type)) for c in request.columns] or [pa.field("", pa.string())]
        )
        before = _Lines(lambda: line_number(blob, span.start) if span else 0)
        stop = span.stop if span else None
        stream = TextInput(
            blob, compression_of(blob.name), request.settings.dialect.encoding, span.start if span else 0, stop
        )
        with closing(stream):
            for block in stream.blocks(_BLOCK_BYTES):
                for batch in _block(block, schema, request, blob, before):
                    yield from cut(batch, request.batch)
                before.add(block)


class _Lines:
    """The number of lines before a block, counted only when a message needs it."""

    def __init__(self, first: Callable[[], int]) -> None:
        self._first = first
        self._passed = 0

    def add(self, block: bytes) -> None:
        self._passed += block.count(b"\n")

    def before(self) -> int:
        return self._first() + self._passed


def _block(block: bytes, schema: pa.Schema, request: Request, blob: Blob, before: _Lines) -> Iterator[pa.RecordBatch]:
    """Lines as batches; where the whole is refused, the lines at fault are found by halving."""
    if not block.strip():
        return
    try:
        pa.array([block], pa.binary()).cast(pa.string())
        raw = read_block(pa.py_buffer(block), schema)
    except pa.ArrowInvalid as error:
        yield from _halves(block, schema, request, blob, before, str(error))
        return
    yield _converted(raw, block, request, blob, before)


def _halves(
    block: bytes, schema: pa.Schema, request: Request, blob: Blob, before: _Lines, reason: str
) -> Iterator[pa.RecordBatch]:
    lines = block.splitlines(keepends=True)
    if len(lines) == 1:
        text = lines[0].decode("utf-8", "backslashreplace").rstrip("\r\n")
        column = _column_in(reason)
        request.refusals.refuse(blob, Refused(before.before() + 1, column, "", _cause(reason), text))
        return
    half = len(lines) // 2
    first, second = b"".join(lines[:half]), b"".join(lines[half:])
    yield from _block(first, schema, request, blob, before)
    later = _Lines(before.before)
    later.add(first)
    yield from _block(second, schema, request, blob, later)


def _column_in(reason: str) -> str:
    start = reason.find("Column(/")
    return reason[start + len("Column(/") : reason.find(")", start)] if start >= 0 else ""


def _cause(reason: str) -> str:
    """The reader's message without its own row number, which counts within a block."""
    return f"is not as declared: {reason.partition(' in row ')[0].removeprefix('JSON parse error: ')}"


def _converted(raw: pa.RecordBatch, block: bytes, request: Request, blob: Blob, before: _Lines) -> pa.RecordBatch:
    """The columns in their carriers; rows with a value that does not fit, or lacks where it must not, are refused."""
    arrays, wrong = [], []
    for column, values in zip(request.columns, raw.columns, strict=False):
        made, bad = from_json(values, column, request.settings.dialect)
        arrays.append(made)
        if not column.nullable and made.null_count:
            bad = made.is_null() if bad is None else pc.or_(bad, made.is_null())
        if bad is not None and pc.any(bad).as_py():
            wrong.append((column, values, bad))
    if not arrays:
        return raw.select([])
    kept = _refuse(block, wrong, request, blob, before) if wrong else None
    if kept is not None:
        arrays = [array.filter(kept) for array in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(request.columns))


def _refuse(
    block: bytes, wrong: list[tuple[Column, pa.Array, pa.Array]], request: Request, blob: Blob, before: _Lines
) -> pa.Array:
    any_bad = wrong[0][2]
    for _, _, bad in wrong[1:]:
        any_bad = pc.or_(any_bad, bad)
    lines = [(at, line) for at, line in enumerate(block.splitlines()) if line.strip()]
    # A loop over rows, but only over those that do not fit.
    for row in pc.indices_nonzero(any_bad).to_pylist():
        column, values, _ = next(each for each in wrong if each[2][row].as_py())
        value = to_json(values.slice(row, 1))[0].as_py()
        reason = (
            "is missing, which the column does not allow" if value is None else f"is no {column.logical or column.type}"
        )
        at, line = lines[row]
        text = line.decode("utf-8", "backslashreplace")
        refused = Refused(before.before() + at + 1, column.name, (value or "")[:_SHOWN], reason, text)
        request.refusals.refuse(blob, refused)
    return pc.invert(any_bad)


class _NdjsonEncoder:
    """Writes one object a row with all columns, NULL as null."""

    def __init__(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> None:
        self._columns = columns
        self._dialect = settings.dialect
        self._out = Encoded(sink, settings.dialect.encoding)

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
        return True

    def _lines(self, batch: pa.RecordBatch) -> pa.Array:
        parts: list[object] = []
        behind = "{"
        for values, column in zip(batch.columns, self._columns, strict=True):
            key = f"{behind}{json.dumps(column.name, ensure_ascii=False)}:"
            try:
                text, mark = self._texts(values, column)
            except DataError as error:
                raise DataError(f"column {column.name!r}: {error.what}", error.hint) from error
            parts += [key + mark, text]
            behind = f"{mark},"
        return pc.binary_join_element_wise(*parts, f"{behind[:-1]}}}\n", "")

    def _texts(self, values: pa.Array, column: Column) -> tuple[pa.Array, str]:
        """The values' texts and the quote that stands around all of them, which is cheaper than around each."""
        if pa.types.is_nested(_storage(values.type)) or is_bare(values.type):
            return pc.fill_null(to_json(values, self._dialect), "null"), ""
        text = escaped(to_text(values, column.logical, replace(self._dialect, decimal_comma=False)))
        if not text.null_count:
            return text, '"'
        return pc.fill_null(pc.binary_join_element_wise('"', text, '"', ""), "null"), ""


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


ndjson = _Ndjson()
