"""A clock that tests move by hand, and threads that take turns on it, so that a run with many workers is repeatable."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

# Real seconds until a thread that neither ends nor waits on the clock is reported instead of hanging the test.
PATIENCE_S = 20.0

# How often a thread that the clock did not start looks for its event, in real seconds.
POLL_S = 0.001


class Closed(BaseException):
    """Raised inside waiting actors when their clock is closed; ends their threads."""


class Actor:
    """A thread started by `FakeClock.spawn`; `result` and `error` are there once `is_done`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.turn = threading.Semaphore(0)


class _Waiting:
    """One wait in progress. `order` is the order in which waits began."""

    __slots__ = ("actor", "deadline", "event", "is_over", "order")

    def __init__(self, order: int, deadline: float, event: threading.Event | None, actor: Actor | None) -> None:
        self.order = order
        self.deadline = deadline
        self.event = event
        self.actor = actor
        self.is_over = threading.Event()

    @property
    def is_woken(self) -> bool:
        return self.event is not None and self.event.is_set()


class FakeClock:
    """Time that stands still until it is moved; implements the engine's Clock.

    `spawn` starts actors: threads of which only one runs at a time, until it waits on this clock or ends. Who goes next is
    fixed: those whose event is set in the order in which they began to wait, then those whose time is up, earliest first.
    The thread that made the clock moves time with `advance` and `run`; when it waits itself, time moves as far as needed.
    Other threads (an engine's own) may wait too: `advance` lets those go whose time is up, and they run freely from then.
    Everything an actor blocks on besides this clock must be released by a thread that runs, or the test fails after
    PATIENCE_S real seconds. Use as a context manager: closing ends all actors.
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now = start_s
        self._order = itertools.count()
        self._owner = threading.get_ident()
        self._actors: dict[int, Actor] = {}
        self._ready: list[Actor] = []
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()
        self._handed_back = threading.Semaphore(0)
        self._is_closed = False

    def monotonic(self) -> float:
        return self._now

    def wait(self, event: threading.Event | None, timeout_s: float | None) -> bool:
        if event is None and timeout_s is None:
            raise ValueError("wait needs an event, a timeout or both")
        ident = threading.get_ident()
        deadline = float("inf") if timeout_s is None else self._now + max(0.0, timeout_s)
        wait = _Waiting(next(self._order), deadline, event, self._actors.get(ident))
        if wait.actor is not None:
            self._park(wait, wait.actor)
        elif ident == self._owner:
            self._drive(until=deadline, stop=lambda: wait.is_woken)
        else:
            self._watch(wait)
        return wait.is_woken

    def spawn(self, work: Callable[[], Any], name: str = "") -> Actor:
        """Start an actor; it first runs at the next `advance`, `run` or wait of the owner, in the order of spawning."""
        actor = Actor(name or f"actor {len(self._actors) + len(self._ready)}")
        threading.Thread(target=self._live, args=(actor, work), name=actor.name, daemon=True).start()
        self._ready.append(actor)
        return actor

    def advance(self, by_s: float) -> None:
        """Move time by `by_s`; everybody whose time comes meanwhile runs at that moment. Raises the error of a failed actor."""
        self._drive(until=self._now + by_s, stop=lambda: False)

    def run(self) -> None:
        """Move time until every actor has ended; raises the error of a failed one, and AssertionError if all wait for ever."""
        self._drive(until=float("inf"), stop=lambda: not self._ready and not self._parked())

    def waiting(self) -> int:
        """How many threads wait on this clock now."""
        with self._guard:
            return len(self._waiting)

    def until_waiting(self, threads: int, patience_s: float = PATIENCE_S) -> None:
        """Block, in real time, until at least so many threads wait: the way to meet threads this clock did not start."""
        pause = threading.Event()
        for _ in range(int(patience_s / POLL_S)):
            if self.waiting() >= threads:
                return
            pause.wait(POLL_S)
        raise AssertionError(f"{self.waiting()} threads wait on the clock, {threads} were expected")

    def close(self) -> None:
        """End all actors where they wait. May be repeated."""
        self._is_closed = True
        for wait in self._parked():
            if wait.actor is not None:
                self._forget(wait)
                self._let_run(wait.actor)
        while self._ready:
            self._let_run(self._ready.pop(0))

    def __enter__(self) -> FakeClock:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def _live(self, actor: Actor, work: Callable[[], Any]) -> None:
        actor.turn.acquire()
        self._actors[threading.get_ident()] = actor
        try:
            if not self._is_closed:
                actor.result = work()
        except Closed:
            pass
        except BaseException as error:  # noqa: BLE001  # it belongs to the test, not to this thread
            actor.error = error
        finally:
            del self._actors[threading.get_ident()]
            actor.is_done = True
            self._handed_back.release()

    def _park(self, wait: _Waiting, actor: Actor) -> None:
        if self._is_closed:
            raise Closed
        with self._guard:
            self._waiting.append(wait)
        self._handed_back.release()
        actor.turn.acquire()
        if self._is_closed:
            raise Closed

    def _watch(self, wait: _Waiting) -> None:
        with self._guard:
            self._waiting.append(wait)
        while not wait.is_over.wait(POLL_S) and not wait.is_woken:
            pass
        self._forget(wait)

    def _let_run(self, actor: Actor) -> None:
        actor.turn.release()
        if not self._handed_back.acquire(timeout=PATIENCE_S):
            raise AssertionError(f"{actor.name} blocks on something else than the clock for {PATIENCE_S:.0f} s")
        if actor.error is not None and not self._is_closed:
            raise actor.error

    def _drive(self, until: float, stop: Callable[[], bool]) -> None:
        """Let everybody run whose turn it is, moving time up to `until`, or until `stop` says so."""
        while not stop():
            if self._ready:
                self._let_run(self._ready.pop(0))
                continue
            wait = self._next()
            if wait is None or (not wait.is_woken and wait.deadline > until):
                if until == float("inf"):
                    raise AssertionError(f"nothing moves any more: {self._stuck()}")
                self._now = max(self._now, until)
                return
            if not wait.is_woken:
                self._now = max(self._now, wait.deadline)
            self._forget(wait)
            wait.is_over.set()
            if wait.actor is not None:
                self._let_run(wait.actor)

    def _next(self) -> _Waiting | None:
        with self._guard:
            due = [wait for wait in self._waiting if not wait.is_over.is_set()]
        woken = [wait for wait in due if wait.actor is not None and wait.is_woken]
        if woken:
            return min(woken, key=lambda wait: wait.order)
        timed = [wait for wait in due if wait.deadline < float("inf")]
        return min(timed, key=lambda wait: (wait.deadline, wait.order), default=None)

    def _parked(self) -> list[_Waiting]:
        with self._guard:
            return [wait for wait in self._waiting if wait.actor is not None]

    def _forget(self, wait: _Waiting) -> None:
        with self._guard:
            if wait in self._waiting:
                self._waiting.remove(wait)

    def _stuck(self) -> str:
        names = [wait.actor.name for wait in self._parked() if wait.actor is not None]
        return f"{', '.join(names)} wait for events that nobody sets" if names else "nobody waits with a time-out"
