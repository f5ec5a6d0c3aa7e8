"""One limiter for each host and credential: asks nobody to wait without need, and nobody to call too early."""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import dataclass
from types import TracebackType

from penstock.core.errors import BudgetSpent, SpecError, Stopped
from penstock.core.spec import RateSpec
from penstock.engine.clock import SYSTEM_CLOCK, Clock, StopEvent
from penstock.engine.limits.bucket import Meter
from penstock.engine.limits.pace import Pace
from penstock.engine.limits.settings import check_rate, stricter
from penstock.engine.limits.turns import Turns

UNLIMITED = RateSpec()

# What is due within a nanosecond is due: adding and subtracting clock times rounds.
TICK_S = 1e-9

# Who is first in the queue is woken early only if that gains more than this.
WAKE_GAIN_S = 1e-3


@dataclass(frozen=True)
class LimiterState:
    """A limiter at one moment, for reports.

    `rate_per_s` is the sustained rate in force now (None: unlimited), `configured_per_s` the one it recovers to.
    `paused_s` is what is left of a pause the other side asked for. `waits` and `waited_s` count the calls that had to wait
    and how long they waited together, `refused` the calls the other side refused. `calls_left` is None without a budget.
    """

    name: str
    configured_per_s: float | None
    rate_per_s: float | None
    concurrency: int | None
    in_flight: int
    waiting: int
    calls: int
    calls_left: int | None
    waits: int
    waited_s: float
    refused: int
    paused_s: float


class Slot:
    """Permission for one call, made by `Limiter.slot`; a context manager that blocks on entry. Use it once.

    Leaving the block without an error counts as success unless the call was reported as throttled; an error says nothing
    about the rate.
    """

    __slots__ = ("_limiter", "_served", "cost", "epoch", "granted", "share", "since", "stop", "wake", "wake_at")

    since: float
    wake: threading.Event
    # While first in the queue: when its thread wakes by itself.
    wake_at: float

    def __init__(self, limiter: Limiter, stop: StopEvent, cost: int, share: str) -> None:
        self._limiter = limiter
        self._served: bool | None = None
        self.stop = stop
        self.cost = cost
        self.share = share
        self.epoch = 0
        self.granted = False

    def __enter__(self) -> Slot:
        limiter = self._limiter
        if self.stop.is_set():
            raise limiter.stopped()
        if limiter.is_free:
            limiter.count_start()
        else:
            limiter.admit(self)
        return self

    def ok(self) -> None:
        """The call succeeded, whatever the block does next."""
        if self._served is None:
            self._served = True

    def throttled(self, after_s: float | None = None) -> None:
        """The other side refused the call as too much (429, 503); `after_s` is its Retry-After in seconds, if any.

        Everybody who asks this limiter for a slot is held back until then (an hour at most; zero, negative and NaN mean no
        pause), and the rate falls. May be repeated; only the first report counts.
        """
        if self._served is not False:
            self._served = False
            self._limiter.refuse(self.epoch, after_s)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        served = kind is None if self._served is None else self._served
        if self.granted:
            self._limiter.release(self, served)
        else:
            self._limiter.end_free(served)


class Limiter:
    """Rates, burst, concurrency and budget of one host and credential, shared by all workers and jobs of a process.

    In any t seconds the costs granted are at most per_second * (t + LATE_S) + burst, and per_minute / 60 * (t + LATE_S) +
    max(burst, per_second); in any 60 s at most per_minute, exactly. (A cost greater than a burst takes the burst's place.)
    Shares (jobs) are served in turn, callers of one share in the order in which they came; the next in turn is waited for,
    so a costly call is not overtaken by cheap ones. All methods may be called from any thread.
    """

    def __init__(self, rate: RateSpec = UNLIMITED, *, name: str = "", clock: Clock = SYSTEM_CLOCK) -> None:
        check_rate(rate, name)
        self.name = name
        self.rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._meter = Meter(rate)
        self._pace = Pace(self._meter.rate_per_s)
        self._turns: Turns[Slot] = Turns()
        self._in_flight = 0
        self._calls = self._reserved = self._waits = self._refused = 0
        self._waited_s = 0.0
        # Without limits calls are counted by itertools.count, which needs no lock; _peeks corrects for reading them.
        self._free_starts, self._free_ends = itertools.count(), itertools.count()
        self._peeks = 0
        self.count_start = self._free_starts.__next__
        self.is_free = self._has_no_limits(clock.monotonic())

    def slot(self, stop: StopEvent, cost: int = 1, share: str = "") -> Slot:
        """A slot for a call that counts as `cost`, on behalf of `share` (a job's name); entering it waits for the permit.

        Entering raises Stopped when `stop` is or gets set, BudgetSpent when max_calls are used up, and SpecError for a
        cost that can never pass.
        """
        return Slot(self, stop, cost, share)

    def tighten(self, rate: RateSpec) -> None:
        """From now on the stricter of the present and these limits holds (see `stricter`); calls made so far count."""
        merged = stricter(self.rate, rate)
        check_rate(merged, self.name)
        with self._lock:
            now = self._clock.monotonic()
            self.rate = merged
            self._meter.change(now, merged)
            self._pace.ceiling_per_s = self._meter.rate_per_s
            self.is_free = self._has_no_limits(now)

    def state(self) -> LimiterState:
        """Settings, learned rate and counters, all of the same moment."""
        with self._lock:
            configured, learned = self._meter.rate_per_s, self._pace.rate_per_s
            starts, under_way = self._peek()
            return LimiterState(
                name=self.name,
                configured_per_s=configured,
                rate_per_s=min((rate for rate in (configured, learned) if rate is not None), default=None),
                concurrency=self.rate.concurrency,
                in_flight=self._in_flight + under_way,
                waiting=len(self._turns),
                calls=self._calls + starts,
                calls_left=None if self.rate.max_calls is None else max(0, self.rate.max_calls - self._reserved),
                waits=self._waits,
                waited_s=self._waited_s,
                refused=self._refused,
                paused_s=max(0.0, self._pace.paused_until - self._clock.monotonic()),
            )

    def stopped(self) -> Stopped:
        """The error of a caller that was stopped while it waited."""
        return Stopped(f"stopped while waiting to call {self.name or 'a limited service'}")

    # What follows is for Slot.

    def admit(self, slot: Slot) -> None:
        """Wait until `slot` is granted."""
        with self._lock:
            now = self._clock.monotonic()
            self._reserve(slot)
            if not self._turns and self._due(slot) <= now + TICK_S:
                slot.since = now
                self._grant(now, slot)
                return
            slot.since, slot.wake, slot.wake_at = now, threading.Event(), math.inf
            self._turns.add(slot)
        try:
            with slot.stop.waking(slot.wake):
                self._wait(slot)
        except BaseException:
            self._give_up(slot)
            raise

    def release(self, slot: Slot, served: bool) -> None:
        """The call of a granted slot ended; `served` if it succeeded."""
        with self._lock:
            now = self._clock.monotonic()
            self._in_flight -= 1
            if served:
                self._pace.served(now, slot.epoch)
                self.is_free = self._has_no_limits(now)
            self._serve(now)

    def end_free(self, served: bool) -> None:
        """The call of a slot ended that was entered while there was no limit."""
        next(self._free_ends)
        if served:
            self._pace.note(self._clock.monotonic())

    def refuse(self, epoch: int, after_s: float | None) -> None:
        """A call granted in `epoch` was refused."""
        with self._lock:
            self._refused += 1
            in_flight = self._in_flight + self._peek()[1]
            self._pace.refused(self._clock.monotonic(), epoch, after_s, in_flight)
            self.is_free = False

    def _wait(self, slot: Slot) -> None:
        while True:
            with self._lock:
                # Cleared before the checks, so that whatever happens after them wakes this thread again.
                slot.wake.clear()
                if slot.stop.is_set():
                    raise self.stopped()
                now = self._clock.monotonic()
                self._serve(now, slot)
                if slot.granted:
                    return
                slot.wake_at = self._due(slot) if self._turns.head() is slot else math.inf
                timeout_s = None if slot.wake_at == math.inf else slot.wake_at - now
            self._clock.wait(slot.wake, timeout_s)

    def _give_up(self, slot: Slot) -> None:
        with self._lock:
            self._reserved -= 1
            if slot.granted:
                self._in_flight -= 1
                self._calls -= 1
            else:
                self._turns.remove(slot)
            self._serve(self._clock.monotonic())

    def _serve(self, now: float, caller: Slot | None = None) -> None:
        """Grant whatever is due, in turn, and see to it that somebody wakes for what is due next."""
        while head := self._turns.head():
            due = self._due(head)
            if due > now + TICK_S:
                if due < head.wake_at - WAKE_GAIN_S and head is not caller:
                    head.wake.set()
                return
            self._turns.pop()
            self._grant(now, head)
            self._waits += 1
            self._waited_s += now - head.since
            if head is not caller:
                head.wake.set()

    def _grant(self, now: float, slot: Slot) -> None:
        self._meter.take(now, slot.cost, slot.since)
        self._pace.take(now, slot.cost, slot.since)
        self._in_flight += 1
        self._calls += 1
        slot.epoch = self._pace.epoch
        slot.granted = True

    def _due(self, slot: Slot) -> float:
        """When `slot` may be granted if nothing changes; infinity while too many calls are in flight."""
        if self.rate.concurrency is not None and self._in_flight >= self.rate.concurrency:
            return math.inf
        return max(self._meter.due(slot.cost), self._pace.due(slot.cost))

    def _reserve(self, slot: Slot) -> None:
        if slot.cost > self._meter.cost_limit:
            raise SpecError(
                f"a call to {self.name or 'a limited service'} counts as {slot.cost}, "
                f"but at most {self._meter.cost_limit:.0f} may pass in a minute",
                "raise per_minute or ask for less at once",
            )
        budget = self.rate.max_calls
        if budget is not None and self._reserved >= budget:
            raise BudgetSpent(
                f"all {budget} calls that this run may make to {self.name or 'a limited service'} are used up",
                "raise max_calls, or run again later; finished work is kept",
            )
        self._reserved += 1

    def _peek(self) -> tuple[int, int]:
        """How many calls began without limits, and how many of them are under way."""
        starts, ends = next(self._free_starts) - self._peeks, next(self._free_ends) - self._peeks
        self._peeks += 1
        return starts, starts - ends

    def _has_no_limits(self, now: float) -> bool:
        rate, pace = self.rate, self._pace
        configured = (rate.per_second, rate.per_minute, rate.concurrency, rate.max_calls)
        return all(limit is None for limit in configured) and pace.rate_per_s is None and pace.paused_until <= now
