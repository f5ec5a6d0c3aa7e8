"""One DuckDB instance for each file and process, shared by all sessions through cursors; the last one out closes it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from penstock.connectors.duckdb.errors import translate
from penstock.core.errors import Locked, Missing, PermissionRefused, SpecError
from penstock.core.ports import Option
from penstock.core.spec import ConnectionSpec

MEMORY = ":memory:"

OPTIONS = (
    Option(
        "read_only",
        "boolean",
        "open the file for reading only: several processes may then read it at once, and none may write",
        False,
    ),
    Option(
        "memory_limit", "text", 'most memory DuckDB takes, for instance "4GB"; its own default is 80 % of the machine'
    ),
    Option("threads", "integer", "threads DuckDB works with; its own default is one a core"),
)


@dataclass
class Instance:
    """An open database. `root` is used under `guard` only; sessions work on cursors of it.

    `changing` is held while a load prepares or publishes, since DuckDB refuses changes to its catalog that overlap.
    `claims` holds the claimed tables: who holds one (a job's name) and by which sessions (their ids).
    """

    key: str
    root: duckdb.DuckDBPyConnection
    is_read_only: bool
    users: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)
    changing: threading.RLock = field(default_factory=threading.RLock)
    claims: dict[str, tuple[str, set[int]]] = field(default_factory=dict)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own transaction. Progress bars would write into the output of the program."""
        with self.guard:
            cursor = self.root.cursor()
        cursor.execute("SET enable_progress_bar = false").fetchall()
        return cursor

    def claim(self, table: str, job: str, session: int) -> str | None:
        """Hold `table` for `job`; the job that holds it already if it is another one, else None."""
        with self.guard:
            holder, sessions = self.claims.setdefault(table, (job, set()))
            if holder != job:
                return holder
            sessions.add(session)
            return None

    def release_claims(self, session: int) -> None:
        with self.guard:
            for _, sessions in self.claims.values():
                sessions.discard(session)
            self.claims = {table: held for table, held in self.claims.items() if held[1]}


# Instances of this process by its id (a fork must not use its parent's) and the file's real path.
_instances: dict[tuple[int, str], Instance] = {}
_guard = threading.Lock()


def path_of(spec: ConnectionSpec) -> str:
    """The database file of a connection as real absolute path, or a name that begins with ":memory:".

    Raises SpecError for a URL that names no file.
    """
    path = spec.url.partition(":")[2]
    if path.startswith(MEMORY):
        return path
    if not path or path.startswith("//"):
        raise SpecError(
            f"url {spec.url!r} of connection {spec.name!r} names no file", "write duckdb:FILE or duckdb::memory:"
        )
    return os.path.realpath(os.path.join(spec.base_dir, path))


def literal(text: str) -> str:
    """`text` as SQL literal, for statements that take no bound values."""
    return "'" + text.replace("'", "''") + "'"


def is_there(path: str) -> bool:
    return path.startswith(MEMORY) or os.path.exists(path)


def settings_of(spec: ConnectionSpec) -> Mapping[str, Any]:
    """The connection's options. Raises SpecError for one that does not exist."""
    known = {option.name: option.default for option in OPTIONS}
    for name in spec.options:
        if name not in known:
            raise SpecError(f"option {name!r} of connection {spec.name!r} is unknown", f"known: {', '.join(known)}")
    return {**known, **spec.options}


def acquire(spec: ConnectionSpec, path: str) -> Instance:
    """The instance of a file, opened if this process has none; give it back with release().

    Creates a file that does not exist unless the connection is read-only. Raises Locked (with the holder) when another
    process has the file open, Missing, PermissionRefused, DataError or Unavailable when it cannot be opened.
    """
    settings = settings_of(spec)
    wants_read_only = bool(settings["read_only"])
    with _guard:
        key = (os.getpid(), path)
        instance = _instances.get(key)
        if instance is None:
            instance = _open(spec, path, wants_read_only)
        elif instance.is_read_only and not wants_read_only:
            raise Locked(
                f"cannot open {path} of connection {spec.name!r} for writing: another connection holds it read-only",
                "give both connections the same read_only",
            )
        _set_up(instance, spec, settings)
        _instances[key] = instance
        instance.users += 1
        return instance


def _open(spec: ConnectionSpec, path: str, read_only: bool) -> Instance:
    doing = f"cannot open {path}"
    if read_only and not is_there(path):
        raise Missing(
            f"{doing} of connection {spec.name!r}: there is no such file", "check the path, or drop read_only"
        )
    folder = os.path.dirname(path)
    if not path.startswith(MEMORY) and not os.path.isdir(folder):
        raise Missing(
            f"{doing} of connection {spec.name!r}: folder {folder} does not exist", "create it, or check the path"
        )
    if os.path.isdir(path):
        raise SpecError(f"{doing} of connection {spec.name!r}: it is a folder", "name a file")
    try:
        root = duckdb.connect(MEMORY) if path.startswith(MEMORY) else duckdb.connect(path, read_only=read_only)
    except duckdb.Error as error:
        raise translate(error, doing, spec.name) from error
    return Instance(path, root, read_only)


def _set_up(instance: Instance, spec: ConnectionSpec, settings: Mapping[str, Any]) -> None:
    """Set by statement, not in connect(): DuckDB refuses a second connect of a process with other settings, and a user's
    own code may hold the same file. Times are text in UTC wherever Penstock runs."""
    try:
        with instance.guard:
            instance.root.execute("SET TimeZone = 'UTC'").fetchall()
            for name in ("memory_limit", "threads"):
                if settings[name] is not None:
                    instance.root.execute(f"SET {name} = {literal(str(settings[name]))}").fetchall()
    except duckdb.Error as error:
        if not instance.users:
            instance.root.close()
        raise SpecError(
            f"an option of connection {spec.name!r} is wrong: {error}", "see memory_limit and threads"
        ) from error


def release(instance: Instance) -> None:
    """Give an instance back; the last user's call writes the log into the file and closes it. A database in memory stays
    until the process ends, so that what one session loaded the next can read."""
    with _guard:
        instance.users -= 1
        if instance.users or instance.key.startswith(MEMORY):
            return
        _instances.pop((os.getpid(), instance.key), None)
        # A checkpoint that fails (disk full) loses nothing: the log beside the file holds what was committed.
        with contextlib.suppress(duckdb.Error):
            if not instance.is_read_only:
                instance.root.execute("CHECKPOINT").fetchall()
        instance.root.close()


def refuse_read_only(instance: Instance, spec: ConnectionSpec) -> None:
    """Raises PermissionRefused when the connection may only read."""
    if instance.is_read_only or settings_of(spec)["read_only"]:
        raise PermissionRefused(f"connection {spec.name!r} is read-only and cannot take rows", "drop read_only")
