"""Reading tables of files in chunks: runs of files, or pieces of a large one, with the stamps they were planned with."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa

from penstock.connectors._formats.batches import cut, fitted
from penstock.connectors._formats.port import Request
from penstock.connectors._formats.registry import format_named
from penstock.connectors.files.chunks import Piece, chunks
from penstock.connectors.files.listing import FileSet, Listing
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.partition import constant
from penstock.connectors.files.quarantine import refusals
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.rows import Filter, filter_of
from penstock.connectors.files.shape import columns_of, settings_of
from penstock.connectors.files.stamp import FoundBlob, FoundFile
from penstock.connectors.files.stop import StopFlag
from penstock.core.errors import NotSupported, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source, Window
from penstock.core.schema import Column


@dataclass(frozen=True)
class Wanted:
    """What one reading wants of each file. `bad_rows` is "error", "quarantine" or "count" (leave out, keep nothing)."""

    columns: tuple[Column, ...]
    filter: Filter
    bad_rows: str
    batch: BatchSize = BatchSize()


class FilesReader:
    """The Reader port of a file connection. `listing` finds the files."""

    def __init__(self, options: FileOptions, listing: Listing, stop: StopFlag) -> None:
        self._options = options
        self._listing = listing
        self._stop = stop

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        with named_errors(f"list the files of {source}"):
            found = self._found(source)
            return chunks(self._options, found, self._whole(source, found), chunk_bytes)

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        with self._stop.running(), named_errors(f"read {source}"):
            piece = self._piece(source, chunk)
            names = [column.name for column in source.columns]
            bad_rows = str(self._options.get("bad_rows", source.options))
            if source.options.get("bad_rows") and format_named(piece.settings.format).typed:
                raise SpecError(
                    f"option 'bad_rows' does not apply to {source}, whose format is {piece.settings.format}",
                    "it applies to csv and ndjson",
                )
            wanted = Wanted(source.columns, filter_of(source), bad_rows, batch)
            for rows in self._filtered(source, piece, wanted):
                yield from cut(rows.select(names), batch)

    def count(self, source: Source) -> int:
        with self._stop.running(), named_errors(f"count the rows of {source}"):
            found = self._found(source)
            wanted = filter_of(source)
            if wanted == Filter(None, None):
                known = [self._rows(found, file) for file in found.files]
                if None not in known:
                    return sum(rows for rows in known if rows is not None)
            # Rows that reading would set aside are known only when all their values are looked at.
            aside = self._options.get("bad_rows", source.options) == "quarantine"
            columns = source.columns if aside else ()
            piece = self._whole(source, found)
            batches = self._filtered(source, piece, Wanted(columns, wanted, "count" if aside else "error"))
            return sum(rows.num_rows for rows in batches)

    def high(self, source: Source) -> CursorValue | None:
        from penstock.connectors._formats.cursor import greatest

        with self._stop.running(), named_errors(f"read the cursor of {source}"):
            column = self._cursor(source)
            return greatest((rows.column(column.name) for rows in self._cursor_rows(source, column)), column)

    def null_cursors(self, source: Source) -> int:
        with self._stop.running(), named_errors(f"read the cursor of {source}"):
            column = self._cursor(source)
            return sum(rows.column(column.name).null_count for rows in self._cursor_rows(source, column))

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        from penstock.connectors._formats.cursor import lagged

        with named_errors(f"read the cursor of {source}"):
            return lagged(value, self._cursor(source), lag)

    def _cursor(self, source: Source) -> Column:
        from penstock.connectors._formats.cursor import check_cursor

        assert source.window is not None, "a cursor was asked for without a window"
        name = source.window.column
        columns = (*source.columns, *columns_of(self._options, self._found(source)))
        column = next((column for column in columns if column.name == name), None)
        if column is None:
            raise SpecError(f"cursor {name!r} is no column of {source}", "name one of its columns")
        check_cursor(column)
        return column

    def _cursor_rows(self, source: Source, column: Column) -> Iterator[pa.RecordBatch]:
        """The cursor column of all rows, window ends ignored."""
        every = replace(source, window=Window(column.name, nulls=True))
        bad_rows = "count" if self._options.get("bad_rows", source.options) == "quarantine" else "error"
        piece = self._whole(every, self._found(every))
        return self._filtered(every, piece, Wanted((column,), filter_of(every), bad_rows))

    def _found(self, source: Source) -> FileSet:
        if source.table is None:
            raise NotSupported(f"{self._options.where} takes no queries", "copy tables with `where` and `columns`")
        return self._listing.find(source.table)

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
            return found.listed[file.path].rows
        return format_named(file.format).rows(self._options.root.blob(file))

    def _filtered(self, source: Source, piece: Piece, wanted: Wanted) -> Iterator[pa.RecordBatch]:
        """Batches with the wanted columns and those that the filter needs, only the wanted rows."""
        keep = wanted.filter
        own = {column.name: column for column in (*piece.columns, *source.columns)}
        missing = [name for name in keep.columns if name not in own]
        if missing:
            raise SpecError(
                f"where {source.where!r} names {missing[0]!r}, which is no column of {source}", "see its columns"
            )
        needed = tuple(own[name] for name in dict.fromkeys((*(c.name for c in wanted.columns), *keep.columns)))
        for file in piece.files:
            blob = self._options.root.blob(file, piece.is_planned)
            with closing(self._file_batches(source, piece, blob, replace(wanted, columns=needed))) as batches:
                for rows in batches:
                    self._stop.check()
                    kept = keep.apply(rows)
                    if kept.num_rows:
                        yield kept
            blob.verify()

    def _file_batches(
        self, source: Source, piece: Piece, blob: FoundBlob, wanted: Wanted
    ) -> Generator[pa.RecordBatch, None, None]:
        partition = dict(blob.found.partition)
        inside = tuple(column for column in wanted.columns if column.name not in partition)
        in_files = tuple(column for column in piece.columns if column.name not in partition)
        assert source.table is not None
        ends = wanted.filter.ends(inside)
        with refusals(self._options.root, source.table, blob.name, piece.span, wanted.bad_rows) as refused:
            request = Request(inside, in_files, piece.settings, refused, wanted.batch, piece.span, ends)
            for rows in format_named(piece.settings.format).read(blob, request):
                for column in wanted.columns:
                    if column.name in partition:
                        values = constant(partition[column.name], column, rows.num_rows, blob.name)
                        rows = rows.append_column(column.to_field(), values)
                yield fitted(rows, wanted.columns, f"file {blob.name}")
