"""Loading existing tables: what they are stays, what only the server fills is left to it, and long values find room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.sqlserver.connector import connector
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.core.errors import CountMismatch, DataError, SchemaChanged
from penstock.core.load import Chunk, Expected, Load, Mode, Published, SchemaPolicy, Source, Window
from penstock.core.names import TableName
from penstock.core.schema import Column, TypePolicy
from penstock.core.spec import ConnectionSpec

pytestmark = pytest.mark.sqlserver
TABLE = TableName(("dbo", "orders"))


def _load(data: pa.Table, mode: Mode = Mode.APPEND, load_id: str = "l1", **more: Any) -> Load:
    return Load(load_id, "job", TABLE, tuple(Column.from_field(field) for field in data.schema), mode, **more)


def _whole(session: SqlServerSession, load: Load, data: pa.Table) -> Published:
    writer = session.writer()
    writer.prepare(load)
    writer.write(load, "0", iter(data.to_batches()))
    return writer.publish(load, Expected(1, data.num_rows))


def _rows(session: SqlServerSession, columns: str = "*", order: str = "id") -> list[tuple[Any, ...]]:
    return session.writing.query(f"SELECT {columns} FROM {TABLE.quoted()} ORDER BY {order}")


def test_identity_values_are_kept_and_the_next_one_follows(session: SqlServerSession) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int IDENTITY PRIMARY KEY, name nvarchar(20))")
    data = pa.table({"id": pa.array([5, 7], pa.int32()), "name": ["five", "seven"]})

    _whole(session, _load(data, Mode.UPSERT, key=("id",)), data)
    session.writing.execute(f"INSERT INTO {TABLE.quoted()} (name) VALUES (N'next')")

    assert _rows(session)[:2] == [(5, "five"), (7, "seven")]
    assert len(_rows(session)) == 3


def test_an_identity_that_is_not_loaded_numbers_the_rows(session: SqlServerSession) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int IDENTITY PRIMARY KEY, name nvarchar(20))")

    _whole(session, _load(pa.table({"name": ["a", "b"]})), pa.table({"name": ["a", "b"]}))

    assert [row[0] for row in _rows(session)] == [1, 2]


def test_replace_keeps_the_table_itself(session: SqlServerSession) -> None:
    session.writing.execute(
        f"CREATE TABLE {TABLE.quoted()} (id int NOT NULL PRIMARY KEY, name nvarchar(20) DEFAULT N'none', CHECK (id > 0))"
    )
    session.writing.execute(f"INSERT INTO {TABLE.quoted()} VALUES (1, N'old'), (2, N'old')")
    before = session.writing.query("SELECT OBJECT_ID(N'dbo.orders')")
    data = pa.table({"id": pa.array([3], pa.int32()), "name": ["new"]})

    published = _whole(session, _load(data, Mode.REPLACE), data)

    assert session.writing.query("SELECT OBJECT_ID(N'dbo.orders')") == before
    assert _rows(session) == [(3, "new")]
    assert (published.rows_before, published.rows_deleted, published.rows_after) == (2, 2, 1)


def test_truncate_counts_what_it_removes(session: SqlServerSession) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int)")
    session.writing.execute(f"INSERT INTO {TABLE.quoted()} VALUES (1), (2)")
    data = pa.table({"id": pa.array([3], pa.int32())})

    published = _whole(session, _load(data, Mode.REPLACE, options={"replace_with": "truncate"}), data)

    assert (published.rows_deleted, published.rows_after) == (2, 1)


def test_a_longer_value_widens_the_column_and_nothing_else(session: SqlServerSession) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int, name nvarchar(10))")
    data = pa.table({"id": pa.array([1], pa.int32()), "name": ["x" * 60]})

    strict = _load(data, policy=SchemaPolicy(widened="strict"))
    with pytest.raises(SchemaChanged, match="a value has 60"):
        _whole(session, strict, data)
    published = _whole(session, _load(data, load_id="l2"), data)

    assert _rows(session) == [(1, "x" * 60)]
    assert any("nvarchar(100)" in note for note in published.notes)


def test_values_beyond_every_size_arrive_whole_in_the_middle_of_a_part(session: SqlServerSession) -> None:
    texts = ["short"] * 3 + ["é" * 5000, "x" * 20_000] + ["short"] * 3
    data = pa.table({"id": pa.array(range(8), pa.int32()), "name": texts})
    load = _load(data, Mode.REPLACE)

    session.writer().prepare(load)
    written = session.writer().write(load, "0", iter(data.to_batches(max_chunksize=2)))
    session.writer().publish(load, Expected(1, 8))

    assert written.rows == 8
    assert [row[1] for row in _rows(session)] == texts


def test_a_missing_filled_column_is_refused_before_anything_is_read(session: SqlServerSession) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int, needed int NOT NULL, extra int NULL)")
    data = pa.table({"id": pa.array([1], pa.int32())})

    with pytest.raises(SchemaChanged, match="needed"):
        session.writer().plan(_load(data))


def test_rows_of_a_broken_attempt_never_count(session: SqlServerSession) -> None:
    data = pa.table({"id": pa.array([1, 2, 3], pa.int32())})
    load = _load(data, Mode.REPLACE)
    writer = session.writer()
    writer.prepare(load)
    writer.write(load, "0", iter(data.to_batches()))
    staging = next(str(row[0]) for row in session.writing.query(
        "SELECT name FROM sys.tables WHERE name LIKE '[_]penstock[_]%' AND name <> '_penstock_ledger'"))  # fmt: skip
    session.writing.execute(f"INSERT INTO dbo.{staging} (id, _penstock_attempt) VALUES (99, 77)")

    published = writer.publish(load, Expected(1, 3))

    assert published.rows_after == 3
    assert [row[0] for row in _rows(session)] == [1, 2, 3]


def test_rows_missing_from_staging_stop_the_publish(session: SqlServerSession) -> None:
    data = pa.table({"id": pa.array([1, 2, 3], pa.int32())})
    load = _load(data, Mode.REPLACE)
    writer = session.writer()
    writer.prepare(load)
    writer.write(load, "0", iter(data.to_batches()))
    staging = next(str(row[0]) for row in session.writing.query(
        "SELECT name FROM sys.tables WHERE name LIKE '[_]penstock[_]%' AND name <> '_penstock_ledger'"))  # fmt: skip
    session.writing.execute(f"DELETE FROM dbo.{staging} WHERE id = 2")

    with pytest.raises(CountMismatch, match="holds 2 rows"):
        writer.publish(load, Expected(1, 3))


def test_a_not_a_number_is_refused_and_the_part_can_be_written_again(session: SqlServerSession) -> None:
    bad, good = pa.table({"v": [1.0, float("nan")]}), pa.table({"v": [1.0, 2.0]})
    load = _load(bad, Mode.REPLACE)
    session.writer().prepare(load)

    with pytest.raises(DataError, match="'v'"):
        session.writer().write(load, "0", iter(bad.to_batches()))
    session.writer().write(load, "0", iter(good.to_batches()))

    assert session.writer().publish(load, Expected(1, 2)).rows_after == 2


@pytest.mark.parametrize("by", ["id", "name", "at"])
def test_ranges_of_a_named_column_hold_every_row_once(server: ConnectionSpec, by: str) -> None:
    rows = 2000
    data = pa.table({
        "id": pa.array([None if at % 9 == 0 else at // 2 for at in range(rows)], pa.int64()),
        "name": [None if at % 5 == 0 else f"name {at % 300}" for at in range(rows)],
        "at": pa.array([at // 3 * 1_000_003 for at in range(rows)], pa.int64()).cast(pa.timestamp("us")),
    })  # fmt: skip
    opened = connector.open(replace(server, options={"split_column": by}))
    try:
        _whole(opened, _load(data, Mode.REPLACE), data)
        columns = opened.catalog().describe([TABLE], TypePolicy())[TABLE].columns
        source = Source(TABLE, columns=columns)
        chunks = opened.reader().split(source, 10_000)
        read = [batch for each in chunks for batch in opened.reader().read(source, each, _size())]
    finally:
        opened.close()

    assert len(chunks) > 3
    found = pa.Table.from_batches(read)
    assert sorted(map(str, found.to_pylist())) == sorted(map(str, data.to_pylist()))


def _size() -> Any:
    from penstock.core.load import BatchSize

    return BatchSize()


def test_a_datetime_cursor_reads_its_own_steps(session: SqlServerSession) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int, at datetime)")
    session.writing.execute(
        f"INSERT INTO {TABLE.quoted()} VALUES (1, '2024-01-01T00:00:00.003'), (2, '2024-01-01T00:00:00.007'), (3, NULL)"
    )
    columns = session.catalog().describe([TABLE], TypePolicy())[TABLE].columns
    source = Source(TABLE, columns=columns, window=Window("at"))

    high = session.reader().high(source)
    assert high is not None
    low = session.reader().lagged(source, high, "4 ms")
    rows = [
        session.reader().count(replace(source, window=Window("at", **ends)))
        for ends in ({"low": high, "high": high}, {"low": low, "high": high})
    ]

    assert (high.type, high.text, low.text) == ("datetime", "2024-01-01T00:00:00.007", "2024-01-01T00:00:00.003")
    assert rows == [1, 2]


def test_fine_times_come_back_exactly_as_text_and_as_nanoseconds(
    server: ConnectionSpec, session: SqlServerSession
) -> None:
    session.writing.execute(f"CREATE TABLE {TABLE.quoted()} (id int, at datetime2(7))")
    session.writing.execute(f"INSERT INTO {TABLE.quoted()} VALUES (1, '9999-12-31T23:59:59.9999990')")

    columns = session.catalog().describe([TABLE], TypePolicy())[TABLE].columns
    batches = list(session.reader().read(Source(TABLE, columns=columns), Chunk(0), _size()))

    assert batches[0].column(1).to_pylist() == ["9999-12-31 23:59:59.9999990"]
