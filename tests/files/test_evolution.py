"""Schema changes of a table that is there: adapted or refused as the policy says, old rows read with them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import SchemaChanged
from penstock.core.load import Mode, SchemaPolicy
from tests.files.lake import Lake

FORMATS = ["parquet", "arrow", "csv", "ndjson"]
OLD = pa.table({"id": pa.array([1], pa.int64()), "n": pa.array([1], pa.int16()), "gone": ["old"]})


def _new(**columns: Any) -> pa.Table:
    return pa.table({"id": pa.array([2], pa.int64()), **columns})


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.UPSERT])
def test_new_and_dropped_columns_are_null_where_they_lack(lake: Lake, format_name: str, mode: Mode) -> None:
    options = {"format": format_name}
    lake.put(OLD, options=options)

    lake.put(_new(n=pa.array([5], pa.int16()), fresh=["new"]), mode=mode, key=("id",), options=options)

    assert lake.rows() == [(1, 1, "old", None), (2, 5, None, "new")]
    assert [(column.name, column.nullable) for column in lake.describe().columns] == [
        ("id", True), ("n", True), ("gone", True), ("fresh", True)
    ]  # fmt: skip


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_wider_type_widens_and_a_narrower_one_fits(lake: Lake, format_name: str) -> None:
    options = {"format": format_name}
    lake.put(OLD, options=options)

    lake.put(_new(n=pa.array([2**40], pa.int64()), gone=["b"]), mode=Mode.APPEND, options=options)
    lake.put(_new(n=pa.array([7], pa.int8()), gone=["c"]), mode=Mode.APPEND, options=options)

    assert lake.get().column("n").type == pa.int64()
    assert sorted(lake.get().column("n").to_pylist()) == [1, 7, 2**40]


def test_an_upsert_leaves_columns_the_load_lacks_as_they_are(lake: Lake) -> None:
    lake.put(OLD, pa.table({"id": pa.array([2], pa.int64()), "n": pa.array([2], pa.int16()), "gone": ["mine"]}))

    published = lake.put(_new(n=pa.array([9], pa.int16())), mode=Mode.UPSERT, key=("id",))

    assert lake.rows() == [(1, 1, "old"), (2, 9, "mine")]
    assert (published.rows_updated, published.rows_inserted) == (1, 0)


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ("new_column", _new(n=pa.array([1], pa.int16()), gone=["x"], more=[1])),
        ("dropped_column", _new(n=pa.array([1], pa.int16()))),
        ("widened", _new(n=pa.array([1], pa.int64()), gone=["x"])),
        ("narrowed", _new(n=pa.array([1], pa.int8()), gone=["x"])),
    ],
)
@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.REPLACE])
@pytest.mark.parametrize("answer", ["strict", "ask"])
def test_a_change_the_policy_forbids_is_refused_before_anything_is_written(
    lake: Lake, change: str, new: pa.Table, mode: Mode, answer: str
) -> None:
    lake.put(OLD)
    before = lake.files()

    with pytest.raises(SchemaChanged, match=r"table public\.orders: column") as caught:
        lake.put(new, mode=mode, policy=SchemaPolicy(**{change: answer}))

    assert f"{change}: evolve" in caught.value.hint
    assert lake.files() == before


def test_nullability_is_a_change_too(lake: Lake) -> None:
    strict = pa.schema([pa.field("id", pa.int64(), False)])
    lake.put(pa.table([pa.array([1])], schema=strict))

    with pytest.raises(SchemaChanged, match="column 'id' may be NULL now"):
        lake.put(pa.table({"id": [2]}), mode=Mode.APPEND, policy=SchemaPolicy(nullability="strict"))
    lake.put(pa.table({"id": [None, 2]}), mode=Mode.APPEND)

    assert lake.rows() == [(1,), (2,), (None,)]


def test_types_that_do_not_go_together_are_refused_unless_all_is_replaced(lake: Lake) -> None:
    lake.put(OLD)
    text = _new(n=["x"], gone=["x"])

    with pytest.raises(SchemaChanged, match="column 'n' was int16 and is string, and no type holds both"):
        lake.put(text, mode=Mode.APPEND)
    lake.put(text)

    assert lake.rows() == [(2, "x", "x")]


def test_the_plan_names_the_changes(lake: Lake) -> None:
    lake.put(OLD)

    steps = lake.session().writer().plan(lake.load(_new(n=pa.array([1], pa.int64())), Mode.APPEND))

    assert "change columns: column 'n' was int16 and becomes int64" in steps
    assert "change columns: column 'gone' does not come any more" in steps
