"""Layouts: one file a table, and folders by the values of columns."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from penstock.core.errors import CountMismatch, DataError, SpecError
from penstock.core.load import Expected, Mode
from penstock.core.names import TableName
from penstock.core.schema import TypePolicy
from tests.files.lake import ORDERS, Lake, orders

HIVE = {"layout": "hive", "partition_by": ["day", "country"]}
SALES = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 5], pa.int64()),
        "day": pa.array([0, 0, 1, None, 1], pa.int32()).cast(pa.date32()),
        "country": ["DE", "a/b=c", "DE", "", None],
        "amount": pa.array([1.5, 2.5, None, 4.5, 5.5]),
    }
)


@pytest.mark.parametrize("format_name", ["parquet", "arrow", "csv", "ndjson"])
def test_partitions_come_back_as_the_rows_that_went_in(lake: Lake, format_name: str) -> None:
    lake.put(SALES.slice(0, 2), SALES.slice(2), options={**HIVE, "format": format_name})

    back = lake.get()
    assert back.schema.equals(SALES.schema)
    assert back.sort_by("id").equals(SALES)


def test_partition_folders_are_those_of_hive(lake: Lake) -> None:
    lake.put(SALES, options=HIVE)

    folders = sorted({os.path.dirname(path) for path in lake.files() if path != "_penstock.json"})
    assert folders == [
        "day=1970-01-01/country=DE",
        "day=1970-01-01/country=a%2Fb%3Dc",
        "day=1970-01-02/country=DE",
        "day=1970-01-02/country=__HIVE_DEFAULT_PARTITION__",
        "day=__HIVE_DEFAULT_PARTITION__/country=",
    ]


def test_other_programs_read_the_partitions(lake: Lake) -> None:
    data = SALES.filter(pa.array([True, False, True, False, False]))
    lake.put(data, options=HIVE)
    folder = f"{lake.root}/public.orders"

    from_arrow = ds.dataset(folder, format="parquet", partitioning="hive").to_table().sort_by("id")
    from_duckdb = duckdb.sql(
        f"select id, day, country from read_parquet('{folder}/**/*.parquet') order by id"
    ).fetchall()
    from_polars = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).sort("id").collect()

    assert from_arrow.column("country").to_pylist() == ["DE", "DE"]
    assert [(row[0], str(row[1]), row[2]) for row in from_duckdb] == [(1, "1970-01-01", "DE"), (3, "1970-01-02", "DE")]
    assert from_polars["id"].to_list() == [1, 3]


@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY])
def test_partitions_take_every_mode(lake: Lake, mode: Mode) -> None:
    lake.put(SALES, options=HIVE)
    moved = pa.table({**SALES.slice(0, 1).to_pydict(), "country": ["FR"]}, schema=SALES.schema)

    published = lake.put(moved, mode=mode, key=("id",), options=HIVE)

    countries = lake.get().filter(_is_one(lake.get())).column("country").to_pylist()
    assert sorted(countries) == {
        Mode.APPEND: ["DE", "FR"], Mode.UPSERT: ["FR"], Mode.DELETE_INSERT: ["FR"], Mode.INSERT_ONLY: ["DE"]
    }[mode]  # fmt: skip
    assert published.rows_after == len(lake.rows()) == 5 + (mode is Mode.APPEND)


def _is_one(data: pa.Table) -> pa.ChunkedArray:
    return pc.equal(data.column("id"), 1)


def test_an_empty_hive_table_keeps_its_columns(lake: Lake) -> None:
    lake.put(SALES.slice(0, 0), options=HIVE)

    assert [column.name for column in lake.describe().columns] == ["id", "day", "country", "amount"]
    assert lake.rows() == []
    lake.put(SALES, mode=Mode.APPEND, options=HIVE)
    assert len(lake.rows()) == 5


def test_a_filter_may_use_partition_columns(lake: Lake) -> None:
    lake.put(SALES, options=HIVE)

    assert lake.rows(columns=("id",), where="country = 'DE'") == [(1,), (3,)]
    assert lake.session().reader().count(lake.source(columns=("id",), where="country = 'DE'")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "hive"}, "partition_by of table public.orders is"),
        ({"layout": "hive", "partition_by": "nope"}, "name some, but not all, of its columns: id, day"),
        ({"layout": "hive", "partition_by": "id,day,country,amount"}, "name some, but not all"),
        ({"partition_by": "day"}, "partition_by of connection 'lake' needs layout hive, not 'folder'"),
    ],
)
def test_partitions_that_make_no_sense_are_refused(lake: Lake, options: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        lake.session().writer().plan(lake.load(SALES, options=options))


def test_too_many_partitions_are_refused(memory_dir: Path) -> None:
    lake = Lake(memory_dir)
    many = pa.table({"a": pa.array(range(2001), pa.int64()), "b": pa.array(range(2001), pa.int64())})
    load = lake.load(many, options={"layout": "hive", "partition_by": "a", "format": "csv"})

    with pytest.raises(DataError, match="makes more than 2000 files by a"):
        lake.stage(load, many)


def test_partitions_that_come_again_and_again_come_whole(memory_dir: Path) -> None:
    lake = Lake(memory_dir)
    many = pa.table({"a": pa.array([at % 300 for at in range(900)], pa.int64()), "b": pa.array(range(900), pa.int64())})

    lake.put(many, options={"layout": "hive", "partition_by": "a", "format": "csv", "compression": "none"})

    assert lake.get().sort_by("b").equals(many)
    assert len([path for path in lake.files() if path.startswith("a=7/")]) == 1
    batches = pa.concat_tables([many.slice(0, 300)] * 2)
    lake.put(batches.slice(0, 600), options={"layout": "hive", "partition_by": "a", "format": "csv"})
    assert lake.get().num_rows == 600


def test_a_table_of_one_file_lies_beside_the_others(lake: Lake) -> None:
    lake.put(orders(1), options={"layout": "file", "format": "csv", "compression": "gzip"})
    lake.put(orders(2), table=TableName(("other",)), options={"layout": "file"})

    assert sorted(os.listdir(lake.root)) == [".penstock", "other.parquet", "public.orders.csv.gz"]
    assert lake.rows() == [(1, "x")]
    assert [info.name for info in lake.session().catalog().tables()] == [TableName(("other",)), ORDERS]


def test_a_table_of_one_file_is_joined_from_all_parts(lake: Lake) -> None:
    published = lake.put(orders(1), orders(), orders(2, 3), options={"layout": "file"})
    appended = lake.put(orders(4), mode=Mode.APPEND, options={"layout": "file"})

    assert (published.rows_after, appended.rows_after) == (3, 4)
    assert lake.rows() == [(1, "x"), (2, "x"), (3, "x"), (4, "x")]
    assert sorted(os.listdir(lake.root)) == [".penstock", "public.orders.parquet"]


def test_a_changed_file_is_foreign(lake: Lake) -> None:
    lake.put(orders(1), options={"layout": "file", "format": "csv"})
    (lake.root / "public.orders.csv").write_text("id,note\n5,y\n")

    assert lake.rows() == [(5, "y")]
    with pytest.raises(
        SpecError, match=r"holds 1 data files that Penstock did not write, for instance public\.orders\.csv"
    ):
        lake.put(orders(2), options={"layout": "file", "format": "csv"})
    lake.put(orders(2), mode=Mode.APPEND, options={"layout": "file", "format": "csv", "adopt": True})
    assert lake.rows() == [(2, "x"), (5, "y")]


def test_the_previous_file_is_kept_where_it_is_asked_for(lake: Lake) -> None:
    options = {"layout": "file", "format": "csv", "keep_previous": True}
    lake.put(orders(1), options=options)
    lake.put(orders(2), options=options)

    previous = lake.root / ".penstock" / "previous" / "public.orders"
    assert (previous / "public.orders.csv").read_text() == "id,note\n1,x\n"
    assert json.loads((previous / "_penstock.json").read_text())["generation"] == 1


def test_counts_hold_for_one_file_too(lake: Lake) -> None:
    load = lake.load(orders(1), options={"layout": "file"})
    lake.stage(load, orders(1))

    with pytest.raises(CountMismatch):
        lake.session().writer().publish(load, Expected(1, 2))
    assert lake.session().catalog().describe([ORDERS], TypePolicy()) == {}
