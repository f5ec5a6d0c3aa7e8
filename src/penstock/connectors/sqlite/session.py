"""A worker's way into a SQLite file: its own connections, errors translated, calls that end when they are cancelled."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from adbc_driver_manager import dbapi

from penstock.connectors.sqlite.database import Connection, file_of, settings_of
from penstock.connectors.sqlite.errors import translate
from penstock.core.errors import PenstockError, TimedOut
from penstock.core.ports import Health
from penstock.core.spec import ConnectionSpec

if TYPE_CHECKING:
    from penstock.connectors.sqlite.catalog import SqliteCatalog
    from penstock.connectors.sqlite.reader import SqliteReader
    from penstock.connectors.sqlite.writer import SqliteWriter

_ids = itertools.count(1)
_WAIT_S = 0.2


class SqliteSession:
    """One connection for reading and one for writing, opened when first needed. A file that does not exist is created by
    the first load. The driver cannot interrupt a statement: a cancelled call ends at its next batch or statement."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.id = next(_ids)
        self.file = file_of(spec)
        self._reading: Connection | None = None
        self._writing: Connection | None = None
        self._guard = threading.Lock()
        self._calls = 0
        self._cancelled = False
        settings_of(spec)
        if self.exists:
            try:
                with self.call(f"cannot open {self.file.path}"):
                    # Opening reads nothing; a file that is no database shows with the first question.
                    self.reading.ask("SELECT count(*) FROM sqlite_schema")
            except PenstockError:
                self.close()
                raise

    @property
    def exists(self) -> bool:
        return os.path.exists(self.file.path)

    @property
    def reading(self) -> Connection:
        """The connection that reads. Raises Missing where there is no file."""
        if self._reading is None:
            self._reading = Connection(self.spec, self.file.path)
        return self._reading

    @property
    def writing(self) -> Connection:
        """The connection that writes; creates the file if there is none."""
        if self._writing is None:
            self._writing = Connection(self.spec, self.file.path, create=True)
        return self._writing

    @contextlib.contextmanager
    def transaction(self, doing: str) -> Iterator[Connection]:
        """The file's only writer, in a transaction that commits at the end and rolls back on any error.

        Waits for other sessions of this process as long as they take, for other processes as long as busy_timeout_s.
        """
        while not self.file.writing.acquire(timeout=_WAIT_S):
            self.stop_if_cancelled(doing)
        try:
            connection = self.writing
            connection.ask("BEGIN IMMEDIATE")
            try:
                yield connection
                self.stop_if_cancelled(doing)
                connection.ask("COMMIT")
            except BaseException:
                # SQLite itself rolls back after some errors (disk full); then nothing is open any more.
                with contextlib.suppress(dbapi.Error):
                    connection.ask("ROLLBACK")
                raise
        finally:
            self.file.writing.release()

    # ---- calls

    @contextlib.contextmanager
    def call(self, doing: str) -> Iterator[None]:
        """A call of a port: SQLite's errors within become errors of Penstock, and `cancel` ends it.

        `doing` says what failed, in the form "cannot read table …". Calls nest; a generator's stays open between batches.
        """
        with self._guard:
            if self._calls == 0:
                self._cancelled = False
            self._calls += 1
        try:
            yield
        except (dbapi.Error, pa.ArrowException, OSError) as error:
            self.stop_if_cancelled(doing, error)
            raise translate(error, doing, self.spec.name) from error
        except PenstockError as error:
            if not isinstance(error, TimedOut):
                self.stop_if_cancelled(doing, error)
            raise
        finally:
            with self._guard:
                self._calls -= 1

    def stop_if_cancelled(self, doing: str, error: BaseException | None = None) -> None:
        """Raise TimedOut when the call in progress was cancelled."""
        if self._cancelled:
            raise TimedOut(f"{doing} of connection {self.spec.name!r}: the call was cancelled") from error

    def cancel(self) -> None:
        with self._guard:
            self._cancelled = self._calls > 0

    # ---- the port

    def check(self) -> Health:
        if not self.exists:
            return Health("SQLite", "", (f"{self.file.path} does not exist yet; a load creates it",))
        with self.call(f"cannot ask {self.file.path}"):
            version, mode, tables = self.reading.ask(_CHECK)[0]
        size = os.stat(self.file.path).st_size / 2**20
        notes = [self.file.path, f"{tables} tables", f"{size:.1f} MiB", f"journal mode {mode}"]
        return Health(f"SQLite {version}", "", tuple(notes))

    def catalog(self) -> SqliteCatalog:
        from penstock.connectors.sqlite.catalog import SqliteCatalog

        return SqliteCatalog(self)

    def reader(self) -> SqliteReader:
        from penstock.connectors.sqlite.reader import SqliteReader

        return SqliteReader(self)

    def writer(self) -> SqliteWriter:
        from penstock.connectors.sqlite.writer import SqliteWriter

        return SqliteWriter(self)

    def close(self) -> None:
        self.file.release(self.id)
        for connection in (self._reading, self._writing):
            if connection is not None:
                connection.close()
        self._reading = self._writing = None


_CHECK = """
SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode),
    (SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\')
"""
