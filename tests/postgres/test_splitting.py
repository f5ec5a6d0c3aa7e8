"""Chunks cover every row exactly once, whatever the table looks like, and are refused where rows have moved since."""

from __future__ import annotations

import json
import threading
from collections import Counter

import psycopg
import pytest

from penstock.core.errors import NotSupported, SourceChanged
from penstock.core.load import BatchSize, Chunk, CursorValue, Source, Window
from penstock.core.names import TableName
from tests.postgres.loading import described, read, run, session, source_of

pytestmark = pytest.mark.postgres

FILL = "INSERT INTO {} SELECT i, md5(i::text) || repeat('x', (i % 50)::int) FROM generate_series(1, {}) AS i"
TABLES = {
    "plain": ["CREATE TABLE t (id int8 PRIMARY KEY, v text)", FILL.format("t", 20_000)],
    "empty": ["CREATE TABLE t (id int8 PRIMARY KEY, v text)"],
    "one_row": ["CREATE TABLE t (id int8 PRIMARY KEY, v text)", FILL.format("t", 1)],
    "deleted_rows": [
        "CREATE TABLE t (id int8 PRIMARY KEY, v text)",
        FILL.format("t", 20_000),
        "DELETE FROM t WHERE id BETWEEN 2000 AND 15000",
        "VACUUM t",
    ],
    "bloated": [
        "CREATE TABLE t (id int8 PRIMARY KEY, v text)",
        FILL.format("t", 10_000),
        "UPDATE t SET v = v || 'y'",
        "UPDATE t SET v = v || 'z' WHERE id % 3 = 0",
    ],
    "no_key": ["CREATE TABLE t (id int8, v text)", FILL.format("t", 10_000), FILL.format("t", 10_000)],
    "toast": [
        "CREATE TABLE t (id int8 PRIMARY KEY, v text)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 300) FROM generate_series(1, 300) AS i",
    ],
    "partitioned": [
        "CREATE TABLE t (id int8, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_a PARTITION OF t FOR VALUES FROM (0) TO (10000)",
        "CREATE TABLE t_b PARTITION OF t FOR VALUES FROM (10000) TO (15000) PARTITION BY HASH (id)",
        "CREATE TABLE t_b0 PARTITION OF t_b FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE t_b1 PARTITION OF t_b FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE t_rest PARTITION OF t DEFAULT",
        FILL.format("t", 20_000),
    ],
    "inherited": [
        "CREATE TABLE t (id int8, v text)",
        "CREATE TABLE t_child () INHERITS (t)",
        "CREATE TABLE t_grandchild (more int4) INHERITS (t_child)",
        FILL.format("t", 5_000),
        FILL.format("t_child", 6_000),
        FILL.format("t_grandchild", 7_000),
    ],
    "materialized": [
        "CREATE MATERIALIZED VIEW t AS SELECT i::int8 AS id, md5(i::text) AS v FROM generate_series(1, 20000) AS i"
    ],
}


def ids(rows) -> Counter:
    return Counter(rows["id"].to_pylist())


def kept(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks as the journal gives them back."""
    return [Chunk(chunk.ordinal, json.loads(json.dumps(dict(chunk.bounds)))) for chunk in chunks]


@pytest.mark.parametrize("how", ["auto", "key", "none"])
@pytest.mark.parametrize("kind", TABLES)
def test_chunks_cover_every_row_exactly_once(dsn, kind, how):
    run(dsn, *TABLES[kind])
    with session(dsn) as opened:
        source = source_of(opened, "public.t", split_by=how)
        chunks = opened.reader().split(source, 200_000)
        parts = [read(opened, source, [chunk]) for chunk in kept(chunks)]

    expected = Counter(row[0] for row in run(dsn, "SELECT id FROM t"))
    assert sum((ids(part) for part in parts), Counter()) == expected
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    if how == "auto" and kind not in ("empty", "one_row"):
        assert len(chunks) > 2
    if how == "none":
        assert len(chunks) == 1


@pytest.mark.parametrize("kind", ["plain", "toast", "partitioned"])
def test_chunks_by_page_hold_similar_bytes(dsn, kind):
    run(dsn, *TABLES[kind], "ANALYZE t")
    with session(dsn) as opened:
        source = source_of(opened, "public.t")
        chunks = opened.reader().split(source, 200_000)
        sizes = [read(opened, source, [chunk]).nbytes for chunk in chunks]

    assert len(chunks) >= 5
    assert max(sizes) < 4 * 200_000
    assert sum(chunk.rows_estimate for chunk in chunks) == pytest.approx(
        run(dsn, "SELECT count(*) FROM t")[0][0], rel=0.05
    )


def test_a_key_with_null_and_skew_is_cut_into_similar_shares(dsn):
    run(dsn, "CREATE TABLE t (id int8 UNIQUE, v text)",
        "INSERT INTO t SELECT CASE WHEN i % 10 > 0 THEN (i ^ 4)::int8 END, repeat('x', 100) FROM generate_series(1, 10000) i",
        "ANALYZE t")  # fmt: skip
    with session(dsn) as opened:
        source = source_of(opened, "public.t", split_by="key")
        chunks = opened.reader().split(source, 200_000)
        counts = [read(opened, source, [chunk]).num_rows for chunk in chunks]

    assert sum(counts) == 10_000
    assert counts[-1] == 1000  # the rows without a key
    assert max(counts[:-1]) < 4 * 9000 / len(counts)


def test_views_queries_and_row_security_are_read_whole_or_by_key(dsn):
    run(dsn, *TABLES["plain"], "CREATE VIEW shown AS SELECT * FROM t")
    with session(dsn) as opened:
        view = source_of(opened, "public.shown")
        query = Source(
            None, "SELECT * FROM t -- all of it", opened.catalog().describe_query("TABLE t", view.policy).columns
        )

        assert opened.reader().split(view, 1000) == [Chunk(0, size_bytes=0)]
        assert opened.reader().split(query, 1000) == [Chunk(0)]
        assert read(opened, view).num_rows == read(opened, query).num_rows == opened.reader().count(query) == 20_000


def test_ctid_is_refused_by_reason_where_rows_have_no_pages(dsn):
    run(dsn, "CREATE VIEW shown AS SELECT 1::int8 AS id")
    with session(dsn) as opened, pytest.raises(NotSupported, match=r"public\.shown does not store its rows"):
        opened.reader().split(source_of(opened, "public.shown", split_by="ctid"), 1000)


def test_members_that_the_user_may_not_read_alone_are_read_through_their_parent(postgres_server, dsn):
    postgres_server.create_user("clerk", "clerk")
    run(dsn, *TABLES["partitioned"], "GRANT SELECT ON t TO clerk")
    with session(postgres_server.dsn(dsn.rpartition("/")[2], "clerk", "clerk")) as opened:
        source = source_of(opened, "public.t")
        chunks = opened.reader().split(source, 200_000)

        assert ids(read(opened, source, chunks)) == Counter(range(1, 20_001))


def test_a_filter_that_leaves_little_is_not_split(dsn):
    run(dsn, *TABLES["plain"], "ANALYZE t")
    with session(dsn) as opened:
        few = Source(TableName.parse("public.t"), columns=described(opened, TableName.parse("public.t")).columns,
                     window=Window("id", CursorValue("bigint", "19990")))  # fmt: skip

        assert len(opened.reader().split(few, 200_000)) == 1
        assert read(opened, few).num_rows == 11


def test_a_chunk_gives_the_same_batches_every_time(dsn):
    run(dsn, *TABLES["plain"])
    with session(dsn) as opened:
        source = source_of(opened, "public.t")
        chunk = opened.reader().split(source, 300_000)[1]
        first, second = (list(opened.reader().read(source, chunk, BatchSize(777, 50_000))) for _ in range(2))

    assert first == second
    assert max(batch.num_rows for batch in first) <= 777


# ---- rows that move between the plan and the reading


def _planned(dsn):
    with session(dsn) as opened:
        opened.hold_snapshot()
        source = source_of(opened, "public.t")
        return source, kept(opened.reader().split(source, 200_000))


def test_chunks_of_a_lost_snapshot_are_read_where_nothing_moved(dsn):
    run(dsn, *TABLES["plain"])
    source, chunks = _planned(dsn)
    run(dsn, "INSERT INTO t VALUES (-1, 'late')", "DELETE FROM t WHERE id = 77")

    with session(dsn) as opened:
        opened.hold_snapshot()
        assert ids(read(opened, source, chunks)) == Counter([*range(1, 77), *range(78, 20_001), -1])


@pytest.mark.parametrize(
    "change",
    ["UPDATE t SET v = v || repeat('long', 100)", "VACUUM FULL t", "UPDATE t SET id = id + 100000 WHERE id = 5"],
)
def test_chunks_of_a_lost_snapshot_are_refused_where_rows_moved(dsn, change):
    run(dsn, *TABLES["plain"])
    source, chunks = _planned(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(change)
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")

    with session(dsn) as opened:
        opened.hold_snapshot()
        with pytest.raises(SourceChanged, match=r"table public\.t changed after the snapshot.*split_by: key"):
            read(opened, source, chunks)


def test_chunks_that_begin_within_a_page_are_refused_after_an_update_on_the_page(dsn):
    run(dsn, *TABLES["toast"], "ANALYZE t")
    source, chunks = _planned(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE t SET v = v WHERE id = 5")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")

    with session(dsn) as opened:
        opened.hold_snapshot()
        with pytest.raises(SourceChanged, match="1 updates moved rows"):
            read(opened, source, chunks)


@pytest.mark.parametrize(("change", "is_refused"), [("", False), ("UPDATE t SET v = v || 'x' WHERE id = 5", True)])
def test_after_a_crash_of_the_server_the_rows_tell_whether_they_moved(own_postgres, dsn, change, is_refused):
    run(dsn, *TABLES["plain"])
    source, chunks = _planned(dsn)
    run(dsn, change or "SELECT 1", "CHECKPOINT")  # the tests' server commits without waiting for its disk
    own_postgres.restart("immediate")

    with session(dsn) as opened:
        opened.hold_snapshot()
        if is_refused:
            with pytest.raises(SourceChanged, match="rows were written since"):
                read(opened, source, chunks)
        else:
            assert ids(read(opened, source, chunks)) == Counter(range(1, 20_001))


def test_key_ranges_hold_however_rows_move(dsn):
    run(dsn, *TABLES["plain"])
    with session(dsn) as opened:
        source = source_of(opened, "public.t", split_by="key")
        chunks = kept(opened.reader().split(source, 200_000))
    run(dsn, "UPDATE t SET v = v || 'x'", "VACUUM FULL t")

    with session(dsn) as opened:
        assert len(chunks) > 2
        assert ids(read(opened, source, chunks)) == Counter(range(1, 20_001))


# ---- one moment for all readers


@pytest.mark.parametrize("codec", ["native", "portable"])
def test_sessions_of_one_snapshot_see_one_moment_while_rows_change(dsn, codec):
    run(dsn, *TABLES["plain"])
    ended = threading.Event()

    def churn() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            number = 0
            while not ended.is_set():
                number += 1
                connection.execute("INSERT INTO t VALUES (%s, 'new')", [100_000 + number])
                connection.execute("UPDATE t SET v = v || repeat('y', 60) WHERE id %% 1000 = %s", [number % 1000])
                connection.execute("DELETE FROM t WHERE id = %s", [number])

    with (
        session(dsn) as leader,
        session(dsn) as a,
        session(dsn) as b,
        session(dsn) as c,
    ):
        token = leader.hold_snapshot()
        source = source_of(leader, "public.t", codec=codec)
        before = leader.reader().count(source)
        churner = threading.Thread(target=churn)
        churner.start()
        try:
            chunks = leader.reader().split(source, 200_000)
            seen: Counter = Counter()
            for number, chunk in enumerate(chunks):
                opened = (leader, a, b, c)[number % 4]
                opened.use_snapshot(token)
                opened.use_snapshot(token)
                seen += ids(read(opened, source, [chunk]))
            counted = c.reader().count(source)
        finally:
            ended.set()
            churner.join()

    assert seen == Counter(range(1, 20_001))
    assert before == counted == 20_000
