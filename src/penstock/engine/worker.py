"""A worker: runs one item's handler at a time and owns the sessions it uses; the only place that catches Exception."""

from __future__ import annotations

import pickle
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from penstock.core.errors import Defect, PenstockError, Retry, SpecError, Stopped
from penstock.core.item import Json, Progress, Spawn
from penstock.core.ports import Session
from penstock.core.secret import mask
from penstock.core.spec import ConnectionSpec
from penstock.engine.clock import StopEvent
from penstock.engine.events import Advanced, Emit, Ended, Found, Moved, Noted, Started, Task, Throttled, WorkerSetup
from penstock.engine.failure import Failure
from penstock.engine.job import GroupDone
from penstock.engine.journal import from_json, now_ms, to_json
from penstock.engine.limits import PoliteGate
from penstock.engine.retry import classify
from penstock.engine.stop import Stop

# Display updates of one item; also the resolution with which the driver sees that an item is alive.
DISPLAY_S = 0.25

# The end of a traceback tells where; more than this is recursion.
_TRACEBACK_CHARS = 20_000


class Worker:
    """Runs tasks one after the other, all from one thread; only `cancel` may be called from another one.

    A session is opened when a handler first asks for it and kept for later items, until it breaks. A session that cannot
    be opened fails the item that asked, not the worker.
    """

    def __init__(self, name: str, setup: WorkerSetup, emit: Emit, stop: Stop, gate: PoliteGate | None = None) -> None:
        self.name = name
        self._setup = setup
        self._emit = emit
        self._stop = stop
        self._gate = gate
        self._sessions: dict[str, Session] = {}
        self._guard = threading.Lock()
        self._ticket = -1
        self._is_whole = False
        self._halt = StopEvent()
        self._halt_error: PenstockError | None = None

    def run(self, task: Task) -> None:
        """Run one attempt; its last event is Ended. Raises nothing (but KeyboardInterrupt)."""
        for _ in self.steps(task):
            pass

    def steps(self, task: Task) -> Generator[None, None, None]:
        """Run one attempt, pausing after each step of its handler."""
        with self._guard:
            self._ticket = task.ticket
        self._emit(Started(task.ticket, self.name, now_ms()))
        error: PenstockError | None = None
        trace = ""
        self._is_whole = False
        try:
            yield from self._drive(task)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as caught:  # noqa: BLE001  # whatever a handler raises (also SystemExit) ends its item alone
            error = self._halt_error or self._as_error(caught, f"item {task.item.key!r}")
            trace = self._trace(caught) if isinstance(error, Defect) else ""
            self._after(error)
        with self._guard:
            self._ticket = -1
            if self._halt_error is not None:
                self._halt, self._halt_error = StopEvent(), None
        is_returned = isinstance(error, Stopped) and self._stop.soft.is_set()
        if is_returned or (error is None and not self._is_whole):
            self._emit(Ended(task.ticket, now_ms(), is_returned=True))
        else:
            self._emit(Ended(task.ticket, now_ms(), error, False, trace))

    def cancel(self, ticket: int, error: PenstockError) -> None:
        """End an attempt with `error` as soon as it can be interrupted; a ticket that is over is none of its business.

        May be repeated, and should be: a call that begins just after the interruption does not see it. From any thread.
        """
        with self._guard:
            if self._ticket != ticket:
                return
            self._halt_error = self._halt_error or error
            self._halt.set()
            sessions = list(self._sessions.values())
        for session in sessions:
            try:
                session.cancel()
            except Exception as caught:  # noqa: BLE001  # the caller's own work goes on
                self._emit(Noted("cancel", str(self._as_error(caught, "cancelling a call"))))

    def close(self) -> None:
        """Close all sessions. May be repeated."""
        with self._guard:
            sessions, self._sessions = self._sessions, {}
        for name, session in sessions.items():
            try:
                session.close()
            except Exception as caught:  # noqa: BLE001  # closing what is broken may fail; nothing depends on it
                error = self._as_error(caught, f"closing connection {name!r}")
                self._emit(Noted("close", str(error)))

    def _drive(self, task: Task) -> Iterator[None]:
        """Sets `_is_whole` when the handler ran to its end, not when it was left at a safe point because of a stop."""
        if self._stop.soft.is_set():
            return
        context = ItemContext(self, task)
        steps = self._setup.handler(task.item, context)
        try:
            for step in steps:
                self._report(task, step)
                context.check()
                # Without a cursor there is nothing to go on from: leaving here would only repeat the work.
                if self._stop.soft.is_set() and isinstance(step, Progress) and step.cursor is not None:
                    return
                yield
            self._is_whole = True
        finally:
            getattr(steps, "close", _nothing)()

    def _report(self, task: Task, step: object) -> None:
        if isinstance(step, Progress):
            cursor = None if step.cursor is None else to_json(dict(step.cursor))
            result = to_json(dict(step.result)) if step.result else None
            self._emit(Advanced(task.ticket, step.rows, step.size_bytes, cursor, result))
        elif isinstance(step, Spawn):
            for item in step.items:
                to_json(dict(item.payload))
            self._emit(Found(task.ticket, tuple(step.items)))
        else:
            raise TypeError(f"a handler may yield Progress and Spawn, not {type(step).__name__}")

    def _after(self, error: PenstockError) -> None:
        """Which sessions survive an error: none if the connection broke, was interrupted or is in an unknown state."""
        if error.retry is Retry.RECONNECT or isinstance(error, (Defect, Stopped)) or self._halt_error is not None:
            self.close()

    def session(self, connection: str) -> Session:
        """The worker's session for a connection, opened if need be."""
        session = self._sessions.get(connection)
        if session is None:
            spec = self._setup.connections.get(connection)
            if spec is None:
                known = ", ".join(sorted(self._setup.connections))
                raise SpecError(f"job {self._setup.job!r} has no connection {connection!r}", f"it has: {known}")
            session = self._setup.open_session(spec)
            with self._guard:
                self._sessions[connection] = session
        self.check()
        return session

    def check(self) -> None:
        """Raises the error with which the present item must end."""
        if self._halt.is_set() and self._halt_error is not None:
            raise self._halt_error

    def spend_rows(self, task: Task, rows: int) -> None:
        """Wait until the row limit lets so many rows pass, a second's worth at a time with a sign of life after each."""
        if self._gate is None:
            return
        started = time.monotonic()
        a_second = max(1, int(self._setup.rows_per_s or rows))
        for spent in range(0, rows, a_second):
            self._gate.spend_rows(min(a_second, rows - spent), self._halt, self._setup.job)
            self._emit(Moved(task.ticket, 0, 0))
        waited_s = time.monotonic() - started
        if waited_s > 0.01:
            self._emit(Throttled(task.ticket, waited_s))

    def emit(self, event: Moved) -> None:
        self._emit(event)

    @property
    def run_id(self) -> str:
        return self._setup.run_id

    def _as_error(self, caught: BaseException, what: str) -> PenstockError:
        return as_error(caught, f"{what} of job {self._setup.job!r}", self._setup.connections)

    def _trace(self, caught: BaseException) -> str:
        return trace_of(caught, self._setup.connections)


class ItemContext:
    """What a handler sees of its worker during one attempt; implements WorkerContext."""

    def __init__(self, worker: Worker, task: Task) -> None:
        self._worker = worker
        self._task = task
        self._rows = self._size_bytes = 0
        self._shown = 0.0

    @property
    def run_id(self) -> str:
        return self._worker.run_id

    @property
    def attempt(self) -> int:
        return self._task.attempt

    @property
    def cursor(self) -> Json | None:
        return None if self._task.cursor is None else from_json(self._task.cursor)

    @property
    def shared(self) -> Mapping[str, str]:
        return self._task.shared

    @property
    def facts(self) -> Json:
        return self._task.facts

    @property
    def done(self) -> GroupDone:
        return self._task.done

    def session(self, connection: str) -> Session:
        return self._worker.session(connection)

    def moved(self, rows: int, size_bytes: int) -> None:
        self._rows += rows
        self._size_bytes += size_bytes
        now = time.monotonic()
        if now - self._shown >= DISPLAY_S:
            self._worker.emit(Moved(self._task.ticket, self._rows, self._size_bytes))
            self._shown, self._rows, self._size_bytes = now, 0, 0
        self._worker.check()
        self._worker.spend_rows(self._task, rows)

    def check(self) -> None:
        """After a Progress: what was on its way is safe now. Raises the error with which the item must end."""
        self._rows = self._size_bytes = 0
        self._worker.check()


def _nothing() -> None:
    pass


def as_error(caught: BaseException, what: str, connections: Mapping[str, ConnectionSpec]) -> PenstockError:
    """Any exception as one of ours that survives pickling, without secrets; chained to the original."""
    if isinstance(caught, PenstockError):
        return _portable(caught)
    text = _masked(str(caught), connections) or "no message"
    error = Defect(
        f"{what}: {type(caught).__name__}: {text}",
        "this is a defect of the job, the connector or its driver; the traceback is kept with the item",
        retry=classify(caught),
    )
    error.__cause__ = caught
    return error


def trace_of(caught: BaseException, connections: Mapping[str, ConnectionSpec]) -> str:
    """The traceback without secrets."""
    return _masked("".join(traceback.format_exception(caught)), connections)[-_TRACEBACK_CHARS:]


def as_failure(error: PenstockError, connections: Mapping[str, ConnectionSpec]) -> Failure:
    """The error for the journal, with its traceback if it is a defect."""
    return Failure.of(error, trace_of(error, connections) if isinstance(error, Defect) else "")


@contextmanager
def job_call(what: str, connections: Mapping[str, ConnectionSpec]) -> Iterator[None]:
    """A call of a job's own code in the driver: whatever it raises comes out as PenstockError."""
    try:
        yield
    except Exception as caught:  # a job's planner is as foreign as its handler
        error = as_error(caught, what, connections)
        if error is caught:
            raise
        raise error from caught


def _portable(error: PenstockError) -> PenstockError:
    """`error`, or its plain equal where its class cannot be pickled and rebuilt (a subclass with other arguments)."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes of a moment ago
    except Exception:  # noqa: BLE001  # pickling runs foreign code
        plain = PenstockError(error.what, error.hint, wait_s=error.wait_s, retry=error.retry)
        plain.exit_code = error.exit_code
        plain.__cause__ = error
        return plain
    return error


def _masked(text: str, connections: Mapping[str, ConnectionSpec]) -> str:
    known: dict[str, Any] = {}
    for spec in connections.values():
        known |= {f"{spec.name}.{name}": value for name, value in spec.options.items()}
        known[f"{spec.name}.password"] = spec.password
    return mask(text, known)
