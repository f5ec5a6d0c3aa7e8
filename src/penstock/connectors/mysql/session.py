"""A worker's connections to one server: settings that make values exact, errors translated, calls that can be cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pymysql

from penstock.connectors.mysql import conninfo
from penstock.connectors.mysql.errors import refused, translate
from penstock.connectors.mysql.protocol import Connection, Done
from penstock.core.errors import NotSupported, PenstockError, TimedOut
from penstock.core.ports import Health
from penstock.core.spec import ConnectionSpec

if TYPE_CHECKING:
    from penstock.connectors.mysql.catalog import MysqlCatalog
    from penstock.connectors.mysql.reader import MysqlReader
    from penstock.connectors.mysql.writer import MysqlWriter

Part = TypeVar("Part")

SQL_MODE = (
    "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"
)
# A reader that waits for a slow writer, and a session that only holds a snapshot, are not thrown out.
_PATIENCE_S = 7 * 86_400
_SET_UP = (
    f"SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00', wait_timeout = {_PATIENCE_S},"
    f" net_read_timeout = {_PATIENCE_S}, net_write_timeout = {_PATIENCE_S}, sql_safe_updates = 0,"
    " sql_select_limit = DEFAULT, group_concat_max_len = 1048576"
)
_CANCEL_TIMEOUT_S = 5.0
_OLDEST = {True: (10, 5), False: (8, 0)}
_SYSTEM_NAMES = {True: "MariaDB", False: "MySQL"}


class MysqlSession:
    """Connections of one worker: one for reading (it may belong to a shared moment), one for writing, each opened when it
    is first needed. Only `cancel` may be called from another thread."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.address = conninfo.address(spec)
        self.settings: Mapping[str, Any] = conninfo.settings(spec)
        self._parameters = conninfo.parameters(spec)
        self._idle: Connection | None = None
        self._roles: dict[str, Connection] = {}
        self._guard = threading.Lock()
        self._calls = 0
        self._cancelled = False
        self._parts: dict[str, Any] = {}
        self._idle = self._open()
        self.is_mariadb = self._idle.is_mariadb
        self.version = self._idle.version

    # ---- connections

    @property
    def reading(self) -> Connection:
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

    def read_with(self, connection: Connection) -> None:
        """Take another connection for reading; the one before is closed."""
        with self._guard:
            before = self._roles.pop("read", None)
            self._roles["read"] = connection
        if before is not None:
            _close(before)

    def leave_reading(self) -> Connection | None:
        """Give the reading connection away."""
        with self._guard:
            return self._roles.pop("read", None)

    def _connection(self, role: str) -> Connection:
        found = self._roles.get(role)
        if found is None:
            found, self._idle = self._idle or self._open(), None
            with self._guard:
                self._roles[role] = found
        return found

    def _open(self) -> Connection:
        connection = self.connect()
        try:
            with self._translated("cannot set up a session", connection):
                connection.run(_SET_UP)
                if not connection.is_mariadb:
                    connection.run("SET SESSION information_schema_stats_expiry = 0")
                timeout_s = self.option("statement_timeout_s")
                if timeout_s is not None:
                    limit = f"max_statement_time = {timeout_s}"
                    other = f"max_execution_time = {round(timeout_s * 1000)}"
                    connection.run(f"SET SESSION {limit if connection.is_mariadb else other}")
            oldest = _OLDEST[connection.is_mariadb]
            if connection.version < oldest:
                raise NotSupported(
                    f"the server of connection {self.spec.name!r} is {connection.server_version}",
                    f"{_SYSTEM_NAMES[connection.is_mariadb]} {oldest[0]}.{oldest[1]} is the oldest that is supported",
                )
        except BaseException:
            _close(connection)
            raise
        return connection

    def open_another(self) -> Connection:
        """A further connection with this session's settings, which the caller closes."""
        return self._open()

    def connect(self, timeout_s: float | None = None) -> Connection:
        """A bare connection that the caller closes. Raises Unavailable, CredentialsRefused, PermissionRefused, SpecError."""
        mode = self.address.ssl_mode
        tls = "" if "ssl" not in self._parameters else "wished" if mode == "preferred" else "needed"
        given = dict(self._parameters)
        if timeout_s is not None:
            given |= {"connect_timeout": timeout_s, "read_timeout": timeout_s}
        try:
            return Connection(tls, given)
        except (pymysql.MySQLError, OSError, RuntimeError) as error:
            raise refused(error, self.spec, str(self.address)) from error

    # ---- calls

    @contextlib.contextmanager
    def call(self, doing: str, connection: Connection | None = None) -> Iterator[None]:
        """A call of a port: errors of the server within become errors of Penstock, and `cancel` reaches it.

        `doing` says what failed, in the form "cannot read table …". Calls nest; a generator's may stay open between rows.
        """
        with self._guard:
            if self._calls == 0:
                self._cancelled = False
            self._calls += 1
        try:
            self.stop_if_cancelled(doing)
            with self._translated(doing, connection):
                yield
        finally:
            with self._guard:
                self._calls -= 1

    @contextlib.contextmanager
    def _translated(self, doing: str, connection: Connection | None) -> Iterator[None]:
        try:
            yield
        except (pymysql.MySQLError, OSError) as error:
            self.stop_if_cancelled(doing, error)
            broken = any(not each.open for each in self._open_connections(connection))
            raise translate(error, doing, self.spec, broken=broken) from error
        except PenstockError as error:
            self.stop_if_cancelled(doing, error)
            raise

    def _open_connections(self, *more: Connection | None) -> list[Connection]:
        return [*self._roles.values(), *([self._idle] if self._idle else []), *(c for c in more if c)]

    def stop_if_cancelled(self, doing: str, error: BaseException | None = None) -> None:
        """Raise TimedOut when the call in progress was cancelled."""
        if self._cancelled and self._calls > 0:
            raise TimedOut(f"{doing} of connection {self.spec.name!r}: the call was cancelled") from error

    def cancel(self) -> None:
        """End the call in progress: it raises TimedOut. From any thread; nothing when nothing runs. To be repeated until
        the call ends: a statement that is just being sent does not see it."""
        with self._guard:
            if self._calls == 0:
                return
            self._cancelled = True
            connections = self._open_connections()
        try:
            self.kill_query(connections)
        except PenstockError:
            for connection in connections:
                connection.hang_up()

    def kill_query(self, connections: Sequence[Connection]) -> None:
        """End the statements that run on `connections`, asked for on a connection of its own; what runs no statement is
        left as it is."""
        with contextlib.closing(self.connect(_CANCEL_TIMEOUT_S)) as side:
            for connection in connections:
                with contextlib.suppress(pymysql.MySQLError):
                    side.run(f"KILL QUERY {connection.thread_id()}")

    # ---- the port

    def check(self) -> Health:
        """Server and version, user and facts worth knowing."""
        with self.call("cannot ask the server"):
            rows = self.any.query_rows("SELECT CURRENT_USER(), DATABASE(), @@read_only, @@local_infile")
            encrypted = self.any.is_encrypted
        user, database, read_only, local_infile = rows[0]
        notes = [f"database {database}" if database else "no database chosen: tables are named database.table"]
        notes += ["read only"] if read_only else []
        notes += ["not encrypted"] if not encrypted and not self.address.is_local else []
        notes.append(self._coding())
        if not local_infile:
            notes.append(
                "local_infile is off: rows are loaded by INSERT, which takes the server several times the work"
            )
        version = ".".join(str(part) for part in self.version)
        return Health(f"{_SYSTEM_NAMES[self.is_mariadb]} {version}", user, tuple(notes))

    def _coding(self) -> str:
        """Which way rows are coded on this connection, in words."""
        from penstock.connectors.mysql import codec

        if self.option("codec") == "portable":
            return "rows are coded in Python, as the option codec asks"
        reason = codec.why_not()
        return f"rows are coded in Python, which takes more CPU: {reason}" if reason else "rows go through the codec"

    def catalog(self) -> MysqlCatalog:
        from penstock.connectors.mysql.catalog import MysqlCatalog

        return self._part("catalog", MysqlCatalog)

    def reader(self) -> MysqlReader:
        from penstock.connectors.mysql.reader import MysqlReader

        return self._part("reader", MysqlReader)

    def writer(self) -> MysqlWriter:
        from penstock.connectors.mysql.writer import MysqlWriter

        return self._part("writer", MysqlWriter)

    def _part(self, name: str, kind: Callable[[MysqlSession], Part]) -> Part:
        if name not in self._parts:
            self._parts[name] = kind(self)
        return cast(Part, self._parts[name])

    def hold_snapshot(self) -> str:
        return self.reader().hold_snapshot()

    def use_snapshot(self, token: str) -> None:
        self.reader().use_snapshot(token)

    def close(self) -> None:
        """Close all connections; the server rolls back what is open. May be repeated."""
        if "writer" in self._parts:
            self.writer().release()
        if "reader" in self._parts:
            self.reader().leave_snapshot()
        for connection in self._open_connections():
            _close(connection)
        self._idle = None
        self._roles.clear()

    def option(self, name: str, given: Mapping[str, Any] | None = None) -> Any:
        """An option: as given for the job's side, else for the connection, else its default."""
        return conninfo.option(name, self.spec, given)


def _close(connection: Connection) -> None:
    with contextlib.suppress(pymysql.MySQLError, OSError):
        connection.close()


def execute(connection: Connection, sql: str, values: Sequence[Any] = ()) -> Done:
    """Run a statement; its rows are those it found, whether or not they changed."""
    return connection.run(sql, values)


def query(connection: Connection, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    return connection.query_rows(sql, values)


def literal(text: str) -> str:
    """`text` as a literal, for statements that hold SQL of the user's, in which a % is no placeholder."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"
