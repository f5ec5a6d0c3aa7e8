"""One open connection of the driver: statements, transactions, cancelling from another thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from penstock.connectors.sqlserver.errors import is_broken, of_driver

Row = tuple[Any, ...]

# What every session agrees on: numbers of rows only where asked for, English messages, errors that end a transaction, and
# the settings that indexes on views and computed columns need.
_SET_UP = """
SET NOCOUNT ON; SET XACT_ABORT ON; SET LANGUAGE us_english; SET QUOTED_IDENTIFIER ON; SET ANSI_NULLS ON;
SET ANSI_PADDING ON; SET ANSI_WARNINGS ON; SET ARITHABORT ON; SET CONCAT_NULL_YIELDS_NULL ON; SET NUMERIC_ROUNDABORT OFF;
SET ROWCOUNT 0; SET ANSI_NULL_DFLT_ON ON;
"""


def _nothing() -> None:
    pass


class Line:
    """A connection in autocommit. Only `cancel` may be called from another thread.

    `check` is asked before each statement, so that a cancelled call of many statements begins no more of them.
    """

    def __init__(self, connection: Any) -> None:
        self.driver = connection
        self.check: Callable[[], None] = _nothing
        self._running: Any = None
        self._guard = threading.Lock()
        self.is_broken = False
        self.execute(_SET_UP)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of a statement whose values are bound as `?`."""
        with self.cursor(sql, values) as cursor:
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def query_if_known(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """As `query`, for what not every engine or login shows: no rows where the server refuses the question. Not within a
        transaction, which an error would end."""
        try:
            return self.query(sql, values)
        except of_driver():
            if self.is_broken:
                raise
            return []

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that returns nothing."""
        with self.cursor(sql, values):
            pass

    def changed(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; returns the rows it touched, whatever triggers did beside it."""
        return int(self.query(f"{sql.rstrip().removesuffix(';')};\nSELECT ROWCOUNT_BIG()", values)[0][0])

    @contextlib.contextmanager
    def cursor(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """A cursor on which `sql` was run; closed at the end, also in the middle of its rows."""
        self.check()
        cursor = self.driver.cursor()
        self._running = cursor
        try:
            if values:
                cursor.execute(sql, list(values))
            else:
                cursor.execute(sql)
            yield cursor
        except of_driver() as error:
            self.is_broken = self.is_broken or is_broken(error)
            raise
        finally:
            with self._guard:
                self._running = None
            with contextlib.suppress(*of_driver()):  # a broken line cannot close what runs on it
                cursor.close()

    @contextlib.contextmanager
    def transaction(self, lock_timeout_s: float | None = None) -> Iterator[None]:
        """BEGIN and COMMIT around the block; an error rolls everything back. Not to be nested."""
        timeout = "" if lock_timeout_s is None else f"SET LOCK_TIMEOUT {round(lock_timeout_s * 1000)}; "
        self.execute(f"{timeout}SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN TRANSACTION")
        try:
            yield
            self.check()
            self.execute("COMMIT TRANSACTION")
        except BaseException:
            with self.unasked():
                try:
                    self.execute("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
                except of_driver():  # the error that led here is the one to show
                    self.is_broken = True
            raise

    @contextlib.contextmanager
    def unasked(self) -> Iterator[None]:
        """Statements that tidy up run though the call was cancelled."""
        check, self.check = self.check, _nothing
        try:
            yield
        finally:
            self.check = check

    def cancel(self) -> None:
        """Interrupt the statement in progress (SQLCancel); it raises. Nothing when nothing runs."""
        with self._guard:
            handle = getattr(self._running, "hstmt", None)
            stop = getattr(handle, "_cancel", None)
            if stop is not None:
                with contextlib.suppress(*of_driver()):
                    stop()

    def close(self) -> None:
        """The server rolls back what is open. May be repeated."""
        with contextlib.suppress(*of_driver()):
            self.driver.close()
