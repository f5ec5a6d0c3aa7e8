"""Arrow IPC files: record batches of fixed size with their exact types, compressed inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.batches import RowGroups, cut
from penstock.connectors._formats.carriers import column_of, converted, decoded_type, stored_field
from penstock.connectors._formats.port import Blob, Encoder, Request, Sink, Span
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.sinkfile import SinkFile
from penstock.core.errors import DataError
from penstock.core.schema import Column, Fidelity, TypeChoice, arrow_schema

OWN_KEY = b"penstock.format"
_ZSTD_LEVEL = 1


class _Arrow:
    """The Arrow IPC file format ("Feather 2")."""

    name = "arrow"
    typed = True

    def type_choice(self, column: Column) -> TypeChoice:
        stored = decoded_type(column.type)
        inside = stored != column.type and not pa.types.is_dictionary(column.type)
        return TypeChoice(column, f"arrow:{stored}", Fidelity.WIDENING if inside else Fidelity.LOSSLESS)

    def encoder(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> Encoder:
        return _ArrowEncoder(sink, columns, settings)

    def columns(self, blobs: Sequence[Blob], settings: FormatSettings) -> list[tuple[Column, ...]]:
        return [_columns(blob) for blob in blobs]

    def spans(self, blob: Blob, settings: FormatSettings, size_bytes: int) -> list[Span]:
        """Runs of record batches; the first tells how large a batch is in memory."""
        with closing(blob.open()) as stream:
            reader = _reader(stream, blob)
            count = int(reader.num_record_batches)
            each = max(1, _batch(reader, 0, blob).nbytes) if count else 1
        step = max(1, size_bytes // each)
        starts = range(0, count, step)
        spans = [Span(at, min(at + step, count), each * min(step, count - at)) for at in starts]
        return spans or [Span(0, 0, blob.size_bytes, 0)]

    def rows(self, blob: Blob) -> int | None:
        """Counted from the record batches, of which only the first column is read."""
        with closing(blob.open()) as stream:
            reader = _reader(stream, blob, columns=[0])
            return sum(int(_batch(reader, number, blob).num_rows) for number in range(reader.num_record_batches))

    def read(self, blob: Blob, request: Request) -> Iterator[pa.RecordBatch]:
        with closing(blob.open()) as stream:
            wanted = {column.name for column in request.columns}
            have = _file_columns(_reader(stream, blob).schema)
            indices = [index for index, column in enumerate(have) if column.name in wanted]
            columns = [have[index] for index in indices]
            schema = arrow_schema(tuple(columns))
            reader = _reader(stream, blob, columns=indices) if indices else _reader(stream, blob, columns=[0])
            numbers = range(reader.num_record_batches)
            if request.span:
                numbers = numbers[request.span.start : request.span.stop]
            for number in numbers:
                batch = _batch(reader, number, blob)
                if columns:
                    arrays = [
                        converted(values, column.type, f"column {column.name!r} of {blob.name}")
                        for values, column in zip(batch.columns, columns, strict=True)
                    ]
                    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                yield from cut(batch, request.batch)


def _reader(stream: Any, blob: Blob, columns: list[int] | None = None) -> Any:
    stream.seek(0)
    options = pa.ipc.IpcReadOptions(included_fields=columns) if columns else pa.ipc.IpcReadOptions()
    try:
        return pa.ipc.open_file(stream, options=options)
    except pa.ArrowInvalid as error:
        raise DataError(f"{blob.name} is not a whole Arrow IPC file: {error}", "remove it or write it again") from error


def _batch(reader: Any, number: int, blob: Blob) -> pa.RecordBatch:
    try:
        return reader.get_batch(number)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{blob.name} cannot be read: {error}", "the file is damaged; write it again") from error


def _columns(blob: Blob) -> tuple[Column, ...]:
    with closing(blob.open()) as stream:
        columns = _file_columns(_reader(stream, blob).schema)
    if len({column.name for column in columns}) < len(columns):
        raise DataError(f"{blob.name} has two columns of one name", "rename one of them")
    return columns


def _file_columns(schema: pa.Schema) -> tuple[Column, ...]:
    own = OWN_KEY in (schema.metadata or {})
    return tuple(column_of(field, own) for field in schema)


class _ArrowEncoder:
    def __init__(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> None:
        # An IPC file has one dictionary a column for all batches, which is known at its end only: values are written.
        self._columns = columns
        self._schema = pa.schema([_field(column) for column in columns], {OWN_KEY: b"1"})
        codec = settings.written_compression
        compression = None if codec == "none" else _codec(codec, settings.compression_level)
        self._groups = RowGroups(self._schema, settings.row_group_rows, settings.row_group_bytes)
        self._writer = pa.ipc.new_file(
            SinkFile(sink), self._schema, options=pa.ipc.IpcWriteOptions(compression=compression)
        )

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [
            converted(values, field.type, f"column {field.name!r}")
            for values, field in zip(batch.columns, self._schema, strict=True)
        ]
        for group in self._groups.add(pa.RecordBatch.from_arrays(arrays, schema=self._schema)):
            self._writer.write_batch(group)

    def close(self) -> None:
        self.flush()
        self._writer.close()

    def flush(self) -> None:
        for group in self._groups.rest():
            self._writer.write_batch(group)

    @property
    def held_bytes(self) -> int:
        return self._groups.held_bytes

    @property
    def is_cuttable(self) -> bool:
        return False


def _field(column: Column) -> pa.Field:
    stored = decoded_type(column.type)
    if pa.types.is_dictionary(column.type):
        return stored_field(column, stored)
    return column.to_field().with_type(stored)


def _codec(name: str, level: int | None) -> Any:
    return pa.Codec(name, compression_level=level or _ZSTD_LEVEL) if name == "zstd" else name


arrow = _Arrow()
