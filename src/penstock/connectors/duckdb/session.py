"""A worker's way into a DuckDB database: cursors of the shared instance, errors translated, calls that can be cancelled."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from penstock.connectors.duckdb import instance as instances
from penstock.connectors.duckdb.errors import translate
from penstock.connectors.duckdb.instance import Instance
from penstock.core.errors import Missing, PenstockError, TimedOut
from penstock.core.ports import Health
from penstock.core.spec import ConnectionSpec

if TYPE_CHECKING:
    from penstock.connectors.duckdb.catalog import DuckdbCatalog
    from penstock.connectors.duckdb.reader import DuckdbReader
    from penstock.connectors.duckdb.writer import DuckdbWriter

_ids = itertools.count(1)


class DuckdbSession:
    """Cursors of one worker. A file that exists is opened at once; one that does not is created by the first load."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.id = next(_ids)
        self.path = instances.path_of(spec)
        self._instance: Instance | None = None
        self._guard = threading.Lock()
        self._cursors: set[duckdb.DuckDBPyConnection] = set()
        self._calls = 0
        self._cancelled = False
        instances.settings_of(spec)
        if instances.is_there(self.path):
            self._instance = instances.acquire(spec, self.path)

    # ---- the instance and its cursors

    @property
    def exists(self) -> bool:
        """Whether there is a database: a target may not exist before its first load."""
        return self._instance is not None or instances.is_there(self.path)

    @property
    def instance(self) -> Instance:
        """The open database. Raises Missing where there is none yet."""
        if self._instance is None:
            if not instances.is_there(self.path):
                raise Missing(
                    f"connection {self.spec.name!r} names {self.path}, which does not exist",
                    "check the path; a load into it creates the file",
                )
            self._instance = instances.acquire(self.spec, self.path)
        return self._instance

    def create(self) -> Instance:
        """The open database, made if the file does not exist. Raises PermissionRefused for a read-only connection."""
        if self._instance is None:
            self._instance = instances.acquire(self.spec, self.path)
        instances.refuse_read_only(self._instance, self.spec)
        return self._instance

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own, closed at the end; what it left open is rolled back."""
        cursor = self.instance.cursor()
        with self._guard:
            self._cursors.add(cursor)
        try:
            yield cursor
        finally:
            with self._guard:
                self._cursors.discard(cursor)
            cursor.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in a transaction that commits at the end and rolls back on any error."""
        with self.cursor() as cursor:
            ask(cursor, "BEGIN TRANSACTION")
            try:
                yield cursor
                ask(cursor, "COMMIT")
            except BaseException:
                # After a COMMIT that failed nothing is open any more.
                with contextlib.suppress(duckdb.Error):
                    ask(cursor, "ROLLBACK")
                raise

    # ---- calls

    @contextlib.contextmanager
    def call(self, doing: str) -> Iterator[None]:
        """A call of a port: DuckDB's errors within become errors of Penstock, and `cancel` reaches it.

        `doing` says what failed, in the form "cannot read table …". Calls nest; a generator's stays open between batches.
        """
        with self._guard:
            if self._calls == 0:
                self._cancelled = False
            self._calls += 1
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
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
            if self._calls == 0:
                return
            self._cancelled = True
            for cursor in self._cursors:
                # A cursor that is closed at this moment has nothing left to interrupt.
                with contextlib.suppress(duckdb.Error):
                    cursor.interrupt()

    # ---- the port

    def check(self) -> Health:
        if not self.exists:
            return Health(f"DuckDB {duckdb.__version__}", "", (f"{self.path} does not exist yet; a load creates it",))
        with self.call(f"cannot ask {self.path}"), self.cursor() as cursor:
            tables = ask(cursor, "SELECT count(*) FROM duckdb_tables() WHERE NOT internal")[0][0]
        notes = [self.path, f"{tables} tables"]
        if not self.path.startswith(instances.MEMORY):
            notes.append(f"{os.stat(self.path).st_size / 2**20:.1f} MiB")
        notes += ["read-only"] if self.instance.is_read_only else []
        return Health(f"DuckDB {duckdb.__version__}", "", tuple(notes))

    def catalog(self) -> DuckdbCatalog:
        from penstock.connectors.duckdb.catalog import DuckdbCatalog

        return DuckdbCatalog(self)

    def reader(self) -> DuckdbReader:
        from penstock.connectors.duckdb.reader import DuckdbReader

        return DuckdbReader(self)

    def writer(self) -> DuckdbWriter:
        from penstock.connectors.duckdb.writer import DuckdbWriter

        return DuckdbWriter(self)

    def close(self) -> None:
        instance, self._instance = self._instance, None
        if instance is None:
            return
        with self._guard:
            cursors = list(self._cursors)
        for cursor in cursors:
            cursor.close()
        instance.release_claims(self.id)
        instances.release(instance)


def ask(cursor: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """All rows of one statement; a statement that changes rows gives their number. Never leaves a result open."""
    return cursor.execute(sql, list(values) or None).fetchall()
