"""Reads a folder of tab-separated files: each file a table, its first line the columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv as csv

from penstock.core.errors import DataError, Missing, NotSupported, Retry, Stopped, Unavailable
from penstock.core.load import BatchSize, Chunk, CursorValue, Source
from penstock.core.names import TableName
from penstock.core.ports import Ability, Health, Option, Reader, Writer
from penstock.core.schema import Column, TableInfo, TableSchema, TypePolicy
from penstock.core.spec import ConnectionSpec

SUFFIX = ".tabs"


@dataclass(frozen=True)
class TabsConnector:
    """`tabs:FOLDER`, relative to the project file."""

    name: str = "tabs"
    schemes: tuple[str, ...] = ("tabs",)
    abilities: frozenset[Ability] = frozenset({Ability.CATALOG, Ability.READ, Ability.SPLIT})
    options: tuple[Option, ...] = (Option("encoding", "text", "encoding of the files", "utf8"),)
    one_process: bool = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        return {}

    def open(self, spec: ConnectionSpec) -> TabsSession:
        folder = Path(spec.base_dir, spec.url.partition(":")[2])
        if not folder.is_dir():
            what = f"cannot open connection {spec.name!r}: {folder} is no folder"
            # A folder does not come by waiting: NEVER instead of the LATER that a server that is down deserves.
            raise Unavailable(what, "check the path after tabs:", retry=Retry.NEVER)
        return TabsSession(folder, str(spec.options.get("encoding", "utf8")))


class TabsSession:
    """One worker's view of the folder; is its own catalog and reader, since nothing is held open between calls."""

    def __init__(self, folder: Path, encoding: str) -> None:
        self._folder = folder
        self._encoding = encoding
        self._is_reading = False
        self._is_cancelled = False

    def check(self) -> Health:
        return Health(f"folder {self._folder}")

    def catalog(self) -> TabsSession:
        return self

    def reader(self) -> Reader:
        return self

    def writer(self) -> Writer:
        raise NotSupported("tab-separated files are only read", "choose another target, such as file:")

    def cancel(self) -> None:
        self._is_cancelled = self._is_reading

    def close(self) -> None:
        self._is_cancelled = False

    def tables(self) -> list[TableInfo]:
        files = sorted(self._folder.glob(f"*{SUFFIX}"))
        return [TableInfo(TableName((file.stem,)), "file", size_bytes=file.stat().st_size) for file in files]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        found = {table: self._path(table) for table in tables if self._path(table).exists()}
        return {table: TableSchema(table, self._header(path)[0], kind="file") for table, path in found.items()}

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        raise NotSupported("tab-separated files run no queries", "name a table instead")

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Byte ranges that begin and end at lines."""
        path = self._source_path(source)
        end = path.stat().st_size
        edges = [self._header(path)[1]]
        with path.open("rb") as file:
            while end - edges[-1] > chunk_bytes:
                file.seek(edges[-1] + chunk_bytes)
                file.readline()
                edges.append(file.tell())
        edges = [*edges, end] if edges[-1] < end or len(edges) == 1 else edges
        ranges = enumerate(pairwise(edges))
        return [Chunk(number, {"from": low, "to": high}, None, high - low) for number, (low, high) in ranges]

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        path = self._source_path(source)
        low = chunk.bounds.get("from", self._header(path)[1])
        with pa.memory_map(str(path)) as file:
            file.seek(low)
            text = file.read_buffer(chunk.bounds.get("to", file.size()) - low)
        self._is_reading = True
        try:
            for whole in self._parsed(path, text, source.columns) if text.size else ():
                for piece in _pieces(whole, batch):
                    if self._is_cancelled:
                        raise Stopped(f"reading {path.name} was cancelled")
                    yield piece
        finally:
            self._is_reading = self._is_cancelled = False

    def count(self, source: Source) -> int:
        return sum(batch.num_rows for batch in self.read(source, Chunk(0), BatchSize()))

    def high(self, source: Source) -> CursorValue | None:
        _no_cursor()

    def null_cursors(self, source: Source) -> int:
        _no_cursor()

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        _no_cursor()

    def _parsed(self, path: Path, text: pa.Buffer, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        names = [column.name for column in self._header(path)[0]]
        try:
            yield from csv.open_csv(
                pa.BufferReader(text),
                csv.ReadOptions(column_names=names, encoding=self._encoding),
                csv.ParseOptions(delimiter="\t", quote_char=False),
                csv.ConvertOptions(
                    column_types={column.name: column.type for column in columns},
                    include_columns=[column.name for column in columns],
                    null_values=["\\N"],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid as error:
            raise DataError(
                f"cannot read {path.name}: {error}", "correct the line, or its type in the header"
            ) from error

    def _header(self, path: Path) -> tuple[tuple[Column, ...], int]:
        """The columns of a file and where its rows begin, in bytes."""
        with path.open("rb") as file:
            line = file.readline()
        parts = [part.partition(":") for part in line.decode(self._encoding).rstrip("\n").split("\t")]
        try:
            return tuple(Column(name, pa.type_for_alias(kind)) for name, _, kind in parts), len(line)
        except ValueError as error:
            raise DataError(
                f"the header of {path.name} is wrong: {error}", "write name:type, such as id:int64"
            ) from error

    def _path(self, table: TableName) -> Path:
        return self._folder / (table.table + SUFFIX)

    def _source_path(self, source: Source) -> Path:
        if source.table is None or source.where or source.window:
            raise NotSupported("tab-separated files take no query, filter or cursor", "copy whole tables")
        path = self._path(source.table)
        if not path.exists():
            raise Missing(f"table {source.table} does not exist: no file {path.name}", "check the name and the folder")
        return path


def _no_cursor() -> NoReturn:
    raise NotSupported("tab-separated files have no cursor", "copy whole tables: mode: replace")


def _pieces(batch: pa.RecordBatch, size: BatchSize) -> Iterator[pa.RecordBatch]:
    """`batch` in halves of halves until each keeps to `size`."""
    if batch.num_rows < 2 or (batch.num_rows <= size.rows and batch.nbytes <= size.size_bytes):
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _pieces(batch.slice(0, middle), size)
    yield from _pieces(batch.slice(middle), size)


connector = TabsConnector()
