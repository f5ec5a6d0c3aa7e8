"""Limits hold in every window, everybody gets a turn, a pause is a pause, and a stop wakes all: simulated workers on a
fake clock."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import Stopped
from penstock.core.spec import RateSpec
from penstock.engine.clock import StopEvent
from penstock.engine.limits import Limiter
from penstock.engine.limits.bucket import LATE_S
from penstock.testing.clock import FakeClock

# Clock times are sums of floats: times that ought to be equal differ by less than this.
ROUNDING_S = 1e-6

EXAMPLES = settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Call:
    """One planned call: the pause before it, its cost, how long it takes, and what the other side answers."""

    gap_s: float = 0.0
    cost: int = 1
    takes_s: float = 0.0
    refused: bool = False
    after_s: float | None = None


@dataclass
class Log:
    """What simulated workers saw: (asked at, granted at, ended at, share, call) per call, and (told at, until) per pause."""

    calls: list[tuple[float, float, float, str, Call]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def grants(self) -> list[tuple[float, int]]:
        return sorted((granted, call.cost) for _, granted, _, _, call in self.calls)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as clock:
        yield clock


def work(clock: FakeClock, limiter: Limiter, log: Log, share: str, calls: list[Call], stop: StopEvent) -> None:
    for call in calls:
        clock.wait(None, call.gap_s)
        asked = clock.monotonic()
        with limiter.slot(stop, cost=call.cost, share=share) as slot:
            granted = clock.monotonic()
            log.in_flight += 1
            log.most_in_flight = max(log.most_in_flight, log.in_flight)
            clock.wait(None, call.takes_s)
            if call.refused:
                slot.throttled(call.after_s)
                log.pauses.append((clock.monotonic(), clock.monotonic() + max(0.0, call.after_s or 0.0)))
            log.in_flight -= 1
        log.calls.append((asked, granted, clock.monotonic(), share, call))


def simulate(rate: RateSpec, workers: list[tuple[str, list[Call]]], clock_type: type[FakeClock] = FakeClock) -> Log:
    """All calls of all workers, each worker one after the other; ends when the last call ended."""
    log, stop = Log(), StopEvent()
    with clock_type() as clock:
        limiter = Limiter(rate, clock=clock)
        for share, calls in workers:
            clock.spawn(lambda share=share, calls=calls: work(clock, limiter, log, share, calls, stop))
        clock.run()
    return log


def assert_bucket(grants: list[tuple[float, int]], rate_per_s: float, burst: float, late_s: float = LATE_S) -> None:
    """In every window of every length at most rate * (t + late_s) + burst."""
    for first, (begin, _) in enumerate(grants):
        total = 0
        for at, cost in grants[first:]:
            total += cost
            assert total <= rate_per_s * (at - begin + late_s + ROUNDING_S) + burst + ROUNDING_S


def assert_quota(grants: list[tuple[float, int]], limit: int, period_s: float) -> None:
    """In every half-open window of `period_s` at most `limit`."""
    units = [at for at, cost in grants for _ in range(cost)]
    for early, late in zip(units, units[limit:], strict=False):
        assert late - early >= period_s - ROUNDING_S


GAPS = st.floats(0, 3) | st.just(0.0)
COSTS = st.integers(1, 4)
ORDINARY = st.builds(Call, GAPS, COSTS, st.floats(0, 2) | st.just(0.0))
REFUSED = st.builds(Call, GAPS, st.just(1), st.floats(0, 1), st.just(True), st.none() | st.floats(-10, 40))
SHARES = st.sampled_from(["raw", "customers", "content"])
WORKERS = st.lists(st.tuples(SHARES, st.lists(ORDINARY, min_size=1, max_size=8)), min_size=1, max_size=6)
REFUSED_WORKERS = st.lists(
    st.tuples(SHARES, st.lists(ORDINARY | REFUSED, min_size=1, max_size=8)), min_size=1, max_size=6
)
RATES = st.builds(
    RateSpec,
    per_second=st.none() | st.floats(0.2, 50),
    per_minute=st.none() | st.floats(5, 600),
    burst=st.integers(1, 8),
    concurrency=st.none() | st.integers(1, 4),
)


@EXAMPLES
@given(RATES, REFUSED_WORKERS)
def test_no_window_of_any_length_holds_more_than_rate_times_length_plus_burst(rate: RateSpec, workers: Any) -> None:
    grants = simulate(rate, workers).grants

    if rate.per_second:
        assert_bucket(grants, rate.per_second, max(rate.burst, 4))
    if rate.per_minute:
        assert_bucket(grants, rate.per_minute / 60, max(rate.burst, int(rate.per_second or 0), 4))


@EXAMPLES
@given(st.integers(4, 40), st.integers(1, 60), WORKERS)
def test_no_sixty_seconds_hold_more_than_the_minutes_quota_bursts_included(
    limit: int, burst: int, workers: Any
) -> None:
    log = simulate(RateSpec(per_minute=limit, per_second=20, burst=burst), workers * 2)

    assert_quota(log.grants, limit, 60.0)


@EXAMPLES
@given(RATES, REFUSED_WORKERS)
def test_never_more_calls_are_in_flight_than_allowed_and_none_is_lost(rate: RateSpec, workers: Any) -> None:
    log = simulate(rate, workers)

    assert log.most_in_flight <= (rate.concurrency or len(workers))
    assert len(log.calls) == sum(len(calls) for _, calls in workers)


@EXAMPLES
@given(RATES, REFUSED_WORKERS)
def test_after_a_retry_after_nobody_is_granted_before_it_ends(rate: RateSpec, workers: Any) -> None:
    log = simulate(rate, workers)

    for told, until in log.pauses:
        early = [granted for _, granted, _, _, _ in log.calls if told + ROUNDING_S < granted < until - ROUNDING_S]
        assert early == []


@EXAMPLES
@given(st.integers(1, 6), st.integers(1, 12), st.floats(0.5, 20))
def test_a_waiting_share_is_passed_by_each_other_share_once_at_most(shares: int, crowd: int, per_second: float) -> None:
    workers = [(f"crowd {n}", [Call()] * 4) for n in range(shares) for _ in range(crowd)]
    workers += [("lonely", [Call(gap_s=0.3)] * 4)]

    log = simulate(RateSpec(per_second=per_second), workers)

    for asked, granted, *_ in [call for call in log.calls if call[3] == "lonely"]:
        passed = [call[3] for call in log.calls if asked < call[1] < granted]
        assert all(passed.count(share) <= 1 for share in passed)


@EXAMPLES
@given(st.lists(st.floats(0, 2), min_size=2, max_size=12), st.floats(0.5, 5))
def test_callers_of_one_share_are_served_in_the_order_in_which_they_came(gaps: list[float], per_second: float) -> None:
    log = simulate(RateSpec(per_second=per_second), [("raw", [Call(gap_s=gap)]) for gap in gaps])

    asked = [(asked, granted) for asked, granted, *_ in log.calls]
    assert [granted for _, granted in sorted(asked)] == sorted(granted for _, granted in asked)


@pytest.mark.parametrize(
    ("rate", "per_second"),
    [
        (RateSpec(per_second=50), 50),
        (RateSpec(per_second=10, burst=5), 10),
        (RateSpec(per_minute=600, burst=10), 10),
        (RateSpec(per_minute=120, per_second=10), 2),
        (RateSpec(per_second=20, per_minute=6000, concurrency=8), 20),
        (RateSpec(concurrency=2), 40),
    ],
)
def test_busy_workers_get_all_that_the_limits_allow(rate: RateSpec, per_second: float) -> None:
    log = simulate(rate, [(f"job {n % 3}", [Call(takes_s=0.05)] * 60) for n in range(16)])

    grants = log.grants
    seconds = grants[-1][0] - grants[0][0]
    assert len(grants) / seconds >= 0.95 * per_second


class LateClock(FakeClock):
    """Wakes up to 15 ms late, as a busy machine does."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(7)

    def wait(self, event: threading.Event | None, timeout_s: float | None) -> bool:
        late_s = self._chance.uniform(0, 0.015)
        return super().wait(event, None if timeout_s is None else timeout_s + late_s)


def test_threads_that_wake_late_cost_no_rate_and_break_no_bound() -> None:
    log = simulate(RateSpec(per_second=100), [("raw", [Call()] * 60) for _ in range(16)], LateClock)

    grants = log.grants
    assert len(grants) / (grants[-1][0] - grants[0][0]) >= 95
    assert_bucket(grants, 100, 1)


def test_calls_without_burst_are_spread_evenly() -> None:
    log = simulate(RateSpec(per_second=4), [("raw", [Call()] * 5)])

    times = [at for at, _ in log.grants]
    assert [later - at for at, later in pairwise(times)] == pytest.approx([0.25] * 4)


def test_a_rested_limiter_grants_its_burst_at_once() -> None:
    log = simulate(RateSpec(per_second=1, burst=3), [("raw", [Call()] * 4), ("raw", [Call(gap_s=60.0)] * 1)])

    times = [at - log.grants[0][0] for at, _ in log.grants]
    assert times == pytest.approx([0, 0, 0, 1, 60])


def test_a_cost_above_the_burst_passes_and_is_paid_for_afterwards() -> None:
    log = simulate(RateSpec(per_second=2, burst=3), [("raw", [Call(cost=10), Call()])])

    begin, after = (at for at, _ in log.grants)
    assert after - begin == pytest.approx((10 - 3 + 1) / 2)


def test_a_stop_wakes_every_waiter_at_once_and_leaves_nothing_behind(clock: FakeClock) -> None:
    limiter, stop = Limiter(RateSpec(per_second=0.01), name="api.example.com", clock=clock), StopEvent()
    messages: list[tuple[str, float]] = []

    def wait_for_slot() -> None:
        with pytest.raises(Stopped) as caught, limiter.slot(stop):
            pass
        messages.append((str(caught.value), clock.monotonic()))

    with limiter.slot(stop):
        for _ in range(20):
            clock.spawn(wait_for_slot)
        clock.advance(5.0)
        stop.set()
        stopped_at = clock.monotonic()
        clock.run()

    assert messages == [("stopped while waiting to call api.example.com", stopped_at)] * 20
    assert (limiter.state().waiting, limiter.state().in_flight) == (0, 0)


def test_a_stop_of_one_job_leaves_the_others_in_the_queue(clock: FakeClock) -> None:
    limiter, log = Limiter(RateSpec(per_second=1), clock=clock), Log()
    stops = {"raw": StopEvent(), "content": StopEvent()}

    def run_job(share: str) -> None:
        try:
            work(clock, limiter, log, share, [Call()] * 10, stops[share])
        except Stopped:
            log.pauses.append((clock.monotonic(), 0.0))

    for share in stops:
        clock.spawn(lambda share=share: run_job(share))
    clock.advance(3.5)
    stops["raw"].set()
    clock.run()

    done = [share for *_, share, _ in log.calls]
    assert done.count("content") == 10
    assert done.count("raw") < 10


def test_a_set_stop_refuses_even_without_limits() -> None:
    stop = StopEvent()
    stop.set()

    with pytest.raises(Stopped, match="stopped while waiting to call a limited service"), Limiter().slot(stop):
        pass


def test_the_state_tells_what_waiting_cost(clock: FakeClock) -> None:
    limiter, log = Limiter(RateSpec(per_second=2, concurrency=3), name="bi", clock=clock), Log()
    for _ in range(3):
        clock.spawn(lambda: work(clock, limiter, log, "raw", [Call()], StopEvent()))

    clock.run()

    state = limiter.state()
    assert (state.name, state.calls, state.waits, state.waited_s) == ("bi", 3, 2, pytest.approx(1.5))
    assert (state.configured_per_s, state.rate_per_s, state.concurrency) == (2, 2, 3)


def test_real_threads_keep_the_rate_and_all_get_their_turn() -> None:
    begun = time.monotonic()
    limiter, stop, calls = Limiter(RateSpec(per_second=200, concurrency=4)), StopEvent(), [0] * 8

    def call(number: int) -> None:
        while time.monotonic() < begun + 0.5 or not min(calls):
            with limiter.slot(stop):
                calls[number] += 1

    run_threads([lambda number=number: call(number) for number in range(len(calls))])

    assert sum(calls) <= 200 * (time.monotonic() - begun + LATE_S) + 1
    assert limiter.state().in_flight == 0


def run_threads(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120.0)
    assert not any(thread.is_alive() for thread in threads)
