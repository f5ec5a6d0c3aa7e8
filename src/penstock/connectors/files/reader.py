"""Reading tables of files in chunks: runs of files, or pieces of a large one, with the stamps they were planned with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from penstock.connectors._formats.batches import cut, fitted, nulls
from penstock.connectors._formats.port import Refusals, Request
from penstock.connectors._formats.registry import format_named
from penstock.connectors.files.chunks import Piece, chunks
from penstock.connectors.files.listing import FileSet, find, match
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.partition import constant
from penstock.connectors.files.quarantine import refusals
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.rows import Filter, filter_of
from penstock.connectors.files.shape import columns_of, settings_of
from penstock.connectors.files.stamp import FoundFile, LocalFile
from penstock.connectors.files.stop import StopFlag
from penstock.core.errors import SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source
from penstock.core.schema import Column


class FilesReader:
    """The Reader port of a file connection."""

    def __init__(self, options: FileOptions, stop: StopFlag) -> None:
        self._options = options
        self._stop = stop

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        with named_errors(f"list the files of {source}"):
            found = self._found(source)
            return chunks(self._options, found, self._whole(source, found), chunk_bytes)

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        with self._stop.running(), named_errors(f"read {source}"):
            wanted = filter_of(source)
            piece = self._piece(source, chunk)
            names = [column.name for column in source.columns]
            for rows in self._filtered(source, piece, wanted, source.columns, batch):
                yield from cut(rows.select(names), batch)

    def count(self, source: Source) -> int:
        with self._stop.running(), named_errors(f"count the rows of {source}"):
            found = self._found(source)
            wanted = filter_of(source)
            if not wanted.columns:
                known = [self._rows(found, file) for file in found.files]
                if None not in known:
                    return sum(rows for rows in known if rows is not None)
            piece = self._whole(source, found)
            columns = source.columns if not format_named(piece.settings.format).typed else ()
            return sum(rows.num_rows for rows in self._filtered(source, piece, wanted, columns, BatchSize()))

    def high(self, source: Source) -> CursorValue | None:
        raise NotImplementedError

    def null_cursors(self, source: Source) -> int:
        raise NotImplementedError

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        raise NotImplementedError

    def _found(self, source: Source) -> FileSet:
        root, wanted = self._options.root, self._options.format
        if source.table is None:
            return match(root, source.query, wanted)
        return find(root, source.table, wanted)

    def _piece(self, source: Source, chunk: Chunk) -> Piece:
        if chunk.bounds:
            return Piece.from_bounds(chunk.bounds)
        return self._whole(source, self._found(source))

    def _whole(self, source: Source, found: FileSet) -> Piece:
        """The piece that covers all files. The table's columns go along where the files or `source` do not say them."""
        settings = settings_of(self._options, found)
        known = {column.name for column in source.columns}
        needs_more = bool(set(filter_of(source).columns) - known)
        columns: tuple[Column, ...] = ()
        if needs_more or found.partition_by or not format_named(settings.format).typed:
            columns = columns_of(self._options, found)
        return Piece(found.files, settings, columns)

    def _rows(self, found: FileSet, file: FoundFile) -> int | None:
        if found.manifest is not None and file.path not in found.stray:
            return next(f.rows for f in found.manifest.files if f"{found.where}/{f.path}" == file.path)
        return format_named(file.format).rows(LocalFile(self._options.root, file))

    def _filtered(
        self, source: Source, piece: Piece, wanted: Filter, columns: tuple[Column, ...], batch: BatchSize
    ) -> Iterator[pa.RecordBatch]:
        """Batches with `columns` and those that the filter needs, only the wanted rows."""
        own = {column.name: column for column in (*piece.columns, *source.columns)}
        missing = [name for name in wanted.columns if name not in own]
        if missing:
            raise SpecError(f"where {source.where!r} names column {missing[0]!r}, which {source} has not")
        needed = tuple(own[name] for name in dict.fromkeys((*(c.name for c in columns), *wanted.columns)))
        for file in piece.files:
            blob = LocalFile(self._options.root, file)
            with closing(self._file_batches(source, piece, blob, needed, batch)) as batches:
                for rows in batches:
                    self._stop.check()
                    kept = wanted.apply(rows)
                    if kept.num_rows:
                        yield kept
            blob.verify()

    def _file_batches(
        self, source: Source, piece: Piece, blob: LocalFile, needed: tuple[Column, ...], batch: BatchSize
    ) -> Iterator[pa.RecordBatch]:
        partition = dict(blob.found.partition)
        inside = tuple(column for column in needed if column.name not in partition)
        request = Request(inside, piece.columns, piece.settings, refusals(self._options, source, blob), batch, piece.span)
        for rows in format_named(piece.settings.format).read(blob, request):
            for column in needed:
                if column.name in partition:
                    rows = rows.append_column(column.to_field(), constant(partition[column.name], column, rows.num_rows))
            yield fitted(rows, needed, f"file {blob.name}")
