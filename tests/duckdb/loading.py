"""Sessions, loads and reads for the tests of the embedded databases."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.connectors import registry
from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Published, Source
from penstock.core.names import TableName
from penstock.core.ports import Session
from penstock.core.schema import Column, TableSchema, TypePolicy, arrow_schema
from penstock.core.spec import ConnectionSpec

_numbers = itertools.count(1)


def spec_of(url: str, folder: Path, **options: Any) -> ConnectionSpec:
    return ConnectionSpec("house", url, options, base_dir=str(folder))


@contextmanager
def opened(spec: ConnectionSpec) -> Iterator[Session]:
    session = registry.open_session(spec)
    try:
        yield session
    finally:
        session.close()


def load_of(name: str, columns: pa.Schema | Sequence[Column], mode: Mode = Mode.REPLACE, **more: Any) -> Load:
    """A load with an id of its own."""
    given = tuple(Column.from_field(each) for each in columns) if isinstance(columns, pa.Schema) else tuple(columns)
    facts = {"load_id": f"load-{next(_numbers)}", "job": "nightly", **more}
    return Load(table=TableName.parse(name), columns=given, mode=mode, **facts)


def load_whole(session: Session, load: Load, *parts: pa.Table) -> Published:
    """Prepare, write each part, publish."""
    writer = session.writer()
    writer.prepare(load)
    for number, part in enumerate(parts):
        writer.write(load, f"{number:06d}", iter(part.to_batches()))
    return writer.publish(load, Expected(len(parts), sum(part.num_rows for part in parts)))


def put(session: Session, name: str, data: pa.Table, mode: Mode = Mode.REPLACE, **more: Any) -> Published:
    """Load `data` as one part."""
    return load_whole(session, load_of(name, data.schema, mode, **more), data)


def described(session: Session, name: str, policy: TypePolicy | None = None) -> TableSchema:
    table = TableName.parse(name)
    return session.catalog().describe([table], policy or TypePolicy())[table]


def source_of(session: Session, name: str, **more: Any) -> Source:
    return Source(TableName.parse(name), columns=described(session, name).columns, **more)


def query_of(session: Session, query: str, **more: Any) -> Source:
    columns = session.catalog().describe_query(query, TypePolicy()).columns
    return Source(None, query, columns, **more)


def read(
    session: Session, source: Source, chunks: Sequence[Chunk] = (Chunk(0),), size: BatchSize | None = None
) -> pa.Table:
    """All rows of the chunks, whose bounds go through JSON as they do in a run."""
    kept = [replace(chunk, bounds=json.loads(json.dumps(dict(chunk.bounds)))) for chunk in chunks]
    batches = [each for chunk in kept for each in session.reader().read(source, chunk, size or BatchSize())]
    return pa.Table.from_batches(batches, arrow_schema(source.columns))


def table_of(session: Session, name: str) -> pa.Table:
    return read(session, source_of(session, name))


def values_of(session: Session, name: str, order: str = "id") -> list[dict[str, Any]]:
    return list(table_of(session, name).sort_by(order).to_pylist())
