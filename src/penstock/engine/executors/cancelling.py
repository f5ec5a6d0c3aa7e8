"""Cancellations under way: repeated until the attempt ends, overdue after a grace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from penstock.core.errors import PenstockError

# A call that begins just after an interruption does not see it, so interruptions are repeated this often.
AGAIN_S = 1.0


@dataclass
class _Cancelled:
    error: PenstockError
    interrupt: Callable[[], None]
    deadline: float
    again_at: float = 0.0
    thread: threading.Thread = field(default_factory=threading.Thread)

    def fire(self, now: float) -> None:
        # In a thread of its own: interrupting may take a round trip to a server that does not answer.
        self.again_at = now + AGAIN_S
        self.thread = threading.Thread(target=self.interrupt, name="cancel", daemon=True)
        self.thread.start()


class Cancelling:
    """The attempts being cancelled, by ticket. One thread only."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._cancelled: dict[int, _Cancelled] = {}

    def add(self, ticket: int, error: PenstockError, interrupt: Callable[[], None]) -> None:
        """Interrupt an attempt now and again; a ticket that is being cancelled already stays as it is."""
        if ticket not in self._cancelled:
            now = time.monotonic()
            self._cancelled[ticket] = _Cancelled(error, interrupt, now + self._grace_s)
            self._cancelled[ticket].fire(now)

    def look(self, running: Collection[int]) -> list[tuple[int, PenstockError]]:
        """Interrupt again what still runs; the answer is what is overdue, with the error it was cancelled with."""
        now = time.monotonic()
        overdue = []
        for ticket, cancelled in list(self._cancelled.items()):
            if ticket not in running:
                del self._cancelled[ticket]
            elif now >= cancelled.deadline:
                del self._cancelled[ticket]
                overdue.append((ticket, cancelled.error))
            elif now >= cancelled.again_at and not cancelled.thread.is_alive():
                cancelled.fire(now)
        return overdue
