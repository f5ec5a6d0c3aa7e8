"""SQLite after kills, beside other processes and sessions, with a damaged file and on a full disk."""

from __future__ import annotations

import ast
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.sqlite import database
from penstock.core.errors import Busy, DataError, DiskFull, Locked, Missing, PenstockError, SpecError, TimedOut
from penstock.core.load import Expected, Mode
from tests.duckdb.killing import WHOLE, child, fill, finish, go_on, killed_while_publishing, versions, wait_for
from tests.duckdb.loading import load_of, load_whole, opened, put, read, source_of, spec_of, table_of
from tests.duckdb.small_disk import small_disk
from tests.sqlite.test_foreign_files import run

URL = "sqlite:rows.db"
SCHEMA = pa.schema([("id", pa.int64())])


def test_a_load_killed_between_write_and_publish_goes_on_where_it_was(tmp_path: Path) -> None:
    fill(URL, tmp_path)
    with child(URL, tmp_path, "killed", Mode.REPLACE) as started:
        for word in ("prepared", "written", "written"):
            wait_for(started, word)

    assert versions(URL, tmp_path) == {1: WHOLE}
    done = finish(URL, tmp_path, "killed", Mode.REPLACE)

    assert done[:2] == [True, True]
    assert done[-1] is False
    assert versions(URL, tmp_path) == {2: WHOLE}


@pytest.mark.parametrize(("mode", "delay_s"), [(Mode.REPLACE, 0.05), (Mode.UPSERT, 0.3), (Mode.DELETE_INSERT, 0.15)])
def test_a_load_killed_while_it_publishes_shows_all_or_nothing(tmp_path: Path, mode: Mode, delay_s: float) -> None:
    fill(URL, tmp_path)
    killed_while_publishing(URL, tmp_path, "killed", mode, delay_s)

    after_kill = versions(URL, tmp_path)
    done = finish(URL, tmp_path, "killed", mode)

    assert after_kill in ({1: WHOLE}, {2: WHOLE})
    assert done == [True, True, True, True, after_kill == {2: WHOLE}]
    assert versions(URL, tmp_path) == {2: WHOLE}
    assert run(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_a_load_killed_after_its_publish_is_not_published_twice(tmp_path: Path) -> None:
    with child(URL, tmp_path, "killed", Mode.REPLACE) as started:
        wait_for(started, "prepared")
        go_on(started)
        wait_for(started, "published")

    assert finish(URL, tmp_path, "killed", Mode.REPLACE) == [True] * 5
    assert versions(URL, tmp_path) == {2: WHOLE}


# ---- one copy of the library

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""
_WRITE = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0.2, isolation_level=None).execute("INSERT INTO t (id) VALUES (99)")
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[None]:
    """Another process in the middle of a write transaction."""
    command = [sys.executable, "-c", _HOLD, str(folder / "rows.db")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate("\n")


def written_by_another(folder: Path) -> bytes:
    """What a write from another process says; b"" when it worked."""
    return subprocess.run([sys.executable, "-c", _WRITE, str(folder / "rows.db")], capture_output=True).stderr


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_our_lock_holds_against_other_processes_while_sessions_come_and_go(tmp_path: Path, mode: str) -> None:
    run(tmp_path, f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)")
    with opened(spec_of(URL, tmp_path)) as session, session.transaction("cannot wait"):  # type: ignore[attr-defined]
        with opened(spec_of(URL, tmp_path)) as other:
            assert table_of(other, "t").num_rows == 1
            assert other.check().notes[1] == "1 tables"

        assert b"database is locked" in written_by_another(tmp_path)
    assert written_by_another(tmp_path) == b""
    assert run(tmp_path, "SELECT count(*) FROM t") == [(2,)]


def test_no_part_of_the_connector_brings_a_second_copy_of_sqlite() -> None:
    folder = Path(database.__file__).parent
    imported = {
        alias.name
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }

    assert not {name for name in imported if name.split(".")[0] in ("sqlite3", "apsw", "pysqlite3")}


# ---- locks


def test_a_lock_of_another_process_is_busy_and_may_be_tried_again(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id INTEGER)")
    with opened(spec_of(URL, tmp_path, busy_timeout_s=0.1)) as session:
        with held_by_another(tmp_path), pytest.raises(Busy, match=r"cannot prepare table t .*database is locked"):
            session.writer().prepare(load_of("t", SCHEMA))
        put(session, "t", pa.table({"id": [1]}))


def test_a_table_claimed_in_another_process_is_locked_until_that_ends(tmp_path: Path) -> None:
    claim = (
        "import sys; from pathlib import Path; import pyarrow as pa\n"
        "from tests.duckdb.loading import load_of, opened, spec_of\n"
        f"with opened(spec_of({URL!r}, Path({str(tmp_path)!r}))) as session:\n"
        "    session.writer().claim(load_of('t', pa.schema([('id', pa.int64())]), job='other'))\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
    )
    root = Path(__file__).parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", claim], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with opened(spec_of(URL, tmp_path)) as session:
        with pytest.raises(Locked, match=rf"table t is held by job 'other' \(process {holder.pid}\)"):
            session.writer().claim(load_of("t", SCHEMA))
        session.writer().claim(load_of("u", SCHEMA))
        holder.kill()
        holder.communicate()
        session.writer().claim(load_of("t", SCHEMA))


def test_sessions_write_parts_at_once_and_lose_none(tmp_path: Path) -> None:
    load = load_of("t", SCHEMA)
    failed: list[PenstockError] = []

    def work(worker: int) -> None:
        try:
            with opened(spec_of(URL, tmp_path)) as session:
                for part in range(worker, 24, 4):
                    ids = pa.table({"id": pa.array(range(part * 500, part * 500 + 500), pa.int64())})
                    session.writer().write(load, f"{part:06d}", iter(ids.to_batches(100)))
        except PenstockError as error:
            failed.append(error)

    with opened(spec_of(URL, tmp_path)) as session:
        session.writer().prepare(load)
        workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failed
        assert session.writer().publish(load, Expected(24, 12_000)).rows_after == 12_000


def test_a_worker_reads_its_source_without_holding_the_files_lock(tmp_path: Path) -> None:
    spec, load = spec_of(URL, tmp_path), load_of("t", SCHEMA)
    ids = pa.table({"id": pa.array(range(10), pa.int64())})
    with opened(spec) as one, opened(spec) as two:
        one.writer().prepare(load)

        def slow() -> Iterator[pa.RecordBatch]:
            yield from ids.to_batches(5)
            two.writer().write(load, "000001", iter(ids.to_batches()))

        one.writer().write(load, "000000", slow())
        assert one.writer().publish(load, Expected(2, 20)).rows_after == 20


def test_a_cancelled_publish_changes_nothing(tmp_path: Path) -> None:
    data = pa.table({"id": pa.array(range(900_000), pa.int64())})
    spec = spec_of(URL, tmp_path)
    with opened(spec) as session:
        put(session, "t", data.slice(0, 10))
        load = load_of("t", SCHEMA)
        session.writer().prepare(load)
        session.writer().write(load, "000000", iter(data.to_batches()))
        ended = threading.Event()

        def cancel() -> None:
            while not ended.wait(0.01):
                session.cancel()

        other = threading.Thread(target=cancel)
        other.start()
        try:
            with pytest.raises(TimedOut, match="cannot publish table t of connection 'house': the call was cancelled"):
                session.writer().publish(load, Expected(1, 900_000))
        finally:
            ended.set()
            other.join()
    with opened(spec) as session:
        assert table_of(session, "t").num_rows == 10
        assert session.writer().publish(load, Expected(1, 900_000)).rows_after == 900_000


# ---- damage


def test_a_damaged_file_is_a_data_error_that_names_what_was_read(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    run(tmp_path, "INSERT INTO t (v) VALUES (?)", rows=[("x" * 100,) for _ in range(20_000)])
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "t")
    with (tmp_path / "rows.db").open("r+b") as damaged:
        damaged.seek(200 * 4096)
        damaged.write(b"\xff" * 4096 * 3)

    with opened(spec_of(URL, tmp_path)) as session, pytest.raises(DataError, match=r"cannot read table t .*malformed"):
        read(session, source)


def test_files_that_are_no_database_are_refused_by_cause(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello " * 1000)
    (tmp_path / "folder.db").mkdir()
    for name, error, message in (
        ("text.db", DataError, "file is not a database"),
        ("folder.db", SpecError, "which is a folder"),
        ("", SpecError, "names no file"),
        ("//host/x.db", SpecError, "names no file"),
        (":memory:", SpecError, "names no file"),
    ):
        with pytest.raises(error, match=message), opened(spec_of(f"sqlite:{name}", tmp_path)):
            pass
    with opened(spec_of("sqlite:absent.db", tmp_path)) as session:
        assert "does not exist yet" in session.check().notes[0]
        with pytest.raises(Missing, match=r"absent\.db, which does not exist"):
            session.catalog().tables()
    with (
        opened(spec_of("sqlite:none/x.db", tmp_path)) as session,
        pytest.raises(Missing, match=r"folder .*none of connection"),
    ):
        session.writer().prepare(load_of("t", SCHEMA))
    with (
        pytest.raises(SpecError, match="option 'timeout' of connection 'house' is unknown"),
        opened(spec_of("sqlite:absent.db", tmp_path, timeout=1)),
    ):
        pass
    assert not (tmp_path / "absent.db").exists()


def test_a_path_of_any_characters_is_one_file(tmp_path: Path) -> None:
    name = "a b?mode=ro#c%41'é.db"
    with opened(spec_of(f"sqlite:{name}", tmp_path)) as session:
        put(session, "t", pa.table({"id": [1]}))

    with closing(sqlite3.connect(tmp_path / name)) as connection:
        assert connection.execute("SELECT id FROM t").fetchall() == [(1,)]


def test_a_full_disk_is_told_and_the_table_is_as_it_was() -> None:
    noise = pa.table({"text": [os.urandom(450).hex() for _ in range(12_000)]})
    with small_disk(8) as folder:
        with opened(spec_of(URL, folder)) as session:
            put(session, "t", noise.slice(0, 10))
            with pytest.raises(DiskFull, match="free space on the disk"):
                load_whole(session, load_of("t", noise.schema), *_parts(noise))
        with opened(spec_of(URL, folder)) as session:
            assert table_of(session, "t").num_rows == 10


def _parts(data: pa.Table) -> list[Any]:
    return [data.slice(start, 1000) for start in range(0, data.num_rows, 1000)]
