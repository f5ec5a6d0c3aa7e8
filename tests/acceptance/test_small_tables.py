"""What one more small table costs: a statement of the server, four syncs of the disk, one item of the journal."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.acceptance.project import Project, sql
from tests.parts.postgres import PostgresServer

pytestmark = pytest.mark.postgres

STATEMENT = re.compile(rb" LOG:  (?:statement|execute [^:]*): ")


def small_tables(dsn: str, count: int) -> None:
    sql(dsn, "CREATE SCHEMA small")
    sql(
        dsn,
        *(
            f"CREATE TABLE small.t{number:02d} AS SELECT i AS id, 'row ' || i AS label FROM generate_series(1, 100) AS i"
            for number in range(count)
        ),
    )


def statements_of(server: PostgresServer, folder: Path, tables: int) -> int:
    """The statements that the server is given while so many tables are copied."""
    dbname = server.create_database()
    dsn = server.dsn(dbname)
    small_tables(dsn, tables)
    project = Project(folder, dsn, f"file:{folder}/lake", tables=["small.*"], workers=1)
    project.load()
    server.execute(f"ALTER DATABASE {dbname} SET log_statement = 'all'")
    before = server.log.stat().st_size
    result = project.run()
    assert result.jobs[0].counts.rows == 100 * tables
    return len(STATEMENT.findall(server.log.read_bytes()[before:]))


def test_one_more_small_table_is_one_more_statement(own_postgres, tmp_path):
    ten, twenty = (statements_of(own_postgres, tmp_path / str(count), count) for count in (10, 20))

    assert ten > 10
    assert twenty - ten == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_one_more_small_table_is_four_syncs_and_one_item(workers, postgres_dsn, tmp_path, monkeypatch):
    small_tables(postgres_dsn, 20)
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), fsync(file))[1])
    counts, items = [], []

    for tables in ("small.t0*", "small.*"):
        synced.clear()
        folder = tmp_path / str(len(counts))
        result = Project(folder, postgres_dsn, f"file:{folder}/lake", tables=[tables], workers=workers).run()
        counts.append(len(synced))
        items.append(result.jobs[0].counts.done)

    assert items == [10, 20]
    assert counts[1] - counts[0] == 40


def test_staging_of_other_tables_is_not_opened(postgres_dsn, tmp_path):
    small_tables(postgres_dsn, 2)
    project = Project(tmp_path, postgres_dsn, f"file:{tmp_path}/lake", tables=["small.*"])
    project.run()
    theirs = tmp_path / "lake" / ".penstock" / "staging" / "0123456789abcdef-load"
    theirs.mkdir(parents=True)
    (theirs / "load.json").write_text("not a plan")

    project.run()

    assert (theirs / "load.json").read_text() == "not a plan"
