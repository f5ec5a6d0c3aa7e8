"""The journal: one SQLite file for a project, in which everything a run must remember is committed in small groups.

WAL with synchronous=NORMAL: what was committed survives the death of the process at any moment; when the machine itself
loses power the last commits may be missing, but the file stays whole and the run goes on from an earlier point.
One driver thread writes a run's rows; other processes may read at any time and write their own runs in between.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from os import O_CREAT, O_RDWR, close
from os import open as open_file
from pathlib import Path
from types import TracebackType
from typing import Any

from penstock.core.errors import Busy, DiskFull, Locked, Missing, PenstockError, SettingsChanged
from penstock.engine.clock import SYSTEM_CLOCK

# How long a writer waits for another one. Commits take milliseconds; only a migration or a huge plan takes longer.
BUSY_TIMEOUT_S = 30.0

# Item ids are job_run * ITEMS_PER_PLAN + place, so the items of a plan lie together without an index.
ITEMS_PER_PLAN = 1_000_000_000

_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -16000",
    # A plan of a million items makes a large WAL once; it is cut back at the next checkpoint.
    "PRAGMA journal_size_limit = 67108864",
)

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def to_json(value: Any) -> str:
    """`value` as compact JSON text. Raises TypeError or ValueError for what JSON cannot hold."""
    return "{}" if value == {} else _encode(value)


def from_json(text: str | None) -> Any:
    """The value of JSON text; {} for None."""
    return json.loads(text) if text else {}


def now_ms() -> int:
    """UTC in ms since 1970: the form of all times in the journal."""
    return time.time_ns() // 1_000_000


def journal_path(root: str | Path) -> Path:
    """Where the journal of a project lies: <root>/.penstock/journal.db."""
    return Path(root) / ".penstock" / "journal.db"


@cache
def migrations() -> tuple[str, ...]:
    """The scripts that make the schema, in order; the n-th brings version n."""
    return tuple(file.read_text("utf-8") for file in sorted((Path(__file__).parent / "migrations").glob("*.sql")))


@dataclass(frozen=True)
class Owner:
    """The run that must still hold `locks` locks whenever it writes."""

    run_id: str
    locks: int


class Journal:
    """An open journal file; belongs to the thread that opened it. Use as a context manager.

    `db` is in autocommit mode: single statements commit by themselves, several go into `transaction`.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self.db = db
        self.owner: Owner | None = None

    @classmethod
    def open(cls, path: Path, *, must_exist: bool = False, scripts: Sequence[str] | None = None) -> Journal:
        """Open, and create (folder 0700, file 0600) or migrate if need be.

        Raises SettingsChanged for a file of a later version of Penstock, and Missing if it must exist and does not.
        """
        if must_exist and not path.exists():
            raise Missing(f"there is no journal {str(path)!r}", "nothing has run in this project yet: penstock run")
        try:
            _create(path)
            db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=256)
        except (OSError, sqlite3.Error) as error:
            raise _explained(error, path) from error
        try:
            _use_wal(db)
            for pragma in _PRAGMAS:
                db.execute(pragma)
            _migrate(db, migrations() if scripts is None else scripts, path)
        except sqlite3.Error as error:
            db.close()
            raise _explained(error, path) from error
        except PenstockError:
            db.close()
            raise
        return cls(path, db)

    @contextmanager
    def transaction(self, *, is_owned: bool = True) -> Iterator[sqlite3.Connection]:
        """Everything in the block is committed together or not at all.

        When the journal has an owner and its locks were taken over, nothing is written and Locked is raised (unless
        `is_owned` is off): two drivers never write the same plan. Raises DiskFull and Busy with the file named.
        """
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                if is_owned and self.owner is not None:
                    self._check_owner(self.owner)
                yield self.db
                self.db.execute("COMMIT")
            finally:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise _explained(error, self.path) from error

    def state(self, job: str) -> dict[str, Mapping[str, Any]]:
        """What a job remembers from its earlier runs (watermarks), by key."""
        query = "SELECT key, value FROM state WHERE job = ? ORDER BY key"
        return {key: from_json(value) for key, value in self.db.execute(query, (job,))}

    def _check_owner(self, owner: Owner) -> None:
        held = self.db.execute("SELECT count(*) FROM locks WHERE run = ?", (owner.run_id,)).fetchone()[0]
        if held != owner.locks:
            raise lost(owner.run_id)

    def close(self) -> None:
        """May be repeated."""
        self.db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()


def lost(run_id: str) -> Locked:
    """The error of a driver whose locks were taken over."""
    return Locked(
        f"run {run_id} lost its locks to another run while this process did not answer",
        "this run stops here; the other one goes on from what is in the journal",
    )


def _create(path: Path) -> None:
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # SQLite gives -wal and -shm the permissions of the file itself.
        close(open_file(path, O_CREAT | O_RDWR, 0o600))


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL, which stays with the file. SQLite does not wait for others here, so this does."""
    if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    for attempt in range(100):
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if attempt == 99:
                raise
            SYSTEM_CLOCK.wait(None, 0.02)


def _version(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
    return int(db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]) if found else 0


def _migrate(db: sqlite3.Connection, scripts: Sequence[str], path: Path) -> None:
    version = _version(db)
    if version > len(scripts):
        raise SettingsChanged(
            f"journal {str(path)!r} has schema version {version}, this Penstock knows {len(scripts)}",
            "it was written by a later version: upgrade Penstock, or use another project folder",
        )
    if version == len(scripts):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL, applied_ms INTEGER NOT NULL)")
        # Another process may have migrated while this one waited for the lock.
        for number in range(_version(db) + 1, len(scripts) + 1):
            for statement in _statements(scripts[number - 1]):
                db.execute(statement)
            db.execute("INSERT INTO schema_version VALUES (?, ?)", (number, now_ms()))
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; executescript would commit between them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _explained(error: OSError | sqlite3.Error, path: Path) -> PenstockError:
    text = str(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"cannot write journal {str(path)!r}: the disk is full", "free some space, then run again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(
            f"cannot write journal {str(path)!r}: another process held it for {BUSY_TIMEOUT_S:.0f} s",
            "see who has the file open; a tool in an open transaction must commit",
        )
    return PenstockError(
        f"cannot use journal {str(path)!r}: {text}", "check that the folder is on a local disk and can be written"
    )
