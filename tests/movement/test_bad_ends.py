"""Missing, damaged, forbidden and interrupted: the error names the file, readers keep what they had, the rest is done."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.acceptance.project import Project
from tests.movement.moving import copy, mixed, numbers, put, read

_NOT_WHOLE = "bad/1.parquet is not a whole Parquet file: "
_MAGIC = "Parquet magic bytes not found in footer. Either the file is corrupted or this is not a parquet file."


def damaged(data: bytes, how: str) -> bytes:
    """The bytes of a file after an accident."""
    middle = len(data) // 2
    return {
        "no bytes": b"",
        "other bytes": b"x" * len(data),
        "cut off": data[:middle],
        "a hole": data[: middle - 2_000] + bytes(64) + data[middle - 1_936 :],
    }[how]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three tables, loaded once; then `bad` gets other rows, so that a load of it would be seen."""
    found = copy(tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out", max_errors="100%")
    for name in ("bad", "good", "other"):
        put(tmp_path / "in" / name, mixed(10))
    found.run()
    for name in ("bad", "good", "other"):
        put(tmp_path / "in" / name, mixed(5_000))
    return found


@pytest.mark.parametrize("tables", [["*"], ["orders"]])
def test_a_source_folder_that_is_not_there_is_told_with_where_to_look(tables: list[str], tmp_path: Path) -> None:
    result, said = copy(tmp_path, f"file:{tmp_path}/gone", f"file:{tmp_path}/out", tables=tables).attempt()

    assert result.exit_code == 1
    assert said[0] == (
        f"pattern {tables[0]!r} of job 'raw' matches none of the 0 tables of 'source'; it holds no table: see that the url "
        "of the connection leads to where they are"
    )
    assert not (tmp_path / "out").exists()


def test_a_source_file_that_is_gone_leaves_what_was_loaded(project: Project) -> None:
    (project.root / "in" / "bad" / "1.parquet").unlink()

    result, said = project.attempt(tables=["bad", "good"])

    assert result.exit_code == 1
    assert said[0].startswith("pattern 'bad' of job 'raw' matches none of the 2 tables of 'source'")
    assert read(project.root / "out" / "bad").num_rows == 10


@pytest.mark.parametrize(
    ("how", "reason"),
    [("no bytes", "Parquet file size is 0 bytes"), ("other bytes", _MAGIC), ("cut off", _MAGIC)],
)
def test_a_file_that_is_no_parquet_stops_the_job_before_a_row_moves(how: str, reason: str, project: Project) -> None:
    file = project.root / "in" / "bad" / "1.parquet"
    file.write_bytes(damaged(file.read_bytes(), how))

    result, said = project.attempt()

    assert result.exit_code == 1
    assert said[0] == f"{_NOT_WHOLE}{reason}; remove it or write it again"
    assert {name: read(project.root / "out" / name).num_rows for name in ("bad", "good", "other")} == {
        "bad": 10, "good": 10, "other": 10,
    }  # fmt: skip


def test_all_files_that_are_no_parquet_are_named_at_once(project: Project) -> None:
    for name in ("bad", "other"):
        (project.root / "in" / name / "1.parquet").write_bytes(b"")

    result, said = project.attempt()

    assert result.exit_code == 1
    assert said[0].splitlines() == [
        "2 tables cannot be copied:",
        "  - bad/1.parquet is not a whole Parquet file: Parquet file size is 0 bytes; remove it or write it again",
        "  - other/1.parquet is not a whole Parquet file: Parquet file size is 0 bytes; remove it or write it again",
    ]


def test_damaged_rows_keep_their_own_table_back_and_no_other(project: Project) -> None:
    file = project.root / "in" / "bad" / "1.parquet"
    file.write_bytes(damaged(file.read_bytes(), "a hole"))

    result, said = project.attempt()

    assert result.exit_code == 3
    assert said[0].startswith("bad/1.parquet cannot be read: ")
    assert read(project.root / "out" / "bad").num_rows == 10
    for name in ("good", "other"):
        assert read(project.root / "out" / name).equals(mixed(5_000))


# ---- permission

_DROP_BOUND = 24  # PR_CAPBSET_DROP of prctl(2)
_OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of capabilities(7)


def obey_permissions() -> None:
    """Makes a program of root obey the permissions of files, as everybody else's does."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in _OVERRIDES if os.geteuid() == 0 else ():
        if libc.prctl(_DROP_BOUND, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot drop a capability")


def run_as_anyone(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", "run"],
        cwd=root, capture_output=True, text=True, timeout=120, check=False, preexec_fn=obey_permissions,
    )  # fmt: skip


@pytest.fixture
def obedient(tmp_path: Path) -> None:
    """Skips where root cannot be kept from overriding permissions."""
    locked = tmp_path / "locked"
    locked.write_text("x")
    locked.chmod(0)
    try:
        done = subprocess.run(["cat", locked], preexec_fn=obey_permissions, capture_output=True, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"root cannot drop its rights here: {error}")
    if done.returncode == 0:
        pytest.skip("root cannot drop its rights here")


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2)")
@pytest.mark.usefixtures("obedient")
@pytest.mark.parametrize(
    ("path", "mode", "code", "said"),
    [
        ("in/bad/1.parquet", 0o000, 1, "in/bad/1.parquet"),
        ("in/bad", 0o000, 1, "in/bad"),
        ("in/bad/more", 0o000, 1, "in/bad/more"),
        ("in", 0o000, 1, "in"),
        ("out/bad", 0o555, 3, "cannot publish table bad: Permission denied: /"),
        ("out", 0o555, 1, "cannot publish table bad: Permission denied: /"),
    ],
)
def test_what_may_not_be_read_or_written_is_named_and_keeps_its_old_rows(
    path: str, mode: int, code: int, said: str, project: Project
) -> None:
    put(project.root / "in" / "bad" / "more", mixed(5_000), "2.parquet")
    project.load()
    place = project.root / path
    before = place.stat().st_mode
    place.chmod(mode)

    try:
        done = run_as_anyone(project.root)
    finally:
        place.chmod(before)

    text = done.stdout + done.stderr
    assert done.returncode == code, text
    assert said in text
    assert "Permission denied" in text
    assert read(project.root / "out" / "bad").num_rows == 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2)")
@pytest.mark.usefixtures("obedient")
@pytest.mark.parametrize("target", ["file:closed/lake", "duckdb:closed/house.duckdb", "sqlite:closed/house.db"])
def test_a_target_in_a_folder_that_may_not_be_written_is_named(target: str, tmp_path: Path) -> None:
    put(tmp_path / "in" / "t", mixed(3))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    copy(tmp_path, f"file:{tmp_path}/in", target).load()

    done = run_as_anyone(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "Permission denied" in done.stdout
    assert str(closed) in done.stdout
    assert list(closed.iterdir()) == []


# ---- interruption


def done_items(journal: Path) -> int:
    if not journal.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
            return int(connection.execute("select count(*) from items where state = 'done'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # the journal is being made


@pytest.mark.parametrize("target", ["file:out", "duckdb:out.duckdb", "sqlite:out.db"])
def test_a_load_of_many_tables_killed_in_the_middle_ends_whole(target: str, tmp_path: Path) -> None:
    for number in range(8):
        put(tmp_path / "in" / f"t{number}", numbers(20_000), row_group_size=1_000)
    project = copy(tmp_path, f"file:{tmp_path}/in", target, chunk_size="16 KiB", workers=2)
    project.load()
    command = [sys.executable, "-m", "penstock", "run", "--json"]

    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while done_items(tmp_path / ".penstock" / "journal.db") < 10 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["exit_code"] == 0
    copy(
        tmp_path / "check", target.replace(":out", f":{tmp_path}/out"), f"file:{tmp_path}/back", target_name="{table}"
    ).run()
    for number in range(8):
        files = (tmp_path / "back" / f"t{number}").glob("*.parquet")
        assert sum(pq.read_metadata(file).num_rows for file in files) == 20_000
        assert read(tmp_path / "back" / f"t{number}").equals(numbers(20_000).combine_chunks())


def test_what_a_file_system_keeps_for_itself_is_no_table(tmp_path: Path) -> None:
    put(tmp_path / "in" / "t", mixed(3))
    put(tmp_path / "in" / "lost+found", mixed(3))

    result = copy(tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out").run()

    assert result.jobs[0].counts.rows == 3
