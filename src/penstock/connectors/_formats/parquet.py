"""Parquet: row groups of fixed size, bytes that depend on the rows alone, carriers kept in field metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.connectors._formats.batches import RowGroups, cut
from penstock.connectors._formats.carriers import any_type, column_of, converted, stored_field
from penstock.connectors._formats.port import Blob, Encoder, Ends, Request, Sink, Span
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.sinkfile import SinkFile
from penstock.core.errors import DataError, NotSupported
from penstock.core.load import BatchSize
from penstock.core.schema import Column, Fidelity, TypeChoice

OWN_KEY = b"penstock.format"
_DEFAULT_LEVEL = {"zstd": 1}
_UUID_BYTES = 16
_SAMPLE_ROWS = 8192


class _Parquet:
    """The Parquet format."""

    name = "parquet"
    typed = True

    def type_choice(self, column: Column) -> TypeChoice:
        stored = _stored(column)
        as_text = stored != column.type and pa.types.is_string(stored)
        fidelity = Fidelity.TEXT if as_text else Fidelity.LOSSLESS
        return TypeChoice(column, f"parquet:{stored}", fidelity, "as ISO 8601 text" if as_text else "")

    def encoder(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> Encoder:
        return _ParquetEncoder(sink, columns, settings)

    def columns(self, blobs: Sequence[Blob], settings: FormatSettings) -> list[tuple[Column, ...]]:
        return [_columns(blob) for blob in blobs]

    def spans(self, blob: Blob, settings: FormatSettings, size_bytes: int) -> list[Span]:
        """Runs of row groups whose uncompressed bytes come near `size_bytes`."""
        with closing(_opened(blob)) as file:
            metadata = file.metadata
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
        spans: list[Span] = []
        start, rows, held = 0, 0, 0
        for index, (group_rows, group_bytes) in enumerate(sizes):
            if index > start and held + group_bytes > size_bytes:
                spans.append(Span(start, index, held, rows))
                start, rows, held = index, 0, 0
            rows, held = rows + group_rows, held + group_bytes
        return [*spans, Span(start, len(sizes), held, rows)]

    def rows(self, blob: Blob) -> int | None:
        with closing(_opened(blob)) as file:
            return int(file.metadata.num_rows)

    def read(self, blob: Blob, request: Request) -> Iterator[pa.RecordBatch]:
        with closing(_opened(blob)) as file:
            wanted = {column.name for column in request.columns}
            columns = [column for column in _file_columns(file, blob) if column.name in wanted]
            groups: Sequence[int] = range(file.metadata.num_row_groups)
            if request.span:
                groups = groups[request.span.start : request.span.stop]
            if request.ends:
                groups = _within(file, groups, request.ends)
            schema = pa.schema([column.to_field() for column in columns])
            for batch in _batches(file, blob, [c.name for c in columns], list(groups), request.batch):
                arrays = [_restored(batch.column(column.name), column, blob) for column in columns]
                whole = pa.RecordBatch.from_arrays(arrays, schema=schema) if columns else batch
                yield from cut(whole, request.batch)


def _opened(blob: Blob) -> Any:
    try:
        return pq.ParquetFile(blob.open())
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, pa.ArrowInvalid) or "magic" in str(error):
            raise DataError(
                f"{blob.name} is not a whole Parquet file: {error}", "remove it or write it again"
            ) from error
        raise


def _columns(blob: Blob) -> tuple[Column, ...]:
    with closing(_opened(blob)) as file:
        return _file_columns(file, blob)


def _file_columns(file: Any, blob: Blob) -> tuple[Column, ...]:
    schema = file.schema_arrow
    own = OWN_KEY in (schema.metadata or {})
    columns = tuple(column_of(field, own) for field in schema)
    if len({column.name for column in columns}) < len(columns):
        raise DataError(f"{blob.name} has two columns of one name", "rename one of them")
    return columns


def _batches(file: Any, blob: Blob, names: list[str], groups: list[int], size: BatchSize) -> Iterator[pa.RecordBatch]:
    """Batches by rows and by the file's mean row size, so that wide rows make smaller batches.

    Group by group, since the bytes of all groups that one call is given stay in memory to its end; and in this thread,
    since workers are the parallelism: Arrow's own threads take a fifth more CPU and keep memory of their own.
    """
    metadata = file.metadata
    total = sum(metadata.row_group(i).total_byte_size for i in groups)
    count = sum(metadata.row_group(i).num_rows for i in groups)
    if not count:
        return
    rows = max(1, min(size.rows, size.size_bytes * count // max(total, 1)))
    try:
        for group in groups:
            yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{blob.name} cannot be read: {error}", "the file is damaged; write it again") from error


def _within(file: Any, groups: Sequence[int], ends: Ends) -> Sequence[int]:
    """The row groups that may hold rows within the ends, by their statistics."""
    names = [field.name for field in file.schema_arrow]
    at = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
    if ends.column not in names or at.count(ends.column) != 1 or file.schema_arrow.field(ends.column).type != ends.kind:
        return groups
    index = at.index(ends.column)
    return [number for number in groups if _may_hold(file.metadata.row_group(number).column(index).statistics, ends)]


def _may_hold(statistics: Any, ends: Ends) -> bool:
    if statistics is None or not statistics.has_min_max or not statistics.has_null_count:
        return True
    if ends.nulls and statistics.null_count:
        return True
    low, high = statistics.min_raw, statistics.max_raw
    return not ((ends.low is not None and high < ends.low) or (ends.high is not None and low > ends.high))


def _is_foreign(carrier: pa.DataType) -> bool:
    """Types Parquet has no place for."""
    return bool(
        pa.types.is_interval(carrier)
        or pa.types.is_run_end_encoded(carrier)
        or (pa.types.is_decimal(carrier) and carrier.scale < 0)
        or (pa.types.is_struct(carrier) and carrier.num_fields == 0)
    )


def _changes(carrier: pa.DataType) -> bool:
    """Types that Parquet stores as another, from which a cast restores them."""
    return bool(
        (pa.types.is_timestamp(carrier) and carrier.unit == "s")
        or (pa.types.is_time32(carrier) and carrier.unit == "s")
        or pa.types.is_date64(carrier)
    )


def _is_decoded_dictionary(carrier: pa.DataType) -> bool:
    return pa.types.is_dictionary(carrier) and not pa.types.is_string(carrier.value_type)


def _stored(column: Column) -> pa.DataType:
    """The Arrow type handed to the Parquet writer for a column; equal to the carrier where Parquet keeps it."""
    carrier = column.type
    if column.logical == "uuid" and pa.types.is_fixed_size_binary(carrier) and carrier.byte_width == _UUID_BYTES:
        return pa.uuid()
    if pa.types.is_interval(carrier):
        return pa.string()
    if pa.types.is_decimal(carrier) and carrier.scale < 0:
        return pa.decimal256(min(carrier.precision - carrier.scale, 76), 0)
    if pa.types.is_run_end_encoded(carrier):
        return carrier.value_type
    if _is_decoded_dictionary(carrier):
        return carrier.value_type
    if any_type(carrier, _is_foreign):
        raise NotSupported(
            f"column {column.name!r} has type {carrier}, which Parquet cannot hold inside another type",
            "cast the column to text, or use format arrow",
        )
    return carrier


def _field(column: Column) -> pa.Field:
    """The file's field; the carrier is noted where reading would not give it back by itself."""
    stored = _stored(column)
    field = stored_field(column, stored)
    if stored == column.type and any_type(stored, _changes):
        noted = stored_field(column, pa.null())
        return noted.with_type(stored)
    return field


def _to_store(array: pa.Array, column: Column, stored: pa.DataType) -> pa.Array:
    if array.type == stored:
        return array
    if pa.types.is_interval(array.type):
        from penstock.connectors._formats.interval import interval_to_text

        return interval_to_text(array)
    return converted(array, stored, f"column {column.name!r}")


def _restored(array: pa.Array, column: Column, blob: Blob) -> pa.Array:
    if array.type == column.type:
        return array
    if pa.types.is_interval(column.type):
        from penstock.connectors._formats.interval import interval_from_text

        return interval_from_text(array)
    return converted(array, column.type, f"column {column.name!r} of {blob.name}")


def _repeating(group: pa.RecordBatch) -> list[str]:
    """Columns that get a dictionary: text that repeats in the file's first rows, so that all follows from the rows.

    A dictionary costs a hash a value, and is thrown away when it grows too large. For 1M rows of 15 mixed columns, at zstd
    level 1, one for each text takes 0.30 s CPU and 50.3 MB; for text that repeats 0.26 s and 47.2 MB. For numbers
    dictionaries save next to nothing.
    """
    texts = [f.name for f in group.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    head = group.slice(0, _SAMPLE_ROWS)
    if head.num_rows < _SAMPLE_ROWS // 8:
        return []
    # Python objects for a few rows of a file: less than loading Arrow's functions for it.
    return [name for name in texts if len(set(head.column(name).to_pylist())) <= head.num_rows // 2]


class _ParquetEncoder:
    def __init__(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> None:
        self._columns = columns
        self._stored = [_stored(column) for column in columns]
        self._schema = pa.schema([_field(column) for column in columns], {OWN_KEY: b"1"})
        self._groups = RowGroups(self._schema, settings.row_group_rows, settings.row_group_bytes)
        self._sink = SinkFile(sink)
        self._codec = settings.written_compression
        self._level = settings.compression_level or _DEFAULT_LEVEL.get(self._codec)
        self._writer: pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [
            _to_store(array, column, stored)
            for array, column, stored in zip(batch.columns, self._columns, self._stored, strict=True)
        ]
        stored_batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema) if arrays else batch
        for group in self._groups.add(stored_batch):
            self._flush(group)

    def close(self) -> None:
        self.flush()
        self._opened(None).close()

    def flush(self) -> None:
        for group in self._groups.rest():
            self._flush(group)

    @property
    def held_bytes(self) -> int:
        return self._groups.held_bytes

    @property
    def is_cuttable(self) -> bool:
        return False

    def _opened(self, first: pa.RecordBatch | None) -> pq.ParquetWriter:
        """The file's writer; `first` is its first group, None where it has none."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="NONE" if self._codec == "none" else self._codec,
                compression_level=self._level if self._codec in ("zstd", "gzip") else None,
                use_dictionary=(_repeating(first) if first is not None else None) or False,
                # As other writers do: 8 bytes for up to 18 digits, where Arrow would write them as text of bytes.
                store_decimal_as_integer=True,
            )
        return self._writer

    def _flush(self, group: pa.RecordBatch) -> None:
        try:
            self._opened(group).write_table(pa.Table.from_batches([group]), row_group_size=group.num_rows)
        except pa.ArrowInvalid as error:
            raise DataError(f"a value cannot be stored in Parquet: {error}") from error


parquet = _Parquet()
