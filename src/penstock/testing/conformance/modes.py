"""Modes: the target after a load is what penstock.testing.reference says, for any rows, keys, repeats and NULLs."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import NotSupported, SchemaChanged, SpecError
from penstock.core.load import Expected, Load, Mode, SchemaPolicy
from penstock.core.ports import Ability
from penstock.core.schema import Column
from penstock.testing import reference
from penstock.testing.conformance.subject import (
    Subject,
    assert_same_rows,
    batches_of,
    describe,
    like,
    load_whole,
    read_table,
    source_of,
    windowed,
)
from penstock.testing.values import row_counts, rows

KEYED = (Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY)
EXAMPLES = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SCHEMA = pa.schema(
    [("k", pa.int64()), ("part key", pa.string()), ("value", pa.string()), ("at", pa.int64()), ("amount", pa.float64())]
)
_names = itertools.count(1)
_key = st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, "", "a", "A", "a "]))
_rest = st.tuples(st.sampled_from([None, "", "x", "y"]), st.just(0), st.sampled_from([None, 0.5, -1.0]))
_rows = st.lists(st.tuples(_key, _rest), max_size=10)


def _table(given: list[Any], first_cursor: int = 0) -> pa.Table:
    """The rows with cursors that are all different, so that which row wins is no matter of taste."""
    flat = [(*key, value, first_cursor + at, amount) for at, (key, (value, _, amount)) in enumerate(given)]
    arrays = [pa.array([row[at] for row in flat], field.type) for at, field in enumerate(SCHEMA)]
    return pa.table(arrays, schema=SCHEMA)


def _load(subject: Subject, mode: Mode, **more: Any) -> Load:
    table = subject.table_name(f"modes_{next(_names)}")
    key = ("k", "part key") if mode in KEYED else ()
    return subject.load(table, SCHEMA, mode, **{"key": key, "cursor": "at", **more})


def _needs(subject: Subject, mode: Mode) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE, *([Ability.UPSERT] if mode in KEYED else []))


@pytest.mark.parametrize("mode", list(Mode))
def test_a_mode_does_what_the_reference_does(subject: Subject, mode: Mode) -> None:
    _needs(subject, mode)

    @EXAMPLES
    @given(st.none() | _rows, _rows, st.integers(0, 10))
    def holds(old: list[Any] | None, new: list[Any], cut: int) -> None:
        load, staged = _load(subject, mode), _table(new, 5)
        before = None if old is None else _table(old)
        # Keys of UPSERT are unique in a table that upserts keep; other rows are outside the contract.
        if mode is Mode.UPSERT and before is not None:
            before = reference.apply(load, load.columns, SCHEMA.empty_table(), {"0": before}).data
        expected = reference.apply(load, load.columns, before, {"0": staged})

        with subject.session() as session:
            if before is not None:
                load_whole(session, subject.load(load.table, SCHEMA), before)
            published = load_whole(session, load, staged.slice(0, cut), staged.slice(cut))
            back = read_table(session, load.table)

        assert_same_rows(back, expected.data)
        assert published.rows_staged == staged.num_rows
        assert published.rows_before == (before.num_rows if before is not None else 0)
        assert published.rows_after == expected.data.num_rows
        counted = (published.rows_inserted, published.rows_updated, published.rows_deleted)
        assert counted == (expected.inserted, expected.updated, expected.deleted)
        assert published.how

    holds()


@pytest.mark.parametrize("mode", [Mode.REPLACE, *KEYED])
def test_a_load_repeated_as_a_new_one_changes_nothing_more(subject: Subject, mode: Mode) -> None:
    _needs(subject, mode)
    old = _table([((1, "a"), ("x", 0, None)), ((None, None), ("x", 0, None))])
    new = _table([((1, "a"), ("y", 0, 1.0)), ((None, None), ("y", 0, 1.0)), ((2, "b"), ("z", 0, 2.0))], 5)
    first = _load(subject, mode)

    with subject.session() as session:
        load_whole(session, subject.load(first.table, SCHEMA), old)
        load_whole(session, first, new)
        once = read_table(session, first.table)
        load_whole(session, subject.load(first.table, SCHEMA, mode, key=first.key, cursor="at"), new)
        twice = read_table(session, first.table)

    assert row_counts(once) == row_counts(twice)


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.INSERT_ONLY])
@pytest.mark.parametrize("cursor", ["at", ""])
def test_among_equals_the_same_row_wins_in_whatever_order_parts_arrive(
    subject: Subject, mode: Mode, cursor: str
) -> None:
    _needs(subject, mode)
    values = ["b", "a", None, "c"]
    parts = [
        pa.table([pa.array([at], field.type) for at, field in zip((1, "a", value, 7, 0.5), SCHEMA, strict=True)], schema=SCHEMA)
        for value in values
    ]  # fmt: skip
    results = []

    with subject.session() as session:
        for order in (range(4), reversed(range(4)), (2, 0, 3, 1)):
            load = _load(subject, mode, cursor=cursor)
            writer = session.writer()
            writer.prepare(load)
            for number in order:
                writer.write(load, f"{number:06d}", batches_of(parts[number]))
            writer.publish(load, Expected(4, 4))
            results.append(rows(like(read_table(session, load.table), SCHEMA)))

    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 1
    assert results[0][0][2] in values


def test_an_append_that_rereads_adds_only_what_the_target_lacks(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE, Ability.CURSOR)

    def table(*cursors: int | None) -> pa.Table:
        same = [[at, "a", "x", at, 0.5] for at in cursors]
        return pa.table(
            [pa.array([row[at] for row in same], field.type) for at, field in enumerate(SCHEMA)], schema=SCHEMA
        )

    load = _load(subject, Mode.APPEND)
    with subject.session() as session:
        load_whole(session, subject.load(load.table, SCHEMA), table(1, 2, 2, None))
        reread_to = session.reader().high(windowed(source_of(session, load.table), "at"))
        again = subject.load(load.table, SCHEMA, Mode.APPEND, cursor="at", reread_to=reread_to)
        published = load_whole(session, again, table(2, 2, 2), table(3, 3, None))
        back = read_table(session, load.table)

    assert_same_rows(back, table(1, 2, 2, 2, 3, 3, None))
    assert (published.rows_inserted, published.rows_after) == (3, 7)


def test_an_append_compares_reread_rows_without_volatile_columns(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE, Ability.CURSOR)
    old = _table([((1, "a"), ("first run", 0, None))])
    new = _table([((1, "a"), ("second run", 0, None)), ((2, "a"), ("second run", 0, None))])
    load = _load(subject, Mode.APPEND)

    with subject.session() as session:
        load_whole(session, subject.load(load.table, SCHEMA), old)
        reread_to = session.reader().high(windowed(source_of(session, load.table), "at"))
        again = subject.load(load.table, SCHEMA, Mode.APPEND, cursor="at", reread_to=reread_to, volatile=("value",))
        load_whole(session, again, new)
        back = read_table(session, load.table)

    assert_same_rows(back, pa.concat_tables([old, new.slice(1)]))


@pytest.mark.parametrize("mode", [Mode.APPEND, *KEYED])
def test_a_new_column_is_added_and_a_column_the_load_lacks_is_kept(subject: Subject, mode: Mode) -> None:
    _needs(subject, mode)
    old = pa.table({"k": pa.array([1, 2], pa.int64()), "kept": ["mine", "too"]})
    new = pa.table({"k": pa.array([2, 3], pa.int64()), "new": pa.array([20, 30], pa.int64())})
    table = subject.table_name("evolving")
    load = subject.load(table, new.schema, mode, key=("k",) if mode in KEYED else ())

    with subject.session() as session:
        load_whole(session, subject.load(table, old.schema), old)
        load_whole(session, load, new)
        back = read_table(session, table)

    columns = tuple(Column.from_field(field) for field in old.schema)
    expected = reference.apply(load, columns, old, {"0": new})
    assert_same_rows(back, expected.data)


@pytest.mark.parametrize("mode", [Mode.APPEND, *KEYED])
def test_a_wider_value_widens_the_target(subject: Subject, mode: Mode) -> None:
    _needs(subject, mode)
    old = pa.table({"k": pa.array([1], pa.int64()), "n": pa.array([1], pa.int16())})
    new = pa.table({"k": pa.array([2], pa.int64()), "n": pa.array([2**40], pa.int64())})
    table = subject.table_name("widening")
    load = subject.load(table, new.schema, mode, key=("k",) if mode in KEYED else ())

    with subject.session() as session:
        load_whole(session, subject.load(table, old.schema), old)
        load_whole(session, load, new)
        back = read_table(session, table)

    assert_same_rows(back, pa.table({"k": pa.array([1, 2], pa.int64()), "n": pa.array([1, 2**40], pa.int64())}))


@pytest.mark.parametrize(
    ("change", "columns"),
    [("new_column", ["k", "n", "more"]), ("dropped_column", ["k"]), ("widened", ["k", "n"])],
)
def test_a_strict_policy_refuses_before_anything_changes(subject: Subject, change: str, columns: list[str]) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    old = pa.table({"k": pa.array([1], pa.int64()), "n": pa.array([1], pa.int16())})
    new = pa.table(
        {name: pa.array([1], pa.int64() if name != "n" or change == "widened" else pa.int16()) for name in columns}
    )
    table = subject.table_name("strict")
    load = subject.load(table, new.schema, Mode.APPEND, policy=SchemaPolicy(**{change: "strict"}))

    with subject.session() as session:
        load_whole(session, subject.load(table, old.schema), old)
        described = describe(session, table)
        if change == "widened" and session.writer().types(subject.load(subject.table_name("x"), old.schema))[
            1
        ].native == (session.writer().types(subject.load(subject.table_name("x"), new.schema))[1].native):
            pytest.skip(f"{subject.connector.name} holds both widths in one type")
        with pytest.raises(SchemaChanged, match="strict"):
            session.writer().plan(load)
        with pytest.raises(SchemaChanged, match="strict"):
            load_whole(session, load, new)

        assert describe(session, table) == described
        assert_same_rows(read_table(session, table), old)


@pytest.mark.parametrize("mode", KEYED)
def test_a_keyed_mode_needs_its_key(subject: Subject, mode: Mode) -> None:
    _needs(subject, mode)

    with subject.session() as session:
        for key in ((), ("absent",)):
            with pytest.raises(SpecError):
                session.writer().prepare(_load(subject, mode, key=key))


@pytest.mark.parametrize("mode", KEYED)
def test_a_keyed_mode_is_refused_where_it_is_not_claimed(subject: Subject, mode: Mode) -> None:
    subject.needs(Ability.WRITE)
    if subject.can(Ability.UPSERT):
        pytest.skip(f"{subject.connector.name} claims {Ability.UPSERT.value}")

    with subject.session() as session, pytest.raises(NotSupported):
        session.writer().plan(_load(subject, mode))
