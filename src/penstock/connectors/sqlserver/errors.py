"""Errors of the driver as errors of Penstock: by the server's error number where it is told, else by its words.

The driver shows a SQLSTATE's title and the server's message, and bulk copy the number too. Sessions ask for English
messages, so that words stand for numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    CredentialsRefused,
    DataError,
    DiskFull,
    Missing,
    NotSupported,
    PenstockError,
    PermissionRefused,
    Retry,
    SchemaChanged,
    SpecError,
    TimedOut,
    Unavailable,
)
from penstock.core.secret import mask
from penstock.core.spec import ConnectionSpec


@dataclass(frozen=True)
class Meaning:
    """What one error of the server means: `words` (a regular expression) stand in its message, `hint` says what to do."""

    number: int
    error: type[PenstockError]
    words: str
    hint: str = ""
    wait_s: float | None = None
    retry: Retry | None = None


_AGAIN = "it will be tried again"
_LOGIN = "check user and password of the connection, and that the login may use the database"
_FITS = "widen the column, cast it in the job, or exclude such rows"

# Microsoft's documentation: "Database Engine errors", "Transient fault errors of Azure SQL". First match counts.
MEANINGS = (
    Meaning(1205, Busy, r"was deadlocked on", _AGAIN),
    Meaning(1222, Busy, r"Lock request time out period exceeded", "see who holds the table, or raise lock_timeout_s"),
    Meaning(3960, Busy, r"Snapshot isolation transaction aborted due to update conflict", _AGAIN),
    Meaning(3961, Busy, r"has been modified by a DDL statement in another concurrent transaction", _AGAIN),
    Meaning(3952, NotSupported, r"snapshot isolation is not allowed in this database", "set read: committed"),
    Meaning(9002, DiskFull, r"The transaction log for database .* is full", "back the log up or let it grow"),
    Meaning(1105, DiskFull, r"Could not allocate (?:a new page|space)", "free space in the database's files"),
    Meaning(3257, DiskFull, r"insufficient free space on disk volume", "free space on the server's disk"),
    Meaning(40544, DiskFull, r"database has reached its size quota", "raise the database's size, or delete from it"),
    Meaning(40613, Unavailable, r"is not currently available\.\s+Please retry", wait_s=10),
    Meaning(40501, Unavailable, r"The service is currently busy", wait_s=10),
    Meaning(40197, ConnectionLost, r"The service has encountered an error processing your request"),
    Meaning(40143, ConnectionLost, r"The service has encountered an error processing your request"),
    Meaning(49918, Unavailable, r"Not enough resources to process request", wait_s=10),
    Meaning(49919, Unavailable, r"Too many create or update operations in progress", wait_s=10),
    Meaning(49920, Unavailable, r"Too many operations in progress", wait_s=10),
    Meaning(4221, Unavailable, r"Login to read-secondary failed", wait_s=10),
    Meaning(10928, Unavailable, r"Resource ID.*limit for the database is", "lower max_connections", wait_s=10),
    Meaning(10929, Unavailable, r"Resource ID.*minimum guarantee is", "lower max_connections", wait_s=10),
    Meaning(10936, Unavailable, r"limit for the elastic pool is", "lower max_connections", wait_s=10),
    Meaning(64, ConnectionLost, r"The specified network name is no longer available"),
    Meaning(233, ConnectionLost, r"no process is on the other end of the pipe"),
    Meaning(10053, ConnectionLost, r"An established connection was aborted"),
    Meaning(10054, ConnectionLost, r"An existing connection was forcibly closed"),
    Meaning(10060, Unavailable, r"A network-related or instance-specific error"),
    Meaning(701, Unavailable, r"insufficient system memory in resource pool", "lower the number of workers"),
    Meaning(802, Unavailable, r"insufficient memory available in the buffer pool"),
    Meaning(8645, Unavailable, r"timeout occurred while waiting for memory resources", "lower the number of workers"),
    Meaning(8651, Unavailable, r"minimum query memory is not available", "lower the number of workers"),
    Meaning(6005, Unavailable, r"SHUTDOWN is in progress", wait_s=10),
    Meaning(596, ConnectionLost, r"Cannot continue the execution because the session is in the kill state"),
    Meaning(924, Busy, r"is already open and can only have one user at a time"),
    Meaning(4060, SpecError, r"Cannot open database", "check the database's name, and that the login may use it"),
    Meaning(18456, CredentialsRefused, r"Login failed for user", _LOGIN),
    Meaning(18452, CredentialsRefused, r"The login is from an untrusted domain", "use authentication: sql or entra"),
    Meaning(18470, CredentialsRefused, r"The account is disabled", _LOGIN),
    Meaning(18486, CredentialsRefused, r"the account is currently locked out", _LOGIN),
    Meaning(18487, CredentialsRefused, r"password of the account has expired", "give the login a new password"),
    Meaning(18488, CredentialsRefused, r"password of the account must be changed", "give the login a new password"),
    Meaning(40615, PermissionRefused, r"is not allowed to access the server", "add this machine to the firewall's rules"),
    Meaning(229, PermissionRefused, r"permission was denied", "grant the permission, or connect as a login that has it"),
    Meaning(230, PermissionRefused, r"permission was denied on the column", "grant the permission, or leave the column out"),
    Meaning(262, PermissionRefused, r"permission denied in database", "grant the permission"),
    Meaning(300, PermissionRefused, r"permission was denied on object", "grant the permission"),
    Meaning(1088, PermissionRefused, r"because it does not exist or you do not have permissions", "grant ALTER"),
    Meaning(3906, PermissionRefused, r"because the database is read-only", "connect to the primary"),
    Meaning(3908, PermissionRefused, r"database is in .*emergency mode|read-only", "connect to the primary"),
    Meaning(208, Missing, r"Invalid object name", "check the name, as the database stores it, and its schema"),
    Meaning(207, Missing, r"Invalid column name", "check the name, as the database stores it"),
    Meaning(4902, Missing, r"Cannot find the object", "check the name, and the login's permissions"),
    Meaning(2812, Missing, r"Could not find stored procedure"),
    Meaning(2627, DataError, r"Violation of (?:PRIMARY KEY|UNIQUE KEY) constraint", "name the table's key, or exclude rows"),
    Meaning(2601, DataError, r"Cannot insert duplicate key row", "name the table's key, or exclude such rows"),
    Meaning(547, DataError, r"conflicted with the .* constraint", "load the other table first, or correct the rows"),
    Meaning(515, DataError, r"Cannot insert the value NULL", "give the column a default, or exclude such rows"),
    Meaning(2628, DataError, r"String or binary data would be truncated", _FITS),
    Meaning(8152, DataError, r"String or binary data would be truncated", _FITS),
    Meaning(8115, DataError, r"Arithmetic overflow error", _FITS),
    Meaning(220, DataError, r"Arithmetic overflow error for data type", _FITS),
    Meaning(535, DataError, r"datediff function resulted in an overflow", "set fine_times: text"),
    Meaning(517, DataError, r"Adding a value to a .* column caused an overflow", "choose a smaller lag"),
    Meaning(241, DataError, r"Conversion failed when converting date and/or time", _FITS),
    Meaning(242, DataError, r"conversion .* resulted in an out-of-range value", _FITS),
    Meaning(245, DataError, r"Conversion failed when converting the .* value", _FITS),
    Meaning(8114, DataError, r"Error converting data type", _FITS),
    Meaning(511, DataError, r"Cannot create a row of size", "fewer or narrower columns: a row holds 8060 bytes"),
    Meaning(1708, DataError, r"maximum row size", "fewer or narrower columns: a row holds 8060 bytes"),
    Meaning(5074, SchemaChanged, r"is dependent on column", "drop what depends on the column, run, and make it again"),
    Meaning(4922, SchemaChanged, r"because one or more objects access this column", "drop what depends on the column, run"),
    Meaning(4712, SpecError, r"Cannot truncate table .* referenced by a FOREIGN KEY", "set replace_with: delete"),
    Meaning(-2, TimedOut, r"Query timeout expired|Bulk copy operation timed out", "raise statement_timeout_s", retry=Retry.LATER),
    Meaning(0, TimedOut, r"Operation canceled|Operation cancelled"),
)  # fmt: skip
_BY_NUMBER = {meaning.number: meaning for meaning in MEANINGS}
_WORDS = [(re.compile(meaning.words, re.IGNORECASE | re.DOTALL), meaning) for meaning in MEANINGS]
_NUMBERED = re.compile(r"(?:error|number|msg)\s*[:=]?\s*(\d{2,6})\b", re.IGNORECASE)

# By the title that the driver gives a SQLSTATE, where nothing else is known.
_TITLES: tuple[tuple[str, type[PenstockError]], ...] = (
    ("Communication link failure", ConnectionLost),
    ("Connection not open", ConnectionLost),
    ("Connection failure during transaction", ConnectionLost),
    ("Client unable to establish connection", Unavailable),
    ("Server rejected the connection", Unavailable),
    ("Timeout expired", TimedOut),
    ("Serialization failure", Busy),
    ("Integrity constraint violation", DataError),
    ("Numeric value out of range", DataError),
    ("String data, right", DataError),
    ("Invalid datetime format", DataError),
    ("Datetime field overflow", DataError),
    ("Invalid character value", DataError),
    ("Division by zero", DataError),
    ("Base table or view not found", Missing),
    ("Column not found", Missing),
    ("Syntax error", SpecError),
)
_TLS = re.compile(r"SSL Provider|certificate|TLS|Encryption", re.IGNORECASE)
_BROKEN = re.compile(
    r"Communication link failure|Connection is (?:closed|broken|dead|not open)|TCP Provider|broken pipe|connection reset"
    r"|not connected|handle not allocated|unexpected eof|Connection not open|NoActiveConnection",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"Driver Error: .*?; DDBC Error: |\[(?:Microsoft|ODBC Driver \d+ for SQL Server|SQL Server)\]|\[\w{5}\]"
)


def of_driver() -> tuple[type[BaseException], ...]:
    """What the driver raises: its own classes, and what its compiled parts raise without one."""
    import mssql_python

    return (mssql_python.Error, mssql_python.Warning, RuntimeError, OSError)


def cause(error: BaseException) -> str:
    """The server's or the driver's own words, on one line, without brackets of the driver and full stop."""
    text = re.sub(r"\s+", " ", _NOISE.sub("", str(error))).strip()
    return text.removesuffix(".") or type(error).__name__


def meaning(text: str) -> Meaning | None:
    """What the server's message means, by its number if it shows one, else by its words."""
    for found in _NUMBERED.finditer(text):
        known = _BY_NUMBER.get(int(found[1]))
        if known is not None and known.number > 0:
            return known
    return next((known for words, known in _WORDS if words.search(text)), None)


def is_broken(error: BaseException) -> bool:
    """Whether the line is gone, so that nothing more can be asked on it."""
    return bool(_BROKEN.search(str(error)))


def refused(error: BaseException, spec: ConnectionSpec, where: str) -> PenstockError:
    """The error of a connection that could not be opened. `where` says which server, without secrets."""
    text = _masked(error, spec)
    what = f"cannot connect to {where} of connection {spec.name!r}: {text}"
    known = meaning(text)
    if known is not None and known.error in (CredentialsRefused, PermissionRefused, SpecError, Unavailable):
        return known.error(what, known.hint or f"check that {where} is reachable", wait_s=known.wait_s)
    if "credential" in text.lower() or "token" in text.lower():
        return CredentialsRefused(what, "check what the chosen authentication needs on this machine")
    if "Encryption not supported" in text:
        return SpecError(what, "set encrypt: no, if nobody can listen on the way to the server")
    if _TLS.search(text) and "network-related" not in text:
        return SpecError(
            what, "let the server show a certificate of a known authority, name server_certificate, or (in a test) set"
            " trust_server_certificate: true"
        )  # fmt: skip
    return Unavailable(what, f"check that {where} is reachable, or raise connect_timeout_s")


def translate(error: BaseException, doing: str, spec: ConnectionSpec) -> PenstockError:
    """The error of a call on an open connection; `doing` is what failed ("cannot read table …"), without the connection."""
    text = _masked(error, spec)
    what = f"{doing} of connection {spec.name!r}: {text}"
    known = meaning(text)
    if known is not None:
        kind = PermissionRefused if known.error is CredentialsRefused else known.error
        return kind(what, known.hint, wait_s=known.wait_s, retry=known.retry)
    if is_broken(error):
        return ConnectionLost(what)
    title = next((kind for words, kind in _TITLES if words.lower() in str(error).lower()), None)
    if title is SpecError:
        return SpecError(what, "check the SQL given in the job; a query must be able to stand in FROM (…)")
    return title(what) if title is not None else PenstockError(what)


def _masked(error: BaseException, spec: ConnectionSpec) -> str:
    return mask(cause(error), {"password": spec.password, **spec.options})
