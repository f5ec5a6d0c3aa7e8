"""The journal file: permissions, versions, transactions, death of the process, readers beside a writer."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.core.errors import Locked, Missing, PenstockError, SettingsChanged
from penstock.engine.journal import Journal, Owner, from_json, journal_path, migrations, to_json


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path)


def test_folder_and_files_belong_to_the_user_alone(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.db.execute("INSERT INTO state VALUES ('j', 'k', '{}', 'r', 1)")

        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


def test_older_file_is_migrated_in_order_and_keeps_its_rows(path: Path) -> None:
    first = "CREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (1);"
    Journal.open(path, scripts=[first]).close()

    later = ["never run again;", "ALTER TABLE a ADD COLUMN y TEXT;\n", "UPDATE a SET y = 'third';"]
    with Journal.open(path, scripts=later) as journal:
        rows = journal.db.execute("SELECT x, y FROM a").fetchall()
        versions = journal.db.execute("SELECT version FROM schema_version ORDER BY version").fetchall()

    assert rows == [(1, "third")]
    assert versions == [(1,), (2,), (3,)]


def test_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    Journal.open(path, scripts=["CREATE TABLE a (x INTEGER);"]).close()

    with pytest.raises(PenstockError, match="cannot use journal"):
        Journal.open(path, scripts=["", "CREATE TABLE b (x INTEGER);\nNO SUCH STATEMENT;"])

    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'b'").fetchall() == []
        assert db.execute("SELECT max(version) FROM schema_version").fetchone() == (1,)
    db.close()


def test_file_of_a_later_version_is_refused_in_words(path: Path) -> None:
    known = len(migrations())
    Journal.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO schema_version VALUES (?, 0)", (known + 1,))
    db.close()

    with pytest.raises(SettingsChanged) as caught:
        Journal.open(path)

    assert str(caught.value) == (
        f"journal {str(path)!r} has schema version {known + 1}, this Penstock knows {known}; "
        "it was written by a later version: upgrade Penstock, or use another project folder"
    )


def test_missing_journal_is_not_made_by_looking(path: Path) -> None:
    with pytest.raises(Missing, match="there is no journal"):
        Journal.open(path, must_exist=True)

    assert not path.parent.exists()


def test_many_may_create_the_same_journal_at_once(path: Path) -> None:
    def make(_: int) -> int:
        with Journal.open(path) as journal:
            return int(journal.db.execute("SELECT count(*) FROM schema_version").fetchone()[0])

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(make, range(16)))

    assert set(counts) == {len(migrations())}


def test_transaction_is_whole_or_nothing(path: Path) -> None:
    with Journal.open(path) as journal:
        insert = "INSERT INTO state VALUES ('j', ?, '{}', 'r', 1)"
        with pytest.raises(sqlite3.IntegrityError), journal.transaction() as db:
            db.executemany(insert, [("first",), ("second",), ("first",)])

        assert journal.db.execute("SELECT count(*) FROM state").fetchone() == (0,)
        assert not journal.db.in_transaction


def test_driver_without_its_locks_writes_nothing(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.owner = Owner("run-1", 2)
        with pytest.raises(Locked, match="run run-1 lost its locks"), journal.transaction() as db:
            db.execute("INSERT INTO state VALUES ('j', 'k', '{}', 'r', 1)")

        assert journal.db.execute("SELECT count(*) FROM state").fetchone() == (0,)


def test_full_disk_is_named(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.db.execute(f"PRAGMA max_page_count = {journal.db.execute('PRAGMA page_count').fetchone()[0]}")

        with pytest.raises(PenstockError) as caught, journal.transaction() as db:
            db.execute("INSERT INTO state VALUES ('j', 'k', ?, 'r', 1)", ("x" * 100_000,))

    assert type(caught.value).__name__ == "DiskFull"
    assert str(path) in caught.value.what


_COMMIT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from penstock.engine.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
for number in range(1000):
    with journal.transaction() as db:
        db.execute("INSERT INTO state VALUES ('j', ?, '{}', 'r', 1)", (str(number),))
    if number == 700:
        journal.db.execute("BEGIN")
        journal.db.execute("INSERT INTO state VALUES ('j', 'open', '{}', 'r', 1)")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_process_loses_nothing_committed_and_keeps_nothing_else(path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _COMMIT_AND_DIE, str(path)], env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )

    assert ended.returncode == -signal.SIGKILL
    with Journal.open(path) as journal:
        assert journal.db.execute("SELECT count(*), count(*) FILTER (WHERE key = 'open') FROM state").fetchone() == (
            701,
            0,
        )


def test_any_sqlite_tool_reads_while_a_transaction_is_open(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.db.execute("INSERT INTO state VALUES ('j', 'k', '{\"high\":5}', 'r', 1)")
        with journal.transaction() as db:
            db.execute("INSERT INTO state VALUES ('j', 'other', '{}', 'r', 1)")

            reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            seen = reader.execute("SELECT key FROM state").fetchall()
            reader.close()

        assert seen == [("k",)]
        assert journal.state("j") == {"k": {"high": 5}, "other": {}}


def test_json_text_is_exact_and_refuses_what_json_cannot_hold() -> None:
    value = {"a": [1, 2.5, None, "ä\n\"'"], "b": {"big": 2**70}}

    assert from_json(to_json(value)) == value
    with pytest.raises(TypeError):
        to_json({"a": {1, 2}})
    with pytest.raises(ValueError, match="Out of range"):
        to_json({"a": float("nan")})
