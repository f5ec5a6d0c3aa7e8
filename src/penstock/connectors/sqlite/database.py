"""A SQLite file: opened through one copy of the library only, with one writer at a time in this process.

Penstock never touches a database file except through the driver's own SQLite. A second copy in the process (Python's
sqlite3 module is one), or a plain open() and close() of the file, would release the POSIX locks that the first copy holds:
another process could then write in the middle of our transaction, and in WAL mode committed rows disappear (section 2.2 of
https://www.sqlite.org/howtocorrupt.html, seen with sqlite3 3.40 beside adbc-driver-sqlite 1.13 on 2026-11-20).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote as url_quote

import pyarrow as pa
from adbc_driver_sqlite import StatementOptions, dbapi

from penstock.core.errors import Missing, SpecError
from penstock.core.ports import Option
from penstock.core.spec import ConnectionSpec

OPTIONS = (
    Option(
        "busy_timeout_s",
        "number",
        "how long to wait for a lock that another program holds on the file, before the call is tried again later",
        10.0,
    ),
    Option(
        "nan",
        "choice",
        "NaN in a column of floats, which SQLite cannot hold",
        "error",
        choices=("error", "null"),
        scope="target",
    ),
)

_WHOLE_RESULT = 1 << 20


@dataclass
class Claims:
    """Tables of one file that this process holds: the job and the sessions that share the hold, and what releases it."""

    job: str
    sessions: set[int]
    release: Callable[[], None]


@dataclass
class File:
    """What the sessions of this process share about one file. `writing` is held by whoever writes."""

    path: str
    writing: threading.RLock = field(default_factory=threading.RLock)
    guard: threading.Lock = field(default_factory=threading.Lock)
    claims: dict[str, Claims] = field(default_factory=dict)

    def release(self, session: int) -> None:
        """Give back what a session claimed; the last session of a claim frees it."""
        with self.guard:
            for table, held in list(self.claims.items()):
                held.sessions.discard(session)
                if not held.sessions:
                    held.release()
                    del self.claims[table]


_files: dict[tuple[int, str], File] = {}
_guard = threading.Lock()


def file_of(spec: ConnectionSpec) -> File:
    """The file of a connection. Raises SpecError for a URL that names none."""
    path = spec.url.partition(":")[2]
    if not path or path.startswith("//") or path == ":memory:":
        raise SpecError(f"url {spec.url!r} of connection {spec.name!r} names no file", "write sqlite:FILE")
    real = os.path.realpath(os.path.join(spec.base_dir, path))
    with _guard:
        return _files.setdefault((os.getpid(), real), File(real))


def settings_of(spec: ConnectionSpec) -> Mapping[str, Any]:
    """The connection's options. Raises SpecError for one that does not exist."""
    known = {option.name: option.default for option in OPTIONS if option.scope == "connection"}
    for name in spec.options:
        if name not in known:
            raise SpecError(f"option {name!r} of connection {spec.name!r} is unknown", f"known: {', '.join(known)}")
    return {**known, **spec.options}


class Connection:
    """One connection of the driver, in autocommit: transactions are begun and ended by statements."""

    def __init__(self, spec: ConnectionSpec, path: str, create: bool = False) -> None:
        """Raises Missing when the file (with `create`: its folder) does not exist, SpecError when it is a folder."""
        _check_path(spec, path, create)
        is_new = not os.path.exists(path)
        mode = "rwc" if create else "rw"
        self._driver = dbapi.connect(f"file:{url_quote(path)}?mode={mode}", autocommit=True)
        try:
            self._set_up(round(float(settings_of(spec)["busy_timeout_s"]) * 1000), is_new)
        except BaseException:
            self._driver.close()
            raise

    def _set_up(self, timeout_ms: int, is_new: bool) -> None:
        self.ask(f"PRAGMA busy_timeout = {timeout_ms}")
        # A staging table takes its final name although some view elsewhere may be broken. Keys of other tables are the
        # database's business: with enforcement a REPLACE would delete the rows that refer to it.
        self.ask("PRAGMA legacy_alter_table = ON")
        self.ask("PRAGMA foreign_keys = OFF")
        if is_new:
            # Readers and the writer do not wait for each other. A file that exists keeps its own mode.
            self.ask("PRAGMA journal_mode = WAL")

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement whose values are bound as `?`; [] for one that returns none."""
        with closing(self._driver.cursor()) as cursor:
            # Types of a result are taken from its first batch.
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_ROWS.value: str(_WHOLE_RESULT)})
            cursor.execute(sql, tuple(values) if values else None)
            if cursor.description is None:
                return []
            columns = [column.to_pylist() for column in cursor.fetch_arrow_table().columns]
            return list(zip(*columns, strict=True))

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement; returns the rows it inserted, updated or deleted itself, not those of triggers."""
        self.ask(sql, values)
        return int(self.ask("SELECT changes()")[0][0])

    def insert(self, sql: str, batch: pa.RecordBatch) -> None:
        """Run an INSERT with one `?` a column for every row of `batch`."""
        with closing(self._driver.cursor()) as cursor:
            statement = cursor.adbc_statement
            statement.set_sql_query(sql)
            statement.prepare()
            statement.bind_stream(pa.RecordBatchReader.from_batches(batch.schema, [batch]))
            statement.execute_update()

    def stream(self, sql: str, values: Sequence[object], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Rows of a query in batches of `batch_rows`; types are those of the values in the first batch. Closing the
        iterator ends the query."""
        with closing(self._driver.cursor()) as cursor:
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_ROWS.value: str(batch_rows)})
            cursor.execute(sql, tuple(values) if values else None)
            reader = cursor.fetch_record_batch()
            yield from reader

    def close(self) -> None:
        self._driver.close()


def _check_path(spec: ConnectionSpec, path: str, create: bool) -> None:
    """The driver says "failed to allocate memory" of a path that it cannot open."""
    if os.path.isdir(path):
        raise SpecError(f"connection {spec.name!r} names {path}, which is a folder", "name a file")
    if create and not os.path.isdir(os.path.dirname(path)):
        raise Missing(f"folder {os.path.dirname(path)} of connection {spec.name!r} does not exist", "create it")
    if not create and not os.path.exists(path):
        raise Missing(
            f"connection {spec.name!r} names {path}, which does not exist",
            "check the path; a load into it creates the file",
        )
