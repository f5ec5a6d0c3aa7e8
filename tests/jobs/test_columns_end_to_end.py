"""Column settings from the project file to the rows in the target."""

from __future__ import annotations

from pathlib import Path

import duckdb

import penstock

PROJECT = """
version: 1
connections:
  shop: {url: "duckdb:./shop.duckdb"}
  house: {url: "duckdb:./house.duckdb"}
jobs:
  customers:
    kind: copy
    source: shop
    target: house
    tables: [customers]
    columns: COLUMNS
"""


def _copied(folder: Path, columns: str) -> tuple[list[str], list[tuple[object, ...]]]:
    (folder / "penstock.yml").write_text(PROJECT.replace("COLUMNS", columns))
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.execute("create table customers (id int, name text, email text, phone text)")
        connection.execute("insert into customers values (1, 'Ann', 'ann@example.com', '12345678')")
    result = penstock.run(penstock.load_project(folder, environ={}))
    assert result.exit_code == 0, result.jobs
    with duckdb.connect(str(folder / "house.duckdb")) as connection:
        found = connection.execute("select * from customers")
        return [column[0] for column in found.description or ()], found.fetchall()


def test_excluded_columns_do_not_arrive(tmp_path: Path) -> None:
    assert _copied(tmp_path, "{exclude: [email, phone]}") == (["id", "name"], [(1, "Ann")])


def test_only_included_columns_arrive(tmp_path: Path) -> None:
    assert _copied(tmp_path, "{include: [id, email]}") == (["id", "email"], [(1, "ann@example.com")])


def test_all_column_settings_work_together(tmp_path: Path) -> None:
    columns = """
      {exclude: email, cast: {id: bigint}, mask: {phone: {keep: 2}}, add: {site: {value: north}},
       rename: {name: fullName}, case: upper}"""
    assert _copied(tmp_path, columns) == (["ID", "fullName", "PHONE", "SITE"], [(1, "Ann", "******78", "north")])
