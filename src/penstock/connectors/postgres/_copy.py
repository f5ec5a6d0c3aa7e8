"""Start and end a COPY on a psycopg connection: the part of the protocol that handles no data.

psycopg's own copy() cannot be used: it reads row by row, and it ends a COPY IN itself.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from penstock.connectors.postgres import _libpq
from penstock.core.errors import CountMismatch, NotSupported, Stopped

Connection: TypeAlias = "psycopg.Connection[Any]"
Stop: TypeAlias = Callable[[], bool]

SLICE_MS = 200  # how long a stop may wait to be noticed
CANCEL_S = 10.0  # how long a cancelled COPY may take to end before its connection is closed

_COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


def never() -> bool:
    return False


def address(conn: Connection) -> int:
    """Where libpq's connection lies in memory."""
    found: int | None = conn.pgconn.pgconn_ptr  # type: ignore[attr-defined]
    if found is None:
        raise psycopg.OperationalError("the connection is closed")
    return found


def start(conn: Connection, sql: str | bytes, direction: ExecStatus, stop: Stop) -> PGresult:
    """Run a COPY statement up to the point where data flows; begins a transaction where psycopg would.

    Raises psycopg's error when the server refuses, NotSupported when the statement is no binary COPY in `direction` or
    the connection's client encoding is not UTF-8, Stopped when `stop` said so while the server was waiting for locks.
    """
    _libpq.require()
    if conn.info.encoding != "utf-8":
        raise NotSupported(f"client encoding is {conn.info.encoding}; binary COPY needs UTF8")
    if not conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE:
        conn.execute("SELECT 1")  # psycopg sends BEGIN, with its settings, before the first statement of its own
    conn.pgconn.send_query(sql.encode() if isinstance(sql, str) else sql)
    try:
        _flush(conn.pgconn, stop)
        found = _results(conn, stop)
        _raise_error(conn, found)
        result = found[-1] if found else None
        if result is None or result.status != direction or not result.binary_tuples:
            raise NotSupported(f"statement starts no {direction.name} in binary format")
    except BaseException:
        abandon(conn)
        raise
    return result


def check_fields(result: PGresult, count: int) -> None:
    """Raise NotSupported unless the COPY that `result` started has `count` columns."""
    if result.nfields != count:
        raise NotSupported(f"COPY has {result.nfields} columns; {count} are described")


def rows_of(conn: Connection, stop: Stop = never) -> int:
    """The row count in the command tag of a COPY whose data has ended. Raises the server's error."""
    found = _results(conn, stop)
    _raise_error(conn, found)
    if not found or found[0].status != ExecStatus.COMMAND_OK:
        raise psycopg.OperationalError(f"COPY ended without a result: {conn.pgconn.get_error_message()}")
    return found[0].command_tuples or 0


def end_input(conn: Connection, stop: Stop) -> int:
    """Tell the server of a COPY IN that all data was sent; the row count in its command tag."""
    _put_end(conn.pgconn, None, stop)
    return rows_of(conn, stop)


def refused_input(conn: Connection) -> psycopg.Error:
    """The error with which the server of a COPY IN gave up."""
    # With an error text, so that a server that has not given up after all loads nothing either.
    with contextlib.suppress(psycopg.OperationalError):  # the connection broke: its server may have said why before
        _put_end(conn.pgconn, b"data was refused", never)
    try:
        rows_of(conn)
    except psycopg.Error as error:
        return error
    return psycopg.OperationalError("the server refused data of COPY and gave no reason")


def abandon(conn: Connection, reason: str = "abandoned") -> None:
    """End a COPY, in either direction, whatever became of it. May be called when none is running.

    Nothing of a COPY IN is kept. Afterwards the connection is idle, or inside a failed transaction if one was open; it
    is closed if the server does not answer in time.
    """
    if conn.closed or conn.info.transaction_status != TransactionStatus.ACTIVE:
        return
    deadline = time.monotonic() + CANCEL_S
    try:
        with contextlib.suppress(psycopg.Error):  # where nothing passes cancel requests on, the COPY may still end
            conn.cancel_safe(timeout=CANCEL_S)
        if _takes_input(conn.pgconn):
            _put_end(conn.pgconn, reason.encode(errors="replace"), lambda: time.monotonic() > deadline)
        _drain(conn, deadline)
    except (psycopg.Error, Stopped):
        conn.close()
    except BaseException:
        conn.close()
        raise


def _takes_input(pgconn: PGconn) -> bool:
    # libpq gives the result that says COPY_IN as often as it is asked; while a statement runs, asking would block.
    result = None if pgconn.is_busy() else pgconn.get_result()
    return result is not None and result.status == ExecStatus.COPY_IN


def _drain(conn: Connection, deadline: float) -> None:
    from penstock.connectors.postgres import _wire

    while True:
        found = _results(conn, lambda: time.monotonic() > deadline)
        if not found or found[-1].status not in _COPYING:
            return
        if _wire.discard(address(conn), int(CANCEL_S * 1000)) == _wire.SLICE:
            raise Stopped("a cancelled COPY did not end")


def _put_end(pgconn: PGconn, error: bytes | None, stop: Stop) -> None:
    while pgconn.put_copy_end(error) == 0:
        _flush(pgconn, stop)
    _flush(pgconn, stop)


def _flush(pgconn: PGconn, stop: Stop) -> None:
    while pgconn.flush() != 0:
        if _wait(pgconn, stop, select.POLLIN | select.POLLOUT) & select.POLLIN:
            pgconn.consume_input()


def _results(conn: Connection, stop: Stop) -> list[PGresult]:
    """All results up to the end of the statement, or up to the one that starts a COPY."""
    pgconn = conn.pgconn
    found: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            try:
                _wait(pgconn, stop, select.POLLIN)
                pgconn.consume_input()
            except psycopg.OperationalError:
                break  # the connection broke: get_result gives the server's last words, or says so
        result = pgconn.get_result()
        if result is None:
            return found
        found.append(result)
        if result.status in _COPYING or pgconn.status == ConnStatus.BAD:
            return found


def _wait(pgconn: PGconn, stop: Stop, events: int) -> int:
    """Wait for the socket in slices; the events that came. Raises Stopped when `stop` says so."""
    poll = select.poll()
    poll.register(pgconn.socket, events)
    while True:
        if stop():
            raise Stopped("COPY was stopped")
        if ready := poll.poll(SLICE_MS):
            return ready[0][1]


def _raise_error(conn: Connection, found: list[PGresult]) -> None:
    for result in found:
        if result.status == ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result, encoding=conn.info.encoding)
            # libpq's own errors (the connection broke) have no SQLSTATE, from which psycopg takes the class.
            raise error if error.sqlstate else psycopg.OperationalError(str(error))


def check_count(said: int, seen: int, side: str) -> None:
    """Raise CountMismatch unless the server's command tag and the rows that went through agree."""
    if said != seen:
        raise CountMismatch(f"the {side} counted {said} rows in COPY; {seen} went through")
