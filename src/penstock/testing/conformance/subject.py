"""What an author binds the suite to, and the few steps that all cases are made of."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors import registry
from penstock.core.errors import Missing, NotSupported
from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Published, Source, Window
from penstock.core.names import TableName
from penstock.core.ports import Ability, Connector, Session
from penstock.core.schema import Column, TableSchema, TypePolicy
from penstock.core.spec import ConnectionSpec
from penstock.testing.values import plain_values, row_counts

WHOLE = Chunk(0)
_numbers = itertools.count(1)


def _one_part(name: str) -> TableName:
    return TableName((name,))


@dataclass(frozen=True)
class Subject:
    """One connector under test.

    `make_connection` gives the connection of a place that is empty when a test starts and the same within a test.
    `put` fills a table where the connector cannot write; it is given the table's name and rows. `table_name` makes a
    table's full name of its last part. `unreachable` and `refused` are connections to nobody and with a wrong password
    (with a password each); without them those cases are skipped. `load_options` are Load.options of every load.
    `passes_through` is False where an installation lacks what the connector needs to pass streams through.
    `quote_mark` quotes an identifier in the system's SQL. `splits_by_key` says that only a table with a key can be split.
    """

    make_connection: Callable[[], ConnectionSpec]
    put: Callable[[TableName, pa.Table], None] | None = None
    table_name: Callable[[str], TableName] = _one_part
    unreachable: ConnectionSpec | None = None
    refused: ConnectionSpec | None = None
    load_options: Mapping[str, Any] = field(default_factory=dict)
    passes_through: bool = True
    quote_mark: str = '"'
    splits_by_key: bool = False

    @property
    def connector(self) -> Connector:
        return registry.connector(self.make_connection().scheme)

    def can(self, *abilities: Ability) -> bool:
        return self.connector.abilities.issuperset(abilities)

    def needs(self, *abilities: Ability) -> None:
        """Skip the case unless the connector claims all of `abilities`; `put` stands in for writing."""
        for ability in abilities:
            if not self.can(ability):
                pytest.skip(f"{self.connector.name} does not claim {ability.value}")

    def needs_rows(self) -> None:
        """Skip the case where tables cannot come to be or cannot be read."""
        self.needs(Ability.CATALOG, Ability.READ)
        if self.put is None:
            self.needs(Ability.WRITE)

    @contextmanager
    def session(self) -> Iterator[Session]:
        session = registry.open_session(self.make_connection())
        try:
            yield session
        finally:
            session.close()

    def fill(self, name: str, data: pa.Table, key: tuple[str, ...] = ()) -> TableName:
        """Make a table hold exactly `data`; a new one gets `key` as its key, where the system has such."""
        table = self.table_name(name)
        if self.put is not None:
            self.put(table, data)
        else:
            with self.session() as session:
                load_whole(session, self.load(table, data.schema, key=key), data)
        return table

    def load(self, table: TableName, schema: pa.Schema, mode: Mode = Mode.REPLACE, **more: Any) -> Load:
        """A load with an id of its own."""
        columns = tuple(Column.from_field(each) for each in schema)
        facts = {"load_id": f"load-{next(_numbers)}", "job": "conformance", "options": self.load_options, **more}
        return Load(table=table, columns=columns, mode=mode, **facts)


def load_whole(session: Session, load: Load, *parts: pa.Table) -> Published:
    """Prepare, write the parts and publish."""
    writer = session.writer()
    writer.prepare(load)
    for number, part in enumerate(parts):
        written = writer.write(load, f"{number:06d}", batches_of(part))
        assert written.rows == part.num_rows
    return writer.publish(load, Expected(len(parts), sum(part.num_rows for part in parts)))


def batches_of(table: pa.Table, rows: int = 1000) -> Iterator[pa.RecordBatch]:
    yield from table.to_batches(max_chunksize=rows)


def describe(session: Session, table: TableName) -> TableSchema:
    found = session.catalog().describe([table], TypePolicy())
    assert set(found) == {table}, f"{table} is not described"
    return found[table]


def names_of(session: Session) -> list[TableName]:
    """All tables, none where the place itself comes to be with its first table."""
    try:
        return [info.name for info in session.catalog().tables()]
    except Missing:
        return []


def source_of(session: Session, table: TableName, **more: Any) -> Source:
    """The whole table as source, with all its columns unless others are given."""
    return Source(table, **{"columns": describe(session, table).columns, **more})


def read(
    session: Session, source: Source, chunks: Iterable[Chunk] = (WHOLE,), size: BatchSize | None = None
) -> pa.Table:
    """All rows of these chunks. Checks that each batch has exactly the columns asked for."""
    wanted = [(column.name, column.type) for column in source.columns]
    batches = []
    for chunk in chunks:
        # Bounds are kept in the journal: what a reader gets is what JSON made of them.
        kept = replace(chunk, bounds=json.loads(json.dumps(dict(chunk.bounds))))
        for batch in session.reader().read(source, kept, size or BatchSize()):
            assert list(zip(batch.schema.names, batch.schema.types, strict=True)) == wanted
            batches.append(pa.RecordBatch.from_arrays(batch.columns, names=batch.schema.names))
    empty = pa.schema([pa.field(name, kind) for name, kind in wanted])
    return pa.Table.from_batches(batches, batches[0].schema if batches else empty)


def read_table(session: Session, table: TableName) -> pa.Table:
    return read(session, source_of(session, table))


def like(data: pa.Table, schema: pa.Schema) -> pa.Table:
    """`data` in the types of `schema`, for systems that hold values in wider types or as text."""
    arrays = [cast(data.column(each.name), each.type) for each in schema]
    return pa.table(arrays, names=schema.names)


def cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return values if values.type == kind else values.cast(kind)


def assert_same_rows(read_back: pa.Table, expected: pa.Table) -> None:
    """The same rows equally often, in any order, compared value by value in the types of `expected`."""
    got, wanted = row_counts(like(read_back, expected.schema)), row_counts(expected)
    missing, extra = wanted - got, got - wanted
    assert not missing and not extra, f"missing rows: {_some(missing)}; rows too many: {_some(extra)}"


def _some(counts: Mapping[Any, int]) -> str:
    return f"{sum(counts.values())}, such as {[repr(row)[:200] for row in list(counts)[:3]]}"


def assert_same_values(read_back: pa.ChunkedArray, expected: pa.ChunkedArray) -> None:
    """The same values in the same order."""
    got, wanted = plain_values(cast(read_back, expected.type)), plain_values(expected)
    different = [(want, have) for want, have in zip(wanted, got, strict=True) if want != have]
    assert not different, f"sent and read: {[(repr(want)[:80], repr(have)[:80]) for want, have in different[:5]]}"


def filtered(subject: Subject, source: Source, where: str) -> Source:
    """`source` with a filter; the case is skipped where the connector takes none."""
    with_filter = replace(source, where=where)
    try:
        with subject.session() as session:
            session.reader().count(with_filter)
    except NotSupported as error:
        pytest.skip(f"{subject.connector.name} takes no filter: {error}")
    return with_filter


def windowed(source: Source, column: str, **ends: Any) -> Source:
    return replace(source, window=Window(column, **ends))


def many_rows(count: int = 3000) -> pa.Table:
    """Rows with a unique id, a skewed number with NULLs, a text of some 60 bytes and a time with ties and NULLs."""
    number = [None if at % 7 == 0 else (1 if at % 3 else at * 1_000_003) for at in range(count)]
    micros = [None if at % 11 == 0 else (at // 5) * 1_000_000 + 1 for at in range(count)]
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "number": pa.array(number, pa.int64()),
            "text": pa.array([f"row {at} " + "x" * (at % 100) for at in range(count)]),
            "moment": pa.array(micros, pa.int64()).cast(pa.timestamp("us")),
        }
    )


def column_named(columns: Sequence[Column], name: str) -> Column:
    return next(column for column in columns if column.name == name)
