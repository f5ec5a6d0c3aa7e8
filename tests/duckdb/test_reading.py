"""Reading DuckDB: every row once, in the same batches each time, cursors exact by type."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from penstock.core.errors import DataError, Missing, SourceChanged, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source, Window
from penstock.core.names import TableName
from penstock.core.schema import Column, TypePolicy
from penstock.core.spec import ConnectionSpec
from tests.duckdb.loading import load_of, load_whole, opened, query_of, read, source_of, spec_of, table_of

ROWS = 500_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> ConnectionSpec:
    """A table of 500,000 rows of which two fifths were deleted, an empty one, a view and one with wide rows."""
    folder = tmp_path_factory.mktemp("big")
    with duckdb.connect(str(folder / "house.duckdb")) as connection:
        connection.execute(
            f"CREATE TABLE big AS SELECT i AS id, i % 97 AS g, 'text ' || i AS t FROM range({ROWS}) r(i)"
        )
        connection.execute("DELETE FROM big WHERE id < 100000 OR id % 4 = 0")
        connection.execute("CREATE TABLE nothing (id INTEGER)")
        connection.execute("CREATE VIEW seen AS SELECT g, count(*) AS n FROM big GROUP BY g")
        connection.execute("CREATE TABLE wide AS SELECT i AS id, repeat('x', 50000 + i) AS t FROM range(300) r(i)")
    return spec_of("duckdb:house.duckdb", folder)


def test_chunks_cover_every_row_once_where_rows_were_deleted(big: ConnectionSpec) -> None:
    with opened(big) as session:
        source = source_of(session, "main.big")
        chunks = session.reader().split(source, 1_000_000)
        found = read(session, source, chunks)["id"].to_pylist()
        count = session.reader().count(source)

    assert len(chunks) > 3
    assert len(found) == len(set(found)) == count
    assert abs(sum(chunk.rows_estimate or 0 for chunk in chunks) - count) < 100
    assert sorted(found) == [at for at in range(100_000, ROWS) if at % 4]


def test_a_chunk_read_again_gives_the_same_batches(big: ConnectionSpec) -> None:
    with opened(big) as session:
        source = source_of(session, "main.big")
        chunk = session.reader().split(source, 2_000_000)[1]
        once, again = (list(session.reader().read(source, chunk, BatchSize(rows=7000))) for _ in range(2))

    assert len(once) > 2
    assert all(one.equals(other) for one, other in zip(once, again, strict=True))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT g, count(*) AS n, max(t) AS t FROM big GROUP BY g",
        "SELECT DISTINCT t FROM big",
        "SELECT a.id, b.g FROM big a JOIN big b ON a.g = b.id % 97 AND b.id < 100200",
        "SELECT * FROM seen -- a comment at the end",
        "SELECT id, g FROM big ORDER BY id DESC;",
    ],
)
def test_a_query_gives_its_rows_in_the_same_order_each_time(big: ConnectionSpec, query: str) -> None:
    with opened(big) as session:
        source = query_of(session, query)
        once, again = read(session, source), read(session, source)

    assert once.num_rows > 90
    assert once.equals(again)


def test_the_order_a_query_asks_for_is_kept(big: ConnectionSpec) -> None:
    with opened(big) as session:
        found = read(session, query_of(session, "SELECT id FROM big WHERE g = 5 ORDER BY id % 1000, id DESC"))["id"]

    assert found.to_pylist() == sorted(found.to_pylist(), key=lambda at: (at % 1000, -at))


def test_a_filter_with_a_subquery_keeps_the_table_in_order(big: ConnectionSpec) -> None:
    with opened(big) as session:
        source = source_of(session, "main.big", where="g IN (SELECT g FROM seen WHERE g < 40) -- mine")
        found = read(session, source)["id"].to_pylist()

    assert len(found) > 90_000
    assert found == sorted(found)


def test_batches_of_wide_rows_stay_within_their_size(big: ConnectionSpec) -> None:
    with opened(big) as session:
        source = source_of(session, "main.wide")
        batches = list(session.reader().read(source, Chunk(0), BatchSize(size_bytes=1_000_000)))

    assert sum(batch.num_rows for batch in batches) == 300
    assert max(batch.nbytes for batch in batches) <= 1_000_000
    assert len(batches) < 30


def test_views_and_empty_tables_are_one_chunk(big: ConnectionSpec) -> None:
    with opened(big) as session:
        for name in ("main.seen", "main.nothing"):
            assert len(session.reader().split(source_of(session, name), 1)) == 1
        assert table_of(session, "main.nothing").num_rows == 0


def test_a_name_may_leave_out_main_and_name_the_database(big: ConnectionSpec) -> None:
    with opened(big) as session:
        for parts in (("nothing",), ("main", "nothing"), ("house", "main", "nothing")):
            name = TableName(parts)
            assert list(session.catalog().describe([name], TypePolicy())) == [name]
        with pytest.raises(SpecError, match="another database"):
            session.catalog().describe([TableName(("other", "main", "nothing"))], TypePolicy())


def test_what_is_not_there_is_missing_by_name(big: ConnectionSpec) -> None:
    absent = Source(TableName(("main", "absent")), columns=(Column("id", pa.int64()),))
    gone = Source(TableName(("main", "nothing")), columns=(Column("gone", pa.int64()),))
    with opened(big) as session:
        with pytest.raises(Missing, match=r"table main\.absent does not exist"):
            read(session, absent)
        with pytest.raises(Missing, match=r"column 'gone' of table main\.nothing does not exist"):
            read(session, gone)
        assert session.catalog().describe([TableName(("main", "absent"))], TypePolicy()) == {}


def test_rows_added_since_the_split_belong_to_the_last_chunk(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS id FROM range(5000) r(i)")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        source = source_of(session, "main.t")
        chunks = session.reader().split(source, 8 * 2048)
        with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
            connection.execute("INSERT INTO t SELECT i FROM range(5000, 6000) r(i)")
        found = read(session, source, chunks)["id"].to_pylist()

    assert len(chunks) == 3
    assert sorted(found) == list(range(6000))


@pytest.mark.parametrize("change", ["DELETE FROM t WHERE id = 3", "DELETE FROM t; INSERT INTO t FROM range(5000)"])
def test_a_table_whose_rows_went_since_the_split_is_refused(tmp_path: Path, change: str) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS id FROM range(5000) r(i)")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        source = source_of(session, "main.t")
        chunks = session.reader().split(source, 8 * 2048)
        with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
            connection.execute(change)

        with pytest.raises(SourceChanged, match=r"table main\.t changed since it was split"):
            read(session, source, chunks)


def test_a_query_with_one_name_twice_is_refused(big: ConnectionSpec) -> None:
    with opened(big) as session, pytest.raises(SpecError, match="more than one column named 'id'"):
        session.catalog().describe_query("SELECT id, id FROM big", TypePolicy())


def test_an_error_in_the_users_sql_names_the_job_not_a_stack(big: ConnectionSpec) -> None:
    with opened(big) as session:
        for query in ("SELEC 1", "DROP TABLE big"):
            with pytest.raises(SpecError, match="check the SQL given in the job"):
                session.catalog().describe_query(query, TypePolicy())
        with pytest.raises(Missing, match="nosuch"):
            session.reader().count(source_of(session, "main.big", where="nosuch = 1"))


# ---- cursors

CURSORS = {
    "BIGINT": (["-5", "9223372036854775807"], "10.5", "9223372036854775796"),
    "UBIGINT": (["3", "18446744073709551615"], "10", "18446744073709551605"),
    "UTINYINT": (["3"], "10", "0"),
    "HUGEINT": (["170141183460469231731687303715884105727"], "1", "170141183460469231731687303715884105726"),
    "DECIMAL(18,4)": (["1.5000", "99999999999999.9999"], "0.00001", "99999999999999.9998"),
    "DOUBLE": (["0.1", "0.30000000000000004"], "0.1", "0.20000000000000004"),
    "DATE": (["'2024-02-29'", "'2024-03-01'"], "36 hours", "2024-02-28"),
    "TIMESTAMP": (["'2024-03-01 00:00:00.000001'"], "1 day", "2024-02-29 00:00:00.000001"),
    "TIMESTAMP_S": (["'2024-03-01 00:00:01'"], "1500 ms", "2024-02-29 23:59:59"),
    "TIMESTAMP_MS": (["'2024-03-01 00:00:00.001'"], "1 us", "2024-03-01 00:00:00"),
    "TIMESTAMP_NS": (["'2024-03-01 00:00:00.123456789'"], "1 us", "2024-03-01 00:00:00.123455789"),
    "TIMESTAMPTZ": (["'2024-03-01 00:00:00.5+05:45'"], "10 minutes", "2024-02-29 18:05:00.5+00"),
}


@pytest.mark.parametrize("kind", CURSORS)
def test_high_and_lag_are_exact_by_type(tmp_path: Path, kind: str) -> None:
    given, lag, lagged = CURSORS[kind]
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t (id INTEGER, c {kind})")
        connection.execute(
            f"INSERT INTO t VALUES {', '.join(f'({at}, {each})' for at, each in enumerate(given))}, (9, NULL)"
        )
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        source = source_of(session, "main.t", window=Window("c"))
        high = session.reader().high(source)
        assert high is not None
        at_high = source_of(session, "main.t", window=Window("c", low=high, high=high))
        with_nulls = source_of(session, "main.t", window=Window("c", low=high, nulls=True))
        back = session.reader().lagged(source, high, lag)

        assert read(session, at_high)["id"].to_pylist() == [len(given) - 1]
        assert read(session, with_nulls)["id"].to_pylist() == [len(given) - 1, 9]
        assert session.reader().count(source) == len(given)
        assert session.reader().null_cursors(source) == 1
        assert back.text == lagged
        read(session, source_of(session, "main.t", window=Window("c", low=back)))


def test_high_of_no_rows_is_none(big: ConnectionSpec) -> None:
    with opened(big) as session:
        assert session.reader().high(source_of(session, "main.nothing", window=Window("id"))) is None


@pytest.mark.parametrize(("lag", "message"), [("soon", "is no duration and no number"), ("5 days", "holds numbers")])
def test_a_lag_that_does_not_fit_the_column_is_refused(big: ConnectionSpec, lag: str, message: str) -> None:
    with opened(big) as session, pytest.raises(SpecError, match=message):
        session.reader().lagged(source_of(session, "main.big", window=Window("id")), CursorValue("BIGINT", "5"), lag)


def test_a_number_kept_as_text_is_no_cursor(tmp_path: Path) -> None:
    columns = [Column("id", pa.string(), logical="numeric", native="postgresql:numeric")]
    data = pa.table({"id": ["9", "10"]})
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        load_whole(session, load_of("main.t", columns), data)

        with pytest.raises(SpecError, match="does not sort like its values"):
            session.reader().high(source_of(session, "main.t", window=Window("id")))
        with pytest.raises(SpecError, match="does not sort like its values"):
            session.writer().plan(load_of("main.u", columns, cursor="id"))


def test_an_open_read_blocks_no_other_call(big: ConnectionSpec) -> None:
    with opened(big) as session:
        source = source_of(session, "main.big")
        rows = session.reader().read(source, Chunk(0), BatchSize(rows=10))
        next(rows)

        assert session.reader().count(source) > 0
        assert len(session.catalog().tables()) == 4
        assert next(rows).num_rows == 10
        rows.close()  # type: ignore[attr-defined]


def test_a_value_that_no_longer_fits_its_description_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1::INTEGER AS n")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        source = source_of(session, "main.t")
        with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
            connection.execute("ALTER TABLE t ALTER n TYPE BIGINT")
            connection.execute("INSERT INTO t VALUES (5000000000)")

        with pytest.raises(DataError, match="does not fit its description"):
            read(session, source)
