"""Workers as processes of this machine: for work that holds the interpreter's lock. Each has one pipe to the driver."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections import deque
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from penstock.core.errors import PenstockError, SpecError, Stopped, WorkerDied
from penstock.engine.clock import SYSTEM_CLOCK
from penstock.engine.events import Broken, Ended, Event, Started, Task, WorkerSetup
from penstock.engine.executors import CANCEL_GRACE_S, CLOSE_HARD_S, CLOSE_S
from penstock.engine.executors.cancelling import Cancelling
from penstock.engine.executors.child import Cancel, Halt, Message, Ready, Recent, run_child
from penstock.engine.journal import now_ms
from penstock.engine.stop import Stop

# So many processes in a row that end before they are ready mean that none ever will be.
_MAX_FALSE_STARTS = 3


class _Child:
    """One worker process with the tickets it was given, in order; the first is the one that runs."""

    def __init__(self, process: SpawnProcess, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe
        self.tickets: deque[int] = deque()
        self.recent = Recent()
        self.is_ready = False
        self.has_started = False

    def send(self, message: Message) -> None:
        """Send, unless the process is gone: then `poll` finds the pipe at its end and says so."""
        try:
            self.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return

    @property
    def running(self) -> int | None:
        return self.tickets[0] if self.tickets and self.has_started else None


class ProcessExecutor:
    """Spawned processes; a task goes to the one with the fewest."""

    def __init__(self, slots: int, cancel_grace_s: float = CANCEL_GRACE_S) -> None:
        self.slots = slots
        self._context = multiprocessing.get_context("spawn")
        self._children: list[_Child] = []
        self._late: list[Event] = []
        self._cancelling = Cancelling(cancel_grace_s)
        self._false_starts = self._made = 0
        self._told = Halt(soft=False, hard=False)
        self._setup: WorkerSetup
        self._stop: Stop

    def start(self, setup: WorkerSetup, stop: Stop) -> None:
        self._setup, self._stop = replace(setup, share=setup.share / self.slots), stop
        try:
            pickle.dumps(self._setup)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SpecError(
                f"job {setup.job!r} cannot run in processes: {error}", "run it with --executor threads"
            ) from error
        for _ in range(self.slots):
            self._add_child()

    def submit(self, task: Task) -> None:
        child = min(self._children, key=lambda child: len(child.tickets), default=None)
        if child is None:
            self._late.append(Ended(task.ticket, now_ms(), is_returned=True))
            return
        child.tickets.append(task.ticket)
        is_known = child.recent.has(task.item.group, task.facts)
        child.send((replace(task, facts={}), True) if is_known else (task, False))

    def poll(self, timeout_s: float) -> list[Event]:
        self._pass_stop_on()
        events, self._late = self._late, []
        pipes = {child.pipe: child for child in self._children}
        if not pipes:
            SYSTEM_CLOCK.wait(None, timeout_s)
        for pipe in wait(list(pipes), 0 if events else timeout_s):
            child = pipes[pipe]  # type: ignore[index]  # `wait` gives back what it was given
            try:
                while child.pipe.poll():
                    self._take(child, child.pipe.recv(), events)
            except (EOFError, ConnectionResetError):
                self._bury(child, events)
        self._look_after(events)
        return events

    def cancel(self, ticket: int, error: PenstockError) -> None:
        child = next((child for child in self._children if child.running == ticket), None)
        if child is not None:
            self._cancelling.add(ticket, error, partial(child.send, Cancel(ticket, error)))

    def close(self) -> None:
        deadline = time.monotonic() + (CLOSE_HARD_S if self._stop.hard.is_set() else CLOSE_S)
        for child in self._children:
            child.send(None)
        while (alive := [c for c in self._children if c.process.is_alive()]) and time.monotonic() < deadline:
            for child in alive:
                if child.running is not None:
                    self.cancel(child.running, Stopped("the run has ended"))
            self._drain(alive)
            alive[0].process.join(0.02)
        for child in self._children:
            child.process.kill()
            child.process.join()
            child.pipe.close()
            child.process.close()
        self._children.clear()

    def _take(self, child: _Child, event: Event | Ready, events: list[Event]) -> None:
        if isinstance(event, Ready):
            child.is_ready, self._false_starts = True, 0
            return
        if isinstance(event, Started):
            child.has_started = True
        elif isinstance(event, Ended):
            child.has_started = False
            child.tickets.popleft()
        events.append(event)

    def _drain(self, children: list[_Child]) -> None:
        """Read on, so that no process waits for its last words to be heard."""
        for child in children:
            try:
                while child.pipe.poll():
                    self._take(child, child.pipe.recv(), [])
            except (EOFError, ConnectionResetError):
                child.process.join(0.02)

    def _bury(self, child: _Child, events: list[Event], error: PenstockError | None = None) -> None:
        """Account for the tasks of a process that is gone, and start another one."""
        child.process.join(1.0)
        child.process.kill()
        child.process.join()
        code = child.process.exitcode
        if child.running is not None:
            error = error or WorkerDied(
                f"worker process {child.process.name!r} died with exit code {code} while it ran an item",
                "a negative code is a signal; -9 often means that memory ran out: use fewer workers",
            )
            events.append(Ended(child.tickets.popleft(), now_ms(), error))
        events += [Ended(ticket, now_ms(), is_returned=True) for ticket in child.tickets]
        self._children.remove(child)
        child.pipe.close()
        child.process.close()
        if not child.is_ready:
            self._false_starts += 1
        if self._false_starts < _MAX_FALSE_STARTS:
            self._add_child()
        elif not self._children:
            what = f"no worker process could be started: the last one ended with exit code {code}"
            events.append(Broken(WorkerDied(what, "try --executor threads, and see the messages above")))

    def _look_after(self, events: list[Event]) -> None:
        if self._stop.hard.is_set():
            for child in self._children:
                if child.running is not None:
                    self.cancel(child.running, Stopped("the run was stopped at once"))
        running = {child.running: child for child in self._children if child.running is not None}
        for ticket, error in self._cancelling.look(running.keys()):
            running[ticket].process.kill()
            self._bury(running[ticket], events, error)

    def _pass_stop_on(self) -> None:
        halt = Halt(self._stop.soft.is_set(), self._stop.hard.is_set())
        if halt != self._told:
            self._told = halt
            for child in self._children:
                child.send(halt)

    def _add_child(self) -> None:
        self._made += 1
        here, there = self._context.Pipe()
        name = f"worker-{self._made}"
        process = self._context.Process(target=run_child, args=(there, name), name=name, daemon=True)
        process.start()
        there.close()
        child = _Child(process, here)
        self._children.append(child)
        child.send(self._setup)
        child.send(self._told)
