"""The reference meaning of each mode: worked cases, and laws that hold for any tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import SchemaChanged, SpecError
from penstock.core.load import CursorValue, Load, Mode, SchemaPolicy
from penstock.core.names import TableName
from penstock.core.schema import Column
from penstock.testing import reference
from penstock.testing.values import row_counts, rows

K, V, C = (Column(name, pa.int64()) for name in "kvc")
ROWS = st.lists(
    st.tuples(st.sampled_from([None, 1, 2, 3]), st.integers(0, 3), st.sampled_from([None, 1, 2])), max_size=8
)


def _table(*given: tuple[Any, ...], columns: tuple[Column, ...] = (K, V, C)) -> pa.Table:
    arrays = [pa.array([row[at] for row in given], column.type) for at, column in enumerate(columns)]
    return pa.table(arrays, names=[column.name for column in columns])


def _load(mode: Mode, **more: Any) -> Load:
    return Load("load-1", "job", TableName(("t",)), (K, V, C), mode, **{"key": ("k",), "cursor": "c", **more})


def _apply(load: Load, target: pa.Table | None, *parts: pa.Table) -> reference.Outcome:
    columns = tuple(Column.from_field(field) for field in target.schema) if target is not None else load.columns
    return reference.apply(load, columns, target, {f"{at:03d}": part for at, part in enumerate(parts)})


def test_replace_leaves_exactly_what_was_read() -> None:
    out = _apply(_load(Mode.REPLACE), _table((1, 1, 1), (2, 2, 2)), _table((9, 9, None)), _table((9, 9, None)))

    assert rows(out.data) == [(9, 9, None), (9, 9, None)]
    assert (out.inserted, out.updated, out.deleted) == (2, 0, 2)


def test_append_adds_all_rows() -> None:
    out = _apply(_load(Mode.APPEND), _table((1, 1, 1)), _table((1, 1, 1), (1, 2, 1)))

    assert rows(out.data) == [(1, 1, 1), (1, 1, 1), (1, 2, 1)]


def test_append_that_reads_ties_again_adds_only_those_the_target_lacks() -> None:
    load = _load(Mode.APPEND, reread_to=CursorValue("int64", "2"))

    out = _apply(
        load,
        _table((1, 1, 2), (1, 1, 2), (4, 4, None)),
        _table((1, 1, 2), (1, 1, 2), (1, 1, 2), (2, 2, 2), (3, 3, 3), (4, 4, None)),
    )

    assert rows(out.data) == [(1, 1, 2), (1, 1, 2), (4, 4, None), (1, 1, 2), (2, 2, 2), (3, 3, 3)]


def test_append_compares_reread_rows_without_volatile_columns() -> None:
    load = _load(Mode.APPEND, reread_to=CursorValue("int64", "5"), volatile=("v",))

    out = _apply(load, _table((1, 100, 5)), _table((1, 200, 5), (2, 200, 5)))

    assert rows(out.data) == [(1, 100, 5), (2, 200, 5)]


def test_upsert_brings_the_row_with_the_greatest_cursor_of_each_key() -> None:
    out = _apply(
        _load(Mode.UPSERT), _table((1, 0, 0), (2, 0, 0)), _table((1, 7, 2), (3, 3, None)), _table((1, 8, 1), (3, 4, 1))
    )

    assert rows(out.data) == [(1, 7, 2), (2, 0, 0), (3, 4, 1)]
    assert (out.inserted, out.updated, out.deleted) == (1, 1, 0)


def test_upsert_treats_null_keys_as_equal() -> None:
    out = _apply(_load(Mode.UPSERT), _table((None, 1, 1)), _table((None, 2, 2)))

    assert rows(out.data) == [(None, 2, 2)]


def test_upsert_keeps_columns_that_the_load_lacks() -> None:
    kept = Column("kept", pa.string())
    target = _table((1, 1, 1, "mine"), (2, 2, 2, "too"), columns=(K, V, C, kept))

    out = _apply(_load(Mode.UPSERT), target, _table((1, 5, 5), (3, 3, 3)))

    assert rows(out.data) == [(1, 5, 5, "mine"), (2, 2, 2, "too"), (3, 3, 3, None)]


def test_delete_insert_replaces_slices() -> None:
    out = _apply(_load(Mode.DELETE_INSERT), _table((1, 1, 1), (1, 2, 1), (2, 1, 1)), _table((1, 9, 9), (1, 9, 9)))

    assert rows(out.data) == [(2, 1, 1), (1, 9, 9), (1, 9, 9)]
    assert (out.inserted, out.updated, out.deleted) == (2, 0, 2)


def test_insert_only_leaves_known_keys_and_brings_one_row_a_new_key() -> None:
    out = _apply(_load(Mode.INSERT_ONLY), _table((1, 1, 1)), _table((1, 9, 9), (2, 1, 1), (2, 2, 2)))

    assert rows(out.data) == [(1, 1, 1), (2, 2, 2)]


def test_a_wider_column_widens_the_target() -> None:
    narrow = pa.table({"k": pa.array([1], pa.int64()), "v": pa.array([1], pa.int8()), "c": pa.array([1], pa.int64())})

    out = _apply(_load(Mode.APPEND), narrow, _table((2, 300, 2)))

    assert out.data.schema.field("v").type == pa.int64()
    assert rows(out.data) == [(1, 1, 1), (2, 300, 2)]


@pytest.mark.parametrize("change", ["new_column", "widened"])
def test_a_strict_policy_refuses_what_does_not_fit(change: str) -> None:
    target = _table((1, 1, 1)).drop(["v"])
    if change == "widened":
        target = _table((1, 1, 1)).set_column(1, "v", pa.array([1], pa.int8()))

    with pytest.raises(SchemaChanged, match=f"schema_changes.{change}"):
        _apply(_load(Mode.APPEND, policy=SchemaPolicy(**{change: "strict"})), target, _table((1, 1, 1)))


def test_a_keyed_mode_without_key_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^mode upsert of table t needs a key; name the key columns: key: \[id\]$"):
        reference.check_key(_load(Mode.UPSERT, key=()))


@given(ROWS, ROWS, st.sampled_from([Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY, Mode.REPLACE]))
def test_a_load_that_runs_twice_changes_nothing_more(old: list[Any], new: list[Any], mode: Mode) -> None:
    first = _apply(_load(mode), _table(*old), _table(*new))

    second = _apply(_load(mode), first.data, _table(*new))

    assert row_counts(second.data) == row_counts(first.data)


@given(ROWS, ROWS)
def test_an_append_that_rereads_all_of_it_adds_nothing_twice(old: list[Any], new: list[Any]) -> None:
    first = _apply(_load(Mode.APPEND), _table(*old), _table(*new))

    second = _apply(_load(Mode.APPEND, reread_to=CursorValue("int64", "2")), first.data, _table(*new))

    assert row_counts(second.data) == row_counts(first.data)


@given(ROWS, ROWS, st.sampled_from(list(Mode)), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_parts_does_not_matter(old: list[Any], new: list[Any], mode: Mode, order: Any) -> None:
    mixed = list(new)
    order.shuffle(mixed)

    one = _apply(_load(mode), _table(*old), _table(*new))
    other = _apply(_load(mode), _table(*old), _table(*mixed[:3]), _table(*mixed[3:]))

    assert row_counts(one.data) == row_counts(other.data)
    assert (one.inserted, one.updated, one.deleted) == (other.inserted, other.updated, other.deleted)


@given(ROWS, ROWS, st.sampled_from(list(Mode)))
def test_the_counts_add_up(old: list[Any], new: list[Any], mode: Mode) -> None:
    out = _apply(_load(mode), _table(*old), _table(*new))

    assert out.data.num_rows == len(old) + out.inserted - out.deleted
