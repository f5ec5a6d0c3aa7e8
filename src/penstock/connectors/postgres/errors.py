"""Errors of psycopg and libpq as errors of Penstock: the object, the cause in the server's words, what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import psycopg
import pyarrow as pa

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    CredentialsRefused,
    DataError,
    Missing,
    NotSupported,
    PenstockError,
    PermissionRefused,
    SnapshotLost,
    SpecError,
    TimedOut,
    Unavailable,
)
from penstock.core.secret import mask
from penstock.core.spec import ConnectionSpec
from penstock.core.sqlstate import sqlstate

# By SQLSTATE, where the class of the error does not say what to do.
_HINTS = {
    "25006": "the server or the role allows reading only; connect to the primary",
    "53100": "free space on the server's disk, then run again",
    "53300": "lower max_connections of this connection, or raise the server's limit",
    "57014": "raise statement_timeout_s, or see in the server's log who cancelled",
    "40P01": "the same call may succeed when tried again",
    "54011": "exclude columns, or divide the table",
    "42P07": "remove or rename what stands there",
}
_HINTS_BY_ERROR: dict[type[PenstockError], str] = {
    ConnectionLost: "",
    PermissionRefused: "grant the permission, or connect as a role that has it",
    Missing: "check the name, as the database stores it, and the search path",
    DataError: "",
}

# libpq gives no SQLSTATE when a connection cannot be opened; its texts are English unless the server's lc_messages says
# otherwise, and an unknown text counts as Unavailable, which is tried again and shown whole.
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|authentication failed|role \".*\" does not exist"
    r"|no pg_hba\.conf entry|pg_hba\.conf rejects|is not permitted to log in|fe_sendauth",
)
_NO_DATABASE = re.compile(r"database \".*\" does not exist")
_FORBIDDEN = re.compile(r"permission denied for database")
_TLS = re.compile(r"certificate|SSL|root\.crt|sslmode", re.IGNORECASE)


def cause(error: BaseException) -> str:
    """The server's or the driver's own words, on one line: message and detail, without severity and full stop."""
    diagnosis = getattr(error, "diag", None)
    primary = diagnosis.message_primary if diagnosis is not None else None
    if not primary:
        return _plain(str(error))
    detail = diagnosis.message_detail if diagnosis is not None else None
    place = _COPIED.search(diagnosis.context or "") if diagnosis is not None else None
    row = f"row {place[1]}" + (f", column {place[2]!r}" if place[2] else "") if place else ""
    added = ", ".join(part for part in (row, _plain(detail or "")) if part)
    return _plain(f"{primary} ({added})" if added else primary)


# Where in a COPY an error came up; the value that may stand behind it is left out.
_COPIED = re.compile(r"^COPY .*?, line (\d+)(?:, column (.*?)(?::|$))?", re.MULTILINE)


def _plain(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip().removesuffix(".")
    return re.sub(r"\b(FATAL|ERROR|PANIC): +", "", text)


def refused(error: psycopg.Error, spec: ConnectionSpec, address: str) -> PenstockError:
    """The error of a connection that could not be opened. `address` says which server, without secrets."""
    text = mask(cause(error), {"password": spec.password, **spec.options})
    text = text.removeprefix("connection failed: ")
    what = f"cannot connect to {address} of connection {spec.name!r}: {text}"
    if _NO_DATABASE.search(text):
        return SpecError(what, "check the database's name in the connection's url")
    if _FORBIDDEN.search(text):
        return PermissionRefused(what, "grant CONNECT on the database to the user")
    if _REFUSED.search(text):
        return CredentialsRefused(what, "check user and password of the connection, and the server's pg_hba.conf")
    if _TLS.search(text):
        return SpecError(what, "set sslrootcert to the authority's certificate, or sslmode to what the server offers")
    found = sqlstate(error.sqlstate)
    if found.error is CredentialsRefused:
        return CredentialsRefused(what, "check user and password of the connection")
    return Unavailable(what, f"check that {address} is reachable, or raise connect_timeout_s")


def translate(error: psycopg.Error, doing: str, spec: ConnectionSpec, *, broken: bool) -> PenstockError:
    """The error of a call on an open connection; `doing` is what failed ("cannot read table …"), without the connection.

    `broken` says that the connection is unusable, which outweighs what the server said last.
    """
    text = mask(cause(error), {"password": spec.password, **spec.options})
    what = f"{doing} of connection {spec.name!r}: {text}"
    code = error.sqlstate or ""
    if broken or (not code and isinstance(error, psycopg.OperationalError)):
        found = sqlstate(code)
        if found.error in (ConnectionLost, Unavailable, Missing) or not code:
            return ConnectionLost(what)
        return ConnectionLost(f"{what} (the server closed the connection)")
    return _by_code(code, what, text)


@contextlib.contextmanager
def translate_portable(doing: str, spec: ConnectionSpec) -> Iterator[None]:
    """Errors of ADBC within become errors of Penstock. Those in the middle of the data come from Arrow and carry the
    server's words only."""
    from adbc_driver_manager import Error

    try:
        yield
    except Error as error:
        details = {str(name): value for name, value in error.details or ()}
        told = next((value for name, value in details.items() if "MESSAGE_PRIMARY" in name), str(error).encode())
        text = mask(_plain(told.decode()), dict(spec.options))
        code = error.sqlstate or ""
        what = f"{doing} of connection {spec.name!r}: {text}"
        raise (_by_code(code, what, text) if code.strip("\0") else ConnectionLost(what)) from error
    except (pa.ArrowException, OSError) as error:
        text = mask(_plain(str(error)), dict(spec.options))
        what = f"{doing} of connection {spec.name!r}: {text}"
        if "canceling statement" in text:
            raise TimedOut(what, _HINTS["57014"]) from error
        raise (ConnectionLost(what) if _LINE.search(text) else DataError(what)) from error


_LINE = re.compile(
    r"server closed the connection|connection to server|SSL SYSCALL|terminating connection|no connection"
)


def _by_code(code: str, what: str, text: str) -> PenstockError:
    found = sqlstate(code)
    hint = _HINTS.get(code, _HINTS_BY_ERROR.get(found.error, ""))
    if code in ("42501", "25006") or "during recovery" in text:
        return PermissionRefused(what, _HINTS["25006"] if "during recovery" in text else hint)
    if code.startswith("0A"):
        return NotSupported(what, hint)
    if code == "40001" and "conflict with recovery" in text:
        return Busy(what, "raise max_standby_streaming_delay on the standby, or read from the primary")
    if code == "22023" and "snapshot" in text:
        return SnapshotLost(what)
    if code == "57014" and "statement timeout" not in text:
        return TimedOut(what, "it was cancelled by a request from outside", retry=found.retry)
    if code.startswith(("42", "54", "26", "34", "3B")) and found.error is PenstockError:
        return SpecError(what, hint or "check the SQL given in the job")
    if issubclass(found.error, CredentialsRefused):
        return PermissionRefused(what, hint)
    return found.error(what, hint, retry=found.retry)
