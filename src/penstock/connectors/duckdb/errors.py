"""Errors of DuckDB as errors of Penstock: the object, the cause in DuckDB's words, what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    DataError,
    DiskFull,
    Locked,
    Missing,
    NotSupported,
    PenstockError,
    PermissionRefused,
    SpecError,
    TimedOut,
    Unavailable,
)


@dataclass(frozen=True)
class _Rule:
    """Errors whose kind ("IO", "Constraint", ... or "" for any) and text fit."""

    kind: str
    text: str
    error: type[PenstockError]
    hint: str = ""


# DuckDB begins its messages with the kind of error. A stream of Arrow batches gives the same text inside an OSError, so
# the text decides, not the exception's class. The first rule that fits wins.
_RULES = (
    _Rule("INTERRUPT", "", TimedOut),
    _Rule(
        "IO",
        "Could not set lock on file",
        Locked,
        "DuckDB allows one process at a time: end the other one, or open the file with read_only in both",
    ),
    _Rule(
        "",
        "No space left on device|[Dd]isk quota exceeded|No space left",
        DiskFull,
        "free space on the disk, then run again",
    ),
    _Rule(
        "Out of Memory",
        "max_temp_directory_size|temp_directory",
        DiskFull,
        "free space for DuckDB's temporary files, or raise memory_limit",
    ),
    _Rule("Out of Memory", "", PenstockError, "raise memory_limit of the connection, or use fewer workers"),
    _Rule("", "version number", NotSupported, "a newer DuckDB wrote the file: upgrade the package duckdb"),
    _Rule("", "not a valid DuckDB database file", DataError, "check the path of the connection"),
    _Rule("", "[Cc]orrupt|checksum", DataError, "restore the file from a backup"),
    _Rule("FATAL", "", ConnectionLost),
    _Rule("INTERNAL", "", ConnectionLost),
    _Rule(
        "", "read-only mode|Permission denied|Read-only file system", PermissionRefused, "check the file's permissions"
    ),
    _Rule("IO", "No such file or directory|does not exist", Missing, "check the path of the connection"),
    _Rule("IO", "", Unavailable),
    _Rule("Connection", "different configuration", Locked, "close the other connection to the file in this process"),
    _Rule("TransactionContext", "[Cc]onflict", Busy),
    _Rule("Transaction", "[Cc]onflict", Busy),
    _Rule("Constraint", "", DataError),
    _Rule("Conversion", "", DataError),
    _Rule("Out of Range", "", DataError),
    _Rule("Invalid Input", "", DataError),
    _Rule("Mismatch Type", "", DataError),
    _Rule("Permission", "", PermissionRefused),
    _Rule("Catalog", "does not exist", Missing, "check the name, as the database stores it"),
    _Rule("Binder", "not found|does not exist", Missing, "check the names in where, query and columns"),
    _Rule("Parser", "", SpecError, "check the SQL given in the job"),
    _Rule("Syntax", "", SpecError, "check the SQL given in the job"),
    _Rule("Binder", "", SpecError, "check the SQL given in the job"),
    _Rule("Not implemented", "", NotSupported),
)
_KIND = re.compile(r"(?:.*?: )?(?P<kind>[A-Za-z ]+?) (?:Error|Exception): ?(?P<text>.*)", re.DOTALL)
_HOLDER = re.compile(r"Conflicting lock is held in (?P<holder>.*?\(PID \d+\))")


def cause(error: BaseException) -> tuple[str, str]:
    """The kind DuckDB names ("" if none) and its words on one line, without the statement that it repeats."""
    text = str(error).split("\n\nLINE ")[0].split("\nLINE ")[0]
    text = re.sub(r"\s+", " ", text).strip().removesuffix(".")
    match = _KIND.match(text)
    return (match["kind"], match["text"]) if match else ("", text)


def translate(error: BaseException, doing: str, connection: str) -> PenstockError:
    """The error of a call; `doing` says what failed ("cannot read table …"), `connection` is the connection's name."""
    kind, text = cause(error)
    holder = _HOLDER.search(text)
    what = f"{doing} of connection {connection!r}: "
    what += f"the file is held by {holder['holder']}" if holder else text or type(error).__name__
    for rule in _RULES:
        if (not rule.kind or rule.kind == kind) and re.search(rule.text, text):
            return rule.error(what, rule.hint)
    return PenstockError(what)
