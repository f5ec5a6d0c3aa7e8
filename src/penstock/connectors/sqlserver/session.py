"""A worker's connections to one server: opened when needed, errors translated, calls that can be cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from penstock.connectors.sqlserver import conninfo
from penstock.connectors.sqlserver.errors import of_driver, refused, translate
from penstock.connectors.sqlserver.line import Line
from penstock.connectors.sqlserver.server import ASK, OLDEST, OTHER_ENGINES, Server, server_of
from penstock.core.errors import ConnectionLost, NotSupported, PenstockError, TimedOut
from penstock.core.ports import Health
from penstock.core.spec import ConnectionSpec

if TYPE_CHECKING:
    from penstock.connectors.sqlserver.catalog import SqlServerCatalog
    from penstock.connectors.sqlserver.reader import SqlServerReader
    from penstock.connectors.sqlserver.writer import SqlServerWriter

Part = TypeVar("Part")


class SqlServerSession:
    """Connections of one worker: one for reading, one for writing (it holds the claim of a table), each opened when it is
    first needed. Bulk copy opens one of its own for as long as it runs. Only `cancel` may be called from another thread."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.settings: Mapping[str, Any] = conninfo.settings(spec)
        self._text = conninfo.connection_string(spec)
        self._lines: dict[str, Line] = {}
        self._guard = threading.Lock()
        self._calls = 0
        self._cancelled = False
        self._parts: dict[str, Any] = {}
        line = self._open()
        try:
            self.server = self._ask(line)
        except BaseException:
            line.close()
            raise
        self._idle: Line | None = line

    # ---- connections

    @property
    def reading(self) -> Line:
        return self._line("read")

    @property
    def writing(self) -> Line:
        return self._line("write")

    @property
    def any(self) -> Line:
        """A connection for questions to the catalog: whichever is open; one that is only asked stays free for either."""
        found = self._lines.get("read") or self._lines.get("write") or self._idle
        if found is None:
            found = self._idle = self._open()
        return found

    def _line(self, role: str) -> Line:
        found = self._lines.get(role)
        if found is None:
            found, self._idle = self._idle or self._open(), None
            with self._guard:
                self._lines[role] = found
        return found

    def _open(self) -> Line:
        """A new connection, set up. Raises Unavailable, CredentialsRefused, PermissionRefused or SpecError."""
        driver = _driver()
        where = conninfo.address(self.spec)
        holder = conninfo.token_holder(self.spec)
        connection = None
        failures: tuple[type[BaseException], ...] = (*of_driver(), ValueError)
        try:
            connection = driver.connect(
                self._text,
                autocommit=True,
                timeout=max(1, round(self.spec.connect_timeout_s)),
                **({"token_provider": holder} if holder is not None else {}),
            )
            connection.timeout = int(self.option("statement_timeout_s"))
            line = Line(connection)
        except failures as error:
            if connection is not None:
                with contextlib.suppress(*of_driver()):
                    connection.close()
            raise refused(error, self.spec, where) from error
        line.check = lambda: self.stop_if_cancelled("cannot go on")
        return line

    def _ask(self, line: Line) -> Server:
        with self._translated("cannot ask the server"):
            found = server_of(line.query(ASK)[0])
        if found.engine_edition in OTHER_ENGINES:
            raise NotSupported(
                f"connection {self.spec.name!r} leads to {OTHER_ENGINES[found.engine_edition]}, another kind of engine",
                "SQL Server, Azure SQL and SQL databases in Fabric are supported",
            )
        if not found.is_supported:
            raise NotSupported(
                f"the server of connection {self.spec.name!r} has version {found.version}",
                f"{OLDEST} (SQL Server 2016) is the oldest that is supported",
            )
        return found

    @property
    def text(self) -> str:
        """The driver's connection string (with the password), for bulk copy."""
        return self._text

    # ---- calls

    @contextlib.contextmanager
    def call(self, doing: str) -> Iterator[None]:
        """A call of a port: the driver's errors within become errors of Penstock, and `cancel` reaches it.

        `doing` says what failed, in the form "cannot read table …". Calls nest; a generator's may stay open between rows.
        """
        with self._guard:
            if self._calls == 0:
                self._cancelled = False
            self._calls += 1
        try:
            self.stop_if_cancelled(doing)
            with self._translated(doing):
                yield
        finally:
            with self._guard:
                self._calls -= 1

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except PenstockError as error:
            self.stop_if_cancelled(doing, error)
            raise
        except of_driver() as error:
            self.stop_if_cancelled(doing, error)
            found = translate(error, doing, self.spec)
            if any(line.is_broken for line in self._open_lines()) and not isinstance(found, ConnectionLost):
                found = ConnectionLost(found.what)
            raise found from error

    def _open_lines(self) -> list[Line]:
        return [*self._lines.values(), *([self._idle] if getattr(self, "_idle", None) else [])]  # type: ignore[list-item]

    def stop_if_cancelled(self, doing: str, error: BaseException | None = None) -> None:
        """Raise TimedOut when the call in progress was cancelled."""
        if self.cancelled():
            raise TimedOut(f"{doing} of connection {self.spec.name!r}: the call was cancelled") from error

    def cancelled(self) -> bool:
        """Whether the call in progress is to end."""
        return self._cancelled and self._calls > 0

    def cancel(self) -> None:
        """End the call in progress: it raises TimedOut. From any thread; nothing when nothing runs. To be repeated until
        the call ends. A bulk copy ends with the next batch it asks for."""
        with self._guard:
            if self._calls == 0:
                return
            self._cancelled = True
            lines = self._open_lines()
        for line in lines:
            line.cancel()

    # ---- the port

    def check(self) -> Health:
        """Server and version, user and facts worth knowing: isolation of reading, encryption."""
        with self.call("cannot ask the server"):
            self.any.query("SELECT 1")
        server = self.server
        notes = [f"database {server.database}", self.consistency()]
        if self.option("encrypt") == "no":
            notes.append("not encrypted, as the option encrypt asks")
        elif self.option("trust_server_certificate"):
            notes.append("encrypted; the server's certificate is not verified")
        return Health(server.name, server.user, tuple(notes))

    def consistency(self, given: Mapping[str, Any] | None = None) -> str:
        """In words what reading sees. Sessions of SQL Server cannot share a snapshot: each chunk has a moment of its own."""
        how = self.option("read", given)
        if how == "nolock":
            return "reads without locks: rows may come twice, never, or before they are committed"
        if how == "snapshot" and self.server.allows_snapshot:
            return "reads each chunk as of one moment (SNAPSHOT isolation)"
        if self.server.versions_rows:
            return "reads each chunk as of one moment (READ COMMITTED over row versions)"
        why = (
            "" if how == "committed" else "; ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON would make it one moment"
        )
        return f"reads committed rows, a chunk not as of one moment{why}"

    def catalog(self) -> SqlServerCatalog:
        from penstock.connectors.sqlserver.catalog import SqlServerCatalog

        return self._part("catalog", SqlServerCatalog)

    def reader(self) -> SqlServerReader:
        from penstock.connectors.sqlserver.reader import SqlServerReader

        return self._part("reader", SqlServerReader)

    def writer(self) -> SqlServerWriter:
        from penstock.connectors.sqlserver.writer import SqlServerWriter

        return self._part("writer", SqlServerWriter)

    def _part(self, name: str, kind: Callable[[SqlServerSession], Part]) -> Part:
        if name not in self._parts:
            self._parts[name] = kind(self)
        return cast(Part, self._parts[name])

    def close(self) -> None:
        """Close all connections; the server rolls back what is open and gives claims back. May be repeated."""
        for line in self._open_lines():
            line.close()
        self._idle = None
        self._lines.clear()

    def option(self, name: str, given: Mapping[str, Any] | None = None) -> Any:
        """An option of the connector: as given for the job's side, else for the connection, else its default."""
        return conninfo.option(self.spec, self.settings, name, given)


_pooled = True


def _driver() -> Any:
    """The driver, with its pool off: a session owns its connections, and a pooled one would keep settings and locks."""
    global _pooled  # noqa: PLW0603 - the pool belongs to the process
    import mssql_python

    if _pooled:
        mssql_python.pooling(enabled=False)
        _pooled = False
    return mssql_python
