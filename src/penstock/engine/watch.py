"""A thread beside the driver: heartbeat of the locks, stop requests of other processes, deadlines.

The driver may be busy for seconds, planning or, with the serial executor, in a handler; what must not wait is here.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import PenstockError
from penstock.engine.journal import Journal, Owner, lost
from penstock.engine.lock import HEARTBEAT_S, beat
from penstock.engine.stop import Stop

# A stop from another process is seen within this time and a bit.
_LOOK_S = 0.2


@dataclass
class Deadline:
    """When `stop` is asked softly and when hard, in monotonic seconds. `is_over` once the first has passed."""

    stop: Stop
    soft_at: float
    hard_at: float
    reason: str
    is_over: bool = False


class Watch(threading.Thread):
    """Looks after one run until closed. It has a journal connection of its own.

    When the locks are lost or the journal cannot be used, `error` says so and the run is stopped at once.
    """

    def __init__(self, path: Path, owner: Owner, stop: Stop) -> None:
        super().__init__(name="watch", daemon=True)
        self.error: PenstockError | None = None
        self._path = path
        self._owner = owner
        self._run_stop = stop
        self._deadlines: list[Deadline] = []
        self._is_closed = threading.Event()
        self._seen = 0

    @contextmanager
    def deadline(self, stop: Stop, timeout_s: float | None, grace_s: float, reason: str) -> Iterator[Deadline]:
        """While the block runs, `stop` is asked softly after `timeout_s` and hard `grace_s` later; None is never."""
        soft_at = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        deadline = Deadline(stop, soft_at, soft_at + grace_s, reason)
        self._deadlines.append(deadline)
        try:
            yield deadline
        finally:
            self._deadlines.remove(deadline)

    def close(self) -> None:
        self._is_closed.set()
        self.join()

    def run(self) -> None:
        try:
            with Journal.open(self._path, must_exist=True) as journal:
                next_beat = time.monotonic() + HEARTBEAT_S
                while not self._is_closed.wait(_LOOK_S):
                    self._look_at_deadlines(time.monotonic())
                    self._look_for_stop(journal)
                    if time.monotonic() >= next_beat:
                        next_beat = time.monotonic() + HEARTBEAT_S
                        self._beat(journal)
        except PenstockError as error:
            self._give_up(error)
        except sqlite3.Error as error:
            self._give_up(PenstockError(f"cannot read journal {str(self._path)!r}: {error}"))

    def _give_up(self, error: PenstockError) -> None:
        self.error = error
        self._run_stop.request(error.what, hard=True)

    def _look_at_deadlines(self, now: float) -> None:
        for deadline in list(self._deadlines):
            if now >= deadline.soft_at:
                deadline.is_over = True
                deadline.stop.request(deadline.reason, hard=now >= deadline.hard_at)

    def _look_for_stop(self, journal: Journal) -> None:
        query = "SELECT stop_requested FROM runs WHERE id = ?"
        asked = journal.db.execute(query, (self._owner.run_id,)).fetchone()
        if asked is not None and asked[0] > self._seen:
            self._seen = asked[0]
            self._run_stop.request("penstock stop", hard=self._seen > 1)

    def _beat(self, journal: Journal) -> None:
        with journal.transaction() as db:
            holds = beat(db, self._owner)
        if not holds:
            raise lost(self._owner.run_id)
