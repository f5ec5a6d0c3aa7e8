"""A moment that several connections of this process share.

Neither MySQL nor MariaDB hands a snapshot from one session to another. So all connections that may read it are opened
beforehand, and each begins its own snapshot while a global read lock keeps anything from being written in between.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pymysql

from penstock.connectors.mysql.protocol import Connection
from penstock.core.errors import NotSupported, SnapshotLost
from penstock.core.spec import digest

BEGIN = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


@dataclass
class Moment:
    """Connections whose transactions see one moment; each is lent to one session at a time."""

    token: str
    free: list[Connection] = field(default_factory=list)
    size: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def lend(self) -> Connection:
        """Raises SnapshotLost when none is left."""
        with self.guard:
            while self.free:
                found = self.free.pop()
                if found.open:
                    return found
        raise SnapshotLost(
            f"none of the {self.size} connections that share the moment {self.token} is left",
            "raise snapshot_connections of the connection, or run with fewer workers",
        )

    def give_back(self, connection: Connection) -> None:
        with self.guard:
            self.free.append(connection)


_moments: dict[str, Moment] = {}
_guard = threading.Lock()


def take(open_one: Callable[[], Connection], count: int, wait_s: int) -> Moment:
    """Open `count` connections at one moment. The lock is held for as long as `count` short statements take.

    Raises the driver's error where the lock is not allowed or does not come within `wait_s` seconds.
    """
    moment = Moment("")
    locking = open_one()
    try:
        for _ in range(count):
            moment.free.append(open_one())
        locking.run(f"SET SESSION lock_wait_timeout = {wait_s}")
        locking.run("FLUSH TABLES WITH READ LOCK")
        try:
            for connection in moment.free:
                for statement in BEGIN:
                    connection.run(statement)
        finally:
            locking.run("UNLOCK TABLES")
        moment.token = f"{os.getpid()}-{digest([c.thread_id() for c in moment.free] + [id(moment)], 6)}"
        moment.size = count
    except BaseException:
        _close_all(moment.free)
        raise
    finally:
        _close_all([locking])
    with _guard:
        _moments[moment.token] = moment
    return moment


def find(token: str, name: str) -> Moment:
    """The moment of a token. Raises SnapshotLost when it has ended, NotSupported in another process than it began in."""
    if token.partition("-")[0] != str(os.getpid()):
        raise NotSupported(
            f"a moment of connection {name!r} is shared by the connections of one process only",
            "run with executor: threads, or set snapshot: none on the connection",
        )
    with _guard:
        found = _moments.get(token)
    if found is None:
        raise SnapshotLost(f"snapshot {token} of connection {name!r} is gone: the session that held it ended")
    return found


def end(moment: Moment) -> None:
    """Close the connections that are not lent; those that are end with their sessions. May be repeated."""
    with _guard:
        _moments.pop(moment.token, None)
    with moment.guard:
        free, moment.free = moment.free, []
    _close_all(free)


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        with contextlib.suppress(pymysql.MySQLError, OSError):
            connection.close()
