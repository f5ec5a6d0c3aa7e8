"""A request to stop a run: soft first (finish up to the next safe point), then hard (at once)."""

from __future__ import annotations

from penstock.engine.clock import StopEvent


class Stop:
    """The stop of one run; asked by a signal, by another process through the journal, or by a deadline.

    `soft` and `hard` are events to wait on; `hard` implies `soft`. `reason` says in words who asked first. May be used
    from any thread and from signal handlers.
    """

    def __init__(self) -> None:
        self.soft = StopEvent()
        self.hard = StopEvent()
        self.reason = ""

    def request(self, reason: str, *, hard: bool = False) -> None:
        """Ask to stop. A request for a soft stop is no more than that however often it comes."""
        if not self.soft.is_set():
            self.reason = reason
        self.soft.set()
        if hard:
            self.hard.set()

    def press(self, reason: str) -> None:
        """Ask to stop, harder than before: the first time soft, the second time hard."""
        self.request(reason, hard=self.soft.is_set())
