"""Sources that change while a run is dead: what they changed is read again whole, the rest is not."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from tests.faults.project import ProjectDir, make_source
from tests.faults.test_kill import TARGETS, Target

# The command, killed when it has planned a table anew: before that is in the journal, and as soon as it is.
DIE = """
import os, signal, sys
from penstock.engine.items import Items

from penstock.cli.main import entry

moment, plan_anew = sys.argv.pop(1), Items.plan_anew

def dying(self, group):
    if moment == "after":
        plan_anew(self, group)
    os.kill(os.getpid(), signal.SIGKILL)

Items.plan_anew = dying
sys.argv[0] = "penstock"
entry()
"""


def journal(project: ProjectDir, query: str) -> list[Any]:
    path = project.root / ".penstock" / "journal.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # the schema is not there yet
            return []


def kill_when(project: ProjectDir, condition: Callable[[], object]) -> None:
    """Run until something shows in the journal, then kill without warning."""
    process = project.start("run")
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "the load did not get going"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def has_done(project: ProjectDir, table: str, items: int) -> bool:
    found = journal(
        project, f"SELECT count(*) FROM items WHERE kind = 'load' AND state = 'done' AND group_name = '{table}'"
    )
    return bool(found) and found[0][0] >= items


def done_loads(project: ProjectDir, table: str) -> set[tuple[Any, ...]]:
    """What is done of a table, and when it was."""
    query = "SELECT key, started_ms FROM items WHERE kind = 'load' AND state = 'done' AND group_name = '{}'"
    return set(journal(project, query.format(table)))


def notes(project: ProjectDir) -> list[str]:
    return [text for (text,) in journal(project, "SELECT text FROM notes WHERE kind = 'replan' ORDER BY id")]


def two_tables(postgres_server: Any, folder: Path, target: Target) -> tuple[ProjectDir, str, str]:
    """A job of two tables of the same size; what is loaded where."""
    source, target_db = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make_source(source, 30_000)
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute("CREATE TABLE calm AS TABLE events")
        connection.execute("ANALYZE")
    job = {"kind": "copy", "source": "shop", "target": "house", "tables": ["public.*"], "chunk_size": "64 KiB"}
    project = ProjectDir(
        folder, {"shop": source, "house": target.url(folder, target_db)}, {"raw": {**job, "workers": 1}}
    )
    return project, source, target_db


def group_of(project: ProjectDir, table: str) -> str:
    """The table's group in the journal: its name in the target."""
    found = journal(project, f"SELECT name FROM groups WHERE name LIKE '%{table}%'")
    return str(found[0][0]) if found else ""


def move_rows(source: str) -> None:
    """Every other row goes to another page, and the place of the old versions is free for others."""
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute("UPDATE events SET payload = 'moved ' || payload WHERE id % 2 = 0")
        connection.execute("VACUUM events")
        connection.execute("INSERT INTO events SELECT -i, 'new', NULL, now(), true FROM generate_series(1, 500) AS i")


def expected(source: str) -> list[tuple[object, ...]]:
    return next(target for target in TARGETS if target.name == "postgres").read(Path(), source)


def normal(rows: list[tuple[object, ...]]) -> list[tuple[object, object]]:
    return sorted((row[0], row[1]) for row in rows)  # type: ignore[type-var]


@pytest.mark.postgres
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_table_whose_rows_moved_while_the_run_was_dead_is_read_again_and_no_other(
    target: Target, postgres_server: Any, tmp_path: Path
) -> None:
    project, source, target_db = two_tables(postgres_server, tmp_path / "p", target)
    kill_when(project, lambda: has_done(project, group_of(project, "events"), 5))
    calm, before = group_of(project, "calm"), done_loads(project, group_of(project, "events"))
    calm_before = done_loads(project, calm)
    move_rows(source)

    ran = project.run("run")

    assert ran.code == 0, ran.err
    assert normal(target.read(project.root, target_db)) == normal(expected(source))
    assert calm_before <= done_loads(project, calm)
    assert not before & done_loads(project, group_of(project, "events"))
    assert len(notes(project)) == 1
    assert "is planned anew" in notes(project)[0]
    assert "updates moved rows" in notes(project)[0]
    assert "replanned raw" in ran.err
    assert "are done again" in ran.err
    report = project.run("report")
    assert "is planned anew" in report.out


@pytest.mark.postgres
@pytest.mark.parametrize("moment", ["before", "after"])
def test_run_that_dies_while_it_plans_a_table_anew_goes_on(moment: str, postgres_server: Any, tmp_path: Path) -> None:
    target = next(target for target in TARGETS if target.name == "postgres")
    project, source, target_db = two_tables(postgres_server, tmp_path / "p", target)
    kill_when(project, lambda: has_done(project, group_of(project, "events"), 5))
    move_rows(source)
    died = project.start(moment, "run", program=("-c", DIE))
    _, err = died.communicate(timeout=300)
    assert died.returncode == -signal.SIGKILL, err

    ran = project.run("run")

    assert ran.code == 0, ran.err
    assert normal(target.read(project.root, target_db)) == normal(expected(source))
    assert len(notes(project)) == 1


@pytest.mark.postgres
def test_server_that_restarts_in_mid_load_after_rows_moved_costs_a_second_reading_and_no_row(
    own_postgres: Any, tmp_path: Path
) -> None:
    target = next(target for target in TARGETS if target.name == "parquet")
    project, source, target_db = two_tables(own_postgres, tmp_path / "p", target)
    process = project.start("run")
    limit = time.monotonic() + 120
    while not has_done(project, group_of(project, "events"), 5):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGSTOP)
    move_rows(source)
    own_postgres.restart("fast")
    os.killpg(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=300)

    assert process.returncode == 0, err
    rows = normal(target.read(project.root, target_db))
    assert len({row[0] for row in rows}) == len(rows) == 30_500
    assert rows == normal(expected(source))


def fill_duckdb(folder: Path) -> None:
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.execute("CREATE TABLE events AS SELECT i AS id, md5(i::text) AS v FROM range(600000) r(i)")


def change_duckdb(folder: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.execute("DELETE FROM events WHERE id % 3 = 0")
        return connection.execute("SELECT count(*), sum(id) FROM events").fetchall()


def fill_sqlite(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "shop.sqlite")) as connection:
        connection.execute("CREATE TABLE events (id INTEGER, v TEXT)")
        connection.executemany("INSERT INTO events VALUES (?, ?)", ((i, f"{i:0100d}") for i in range(100_000)))
        connection.commit()


def change_sqlite(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "shop.sqlite")) as connection:
        connection.execute("DELETE FROM events WHERE id % 3 = 0")
        connection.commit()
        connection.execute("VACUUM")
        return connection.execute("SELECT count(*), sum(id) FROM events").fetchall()


@pytest.mark.parametrize(
    ("kind", "fill", "change"), [("duckdb", fill_duckdb, change_duckdb), ("sqlite", fill_sqlite, change_sqlite)]
)
def test_embedded_source_that_numbered_its_rows_anew_is_read_again(
    kind: str, fill: Callable[[Path], None], change: Callable[[Path], list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    job = {"kind": "copy", "source": "shop", "target": "lake", "tables": ["*events"], "chunk_size": "64 KiB"}
    urls = {"shop": f"{kind}:{folder}/shop.{kind}", "lake": f"file:{folder}/lake"}
    project = ProjectDir(folder, urls, {"raw": {**job, "workers": 1}})
    fill(folder)
    kill_when(project, lambda: has_done(project, group_of(project, "events"), 3))
    expected_rows = change(folder)

    ran = project.run("run")

    assert ran.code == 0, ran.err
    with duckdb.connect() as connection:
        query = f"SELECT count(*), sum(id) FROM read_parquet('{folder}/lake/*/*.parquet')"
        assert connection.execute(query).fetchall() == expected_rows
    assert len(notes(project)) == 1
