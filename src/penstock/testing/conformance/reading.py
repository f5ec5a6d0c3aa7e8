"""Reader: every row exactly once however it is split, the same chunk the same batches, one moment for all readers."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from penstock.core.errors import Missing, SnapshotLost
from penstock.core.load import BatchSize, Chunk, Source
from penstock.core.names import TableName
from penstock.core.ports import Ability, Snapshots
from penstock.testing.conformance.catalog import SMALL
from penstock.testing.conformance.subject import (
    Subject,
    assert_same_rows,
    filtered,
    like,
    load_whole,
    many_rows,
    read,
    read_table,
    source_of,
    windowed,
)

CHUNK_BYTES = (10_000, 100_000, 10**12)


@pytest.mark.parametrize("chunk_bytes", CHUNK_BYTES)
def test_chunks_cover_every_row_exactly_once(subject: Subject, chunk_bytes: int) -> None:
    subject.needs_rows()
    data = many_rows()
    table = subject.fill("split", data, ("id",) if subject.splits_by_key else ())

    with subject.session() as session:
        source = source_of(session, table)
        chunks = session.reader().split(source, chunk_bytes)
        back = read(session, source, chunks)

    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert_same_rows(back, data)


def test_a_large_table_is_split_and_a_small_one_is_not(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.SPLIT)
    key = ("id",) if subject.splits_by_key else ()
    large, small = subject.fill("large", many_rows(20_000), key), subject.fill("small", SMALL, key)

    with subject.session() as session:
        many = session.reader().split(source_of(session, large), 100_000)
        one = session.reader().split(source_of(session, small), 100_000)

    assert len(many) > 3
    assert len(one) == 1


def test_a_split_is_the_same_twice_and_for_any_session(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("split", many_rows(), ("id",) if subject.splits_by_key else ())

    splits = []
    for _ in range(2):
        with subject.session() as session:
            splits += [session.reader().split(source_of(session, table), 50_000) for _ in range(2)]

    # Estimates may change with the statistics of the system, boundaries may not.
    edges = [[(chunk.ordinal, dict(chunk.bounds)) for chunk in split] for split in splits]
    assert all(each == edges[0] for each in edges)


def test_an_empty_table_splits_into_chunks_without_rows(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("empty", SMALL.slice(0, 0))

    with subject.session() as session:
        source = source_of(session, table)
        chunks = session.reader().split(source, 1000)

        assert chunks
        assert read(session, source, chunks).num_rows == 0


def test_the_same_chunk_read_twice_gives_equal_batches(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("again", many_rows())
    size = BatchSize(rows=100)

    with subject.session() as session:
        source = source_of(session, table)
        chunk = session.reader().split(source, 50_000)[0]
        first = list(session.reader().read(source, chunk, size))
    with subject.session() as session:
        second = list(session.reader().read(source, chunk, size))

    assert first == second


def test_batches_keep_to_their_size(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("sized", many_rows())

    with subject.session() as session:
        source = source_of(session, table)
        by_rows = list(session.reader().read(source, Chunk(0), BatchSize(rows=7)))
        by_bytes = list(session.reader().read(source, Chunk(0), BatchSize(size_bytes=20_000)))

    assert max(batch.num_rows for batch in by_rows) <= 7
    assert max(batch.nbytes for batch in by_bytes) <= 30_000


def test_columns_come_in_the_order_asked_for(subject: Subject) -> None:
    subject.needs_rows()
    data = many_rows(50)
    table = subject.fill("projected", data)

    with subject.session() as session:
        source = source_of(session, table)
        reordered = replace(source, columns=(source.columns[2], source.columns[0]))
        back = read(session, reordered)

    assert_same_rows(back, data.select(["text", "id"]))


def test_a_filter_chooses_rows_in_chunks_and_counts(subject: Subject) -> None:
    subject.needs_rows()
    data = many_rows()
    table = subject.fill("filtered", data)
    with subject.session() as session:
        source = filtered(subject, source_of(session, table), "id >= 100 and number = 1")

        chunks = session.reader().split(source, 30_000)
        back, count = read(session, source, chunks), session.reader().count(source)

    expected = [row for row in data.to_pylist() if row["id"] >= 100 and row["number"] == 1]
    assert sorted(like(back, data.schema).column("id").to_pylist()) == [row["id"] for row in expected]
    assert count == len(expected)


def test_count_counts_all_rows(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("counted", many_rows(123))

    with subject.session() as session:
        assert session.reader().count(source_of(session, table)) == 123


def test_a_query_gives_its_rows_and_their_count(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.QUERY)
    data = many_rows(200)
    table = subject.fill("asked", data)
    query = f"select id, text from {table.quoted(subject.quote_mark)} where id < 50"

    with subject.session() as session:
        columns = session.catalog().describe_query(query, source_of(session, table).policy).columns
        source = Source(None, query, columns)
        chunks = session.reader().split(source, 1000)

        assert_same_rows(read(session, source, chunks), data.select(["id", "text"]).slice(0, 50))
        assert session.reader().count(source) == 50


def test_a_reader_closed_early_leaves_the_session_usable(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("early", many_rows())

    with subject.session() as session:
        source = source_of(session, table)
        batches = session.reader().read(source, Chunk(0), BatchSize(rows=10))
        next(batches)
        batches.close()  # type: ignore[attr-defined]

        assert session.reader().count(source) == 3000


def test_a_missing_table_is_named(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("here", SMALL)

    with subject.session() as session:
        source = replace(source_of(session, table), table=subject.table_name("not_there"))
        with pytest.raises(Missing, match="not_there") as caught:
            read(session, source)

    assert caught.value.hint


def test_readers_of_a_snapshot_see_its_moment(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.SNAPSHOT, Ability.WRITE)
    table = subject.fill("moment", SMALL)

    with subject.session() as holder, subject.session() as joined, subject.session() as writing:
        assert isinstance(holder, Snapshots)
        assert isinstance(joined, Snapshots)
        token = holder.hold_snapshot()
        load_whole(writing, subject.load(table, SMALL.schema), many_rows(500).select(["id", "text"]))
        for _ in range(2):
            joined.use_snapshot(token)

            assert_same_rows(read_table(joined, table), SMALL)
            assert joined.reader().count(source_of(joined, table)) == 2
    with subject.session() as later:
        assert read_table(later, table).num_rows == 500


def test_a_snapshot_is_lost_with_its_session(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.SNAPSHOT)
    table = subject.fill("moment", SMALL)
    with subject.session() as holder:
        assert isinstance(holder, Snapshots)
        token = holder.hold_snapshot()

    with pytest.raises(SnapshotLost):
        _read_as_of(subject, table, token)


def _read_as_of(subject: Subject, table: TableName, token: str) -> None:
    """Join the snapshot and read, until that fails: a server may need a moment to notice that its holder has gone."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with subject.session() as session:
            assert isinstance(session, Snapshots)
            session.use_snapshot(token)
            read_table(session, table)


def test_a_window_goes_together_with_chunks(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    data = many_rows()
    table = subject.fill("windowed", data)

    with subject.session() as session:
        source = windowed(source_of(session, table), "id")
        high = session.reader().high(source)
        low = session.reader().lagged(source, high, "10") if high else None
        chosen = windowed(source, "id", low=low, high=high)
        chunks = session.reader().split(chosen, 20_000)

        assert_same_rows(read(session, chosen, chunks), data.slice(2989))
