"""The fake clock moves only when told, wakes who is due, and repeats a run of many threads exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.clock import SYSTEM_CLOCK, StopEvent
from penstock.testing.clock import FakeClock


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock(start_s=100.0) as clock:
        yield clock


def test_time_stands_still_until_it_is_moved(clock: FakeClock) -> None:
    before = clock.monotonic()

    clock.advance(2.5)

    assert (before, clock.monotonic()) == (100.0, 102.5)


def test_advance_wakes_those_who_are_due_at_their_own_moment_and_nobody_else(clock: FakeClock) -> None:
    woken: list[tuple[str, float]] = []
    for name, timeout_s in (("late", 3.0), ("early", 1.0), ("never", 10.0)):

        def work(name: str = name, timeout_s: float = timeout_s) -> None:
            clock.wait(None, timeout_s)
            woken.append((name, clock.monotonic()))

        clock.spawn(work)

    clock.advance(5.0)

    assert woken == [("early", 101.0), ("late", 103.0)]
    assert clock.waiting() == 1


def test_a_set_event_wakes_its_waiter_before_time_moves(clock: FakeClock) -> None:
    event = threading.Event()
    waiter = clock.spawn(lambda: (clock.wait(event, 60.0), clock.monotonic()))
    clock.spawn(lambda: (clock.wait(None, 7.0), event.set()))

    clock.run()

    assert waiter.result == (True, 107.0)


def test_a_wait_that_times_out_says_so(clock: FakeClock) -> None:
    waiter = clock.spawn(lambda: clock.wait(threading.Event(), 1.0))

    clock.run()

    assert waiter.result is False


def test_the_owner_moves_time_by_waiting(clock: FakeClock) -> None:
    event = threading.Event()
    clock.spawn(lambda: (clock.wait(None, 4.0), event.set()))

    woken = clock.wait(event, 60.0)

    assert (woken, clock.monotonic()) == (True, 104.0)


def test_the_error_of_an_actor_reaches_the_test(clock: FakeClock) -> None:
    def fail() -> None:
        clock.wait(None, 1.0)
        raise KeyError("gone")

    clock.spawn(fail)

    with pytest.raises(KeyError, match="gone"):
        clock.run()


def test_a_run_in_which_everybody_waits_for_ever_fails_and_names_them(clock: FakeClock) -> None:
    clock.spawn(lambda: clock.wait(threading.Event(), None), name="sleeper")

    with pytest.raises(AssertionError, match="sleeper wait for events that nobody sets"):
        clock.run()


def test_closing_ends_every_actor() -> None:
    before = threading.active_count()
    with FakeClock() as clock:
        for _ in range(5):
            clock.spawn(lambda: clock.wait(None, 1e6))
        clock.advance(1.0)

    for thread in threading.enumerate():
        if thread.name.startswith("actor "):
            thread.join(timeout=120.0)
    assert threading.active_count() == before


def test_a_thread_that_the_clock_did_not_start_is_woken_by_advance(clock: FakeClock) -> None:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(clock.wait(threading.Event(), 30.0)))
    thread.start()
    clock.until_waiting(1)

    clock.advance(30.0)

    thread.join(timeout=120.0)
    assert answers == [False]


def test_a_thread_that_the_clock_did_not_start_is_woken_by_its_event(clock: FakeClock) -> None:
    event, answers = threading.Event(), []
    thread = threading.Thread(target=lambda: answers.append(clock.wait(event, None)))
    thread.start()
    clock.until_waiting(1)

    event.set()

    thread.join(timeout=120.0)
    assert answers == [True]
    assert clock.monotonic() == 100.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=6))
def test_the_same_actors_give_the_same_history(plans: list[list[int]]) -> None:
    assert _history(plans) == _history(plans)


def _history(plans: list[list[int]]) -> list[tuple[int, float]]:
    history: list[tuple[int, float]] = []
    events = [threading.Event() for _ in plans]
    with FakeClock() as clock:
        for number, plan in enumerate(plans):

            def work(number: int = number, plan: list[int] = plan) -> None:
                for gap_s in plan:
                    clock.wait(events[number], float(gap_s))
                    history.append((number, clock.monotonic()))
                    events[(number + gap_s) % len(events)].set()

            clock.spawn(work)
        clock.run()
    return history


def test_a_stop_wakes_whoever_waits_for_a_linked_event() -> None:
    stop, other = StopEvent(), threading.Event()

    with stop.waking(other):
        stop.set()

    assert other.is_set()


def test_a_stop_that_came_before_wakes_at_once() -> None:
    stop, other = StopEvent(), threading.Event()
    stop.set()

    with stop.waking(other):
        assert other.is_set()


def test_a_stop_leaves_events_alone_that_are_no_longer_linked() -> None:
    stop, other = StopEvent(), threading.Event()
    with stop.waking(other):
        pass

    stop.set()

    assert not other.is_set()


def test_stopping_the_run_stops_the_item() -> None:
    run, item, other = StopEvent(), StopEvent(), threading.Event()

    with run.waking(item), item.waking(other):
        run.set()

    assert item.is_set()
    assert other.is_set()


def test_a_stop_cannot_be_taken_back() -> None:
    with pytest.raises(RuntimeError, match="a stop is never taken back"):
        StopEvent().clear()


def test_the_system_clock_waits_for_an_event_no_longer_than_needed() -> None:
    event = threading.Event()
    threading.Timer(0.05, event.set).start()

    woken = SYSTEM_CLOCK.wait(event, 1e6)

    assert woken


def test_the_system_clock_waits_out_a_timeout() -> None:
    before = SYSTEM_CLOCK.monotonic()

    woken = SYSTEM_CLOCK.wait(None, 0.02)

    assert not woken
    assert SYSTEM_CLOCK.monotonic() - before >= 0.02


@pytest.mark.parametrize("clock", [SYSTEM_CLOCK, FakeClock()])
def test_waiting_for_nothing_at_all_is_refused(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="wait needs an event, a timeout or both"):
        clock.wait(None, None)
