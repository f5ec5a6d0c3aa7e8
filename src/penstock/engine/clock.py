"""Time as the engine sees it: a clock one can wait on, and a stop that wakes whoever waits for something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Clock(Protocol):
    """Where the engine gets time from; everything that waits takes one, so that tests decide what time it is."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wait(self, event: threading.Event | None, timeout_s: float | None) -> bool:
        """Block until `event` is set or `timeout_s` seconds have passed, whichever is first; True if the event is set.

        A timeout of None waits for the event alone; without an event there must be a timeout. May be called from any
        thread.
        """
        ...


class SystemClock:
    """The machine's own monotonic clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event | None, timeout_s: float | None) -> bool:
        if event is not None:
            return event.wait(timeout_s)
        if timeout_s is None:
            raise ValueError("wait needs an event, a timeout or both")
        time.sleep(max(0.0, timeout_s))
        return False


SYSTEM_CLOCK = SystemClock()


class StopEvent(threading.Event):
    """A stop request. Who waits for another event links it, so that `set` wakes that waiter too.

    A StopEvent may itself be linked to another one: stopping the run then stops the item.
    """

    def __init__(self) -> None:
        super().__init__()
        # Reentrant: a signal handler may call set() on the very thread that is linking.
        self._guard = threading.RLock()
        self._linked: list[threading.Event] = []

    def set(self) -> None:
        """Stop; may be repeated, from any thread."""
        super().set()
        with self._guard:
            linked = list(self._linked)
        for event in linked:
            event.set()

    def clear(self) -> None:
        raise RuntimeError("a stop is never taken back")

    @contextmanager
    def waking(self, event: threading.Event) -> Iterator[None]:
        """While the block runs, `event` is set as soon as this stop is, at once if it already is."""
        with self._guard:
            self._linked.append(event)
        try:
            if self.is_set():
                event.set()
            yield
        finally:
            with self._guard:
                self._linked.remove(event)
