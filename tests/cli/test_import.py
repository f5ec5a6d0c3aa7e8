"""`penstock import hygge` as a user has it: what it writes, what it says, and that the project it makes does its work."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Penstock

PROJECTS = Path(__file__).parents[1] / "hygge" / "projects"


def old(tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(PROJECTS / name, tmp_path / name))


def rows(folder: Path) -> list[tuple[object, ...]]:
    return sorted(pl.read_parquet(folder / "*.parquet").rows())


def test_the_file_is_written_into_the_old_project(penstock: Penstock, tmp_path: Path) -> None:
    old(tmp_path, "early")

    done = penstock("import", "hygge", "early")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("wrote early/penstock.yml: 2 connections, 2 jobs, 2 tables\n")
    assert penstock("check", "--offline", cwd=tmp_path / "early").code == 0


def test_a_file_that_is_there_is_kept_unless_forced(penstock: Penstock, tmp_path: Path) -> None:
    file = old(tmp_path, "early") / "penstock.yml"
    file.write_text("version: 1\n")

    refused = penstock("import", "hygge", "early")

    assert refused.code == 2
    assert refused.err == (
        "error: early/penstock.yml exists already\n  -> pass --force to replace it, or --project FILE for another\n"
    )
    assert file.read_text() == "version: 1\n"
    assert penstock("import", "hygge", "early", "--force").code == 0
    assert "jobs:" in file.read_text()


def test_a_dry_run_shows_the_file_and_writes_nothing(penstock: Penstock, tmp_path: Path) -> None:
    folder = old(tmp_path, "early")

    done = penstock("import", "hygge", "early", "--dry-run")

    assert done.code == 0
    assert done.out == (PROJECTS.parent / "expected" / "early.yml").read_text()
    assert not (folder / "penstock.yml").exists()


def test_project_says_where_the_file_goes(penstock: Penstock, tmp_path: Path) -> None:
    old(tmp_path, "early")

    done = penstock("import", "hygge", "early", "--project", "new/penstock.yml")

    assert done.code == 0
    assert 'url: "file:../early/data"' in (tmp_path / "new" / "penstock.yml").read_text()


def test_json_gives_the_file_and_every_note(penstock: Penstock, tmp_path: Path) -> None:
    old(tmp_path, "files")

    done = penstock("import", "hygge", "files", "--json")

    assert done.code == 3
    assert done.json["file"] == "files/penstock.yml"
    assert done.json["jobs"] == ["export", "inbox", "inbox_stock"]
    assert done.json["exit_code"] == 3
    lacking = [note for note in done.json["notes"] if note["kind"] == "lacking"]
    assert [(note["option"], note["places"]) for note in lacking] == [
        ("unfinished", ["flows/unfinished"]),
        ("home.type", ["flows/sheets/flow.yml:1"]),
    ]


def test_what_is_wrong_with_the_old_files_ends_with_2(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "hygge.yml").write_text("name: [a\n")

    done = penstock("import", "hygge", ".")

    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: hygge.yml:2:1: is no YAML: ")


def test_an_imported_project_runs_and_repeats_as_its_author_meant(penstock: Penstock, tmp_path: Path) -> None:
    folder = old(tmp_path, "starter")
    users, orders = folder / "data" / "source" / "users", folder / "data" / "source" / "orders"
    users.mkdir(parents=True)
    orders.mkdir()
    people = {
        "id": [1, 2, 3],
        "name": ["a", "b", "c"],
        "secret": [7, 8, 9],
        "created_at": ["2023-05-01", "2024-05-01", "2025"],
    }
    pl.DataFrame(people).write_parquet(users / "1.parquet")
    pl.DataFrame({"id": [1, 2]}).write_parquet(orders / "1.parquet")

    assert penstock("import", "hygge", ".", cwd=folder).code == 0
    first = penstock("run", cwd=folder)
    pl.DataFrame({"id": [3]}).write_parquet(orders / "2.parquet")
    second = penstock("run", cwd=folder)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    out = folder / "data" / "destination"
    assert rows(out / "users") == [(2, "b", "2024-05-01"), (3, "c", "2025")]
    assert rows(out / "orders") == [(1,), (2,), (3,)]


def test_files_of_the_old_tool_are_refused_and_replaced_as_the_note_says(penstock: Penstock, tmp_path: Path) -> None:
    folder = old(tmp_path, "starter")
    for table in ("users", "orders"):
        for side, ids in (("source", [1, 2]), ("destination", [9])):
            place = folder / "data" / side / table
            place.mkdir(parents=True)
            values = {"id": ids, "name": ["n"] * len(ids), "created_at": ["2025"] * len(ids)}
            pl.DataFrame(values).write_parquet(place / "00000000000000000001.parquet")
    penstock("import", "hygge", ".", cwd=folder)
    file = folder / "penstock.yml"

    refused = penstock("run", cwd=folder)
    file.write_text(file.read_text().replace('data/destination"', 'data/destination", adopt: true'))
    taken = penstock("run", "--full-refresh", cwd=folder)

    assert refused.code == 2
    assert "data files that Penstock did not write" in refused.out
    assert taken.code == 0, taken.err
    assert rows(folder / "data" / "destination" / "orders") == [(1, "n", "2025"), (2, "n", "2025")]


def test_imported_files_of_text_arrive_in_sqlite(penstock: Penstock, tmp_path: Path) -> None:
    folder = old(tmp_path, "files")
    for name, text in {
        "in/customers/a.csv": "id;name\n1;Ann\n2;n/a\n",
        "in/lists/prices.csv": "id;price\n1;9\n",
        "elsewhere/stock/s.csv": "id\n5\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "out").mkdir()

    assert penstock("import", "hygge", ".", cwd=folder).code == 3
    done = penstock("run", "inbox", "inbox_stock", cwd=folder)

    assert done.code == 0, done.err
    with closing(sqlite3.connect(folder / "out" / "shop.db")) as shop:
        assert shop.execute("select * from raw_customers order by id").fetchall() == [(1, "Ann"), (2, None)]
        assert shop.execute("select * from raw_prices").fetchall() == [(1, 9)]
        assert shop.execute("select * from raw_stock").fetchall() == [(5,)]


@pytest.mark.parametrize("name", ["warehouse", "mirror"])
def test_no_secret_shows_in_what_is_said(penstock: Penstock, tmp_path: Path, name: str) -> None:
    old(tmp_path, name)

    done = penstock("import", "hygge", name, "--verbose")

    said = done.out + done.err + (tmp_path / name / "penstock.yml").read_text()
    for secret in ("Winter2025!", "literal-secret", "c2VjcmV0c2ln", "bGl0ZXJhbC1rZXk"):
        assert secret not in said
    assert "stood in clear and was replaced by a reference" in done.out
