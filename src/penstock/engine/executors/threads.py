"""Workers as threads of this process: for input and output and for native code, which let other threads run."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from queue import Empty, SimpleQueue

from penstock.core.errors import PenstockError, Stopped, WorkerDied
from penstock.engine.events import Ended, Event, Started, Task, WorkerSetup
from penstock.engine.executors import CANCEL_GRACE_S, CLOSE_HARD_S, CLOSE_S
from penstock.engine.executors.cancelling import Cancelling
from penstock.engine.journal import now_ms
from penstock.engine.limits import PoliteGate
from penstock.engine.stop import Stop
from penstock.engine.worker import Worker


class _Events:
    """Events on their way to the driver, in order. That an item has started does not wake it: most items end soon."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news: SimpleQueue[None] = SimpleQueue()

    def put(self, event: Event) -> None:
        self._events.append(event)
        if type(event) is not Started:
            self._news.put(None)

    def take(self, timeout_s: float) -> list[Event]:
        """All there are; waits for the first that is news at most so long."""
        try:
            self._news.get(block=timeout_s > 0, timeout=timeout_s if timeout_s > 0 else None)
            while True:
                self._news.get_nowait()
        except Empty:
            pass
        events = self._events
        return [events.popleft() for _ in range(len(events))]


class _Seat(threading.Thread):
    """One worker. An abandoned one runs on, but its events are thrown away and it gets no more tasks.

    Daemons: a thread that hangs in a foreign call does not hold the process.
    """

    def __init__(self, name: str, tasks: SimpleQueue[Task | None], events: _Events) -> None:
        super().__init__(name=name, daemon=True)
        self.worker: Worker
        self.ticket = -1
        self.is_abandoned = False
        self._tasks = tasks
        self._events = events

    def emit(self, event: Event) -> None:
        if self.is_abandoned:
            return
        if type(event) is Started:
            self.ticket = event.ticket
        elif type(event) is Ended:
            self.ticket = -1
        self._events.put(event)

    def run(self) -> None:
        try:
            while not self.is_abandoned and (task := self._tasks.get()) is not None:
                self.worker.run(task)
        finally:
            self.worker.close()


class ThreadExecutor:
    """Threads that take tasks from one queue."""

    def __init__(self, slots: int, cancel_grace_s: float = CANCEL_GRACE_S) -> None:
        self.slots = slots
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._events = _Events()
        self._seats: list[_Seat] = []
        self._cancelling = Cancelling(cancel_grace_s)
        self._made = 0
        self._setup: WorkerSetup
        self._stop: Stop
        self._gate: PoliteGate | None

    def start(self, setup: WorkerSetup, stop: Stop) -> None:
        self._setup, self._stop, self._gate = setup, stop, setup.gate()
        for _ in range(self.slots):
            self._add_seat()

    def submit(self, task: Task) -> None:
        self._tasks.put(task)

    def poll(self, timeout_s: float) -> list[Event]:
        events = self._events.take(timeout_s)
        self._look_after()
        return events

    def cancel(self, ticket: int, error: PenstockError) -> None:
        for seat in self._seats:
            if seat.ticket == ticket:
                self._cancelling.add(ticket, error, partial(seat.worker.cancel, ticket, error))

    def close(self) -> None:
        for _ in self._seats:
            self._tasks.put(None)
        deadline = time.monotonic() + (CLOSE_HARD_S if self._stop.hard.is_set() else CLOSE_S)
        while (alive := [seat for seat in self._seats if seat.is_alive()]) and time.monotonic() < deadline:
            self._cancel_all(Stopped("the run has ended"))
            self._cancelling.look(self._running())
            alive[0].join(0.05)
        for seat in self._seats:
            seat.is_abandoned = True
        self._seats.clear()

    def _cancel_all(self, error: PenstockError) -> None:
        for ticket in self._running():
            self.cancel(ticket, error)

    def _running(self) -> set[int]:
        return {seat.ticket for seat in self._seats if seat.ticket >= 0}

    def _look_after(self) -> None:
        """Repeat cancellations; replace workers that do not react and those that are gone."""
        if self._stop.hard.is_set():
            self._cancel_all(Stopped("the run was stopped at once"))
        for ticket, error in self._cancelling.look(self._running()):
            for seat in [seat for seat in self._seats if seat.ticket == ticket]:
                self._replace(seat, error)
        for seat in [seat for seat in self._seats if not seat.is_alive()]:
            self._replace(seat, WorkerDied(f"thread {seat.name!r} ended while it ran an item"))

    def _replace(self, seat: _Seat, error: PenstockError) -> None:
        ticket, seat.is_abandoned = seat.ticket, True
        self._seats.remove(seat)
        self._add_seat()
        if ticket >= 0:
            self._events.put(Ended(ticket, now_ms(), error))

    def _add_seat(self) -> None:
        self._made += 1
        seat = _Seat(f"worker-{self._made}", self._tasks, self._events)
        seat.worker = Worker(seat.name, self._setup, seat.emit, self._stop, self._gate)
        self._seats.append(seat)
        seat.start()
