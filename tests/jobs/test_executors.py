"""Which executors a copy job takes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import penstock

PROJECT = """
version: 1
connections:
  shop: {url: "duckdb:./shop.duckdb"}
  lake: {url: "file:./lake"}
jobs:
  out: {kind: copy, source: shop, target: lake, tables: [t]}
  back: {kind: copy, source: lake, target: shop, tables: [t], target_name: "copied"}
"""


@pytest.mark.parametrize("job", ["out", "back"])
def test_processes_are_refused_where_only_one_may_open_the_file(tmp_path: Path, job: str) -> None:
    (tmp_path / "penstock.yml").write_text(PROJECT)
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("create table t as select 1 as n")
    project = penstock.load_project(tmp_path, environ={})
    assert penstock.run(project, ["out"]).exit_code == 0

    refused = penstock.run(project, [job], penstock.RunOptions(executor="processes", fresh=True))

    assert refused.exit_code == 2
    assert "'shop' (duckdb) of job" in refused.jobs[0].reason
    assert "use executor threads" in refused.jobs[0].reason
    assert penstock.run(project, [job], penstock.RunOptions(executor="serial")).exit_code == 0
