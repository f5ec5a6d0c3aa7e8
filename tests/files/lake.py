"""A folder under test: sessions, loads, and what it holds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.connectors.files.connector import connector
from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Published, Source
from penstock.core.names import TableName
from penstock.core.ports import Session
from penstock.core.schema import Column, TableSchema, TypePolicy
from penstock.core.spec import ConnectionSpec

_numbers = itertools.count(1)
ORDERS = TableName(("public", "orders"))


@dataclass(frozen=True)
class Lake:
    """A connection to the folder `root`, with options as a project file has them."""

    root: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def session(self, **options: Any) -> Session:
        spec = ConnectionSpec("lake", "file:.", {**self.options, **options}, base_dir=str(self.root))
        return connector.open(spec)

    def load(
        self, data: pa.Table | pa.Schema, mode: Mode = Mode.REPLACE, table: TableName = ORDERS, **more: Any
    ) -> Load:
        """A load of its own id for rows like `data`."""
        schema = data.schema if isinstance(data, pa.Table) else data
        columns = tuple(Column.from_field(each) for each in schema)
        facts = {"load_id": f"load-{next(_numbers)}", "job": "raw", **more}
        return Load(table=table, columns=columns, mode=mode, **facts)

    def put(self, *parts: pa.Table, mode: Mode = Mode.REPLACE, table: TableName = ORDERS, **more: Any) -> Published:
        """Load some parts whole."""
        load = self.load(parts[0], mode, table, **more)
        expected = self.stage(load, *parts)
        return self.session().writer().publish(load, expected)

    def stage(self, load: Load, *parts: pa.Table) -> Expected:
        """Prepare a load and write its parts, each in a session of its own."""
        self.session().writer().prepare(load)
        for number, part in enumerate(parts):
            self.session().writer().write(load, f"{number:06d}", batches(part))
        return Expected(len(parts), sum(part.num_rows for part in parts))

    def describe(self, table: TableName = ORDERS, **options: Any) -> TableSchema:
        return self.session(**options).catalog().describe([table], TypePolicy())[table]

    def source(self, table: TableName = ORDERS, *, columns: tuple[str, ...] = (), **more: Any) -> Source:
        known = self.describe(table).columns
        chosen = tuple(column for column in known if column.name in columns) if columns else known
        return Source(table, columns=chosen, **more)

    def get(self, table: TableName = ORDERS, **more: Any) -> pa.Table:
        """All rows of a table, in order."""
        return rows_of(self.session(), self.source(table, **more))

    def rows(self, table: TableName = ORDERS, **more: Any) -> list[tuple[Any, ...]]:
        """All rows as tuples, sorted."""
        found = self.get(table, **more)
        return sorted(zip(*found.to_pydict().values(), strict=True), key=repr)

    def files(self, folder: str = "public.orders") -> dict[str, bytes]:
        """The files below a folder by path."""
        found = {}
        for where, _, names in os.walk(self.root / folder):
            for name in names:
                path = Path(where) / name
                found[str(path.relative_to(self.root / folder))] = path.read_bytes()
        return found


def batches(table: pa.Table, rows: int = 1000) -> Iterator[pa.RecordBatch]:
    yield from table.to_batches(max_chunksize=rows)


def rows_of(session: Session, source: Source, chunks: list[Chunk] | None = None) -> pa.Table:
    schema = pa.schema([column.to_field() for column in source.columns])
    found = [batch for chunk in chunks or [Chunk(0)] for batch in session.reader().read(source, chunk, BatchSize())]
    return pa.Table.from_batches(found, schema)


def orders(*ids: int | None, note: str = "x") -> pa.Table:
    """Rows with these ids."""
    return pa.table({"id": pa.array(ids, pa.int64()), "note": pa.array([note] * len(ids), pa.string())})
