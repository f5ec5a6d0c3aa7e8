"""DuckDB after kills, with another process in the file, with a damaged file and on a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from penstock.core.errors import DataError, DiskFull, Locked, Missing, SpecError, TimedOut
from penstock.core.load import Expected, Mode
from tests.duckdb.killing import WHOLE, child, fill, finish, go_on, killed_while_publishing, versions, wait_for
from tests.duckdb.loading import load_of, load_whole, opened, put, read, source_of, spec_of, table_of
from tests.duckdb.small_disk import small_disk

URL = "duckdb:house.duckdb"


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


@pytest.mark.parametrize(("mode", "delay_s"), [(Mode.REPLACE, 0.02), (Mode.UPSERT, 0.1), (Mode.DELETE_INSERT, 0.25)])
def test_a_load_killed_while_it_publishes_shows_all_or_nothing(tmp_path: Path, mode: Mode, delay_s: float) -> None:
    fill(URL, tmp_path)
    killed_while_publishing(URL, tmp_path, "killed", mode, delay_s)

    after_kill = versions(URL, tmp_path)
    done = finish(URL, tmp_path, "killed", mode)

    assert after_kill in ({1: WHOLE}, {2: WHOLE})
    assert done == [True, True, True, True, after_kill == {2: WHOLE}]
    assert versions(URL, tmp_path) == {2: WHOLE}


def test_a_load_killed_after_its_publish_is_not_published_twice(tmp_path: Path) -> None:
    with child(URL, tmp_path, "killed", Mode.REPLACE) as started:
        wait_for(started, "prepared")
        go_on(started)
        wait_for(started, "published")

    assert finish(URL, tmp_path, "killed", Mode.REPLACE) == [True] * 5
    assert versions(URL, tmp_path) == {2: WHOLE}


def test_a_file_that_another_process_has_open_is_locked_and_says_by_whom(tmp_path: Path) -> None:
    with child(URL, tmp_path, "killed", Mode.REPLACE) as started:
        wait_for(started, "prepared")

        with (
            pytest.raises(Locked, match=rf"the file is held by .*\(PID {started.pid}\)"),
            opened(spec_of(URL, tmp_path)),
        ):
            pass


def test_the_last_session_gives_the_file_back(tmp_path: Path) -> None:
    look = f"import duckdb; duckdb.connect({str(tmp_path / 'house.duckdb')!r}).execute('FROM t').fetchall()"
    with opened(spec_of(URL, tmp_path)) as one, opened(spec_of(URL, tmp_path)) as two:
        put(one, "main.t", pa.table({"id": [1]}))
        assert two.check().notes[1] == "2 tables"
        assert b"Could not set lock" in subprocess.run([sys.executable, "-c", look], capture_output=True).stderr

    assert subprocess.run([sys.executable, "-c", look], capture_output=True).stderr == b""
    assert not (tmp_path / "house.duckdb.wal").exists()


def test_a_file_opened_read_only_is_read_by_several_processes(tmp_path: Path) -> None:
    file = str(tmp_path / "house.duckdb")
    duckdb.connect(file).execute("CREATE TABLE t AS SELECT 1 AS id").close()
    look = f"import duckdb; print(duckdb.connect({file!r}, read_only=True).execute('FROM t').fetchall())"
    with opened(spec_of(URL, tmp_path, read_only=True)) as session:
        assert table_of(session, "main.t").num_rows == 1
        assert subprocess.run([sys.executable, "-c", look], capture_output=True).stdout == b"[(1,)]\n"
        with pytest.raises(Locked, match="another connection holds it read-only"), opened(spec_of(URL, tmp_path)):
            pass


def test_a_damaged_file_is_a_data_error_that_names_what_was_read(tmp_path: Path) -> None:
    file = tmp_path / "house.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS id, md5(i::VARCHAR) AS m FROM range(500000) r(i)")
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "main.t")
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 2)
        damaged.write(b"\xff" * 5000)

    with (
        opened(spec_of(URL, tmp_path)) as session,
        pytest.raises(DataError, match=r"cannot read table main\.t .*checksum"),
    ):
        read(session, source)


def test_files_that_are_no_database_are_refused_by_cause(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("hello " * 100)
    (tmp_path / "folder.duckdb").mkdir()
    for name, error, message in (
        ("text.duckdb", DataError, "not a valid DuckDB database file"),
        ("folder.duckdb", SpecError, "it is a folder"),
    ):
        with pytest.raises(error, match=message), opened(spec_of(f"duckdb:{name}", tmp_path)):
            pass
    with opened(spec_of("duckdb:absent.duckdb", tmp_path)) as session:
        assert "does not exist yet" in session.check().notes[0]
        with pytest.raises(Missing, match=r"absent\.duckdb, which does not exist"):
            session.catalog().tables()
    with (
        opened(spec_of("duckdb:none/x.duckdb", tmp_path)) as session,
        pytest.raises(Missing, match=r"folder .*none does not"),
    ):
        session.writer().prepare(load_of("main.t", pa.schema([("id", pa.int64())])))
    assert not (tmp_path / "absent.duckdb").exists()


@pytest.mark.parametrize("url", ["duckdb:", "duckdb://host/x.duckdb"])
def test_a_url_without_a_file_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SpecError, match="names no file"), opened(spec_of(url, tmp_path)):
        pass


def test_options_are_checked(tmp_path: Path) -> None:
    for options, message in (
        ({"memory_limits": "1GB"}, "option 'memory_limits' of connection 'house' is unknown"),
        ({"memory_limit": "lots"}, "an option of connection 'house' is wrong"),
    ):
        with pytest.raises(SpecError, match=message), opened(spec_of("duckdb::memory:options", tmp_path, **options)):
            pass
    with opened(spec_of("duckdb::memory:options", tmp_path, memory_limit="300MB", threads=1)) as session:
        with session.cursor() as cursor:  # type: ignore[attr-defined]
            found = cursor.execute("SELECT current_setting('memory_limit'), current_setting('threads')").fetchall()
        assert found == [("286.1 MiB", 1)]


def test_a_full_disk_is_told_and_the_table_is_as_it_was() -> None:
    noise = pa.table({"text": [os.urandom(450).hex() for _ in range(40_000)]})
    parts = [noise.slice(start, 10_000) for start in range(0, 40_000, 10_000)]
    with small_disk(24) as folder:
        with opened(spec_of(URL, folder)) as session:
            put(session, "main.t", noise.slice(0, 10))
            with pytest.raises(DiskFull, match="free space on the disk"):
                load_whole(session, load_of("main.t", noise.schema), *parts)
        with opened(spec_of(URL, folder)) as session:
            assert table_of(session, "main.t").num_rows == 10


def test_a_cancelled_publish_changes_nothing(tmp_path: Path) -> None:
    data = pa.table({"id": pa.array(range(600_000), pa.int64())})
    spec = spec_of(URL, tmp_path)
    with opened(spec) as session:
        put(session, "main.t", data.slice(0, 10), key=("id",))
        load = load_of("main.t", data.schema, Mode.DELETE_INSERT, key=("id",))
        session.writer().prepare(load)
        session.writer().write(load, "000000", iter(data.to_batches()))
        ended = threading.Event()

        def cancel() -> None:
            while not ended.wait(0.01):
                session.cancel()

        other = threading.Thread(target=cancel)
        other.start()
        try:
            with pytest.raises(TimedOut, match=r"cannot publish.* of connection 'house': the call was cancelled"):
                session.writer().publish(load, Expected(1, 600_000))
        finally:
            ended.set()
            other.join()
        assert table_of(session, "main.t").num_rows == 10
        assert session.writer().publish(load, Expected(1, 600_000)).rows_after == 600_000
