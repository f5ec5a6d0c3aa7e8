"""Errors of SQLite as errors of Penstock: the object, the cause in SQLite's words, what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    DataError,
    DiskFull,
    Missing,
    PenstockError,
    PermissionRefused,
    SpecError,
    Unavailable,
)


@dataclass(frozen=True)
class _Rule:
    text: str
    error: type[PenstockError]
    hint: str = ""


# The driver passes on SQLite's messages (sqlite3_errstr and the parser's own) but not its result codes. First match wins.
_RULES = (
    _Rule("database is locked|database table is locked|database schema is locked", Busy),
    _Rule("database or disk is full", DiskFull, "free space on the disk, then run again"),
    _Rule("file is not a database", DataError, "check the path of the connection"),
    _Rule("malformed|corrupt", DataError, "restore the file from a backup, or try `sqlite3 FILE .recover`"),
    _Rule("readonly database|attempt to write a readonly", PermissionRefused, "check the permissions of file and folder"),
    _Rule("No such file or directory", Missing, "check the path of the connection"),
    _Rule("Permission denied|Read-only file system", PermissionRefused, "check the permissions of file and folder"),
    _Rule("No space left on device", DiskFull, "free space on the disk, then run again"),
    _Rule("unable to open database file", Unavailable, "check the permissions of file and folder"),
    _Rule("disk I/O error", ConnectionLost),
    _Rule("no such table|no such column|no such view", Missing, "check the name, as the database stores it"),
    _Rule("constraint failed|string or blob too big|datatype mismatch|integer overflow", DataError),
    _Rule("cannot store .* value in .* column", DataError),
    _Rule("too many columns|too many SQL variables", SpecError, "a table of SQLite has at most 2,000 columns"),
    _Rule("syntax error|incomplete input|no such function|ambiguous column|unrecognized token|misuse", SpecError,
          "check the SQL given in the job"),
    _Rule("already exists", SpecError, "remove or rename what stands there"),
)  # fmt: skip
_WRAPPING = re.compile(
    r"^(?:[A-Z_]+: )?(?:\[SQLite\] )?(?:Failed to (?:prepare|step|reset) (?:query|statement): )?", re.MULTILINE
)


def cause(error: BaseException) -> str:
    """SQLite's own words on one line, without the driver's wrapping and the statement that it repeats."""
    text = str(error).split("\nquery: ")[0]
    return re.sub(r"\s+", " ", _WRAPPING.sub("", text, count=1)).strip().removesuffix(".")


def translate(error: BaseException, doing: str, connection: str) -> PenstockError:
    """The error of a call; `doing` says what failed ("cannot read table …"), `connection` is the connection's name."""
    text = cause(error)
    what = f"{doing} of connection {connection!r}: {text or type(error).__name__}"
    for rule in _RULES:
        if re.search(rule.text, text):
            return rule.error(what, rule.hint)
    return PenstockError(what)
