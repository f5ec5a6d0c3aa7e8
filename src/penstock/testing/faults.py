"""Faults on purpose: any connector behind the same ports, with refusals, cuts, delays and deaths at planned points.

A plan is text: faults separated by ";", each `POINT[@CALL][xTIMES]:KIND[=ARGUMENT]`, for example
`open:refuse; read.batch@3:cut; write.batch@2x5:throttle=1.5; publish.after:die; read.batch x*:slow=0.05`.

POINT is a port's method (`describe`, `split`, `read`, `write`, `publish`, ...), `open`, `read.batch` or `write.batch` (each
batch on its way); with `.after` the fault comes when the call has done its work, so that only its answer is lost. CALL
counts from 1 over all sessions of the injector; TIMES is how many calls in a row are hit, `*` all from there on.
KIND is one of KINDS.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from penstock.connectors import registry
from penstock.core import errors, ports
from penstock.core.ports import Ability, Connector, Option, Session
from penstock.core.spec import ConnectionSpec
from penstock.engine.clock import SYSTEM_CLOCK, Clock

KINDS: Mapping[str, str] = {
    "refuse": "the other side cannot be reached (Unavailable)",
    "cut": "the connection breaks; every later call of the session fails too (ConnectionLost)",
    "throttle": "busy; ARGUMENT is how many seconds to wait (Busy)",
    "disk_full": "the target has no room left (DiskFull)",
    "slow": "the call takes ARGUMENT seconds longer, or until it is cancelled",
    "hang": "the call does not come back until it is cancelled",
    "die": "this process is killed at once (SIGKILL)",
    "error": "ARGUMENT is the name of a class in penstock.core.errors",
}
_SHAPE = re.compile(
    r"(?P<point>[a-z_.]+)\s*(?:@(?P<call>\d+))?\s*(?:x(?P<times>\d+|\*))?:(?P<kind>\w+)(?:=(?P<arg>\S+))?\Z"
)
_NEVER_HIT = {"catalog", "reader", "writer", "cancel", "close"}


@dataclass(frozen=True)
class Fault:
    """One fault of a plan: hits calls `call` to `call + times - 1` of `point`; times None is for ever."""

    point: str
    kind: str
    call: int = 1
    times: int | None = 1
    argument: str = ""

    def hits(self, call: int) -> bool:
        return call >= self.call and (self.times is None or call < self.call + self.times)


@cache
def points() -> frozenset[str]:
    """All points a fault may name, without `.after`."""
    kinds = [
        kind for kind in vars(ports).values() if getattr(kind, "_is_protocol", False) and kind is not ports.Connector
    ]
    methods = {name for kind in kinds for name, value in vars(kind).items() if callable(value) and name[0] != "_"}
    return frozenset(methods - _NEVER_HIT | {"open", "read.batch", "write.batch"})


def parse_plan(text: str) -> tuple[Fault, ...]:
    """The faults of a plan's text. Raises SpecError that quotes the part which is wrong."""
    return tuple(_parse(part.strip()) for part in text.split(";") if part.strip())


def _parse(text: str) -> Fault:
    found = _SHAPE.match(text)
    if found is None:
        raise errors.SpecError(f"{text!r} is no fault", "write POINT[@CALL][xTIMES]:KIND[=ARGUMENT]")
    times = None if found["times"] == "*" else int(found["times"] or 1)
    fault = Fault(found["point"], found["kind"], int(found["call"] or 1), times, found["arg"] or "")
    if fault.point.removesuffix(".after") not in points():
        raise errors.SpecError(f"fault {text!r} names no point", f"points: {', '.join(sorted(points()))}")
    if fault.kind not in KINDS:
        raise errors.SpecError(f"fault {text!r} has no such kind", f"kinds: {', '.join(KINDS)}")
    if fault.kind == "error" and not _error_class(fault.argument):
        raise errors.SpecError(f"fault {text!r} names no error class", "use a class of penstock.core.errors")
    if fault.kind in ("slow", "throttle"):
        _seconds(fault)
    return fault


def _error_class(name: str) -> type[errors.PenstockError] | None:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, errors.PenstockError) else None


def _seconds(fault: Fault) -> float:
    try:
        return float(fault.argument)
    except ValueError as error:
        raise errors.SpecError(f"fault {fault.kind} needs seconds", f"write {fault.kind}=0.5") from error


def random_plan(
    seed: int, kinds: Sequence[str] = ("cut", "throttle=0.01", "error=TimedOut"), count: int = 5, last_call: int = 20
) -> tuple[Fault, ...]:
    """`count` faults at random points and calls up to `last_call`; the same seed gives the same plan."""
    dice = random.Random(seed)
    known = sorted(points() - {"use_snapshot", "lagged", "types", "plan"})
    chosen = [f"{dice.choice(known)}@{dice.randint(1, last_call)}:{dice.choice(list(kinds))}" for _ in range(count)]
    return parse_plan(";".join(chosen))


class Injector:
    """Counts the calls of all sessions it is given and lets the plan's faults happen. Safe from many threads.

    `noted` is a file in which faults that happened are noted; those do not happen again when another process (a second
    run after a death) works by the same plan. `fired` tells what happened here, in order.
    """

    def __init__(self, plan: Sequence[Fault], clock: Clock = SYSTEM_CLOCK, noted: Path | None = None) -> None:
        self.plan = tuple(plan)
        self.fired: list[str] = []
        self._clock = clock
        self._noted = noted
        self._done = set(noted.read_text().split()) if noted is not None and noted.exists() else set()
        self._calls: dict[str, int] = {}
        self._guard = threading.Lock()

    def hit(self, point: str, state: SessionState) -> None:
        """One call of `point`: raises, waits or kills where the plan says so."""
        if state.is_cut:
            _raise(errors.ConnectionLost, f"{point}: the connection was cut before")
        with self._guard:
            self._calls[point] = call = self._calls.get(point, 0) + 1
            due = [
                (number, fault)
                for number, fault in enumerate(self.plan)
                if fault.point == point and fault.hits(call) and f"{number}:{call}" not in self._done
            ]
            for number, fault in due:
                self._note(number, fault, call)
        for _, fault in due:
            self._happen(fault, call, state)

    def _note(self, number: int, fault: Fault, call: int) -> None:
        self.fired.append(f"{fault.point}@{call}:{fault.kind}")
        if self._noted is not None:
            with self._noted.open("a") as file:
                file.write(f"{number}:{call}\n")

    def _happen(self, fault: Fault, call: int, state: SessionState) -> None:
        where = f"{fault.point} call {call}"
        if fault.kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind in ("slow", "hang"):
            seconds = _seconds(fault) if fault.kind == "slow" else None
            if self._clock.wait(state.cancelled, seconds):
                raise errors.Stopped(f"{where} was cancelled")
        elif fault.kind == "cut":
            state.is_cut = True
            _raise(errors.ConnectionLost, f"{where}: the connection was cut")
        elif fault.kind == "throttle":
            raise errors.Busy(f"{where}: too many requests", "injected", wait_s=_seconds(fault))
        else:
            known = {"refuse": "Unavailable", "disk_full": "DiskFull"}
            _raise(getattr(errors, known.get(fault.kind, fault.argument)), f"{where}: {KINDS[fault.kind]}")


def _raise(kind: type[errors.PenstockError], what: str) -> NoReturn:
    raise kind(what, "injected")


class SessionState:
    """What the parts of one wrapped session share."""

    def __init__(self) -> None:
        self.is_cut = False
        self.cancelled = threading.Event()


def wrap_session(session: Session, injector: Injector) -> Session:
    """`session` behind the same ports, optional ones included, with the injector's faults."""
    return _wrap(session, injector, SessionState())  # type: ignore[no-any-return]


def faulty(
    open_session: Callable[[ConnectionSpec], Session], injector: Injector
) -> Callable[[ConnectionSpec], Session]:
    """An `open_session` whose sessions are wrapped; opening is the point `open`."""

    def opened(spec: ConnectionSpec) -> Session:
        state = SessionState()
        injector.hit("open", state)
        session = open_session(spec)
        try:
            injector.hit("open.after", state)
        except errors.PenstockError:
            session.close()
            raise
        return _wrap(session, injector, state)  # type: ignore[no-any-return]

    return opened


def _wrap(wrapped: Any, injector: Injector, state: SessionState) -> Any:
    made = _wrapper(type(wrapped))()  # type: ignore[arg-type]  # mypy takes classes for unhashable
    made._wrapped, made._injector, made._state = wrapped, injector, state
    return made


@cache
def _wrapper(kind: type) -> Any:
    """A class with the public methods and properties of `kind`, so that checks for optional ports see the same ones."""
    body: dict[str, Any] = {"__doc__": f"{kind.__name__} with faults."}
    for name in dir(kind):
        value = getattr(kind, name)
        if name.startswith("_"):
            continue
        body[name] = _method(name) if callable(value) else _attribute(name)
    return type("Faulty" + kind.__name__, (), body)


def _attribute(name: str) -> property:
    def value(self: Any) -> Any:
        return getattr(self._wrapped, name)

    return property(value)


def _method(name: str) -> Callable[..., Any]:
    def port(self: Any) -> Any:
        return _wrap(getattr(self._wrapped, name)(), self._injector, self._state)

    def cancel(self: Any) -> None:
        self._state.cancelled.set()
        self._wrapped.cancel()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # A request to stop concerns the call in progress, not the next one.
        self._state.cancelled.clear()
        self._injector.hit(name, self._state)
        if name == "write":
            load, part, batches = args
            args = (load, part, _stream(self, "write.batch", batches))
        result = getattr(self._wrapped, name)(*args, **kwargs)
        self._injector.hit(f"{name}.after", self._state)
        return _stream(self, "read.batch", result) if name == "read" else result

    def close(self: Any) -> None:
        self._wrapped.close()

    return {"catalog": port, "reader": port, "writer": port, "cancel": cancel, "close": close}.get(name, call)


def _stream(self: Any, point: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        for batch in batches:
            self._injector.hit(point, self._state)
            yield batch
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


_injectors: dict[tuple[str, str], Injector] = {}
_guard = threading.Lock()


@dataclass(frozen=True)
class FaultConnector:
    """`fault+SCHEME:...`: the connector of SCHEME with the faults of the option `faults`.

    Sessions of equal URL and plan share one injector in a process (`injector_of`). To be registered as an entry point by
    the tests that use it; the package itself registers none.
    """

    inner: str

    @property
    def name(self) -> str:
        return f"fault+{self.inner}"

    @property
    def schemes(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def abilities(self) -> frozenset[Ability]:
        return self._connector().abilities

    @property
    def options(self) -> tuple[Option, ...]:
        return (
            *self._connector().options,
            Option("faults", "text", "plan of faults, see penstock.testing.faults", ""),
            Option("faults_noted", "path", "file in which faults that happened are noted, not to happen again", ""),
        )

    @property
    def one_process(self) -> bool:
        return self._connector().one_process

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        return self._connector().limits(self._inner_spec(spec))

    def open(self, spec: ConnectionSpec) -> Session:
        inner = self._inner_spec(spec)
        return faulty(self._connector().open, injector_of(spec))(inner)

    def _connector(self) -> Connector:
        return registry.connector(self.inner)

    def _inner_spec(self, spec: ConnectionSpec) -> ConnectionSpec:
        options = {name: value for name, value in spec.options.items() if name not in ("faults", "faults_noted")}
        return replace(spec, url=spec.url.removeprefix("fault+"), options=options)


def injector_of(spec: ConnectionSpec) -> Injector:
    """The injector that sessions of a `fault+` connection share in this process."""
    plan, noted = str(spec.options.get("faults") or ""), spec.options.get("faults_noted")
    with _guard:
        if (spec.url, plan) not in _injectors:
            file = Path(spec.base_dir, str(noted)) if noted else None
            _injectors[spec.url, plan] = Injector(parse_plan(plan), noted=file)
        return _injectors[spec.url, plan]
