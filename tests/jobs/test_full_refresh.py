"""A full refresh of an incremental table, and the incremental loads after it."""

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
  orders: {kind: copy, source: shop, target: house, tables: [orders], mode: upsert, key: order_id, cursor: updated_at}
"""


def _execute(folder: Path, name: str, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(folder / f"{name}.duckdb")) as connection:
        return connection.execute(sql).fetchall()


def test_after_a_full_refresh_the_next_load_is_incremental_again(tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text(PROJECT)
    _execute(tmp_path, "shop", "create table orders as select 1 as order_id, timestamp '2026-01-01' as updated_at")
    project = penstock.load_project(tmp_path, environ={})

    refreshed = penstock.run(project, options=penstock.RunOptions(full_refresh=True))
    assert refreshed.exit_code == 0, refreshed.jobs
    _execute(tmp_path, "shop", "insert into orders values (2, timestamp '2026-01-02')")
    after = penstock.run(project)

    assert after.exit_code == 0, after.jobs
    assert _execute(tmp_path, "house", "select order_id from orders order by 1") == [(1,), (2,)]
    table = penstock.report(project).tables[0]
    assert table.rows_read == 2, "only the row that ties with the watermark and the new one are read"


def test_a_full_refresh_takes_away_rows_that_left_the_source(tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text(PROJECT)
    _execute(
        tmp_path,
        "shop",
        "create table orders as select i as order_id, timestamp '2026-01-01' + i * interval 1 day as updated_at from range(5) r (i)",
    )
    project = penstock.load_project(tmp_path, environ={})
    assert penstock.run(project).exit_code == 0

    _execute(tmp_path, "shop", "delete from orders where order_id = 2")
    assert penstock.run(project).exit_code == 0
    assert _execute(tmp_path, "house", "select count(*) from orders") == [(5,)]
    assert penstock.run(project, options=penstock.RunOptions(full_refresh=True)).exit_code == 0
    assert _execute(tmp_path, "house", "select order_id from orders order by 1") == [(0,), (1,), (3,), (4,)]
