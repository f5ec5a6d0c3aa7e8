"""Budgets, wrong settings, errors inside a call, and a limiter that has nothing to limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import BudgetSpent, Retry, SpecError, Stopped
from penstock.core.spec import RateSpec
from penstock.engine.clock import StopEvent
from penstock.engine.limits import Limiter
from penstock.testing.clock import FakeClock


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as clock:
        yield clock


def test_a_used_up_budget_is_an_error_that_is_not_tried_again() -> None:
    limiter, stop = Limiter(RateSpec(max_calls=2), name="api.example.com"), StopEvent()
    for _ in range(2):
        with limiter.slot(stop):
            pass

    with pytest.raises(BudgetSpent) as caught, limiter.slot(stop):
        pass

    assert str(caught.value) == (
        "all 2 calls that this run may make to api.example.com are used up; "
        "raise max_calls, or run again later; finished work is kept"
    )
    assert caught.value.retry is Retry.NEVER
    assert limiter.state().calls_left == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 8))
def test_many_workers_share_one_budget_to_the_last_call(budget: int, workers: int) -> None:
    made: list[float] = []
    with FakeClock() as clock:
        limiter, stop = Limiter(RateSpec(max_calls=budget, per_second=5), clock=clock), StopEvent()

        def spend() -> None:
            while True:
                with limiter.slot(stop):
                    made.append(clock.monotonic())

        def spend_all() -> None:
            with pytest.raises(BudgetSpent):
                spend()

        for _ in range(workers):
            clock.spawn(spend_all)
        clock.run()

    assert len(made) == budget


def test_a_call_that_was_stopped_while_it_waited_costs_no_budget(clock: FakeClock) -> None:
    limiter, stop = Limiter(RateSpec(per_second=1, max_calls=5), clock=clock), StopEvent()

    def wait_for_slot() -> None:
        with pytest.raises(Stopped), limiter.slot(stop):
            pass

    with limiter.slot(StopEvent()):
        clock.spawn(wait_for_slot)
        clock.advance(0.5)
        stop.set()
        clock.run()

    assert limiter.state().calls_left == 4


def test_a_cost_that_can_never_pass_is_an_error_not_a_wait() -> None:
    limiter = Limiter(RateSpec(per_minute=10), name="api.example.com")

    with pytest.raises(
        SpecError, match=r"a call to api\.example\.com counts as 11, but at most 10 may pass in a minute"
    ):
        limiter.slot(StopEvent(), cost=11).__enter__()


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (RateSpec(per_second=0), "per_second of a limit is 0; it must be a number above 0; leave it out for no limit"),
        (
            RateSpec(per_minute=-1),
            "per_minute of a limit is -1; it must be a number above 0; leave it out for no limit",
        ),
        (RateSpec(burst=0), "burst of a limit is 0; it must be 1 or more"),
        (RateSpec(concurrency=0), "concurrency of a limit is 0; it must be 1 or more"),
        (RateSpec(max_calls=-1), "max_calls of a limit is -1; it must be 0 or more; leave it out for no limit"),
    ],
)
def test_a_limit_that_lets_nothing_pass_is_refused(rate: RateSpec, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Limiter(rate)

    assert str(caught.value) == message


def test_a_limiter_without_limits_never_takes_a_lock() -> None:
    limiter, stop, passed = Limiter(), StopEvent(), threading.Event()

    def call() -> None:
        with limiter.slot(stop) as slot:
            slot.ok()
        passed.set()

    with limiter._lock:
        threading.Thread(target=call, daemon=True).start()
        assert passed.wait(120.0)


def test_calls_without_limits_are_counted(clock: FakeClock) -> None:
    limiter, stop = Limiter(clock=clock), StopEvent()
    for _ in range(3):
        with limiter.slot(stop):
            pass

    with limiter.slot(stop):
        state = limiter.state()

    assert (state.calls, state.in_flight, state.waits) == (4, 1, 0)
    assert (limiter.state().calls, limiter.state().in_flight) == (4, 0)


def test_an_error_inside_the_block_gives_the_place_back() -> None:
    limiter, stop = Limiter(RateSpec(concurrency=1)), StopEvent()
    for _ in range(3):
        with pytest.raises(KeyError), limiter.slot(stop):
            raise KeyError("gone")

    assert limiter.state().in_flight == 0
