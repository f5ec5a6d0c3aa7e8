"""SIGKILL at random moments: the next run continues, repeats at most one chunk per worker, and ends like a clean one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psycopg
import pytest

from tests.faults.project import CHUNKS, ProjectDir, chunk_size, kill_until_done, make_source

pytestmark = pytest.mark.postgres

Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Target:
    """Where the load goes and how to read it back, sorted by id, with another program than Penstock."""

    name: str
    url: Callable[[Path, str], str]
    read: Callable[[Path, str], Rows]


COLUMNS = 'id, payload, amount::VARCHAR, epoch_us("at"), flag'


def _parquet(folder: Path, _dsn: str) -> Rows:
    with duckdb.connect() as connection:
        files = f"{folder}/lake/*events/*.parquet"
        return connection.execute(f"SELECT {COLUMNS} FROM read_parquet($1) ORDER BY id", [files]).fetchall()


def _duckdb(folder: Path, _dsn: str) -> Rows:
    with duckdb.connect(str(folder / "house.duckdb")) as connection:
        table = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE table_name = 'events'"
        )
        name = table.fetchall()[0][0]
        return connection.execute(f"SELECT {COLUMNS} FROM {name} ORDER BY id").fetchall()


def _sqlite(folder: Path, _dsn: str) -> Rows:
    with closing(sqlite3.connect(folder / "house.sqlite")) as connection:
        name = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%events'"
        ).fetchone()[0]
        return connection.execute(f'SELECT id, payload, amount, "at", flag FROM "{name}" ORDER BY id').fetchall()


def _postgres(_folder: Path, dsn: str) -> Rows:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            'SELECT id, payload, amount::text, "at"::text, flag FROM events ORDER BY id'
        ).fetchall()


TARGETS = [
    Target("parquet", lambda folder, _: f"file:{folder}/lake", _parquet),
    Target("duckdb", lambda folder, _: f"duckdb:{folder}/house.duckdb", _duckdb),
    Target("sqlite", lambda folder, _: f"sqlite:{folder}/house.sqlite", _sqlite),
    Target("postgres", lambda _, dsn: dsn, _postgres),
]


def project_for(target: Target, folder: Path, source: str, target_dsn: str, workers: int) -> ProjectDir:
    return ProjectDir(
        folder,
        {"shop": source, "house": target.url(folder, target_dsn)},
        {"raw": {"kind": "copy", "source": "shop", "target": "house", "tables": ["public.events"],
                 "chunk_size": chunk_size(source), "workers": workers}},
    )  # fmt: skip


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_killed_loads_continue_and_end_like_a_clean_one(target, kills, postgres_server, tmp_path):
    """A load survives a few kills before it is through; loads are begun until `kills` have happened."""
    source, clean_db = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make_source(source)
    clean = project_for(target, tmp_path / "clean", source, clean_db, 1)
    first = clean.run("run", "--json")
    assert first.code == 0, first.err
    expected = target.read(tmp_path / "clean", clean_db)
    deaths, load = 0, 0

    while deaths < kills:
        load += 1
        folder, database = tmp_path / f"killed{load}", postgres_server.dsn(postgres_server.create_database())
        killed = project_for(target, folder, source, database, 2)
        runs = kill_until_done(killed, first.wall_s, kills - deaths, 2024 + load)
        died = sum(run.killed for run in runs)

        assert runs[-1].code == 0, runs[-1].err
        assert target.read(folder, database) == expected
        attempts = killed.attempts()
        assert len(attempts) >= CHUNKS * 0.9
        assert sum(attempts.values()) - len(attempts) <= 2 * died, "more than one chunk per worker was repeated"
        assert load <= 3 * kills, "kills do not hit"
        deaths += died


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_second_run_gives_the_same_rows_again(target, postgres_server, tmp_path):
    source, target_db = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make_source(source, 4_000)
    project = project_for(target, tmp_path / "p", source, target_db, 2)

    assert project.run("run").code == 0
    first = target.read(tmp_path / "p", target_db)
    assert project.run("run").code == 0

    assert target.read(tmp_path / "p", target_db) == first
    assert len(first) == 4_000
