"""Stopping the call in progress from another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.core.errors import Stopped


class StopFlag:
    """Set by `cancel` while something runs, looked at between batches; a cancel while nothing runs has no effect."""

    def __init__(self) -> None:
        self._running = 0
        self._stopped = False
        self._guard = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._guard:
            self._running += 1
        try:
            yield
        finally:
            with self._guard:
                self._running -= 1
                if not self._running:
                    self._stopped = False

    def cancel(self) -> None:
        with self._guard:
            self._stopped = self._running > 0

    def check(self) -> None:
        """Raises Stopped where the running call was cancelled."""
        if self._stopped:
            raise Stopped("the work on files was stopped")
