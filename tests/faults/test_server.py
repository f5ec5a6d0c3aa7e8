"""Servers that break in the middle: restarted, connections cut, tables locked, dropped, disks full, broken rows."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest

from tests.faults.project import ProjectDir, chunk_size, make_source

pytestmark = pytest.mark.postgres


def rows_in(lake: Path) -> int:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT count(*) FROM read_parquet('{lake}/**/*.parquet')").fetchall()[0][0]


def copying(tmp_path: Path, source: str, target: str, **job: object) -> ProjectDir:
    return ProjectDir(
        tmp_path,
        {"shop": source, "house": target},
        {"raw": {"kind": "copy", "source": "shop", "target": "house", "tables": ["public.events"], "workers": 2,
                 "chunk_size": chunk_size(source), **job}},
        retry={"attempts": 8, "backoff_s": 0.2, "max_backoff_s": 2},
    )  # fmt: skip


def journal_has_done(project: ProjectDir, items: int, timeout_s: float = 120) -> None:
    """Wait until some load items are done, so that a fault falls into the middle of the load."""
    import sqlite3

    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            journal = f"file:{project.root}/.penstock/journal.db?mode=ro"
            with closing(sqlite3.connect(journal, uri=True)) as connection:
                query = "SELECT count(*) FROM items WHERE kind = 'load' AND state = 'done'"
                if connection.execute(query).fetchone()[0] >= items:
                    return
        except sqlite3.OperationalError:
            pass  # the journal is not there yet
        time.sleep(0.01)
    raise AssertionError("the load did not get going")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_load_survives_a_restart_of_its_source(mode, own_postgres, tmp_path):
    server = own_postgres
    source = server.dsn(server.create_database())
    make_source(source, 120_000)
    project = copying(tmp_path, source, f"file:{tmp_path}/lake", chunk_size="64 KiB")

    process = project.start("run")
    journal_has_done(project, 5)
    server.restart(mode)
    _out, err = process.communicate(timeout=300)

    assert process.returncode == 0, err
    assert rows_in(tmp_path / "lake") == 120_000


def test_a_load_survives_cut_connections(postgres_server, tmp_path):
    source = postgres_server.dsn(postgres_server.create_database())
    make_source(source, 120_000)
    project = copying(tmp_path, source, f"file:{tmp_path}/lake", chunk_size="64 KiB")

    process = project.start("run")
    journal_has_done(project, 5)
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'penstock%' AND datname = current_database()"
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(cut)
    _, err = process.communicate(timeout=300)

    assert process.returncode == 0, err
    assert rows_in(tmp_path / "lake") == 120_000


@pytest.mark.native
def test_dropping_a_source_table_waits_for_the_load_that_reads_it(postgres_server, tmp_path):
    source = postgres_server.dsn(postgres_server.create_database())
    make_source(source, 60_000)
    project = copying(tmp_path, source, f"file:{tmp_path}/lake", chunk_size="64 KiB", workers=1)

    process = project.start("run")
    journal_has_done(project, 5)
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute("DROP TABLE events")
    _, err = process.communicate(timeout=300)

    assert process.returncode == 0, err
    assert rows_in(tmp_path / "lake") == 60_000


def test_a_source_table_that_is_gone_when_a_run_continues_fails_by_name_and_publishes_nothing(
    postgres_server, tmp_path
):
    source = postgres_server.dsn(postgres_server.create_database())
    make_source(source, 60_000)
    project = copying(tmp_path, source, f"file:{tmp_path}/lake", chunk_size="64 KiB")

    process = project.start("run")
    journal_has_done(project, 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute("DROP TABLE events")
    ran = project.run("run")

    assert ran.code == 1, ran.err
    assert "events" in ran.err
    assert "does not exist" in ran.err
    assert not list((tmp_path / "lake").glob("*/*.parquet"))


def test_a_locked_target_table_is_waited_for(postgres_server, tmp_path):
    source, target = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make_source(source, 4_000)
    project = copying(tmp_path, source, target)
    assert project.run("run").code == 0

    with psycopg.connect(target) as holder:
        holder.execute("LOCK TABLE events IN ACCESS SHARE MODE")
        release = threading.Timer(3, holder.rollback)
        release.start()
        ran = project.run("run")
        release.join()

    assert ran.code == 0, ran.err


def test_readers_never_see_an_empty_or_half_table(postgres_server, tmp_path):
    source, target = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make_source(source, 30_000)
    project = copying(tmp_path, source, target)
    assert project.run("run").code == 0

    seen: set[int] = set()
    ended = threading.Event()

    def poll() -> None:
        with psycopg.connect(target, autocommit=True) as connection:
            while not ended.is_set():
                row = connection.execute("SELECT count(*) FROM events").fetchone()
                assert row is not None
                seen.add(row[0])

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for _ in range(2):
            assert project.run("run").code == 0
    finally:
        ended.set()
        reader.join()

    assert seen == {30_000}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_fails_by_name_and_the_next_run_ends_exact(postgres_server, tmp_path):
    source = postgres_server.dsn(postgres_server.create_database())
    make_source(source)
    lake = tmp_path / "lake"
    lake.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(lake)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine mounts nothing: {mounted.stderr.decode().strip()}")
    try:
        project = copying(tmp_path, source, f"file:{lake}")

        full = project.run("run")
        assert full.code == 1
        assert "no space left" in full.err
        subprocess.run(["mount", "-o", "remount,size=200m", str(lake)], check=True)
        again = project.run("run")

        assert again.code == 0, again.err
        assert rows_in(lake) == 40_000
    finally:
        subprocess.run(["umount", str(lake)], check=False)


def test_a_broken_csv_row_is_named_by_file_and_line(tmp_path):
    (tmp_path / "in").mkdir()
    with gzip.open(tmp_path / "in" / "orders.csv.gz", "wt") as out:
        out.write("id,amount\n1,1.50\n2,abc\n3,2.50\n")
    types = "amount: decimal(10,2); id: int64"
    project = ProjectDir(
        tmp_path,
        {"drop": f"file:{tmp_path}/in?format=csv", "lake": f"file:{tmp_path}/lake"},
        {"raw": {"kind": "copy", "source": "drop", "target": "lake", "tables": ["orders"], "types": {}}},
    )
    document = json.loads((tmp_path / "penstock.yml").read_text())
    document["connections"]["drop"]["types"] = types
    (tmp_path / "penstock.yml").write_text(json.dumps(document))

    ran = project.run("run")

    assert ran.code == 1, ran.out + ran.err
    said = ran.out + ran.err
    assert "orders.csv.gz" in said
    assert "'abc'" in said
    assert "Traceback" not in said
