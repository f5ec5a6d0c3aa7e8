"""Files in memory: the smallest store a format can be read from, and the steps of its tests."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.port import Blob, Refused, Request, Span
from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import Dialect, FormatSettings
from penstock.connectors._formats.streams import compressed
from penstock.connectors._formats.suffixes import written_suffix
from penstock.core.load import BatchSize
from penstock.core.schema import Column


@dataclass(frozen=True)
class MemoryBlob:
    """Bytes under a name."""

    name: str
    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def open(self) -> Any:
        return pa.BufferReader(self.data)


@dataclass
class Kept:
    """Keeps rows that are refused."""

    rows: list[Refused] = field(default_factory=list)

    def refuse(self, blob: Blob, refused: Refused) -> None:
        self.rows.append(refused)


class _Sink(io.BytesIO):
    def write(self, data: Any, /) -> int:
        return super().write(bytes(memoryview(data).cast("B")))


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column.from_field(each) for each in schema)


def encode(batches: Iterable[pa.RecordBatch], columns: tuple[Column, ...], settings: FormatSettings) -> MemoryBlob:
    """The batches as one file."""
    sink = _Sink()
    stream = compressed(sink, settings)
    encoder = format_named(settings.format).encoder(stream, columns, settings)
    for batch in batches:
        encoder.write(batch)
    encoder.close()
    stream.close()
    return MemoryBlob(f"file{written_suffix(settings.format, settings.written_compression)}", sink.getvalue())


def decode(
    blob: Blob,
    columns: tuple[Column, ...],
    settings: FormatSettings,
    *,
    kept: Kept | None = None,
    span: Span | None = None,
    batch: BatchSize | None = None,
) -> pa.Table:
    """The rows of a file as a table of `columns`; refused rows go to `kept`."""
    request = Request(columns, columns, settings, kept or Kept(), batch or BatchSize(), span)
    batches = list(format_named(settings.format).read(blob, request))
    assert kept is not None or not request.refusals.rows, request.refusals.rows  # type: ignore[attr-defined]
    return pa.Table.from_batches(batches, pa.schema([column.to_field() for column in columns]))


def csv(**dialect: Any) -> FormatSettings:
    return FormatSettings(format="csv", dialect=Dialect(**dialect))
