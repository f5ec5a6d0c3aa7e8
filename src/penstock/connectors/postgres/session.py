"""A worker's connections to one server: settings that make text exact, errors translated, calls that can be cancelled."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg.rows import TupleRow, tuple_row

from penstock.connectors.postgres import conninfo
from penstock.connectors.postgres.errors import refused, translate
from penstock.connectors.postgres.types import Declared, PgType
from penstock.core.errors import NotSupported, PenstockError, SpecError, TimedOut
from penstock.core.ports import Health
from penstock.core.spec import ConnectionSpec

if TYPE_CHECKING:
    from penstock.connectors.postgres.catalog import PostgresCatalog
    from penstock.connectors.postgres.reader import PostgresReader
    from penstock.connectors.postgres.writer import PostgresWriter

Part = TypeVar("Part")


def _nothing() -> None:
    pass


class Connection(psycopg.Connection[TupleRow]):
    """A connection that asks `check` before each statement, so that a cancelled call of many statements begins no more of
    them. It remembers the built-in types it was told of: they never change, and every table asks for them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.check: Callable[[], None] = _nothing
        self.types_by_oid: dict[int, PgType] = {}
        self.types_by_name: dict[str, Declared] = {}

    def execute(self, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        self.check()
        return super().execute(*arguments, **options)


# Text forms that every server reads back to the same value.
TEXT_SETTINGS = {
    "intervalstyle": "postgres",
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
}
# No limit may end a session that only holds a snapshot or a claim.
_NO_LIMITS = dict.fromkeys(("idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout"), "0")

# Sets what the server knows of $1 (names) and $2 (values), and tells who and what answers.
_SET_UP = """
SELECT count(set_config(s.name, v.value, false)), pg_backend_pid(), current_setting('server_version_num')::int
FROM unnest($1::text[], $2::text[]) AS v (name, value) JOIN pg_settings AS s ON lower(s.name) = v.name
"""
_CANCEL_TIMEOUT_S = 5.0
_POOLER_PROBES = 3
_OLDEST = 120000


class PostgresSession:
    """Connections of one worker: one for reading (it may hold a snapshot's transaction), one for writing, each opened
    when it is first needed. Only `cancel` may be called from another thread."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.settings: Mapping[str, Any] = conninfo.settings(spec)
        self.version = 0
        self._parameters = conninfo.parameters(spec)
        self._idle: Connection | None = None
        self._roles: dict[str, Connection] = {}
        self._guard = threading.Lock()
        self._calls = 0
        self._cancelled = False
        self._cancels: list[Callable[[], None]] = []
        self._parts: dict[str, Any] = {}
        self._idle = self._open()

    # ---- connections

    @property
    def reading(self) -> Connection:
        """The connection that reads: the one whose transaction holds a snapshot, if any does."""
        return self._connection("read")

    @property
    def writing(self) -> Connection:
        """The connection that writes and holds the claim of a target table."""
        return self._connection("write")

    @property
    def any(self) -> Connection:
        """A connection for questions to the catalog: whichever is open; one that is only asked stays free for either."""
        found = self._roles.get("read") or self._roles.get("write")
        if found is None:
            found = self._idle = self._idle or self._open()
        return found

    def _connection(self, role: str) -> Connection:
        found = self._roles.get(role)
        if found is None:
            found, self._idle = self._idle or self._open(), None
            with self._guard:
                self._roles[role] = found
        return found

    def _open(self) -> Connection:
        connection = self.connect()
        wanted = {**TEXT_SETTINGS, **_NO_LIMITS}
        timeout_s = self.settings.get("statement_timeout_s")
        if timeout_s is not None:
            wanted["statement_timeout"] = f"{round(float(timeout_s) * 1000)}ms"
        try:
            with self._translated("cannot set up a session", connection):
                row = connection.execute(_SET_UP, [list(wanted), list(wanted.values())]).fetchone()
            assert row is not None
            if row[2] < _OLDEST:
                raise NotSupported(
                    f"the server of connection {self.spec.name!r} is PostgreSQL {row[2] // 10000}",
                    f"release {_OLDEST // 10000} is the oldest that is supported",
                )
            if row[1] != connection.info.backend_pid:
                self._refuse_transaction_pooler(connection)
        except BaseException:
            connection.close()
            raise
        self.version = row[2]
        connection.check = lambda: self.stop_if_cancelled("cannot go on")
        return connection

    def connect(self) -> Connection:
        """A new connection in autocommit that the caller closes; nothing is set on it. Raises Unavailable,
        CredentialsRefused, PermissionRefused or SpecError."""
        try:
            return Connection.connect(
                **self._parameters,
                autocommit=True,
                prepare_threshold=None,
                row_factory=tuple_row,
                cursor_factory=psycopg.RawCursor,
            )
        except psycopg.Error as error:
            raise refused(error, self.spec, conninfo.address(self._parameters)) from error

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The libpq parameters (with the password), for drivers that connect by themselves."""
        return self._parameters

    def _refuse_transaction_pooler(self, connection: Connection) -> None:
        """Behind a pooler the server's process is not the one that the connection was told. If a second client gets the
        same process while this one is still connected, sessions do not belong to clients."""
        for _ in range(_POOLER_PROBES):
            mine = _backend(connection)
            with contextlib.closing(self.connect()) as other:
                if _backend(other) == mine:
                    raise NotSupported(
                        f"connection {self.spec.name!r} goes through a pooler that lends out server sessions for single"
                        " transactions, so that settings, locks and snapshots do not last",
                        "connect to the server itself, or to a pool in session mode (pool_mode = session)",
                    )

    # ---- calls

    @contextlib.contextmanager
    def call(self, doing: str, connection: Connection | None = None) -> Iterator[None]:
        """A call of a port: database errors within become errors of Penstock, and `cancel` reaches it.

        `doing` says what failed, in the form "cannot read table …". Calls nest; a generator's may stay open between rows.
        """
        with self.busy(doing), self._translated(doing, connection):
            yield

    @contextlib.contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Within, `cancel` ends what runs. Errors pass as they are; for calls in which two sessions work together."""
        with self._guard:
            if self._calls == 0:
                self._cancelled = False
            self._calls += 1
        try:
            self.stop_if_cancelled(doing)
            yield
        finally:
            with self._guard:
                self._calls -= 1

    @contextlib.contextmanager
    def _translated(self, doing: str, connection: Connection | None) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self.stop_if_cancelled(doing, error)
            broken = any(c.broken for c in self._open_connections(connection))
            raise translate(error, doing, self.spec, broken=broken) from error
        except PenstockError as error:
            self.stop_if_cancelled(doing, error)
            raise

    def _open_connections(self, *more: Connection | None) -> list[Connection]:
        return [*self._roles.values(), *([self._idle] if self._idle else []), *(c for c in more if c)]

    def stop_if_cancelled(self, doing: str, error: BaseException | None = None) -> None:
        """Raise TimedOut when the call in progress was cancelled."""
        if self.cancelled():
            raise TimedOut(f"{doing} of connection {self.spec.name!r}: the call was cancelled") from error

    def cancelled(self) -> bool:
        """Whether the call in progress is to end; for loops in compiled code."""
        return self._cancelled and self._calls > 0

    @contextlib.contextmanager
    def cancel_with(self, cancel: Callable[[], None]) -> Iterator[None]:
        """Have `cancel` called too when this session is cancelled meanwhile; for drivers with connections of their own."""
        with self._guard:
            self._cancels.append(cancel)
        try:
            yield
        finally:
            with self._guard:
                self._cancels.remove(cancel)

    def cancel(self) -> None:
        """End the call in progress: it raises TimedOut. From any thread; nothing when nothing runs. To be repeated until
        the call ends: a statement that is just being sent does not see it."""
        with self._guard:
            if self._calls == 0:
                return
            self._cancelled = True
            connections, cancels = self._open_connections(), list(self._cancels)
        for cancel in cancels:
            cancel()
        for connection in connections:
            try:
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
            except psycopg.Error:
                _hang_up(connection)

    # ---- the port

    def check(self) -> Health:
        """Server and version, user and facts worth knowing."""
        with self.call("cannot ask the server"):
            row = self.any.execute(_CHECK).fetchone()
        assert row is not None
        version, user, standby, encrypted, database = row
        notes = [f"database {database}"]
        notes += ["hot standby: reading only"] if standby else []
        notes += ["not encrypted"] if not encrypted and not conninfo.is_local(self._parameters) else []
        notes.append(self._coding())
        return Health(f"PostgreSQL {version}", user, tuple(notes))

    def _coding(self) -> str:
        """Which way rows are coded on this connection, in words."""
        from penstock.connectors.postgres import wire

        if self.option("codec") == "portable":
            return "rows go through the drivers, as the option codec asks"
        reason = wire.why_not()
        return f"rows go through the drivers, which takes more CPU: {reason}" if reason else "rows go through the codec"

    def catalog(self) -> PostgresCatalog:
        from penstock.connectors.postgres.catalog import PostgresCatalog

        return self._part("catalog", PostgresCatalog)

    def reader(self) -> PostgresReader:
        from penstock.connectors.postgres.reader import PostgresReader

        return self._part("reader", PostgresReader)

    def writer(self) -> PostgresWriter:
        from penstock.connectors.postgres.writer import PostgresWriter

        return self._part("writer", PostgresWriter)

    def _part(self, name: str, kind: Callable[[PostgresSession], Part]) -> Part:
        if name not in self._parts:
            self._parts[name] = kind(self)
        return cast(Part, self._parts[name])

    def close(self) -> None:
        """Close all connections; the server rolls back what is open. May be repeated."""
        if "writer" in self._parts:
            self.writer().release()
        for connection in self._open_connections():
            connection.close()
        self._idle = None
        self._roles.clear()

    def hold_snapshot(self) -> str:
        return self.reader().hold_snapshot()

    def use_snapshot(self, token: str) -> None:
        self.reader().use_snapshot(token)

    # ---- options

    def option(self, name: str, given: Mapping[str, Any] | None = None) -> Any:
        """An option of the connector: as given for the job's side, else for the connection, else its default."""
        declared = next(option for option in conninfo.OPTIONS if option.name == name)
        value = (given or {}).get(name, self.settings.get(name, declared.default))
        if declared.choices and value not in declared.choices:
            raise SpecError(
                f"option {name} of connection {self.spec.name!r} is {value!r}",
                f"write one of {', '.join(declared.choices)}",
            )
        return value


_CHECK = """
SELECT current_setting('server_version'), current_user, pg_is_in_recovery(),
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), current_database()
"""


def query(connection: Connection, sql: str, values: Sequence[Any] = ()) -> list[TupleRow]:
    """All rows of a statement whose values are bound as $1, $2, …"""
    return connection.execute(sql, values or None).fetchall()


def execute(connection: Connection, sql: str, values: Sequence[Any] = ()) -> int:
    """Run a statement; returns the rows it touched, -1 where the server counts none."""
    return connection.execute(sql, values or None).rowcount


def literal(connection: Connection, value: str) -> str:
    """`value` as SQL literal, quoted by libpq: COPY takes no bound parameters."""
    return psycopg.pq.Escaping(connection.pgconn).escape_literal(value.encode()).decode()


def _backend(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def _hang_up(connection: Connection) -> None:
    """Cut the line of a connection that cannot even be cancelled, so that the thread waiting on it wakes up."""
    with contextlib.suppress(OSError, psycopg.Error):
        line = socket.socket(fileno=os.dup(connection.fileno()))
        with contextlib.closing(line):
            line.shutdown(socket.SHUT_RDWR)
