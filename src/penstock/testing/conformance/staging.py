"""Writer: a part counts once, a publish happens once and whole, loads keep apart, a crash at any moment costs nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest

from penstock.core.errors import CountMismatch, DataError, Locked, PenstockError, Retry
from penstock.core.load import Expected, Load, Mode
from penstock.core.names import TableName
from penstock.core.ports import Ability, Writer
from penstock.testing.conformance.catalog import SMALL
from penstock.testing.conformance.subject import (
    Subject,
    assert_same_rows,
    batches_of,
    load_whole,
    many_rows,
    names_of,
    read_table,
)

ROWS = many_rows(500)
MODES = (Mode.REPLACE, Mode.APPEND)


def _never() -> Iterator[pa.RecordBatch]:
    def fail() -> pa.RecordBatch:
        raise AssertionError("a part that is marked was read again")

    return (each() for each in [fail])


def _broken(table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from batches_of(table, 50)
    raise DataError("the source broke", "on purpose")


def _stage(writer: Writer, load: Load, *parts: pa.Table) -> Expected:
    writer.prepare(load)
    for number, part in enumerate(parts):
        writer.write(load, f"{number:06d}", batches_of(part))
    return Expected(len(parts), sum(part.num_rows for part in parts))


def _held(subject: Subject, table: TableName) -> pa.Table:
    with subject.session() as session:
        return read_table(session, table)


def _target(subject: Subject, mode: Mode) -> tuple[Load, pa.Table]:
    """A load in `mode` into a table of two rows, and the rows it starts with."""
    before = ROWS.slice(0, 2)
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    table = subject.fill("target", before)
    return subject.load(table, ROWS.schema, mode), before


def _after(mode: Mode, before: pa.Table, loaded: pa.Table) -> pa.Table:
    return loaded if mode is Mode.REPLACE else pa.concat_tables([before, loaded])


@pytest.mark.parametrize("mode", MODES)
def test_the_same_part_twice_counts_once_and_is_not_read_again(subject: Subject, mode: Mode) -> None:
    load, before = _target(subject, mode)

    with subject.session() as session:
        writer = session.writer()
        writer.prepare(load)
        first = writer.write(load, "000000", batches_of(ROWS))
        second = writer.write(load, "000000", _never())
        writer.publish(load, Expected(1, ROWS.num_rows))

    assert (first.rows, first.again) == (500, False)
    assert second == replace(first, again=True)
    assert_same_rows(_held(subject, load.table), _after(mode, before, ROWS))


@pytest.mark.parametrize("mode", MODES)
def test_a_part_that_fails_half_way_leaves_nothing(subject: Subject, mode: Mode) -> None:
    load, before = _target(subject, mode)

    with subject.session() as session:
        writer = session.writer()
        writer.prepare(load)
        with pytest.raises(DataError, match="the source broke"):
            writer.write(load, "000000", _broken(ROWS))
        writer.write(load, "000000", batches_of(ROWS))
        writer.publish(load, Expected(1, ROWS.num_rows))

    assert_same_rows(_held(subject, load.table), _after(mode, before, ROWS))


@pytest.mark.parametrize("mode", MODES)
def test_publish_twice_is_publish_once(subject: Subject, mode: Mode) -> None:
    load, before = _target(subject, mode)
    with subject.session() as session:
        expected = _stage(session.writer(), load, ROWS)
        first = session.writer().publish(load, expected)

    with subject.session() as session:
        second = session.writer().publish(load, expected)

    assert first.again is False
    assert second.again is True
    assert (second.rows_staged, second.rows_after) == (first.rows_staged, first.rows_after)
    assert_same_rows(_held(subject, load.table), _after(mode, before, ROWS))


@pytest.mark.parametrize("mode", MODES)
def test_everything_repeated_after_the_publish_changes_nothing(subject: Subject, mode: Mode) -> None:
    load, before = _target(subject, mode)
    with subject.session() as session:
        expected = _stage(session.writer(), load, ROWS)
        session.writer().publish(load, expected)

    with subject.session() as session:
        expected = _stage(session.writer(), load, ROWS)
        again = session.writer().publish(load, expected)

    assert again.again is True
    assert_same_rows(_held(subject, load.table), _after(mode, before, ROWS))


@pytest.mark.parametrize("wrong", [Expected(1, 500), Expected(2, 499), Expected(3, 500), Expected(2, 501)])
def test_a_publish_that_expects_something_else_changes_nothing(subject: Subject, wrong: Expected) -> None:
    load, before = _target(subject, Mode.REPLACE)

    with subject.session() as session:
        right = _stage(session.writer(), load, ROWS.slice(0, 200), ROWS.slice(200))
        with pytest.raises(CountMismatch, match="500") as caught:
            session.writer().publish(load, wrong)
        assert_same_rows(_held(subject, load.table), before)
        session.writer().publish(load, right)

    assert "target" in caught.value.what
    assert_same_rows(_held(subject, load.table), ROWS)


def test_nothing_shows_before_the_publish_and_nothing_is_left_after_it(subject: Subject) -> None:
    load, before = _target(subject, Mode.REPLACE)

    with subject.session() as session, subject.session() as watching:
        expected = _stage(session.writer(), load, ROWS)
        staged = names_of(watching)
        assert_same_rows(read_table(watching, load.table), before)
        session.writer().publish(load, expected)
    with subject.session() as session:
        published = names_of(session)

    assert staged == published == [load.table]


@pytest.mark.parametrize("mode", MODES)
def test_a_second_try_keeps_the_parts_that_are_marked(subject: Subject, mode: Mode) -> None:
    load, before = _target(subject, mode)
    with subject.session() as session:
        session.writer().prepare(load)
        session.writer().write(load, "000000", batches_of(ROWS.slice(0, 200)))

    with subject.session() as session:
        writer = session.writer()
        writer.prepare(load)
        kept = writer.write(load, "000000", _never())
        writer.write(load, "000001", batches_of(ROWS.slice(200)))
        writer.publish(load, Expected(2, 500))

    assert (kept.rows, kept.again) == (200, True)
    assert_same_rows(_held(subject, load.table), _after(mode, before, ROWS))


def test_loads_of_two_jobs_into_one_table_do_not_mix(subject: Subject) -> None:
    load, before = _target(subject, Mode.APPEND)
    other = replace(load, load_id=load.load_id + "-other", job="other job")

    with subject.session() as session, subject.session() as second:
        mine, theirs = _stage(session.writer(), load, ROWS), _stage(second.writer(), other, ROWS.slice(0, 3))
        second.writer().publish(other, theirs)
        session.writer().publish(load, mine)

    assert_same_rows(_held(subject, load.table), pa.concat_tables([before, ROWS.slice(0, 3), ROWS]))


def test_a_new_load_of_the_same_job_removes_what_an_older_one_left(subject: Subject) -> None:
    load, _ = _target(subject, Mode.REPLACE)
    newer = replace(load, load_id=load.load_id + "-newer")

    with subject.session() as session:
        expected = _stage(session.writer(), load, ROWS)
        newest = _stage(session.writer(), newer, ROWS.slice(0, 3))
        with pytest.raises(PenstockError):
            session.writer().publish(load, expected)
        session.writer().publish(newer, newest)

    assert_same_rows(_held(subject, load.table), ROWS.slice(0, 3))


def test_discard_removes_the_load_and_may_be_repeated(subject: Subject) -> None:
    load, before = _target(subject, Mode.REPLACE)

    with subject.session() as session:
        expected = _stage(session.writer(), load, ROWS)
        for _ in range(2):
            session.writer().discard(load)
        with pytest.raises(PenstockError):
            session.writer().publish(load, expected)

    assert_same_rows(_held(subject, load.table), before)


def test_parts_from_two_sessions_come_together(subject: Subject) -> None:
    load, before = _target(subject, Mode.APPEND)

    with subject.session() as session, subject.session() as second:
        session.writer().prepare(load)
        session.writer().write(load, "000001", batches_of(ROWS.slice(200)))
        second.writer().write(load, "000000", batches_of(ROWS.slice(0, 200)))
        published = second.writer().publish(load, Expected(2, 500))

    assert (published.rows_before, published.rows_inserted, published.rows_after) == (2, 500, 502)
    assert_same_rows(_held(subject, load.table), _after(Mode.APPEND, before, ROWS))


def test_parts_written_at_the_same_time_come_together(subject: Subject) -> None:
    load, before = _target(subject, Mode.APPEND)
    parts = [ROWS.slice(at, 50) for at in range(0, 500, 50)]
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(parts)):
        waiting.put(number)
    failures: list[PenstockError] = []

    def work() -> None:
        try:
            with subject.session() as session:
                while True:
                    number = waiting.get_nowait()
                    _patiently(partial(_write, session.writer(), load, f"{number}", parts[number]))
        except queue.Empty:
            return
        except PenstockError as error:
            failures.append(error)

    with subject.session() as session:
        session.writer().prepare(load)
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    with subject.session() as session:
        _patiently(lambda: session.writer().publish(load, Expected(10, 500)))

    assert_same_rows(_held(subject, load.table), _after(Mode.APPEND, before, ROWS))


def _write(writer: Writer, load: Load, part: str, data: pa.Table) -> None:
    writer.write(load, part, batches_of(data))


def _patiently(call: Callable[[], object]) -> None:
    """What the engine does: try again for a while when the other side is busy."""
    until = time.monotonic() + 120
    while True:
        try:
            call()
            return
        except PenstockError as error:
            if error.retry is not Retry.LATER or time.monotonic() > until:
                raise
            threading.Event().wait(min(error.wait_s or 0.02, 0.1))


def test_parts_without_rows_count_as_parts(subject: Subject) -> None:
    load, _ = _target(subject, Mode.REPLACE)

    with subject.session() as session:
        expected = _stage(session.writer(), load, ROWS.slice(0, 0), ROWS.slice(0, 0))
        published = session.writer().publish(load, expected)

    assert published.rows_after == 0
    assert _held(subject, load.table).num_rows == 0


def test_a_claim_keeps_other_jobs_away_until_the_session_closes(subject: Subject) -> None:
    load, _ = _target(subject, Mode.REPLACE)
    other = replace(load, load_id=load.load_id + "-other", job="other job")

    with subject.session() as second:
        with subject.session() as session:
            session.writer().claim(load)
            session.writer().claim(load)
            with pytest.raises(Locked, match="conformance") as caught:
                second.writer().claim(other)
        second.writer().claim(other)

    assert "target" in caught.value.what


def test_a_plan_tells_and_writes_nothing(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    table = subject.table_name("planned")
    load = subject.load(table, ROWS.schema)

    with subject.session() as session:
        steps = session.writer().plan(load)
        choices = session.writer().types(load)
        listed = names_of(session)

    assert steps
    assert all(isinstance(step, str) and step for step in steps)
    assert [choice.column.name for choice in choices] == ROWS.column_names
    assert all(choice.native for choice in choices)
    assert listed == []


def test_readers_see_the_old_rows_or_the_new_ones_and_nothing_between(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    generation = pa.array([0] * 400, pa.int64())
    first = pa.table({"id": pa.array(range(400), pa.int64()), "generation": generation})
    table = subject.fill("watched", first)
    seen: list[set[int]] = []
    failures: list[PenstockError] = []
    done = threading.Event()

    def watch() -> None:
        try:
            with subject.session() as session:
                while not done.is_set():
                    try:
                        seen.append(_generations(read_table(session, table)))
                    except PenstockError as error:
                        if error.retry is not Retry.LATER:
                            raise
        except PenstockError as error:
            failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(1, 6):
            data = first.set_column(1, "generation", pa.array([number] * (400 + number), pa.int64())[:400])
            with subject.session() as session:
                load_whole(session, subject.load(table, data.schema), data.slice(0, 200), data.slice(200))
    finally:
        done.set()
        watcher.join()

    assert not failures
    assert seen
    assert all(len(generations) == 1 and -1 not in generations for generations in seen), seen


def _generations(data: pa.Table) -> set[int]:
    """The generations among the rows; a wrong number of rows counts as one of its own."""
    return {int(value) for value in data.column("generation").to_pylist()} | ({-1} if data.num_rows != 400 else set())


def test_a_load_leaves_other_tables_alone(subject: Subject) -> None:
    load, _ = _target(subject, Mode.REPLACE)
    other = subject.fill("other", SMALL)

    with subject.session() as session:
        load_whole(session, load, ROWS)

    assert_same_rows(_held(subject, other), SMALL)
