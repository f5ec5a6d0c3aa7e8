"""The limiter learns what the other side allows: it slows down, really waits, comes back, and finds an unknown limit."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.spec import RateSpec
from penstock.engine.clock import StopEvent
from penstock.engine.limits import Limiter
from penstock.engine.limits.pace import FLOOR_SHARE, MAX_PAUSE_S, Pace
from penstock.testing.clock import FakeClock

STOP = StopEvent()


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as clock:
        yield clock


def refuse(limiter: Limiter, after_s: float | None = None) -> None:
    with limiter.slot(STOP) as slot:
        slot.throttled(after_s)


def succeed(limiter: Limiter, calls: int) -> None:
    for _ in range(calls):
        with limiter.slot(STOP) as slot:
            slot.ok()


def test_a_pause_holds_back_every_share_until_it_ends(clock: FakeClock) -> None:
    limiter, granted = Limiter(RateSpec(per_second=100), clock=clock), []
    refuse(limiter, 30.0)
    begun = clock.monotonic()

    def call(share: str) -> None:
        with limiter.slot(STOP, share=share):
            granted.append(clock.monotonic() - begun)

    for share in ("raw", "customers", "content"):
        clock.spawn(lambda share=share: call(share))
    clock.run()

    assert min(granted) == pytest.approx(30.0)
    assert len(granted) == 3


def test_a_pause_also_holds_a_limiter_that_had_no_limits(clock: FakeClock) -> None:
    limiter = Limiter(clock=clock)
    refuse(limiter, 12.0)
    begun = clock.monotonic()

    succeed(limiter, 1)

    assert clock.monotonic() - begun == pytest.approx(12.0)


def test_a_stop_ends_the_wait_for_a_pause(clock: FakeClock) -> None:
    limiter, stop = Limiter(clock=clock), StopEvent()
    refuse(limiter, 3000.0)
    begun = clock.monotonic()
    waiter = clock.spawn(lambda: _stopped_at(limiter, stop, clock))
    clock.spawn(lambda: (clock.wait(None, 2.0), stop.set()))

    clock.run()

    assert waiter.result - begun == 2.0


def _stopped_at(limiter: Limiter, stop: StopEvent, clock: FakeClock) -> float:
    with pytest.raises(Exception, match="stopped while waiting"), limiter.slot(stop):
        pass
    return clock.monotonic()


def test_a_shorter_pause_does_not_cut_a_longer_one(clock: FakeClock) -> None:
    limiter = Limiter(RateSpec(per_second=10, burst=2), clock=clock)
    with limiter.slot(STOP) as one, limiter.slot(STOP) as other:
        one.throttled(20.0)
        other.throttled(1.0)

    assert limiter.state().paused_s == 20.0


@pytest.mark.parametrize("after_s", [None, 0.0, -3600.0, math.nan])
def test_a_missing_past_or_absurd_retry_after_makes_no_pause_but_slows_down(
    clock: FakeClock, after_s: float | None
) -> None:
    limiter = Limiter(RateSpec(per_second=10), clock=clock)

    refuse(limiter, after_s)

    assert limiter.state().paused_s == 0.0
    assert limiter.state().rate_per_s == 5.0


@pytest.mark.parametrize("after_s", [MAX_PAUSE_S + 1, 1e12, math.inf])
def test_no_pause_is_longer_than_an_hour(clock: FakeClock, after_s: float) -> None:
    limiter = Limiter(RateSpec(per_second=10), clock=clock)

    refuse(limiter, after_s)

    assert limiter.state().paused_s == 3600.0


def test_each_refusal_of_a_server_that_serves_nothing_halves_the_rate_down_to_the_floor(clock: FakeClock) -> None:
    limiter, rates = Limiter(RateSpec(per_second=10), clock=clock), []
    for _ in range(8):
        refuse(limiter)
        rates.append(limiter.state().rate_per_s)

    assert rates == pytest.approx([5, 2.5, 1.25, 0.625, 0.3125, 0.2, 0.2, 0.2])
    assert rates[-1] == 10 * FLOOR_SHARE
    assert limiter.state().refused == 8


def test_the_lower_rate_really_delays(clock: FakeClock) -> None:
    limiter = Limiter(RateSpec(per_second=10, burst=5), clock=clock)
    refuse(limiter)
    begun = clock.monotonic()

    for _ in range(3):
        with limiter.slot(STOP), pytest.raises(KeyError):
            raise KeyError("neither success nor refusal")

    assert clock.monotonic() - begun >= 3 * 0.19


def test_calls_under_way_when_the_rate_fell_do_not_lower_it_again(clock: FakeClock) -> None:
    limiter = Limiter(RateSpec(per_second=10, burst=4), clock=clock)
    with limiter.slot(STOP) as a, limiter.slot(STOP) as b, limiter.slot(STOP) as c:
        for slot in (a, b, c):
            slot.throttled()

    assert limiter.state().rate_per_s == 5.0
    assert limiter.state().refused == 3


def test_calls_under_way_when_a_free_limiter_was_refused_lower_the_rate_once(clock: FakeClock) -> None:
    limiter = Limiter(clock=clock)
    with limiter.slot(STOP) as a, limiter.slot(STOP) as b:
        a.throttled()
        once = limiter.state().rate_per_s
        b.throttled()

    assert limiter.state().rate_per_s == once == 1.0


def test_one_call_reported_twice_counts_once(clock: FakeClock) -> None:
    limiter = Limiter(RateSpec(per_second=10), clock=clock)
    with limiter.slot(STOP) as slot:
        slot.throttled(1.0)
        slot.throttled(1.0)
        slot.ok()

    assert limiter.state().refused == 1


def test_a_refusal_after_good_service_falls_to_nine_tenths_of_what_was_served(clock: FakeClock) -> None:
    limiter = Limiter(RateSpec(per_second=100), clock=clock)
    for _ in range(40):
        succeed(limiter, 1)
        clock.wait(None, 0.05)

    refuse(limiter)

    assert limiter.state().rate_per_s == pytest.approx(20 * 0.9, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.5, 50),
    st.lists(st.tuples(st.integers(0, 30), st.none() | st.floats(0, 60)), min_size=1, max_size=5),
)
def test_the_rate_comes_back_to_the_configured_one_after_enough_successes(
    per_second: float, refusals: list[tuple[int, float | None]]
) -> None:
    with FakeClock() as clock:
        limiter = Limiter(RateSpec(per_second=per_second), clock=clock)
        for successes, after_s in refusals:
            succeed(limiter, successes)
            refuse(limiter, after_s)
        rates = []
        for _ in range(100_000):
            rates.append(limiter.state().rate_per_s or 0.0)
            if rates[-1] == per_second:
                break
            succeed(limiter, 1)

    assert rates == sorted(rates)
    assert rates[0] < rates[-1] == per_second


def test_idle_time_alone_brings_nothing_back(clock: FakeClock) -> None:
    limiter = Limiter(RateSpec(per_second=10), clock=clock)
    refuse(limiter)

    clock.advance(3000.0)
    succeed(limiter, 1)

    assert limiter.state().rate_per_s == pytest.approx(6.0)


@settings(max_examples=100, deadline=None)
@given(
    st.none() | st.floats(0.1, 1000),
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 20), st.integers(0, 3), st.none() | st.floats(-5, 1e5)), max_size=60
    ),
)
def test_the_pace_stays_between_floor_and_ceiling_whatever_happens(
    ceiling: float | None, reports: list[tuple[bool, float, int, float | None]]
) -> None:
    pace, now = Pace(ceiling), 1000.0
    for is_served, passed_s, age, after_s in reports:
        now += passed_s
        epoch = max(0, pace.epoch - age)
        if is_served:
            pace.served(now, epoch)
        else:
            pace.refused(now, epoch, after_s, in_flight=3)

        assert pace.rate_per_s is None or pace.floor_per_s <= pace.rate_per_s <= (ceiling or math.inf)
        assert pace.paused_until <= now + MAX_PAUSE_S


class Server:
    """Allows `rate(t)` calls a second with a burst of five, as a token bucket; answers after 50 to 200 ms."""

    def __init__(self, clock: FakeClock, rate: Callable[[float], float]) -> None:
        self._clock = clock
        self._begun = self._at = clock.monotonic()
        self._rate = rate
        self._tokens = 5.0
        self._latency = random.Random(1)
        self.answers: list[tuple[float, bool]] = []

    def call(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(5.0, self._tokens + (now - self._at) * self._rate(now - self._begun))
        self._at = now
        is_served = self._tokens >= 1 - 1e-6  # sums of floats
        self._tokens -= is_served
        self.answers.append((now - self._begun, is_served))
        self._clock.wait(None, self._latency.uniform(0.05, 0.2))
        return is_served

    def served(self, begin_s: float, end_s: float) -> int:
        return sum(is_served for at, is_served in self.answers if begin_s <= at < end_s)

    def refused_share(self, begin_s: float, end_s: float) -> float:
        answers = [is_served for at, is_served in self.answers if begin_s <= at < end_s]
        return answers.count(False) / len(answers)


def run_against(rate: Callable[[float], float], limits: RateSpec, after_s: float | None, seconds: float) -> Server:
    with FakeClock() as clock:
        server, limiter, jitter = Server(clock, rate), Limiter(limits, clock=clock), random.Random(2)
        end = clock.monotonic() + seconds

        def worker() -> None:
            while clock.monotonic() < end:
                with limiter.slot(STOP) as slot:
                    is_served = server.call()
                    if not is_served:
                        slot.throttled(after_s)
                if not is_served:
                    clock.wait(None, jitter.uniform(0, 1))

        for _ in range(16):
            clock.spawn(worker)
        clock.run()
    return server


@pytest.mark.parametrize("after_s", [None, 1.0])
@pytest.mark.parametrize("limits", [RateSpec(), RateSpec(per_second=100, burst=5), RateSpec(concurrency=12)])
def test_an_unknown_limit_is_found_used_to_nine_tenths_and_seldom_exceeded(
    limits: RateSpec, after_s: float | None
) -> None:
    server = run_against(lambda _: 50.0, limits, after_s, 80.0)

    assert server.served(20, 80) >= 0.9 * 50 * 60
    assert server.refused_share(20, 80) < 0.02


def test_a_limit_that_falls_is_followed_within_five_seconds() -> None:
    server = run_against(lambda t: 50.0 if t < 30 else 20.0, RateSpec(per_second=100), None, 60.0)

    assert server.served(35, 60) >= 0.9 * 20 * 25
    assert server.refused_share(35, 60) < 0.02


def test_a_limit_that_rises_is_followed() -> None:
    server = run_against(lambda t: 20.0 if t < 30 else 50.0, RateSpec(per_second=100), None, 90.0)

    assert server.served(70, 90) >= 0.9 * 50 * 20


def test_a_limit_that_is_known_and_configured_is_never_exceeded() -> None:
    server = run_against(lambda _: 50.0, RateSpec(per_second=50, burst=5), 1.0, 30.0)

    assert server.refused_share(0, 30) == 0
    assert server.served(1, 30) >= 0.95 * 50 * 29
