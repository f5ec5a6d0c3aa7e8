"""One worker in the driver's own thread: nothing runs at the same time, so a debugger and a profiler see all."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator

from penstock.core.errors import PenstockError, Stopped
from penstock.engine.clock import SYSTEM_CLOCK
from penstock.engine.events import Advanced, Ended, Event, Moved, Task, WorkerSetup
from penstock.engine.stop import Stop
from penstock.engine.worker import Worker

# How often the watching thread looks at the time-out and at a hard stop.
_LOOK_S = 0.1


class SerialExecutor:
    """Runs one step of one task in each `poll`.

    While a step runs the driver cannot look after it, so a thread of its own watches: it interrupts an attempt that is
    overdue or must stop at once. A call that cannot be interrupted cannot be abandoned either: there is no other worker.
    """

    def __init__(self, _slots: int = 1) -> None:
        self.slots = 1
        self._tasks: deque[Task] = deque()
        self._events: list[Event] = []
        self._steps: Generator[None, None, None] | None = None
        self._task: Task | None = None
        self._alive_at = 0.0
        self._is_closed = threading.Event()
        self._worker: Worker
        self._stop: Stop

    def start(self, setup: WorkerSetup, stop: Stop) -> None:
        self._stop = stop
        self._worker = Worker("serial", setup, self._take, stop, setup.gate())
        threading.Thread(target=self._watch, name="serial-watch", daemon=True).start()

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def poll(self, timeout_s: float) -> list[Event]:
        if self._steps is None and self._tasks:
            self._alive_at = time.monotonic()
            self._task = self._tasks.popleft()
            self._steps = self._worker.steps(self._task)
        if self._steps is None:
            if not self._events:
                SYSTEM_CLOCK.wait(None, timeout_s)
        elif next(self._steps, self) is self:
            self._steps = self._task = None
        events, self._events = self._events, []
        return events

    def cancel(self, ticket: int, error: PenstockError) -> None:
        self._worker.cancel(ticket, error)

    def close(self) -> None:
        self._is_closed.set()
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        self._worker.close()

    def _take(self, event: Event) -> None:
        if isinstance(event, (Moved, Advanced, Ended)):
            self._alive_at = time.monotonic()
        self._events.append(event)

    def _watch(self) -> None:
        while not self._is_closed.wait(_LOOK_S):
            task = self._task
            if task is None:
                continue
            if self._stop.hard.is_set():
                self._worker.cancel(task.ticket, Stopped("the run was stopped at once"))
            elif task.timeout_s is not None and time.monotonic() - self._alive_at > task.timeout_s:
                self._worker.cancel(task.ticket, task.timed_out())
