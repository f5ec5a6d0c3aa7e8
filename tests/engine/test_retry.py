"""Decisions to try again: bounded waits, honoured requests, attempts counted since the last progress."""

from __future__ import annotations

import errno
import math
import pickle
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    CredentialsRefused,
    DataError,
    PenstockError,
    Retry,
    TimedOut,
    Unavailable,
)
from penstock.core.spec import RetrySpec
from penstock.engine.clock import StopEvent
from penstock.engine.retry import MAX_ASKED_WAIT_S, Action, Decision, RetryPolicy, classify, decide
from penstock.testing.clock import FakeClock

POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 200),
    backoff_s=st.floats(0.001, 30),
    max_backoff_s=st.floats(0.001, 600),
    budget_s=st.none() | st.floats(0, 1e5),
)
CHANCES = st.floats(0, 1, exclude_max=True)


class NotReady(PenstockError):
    retry = Retry.SNOOZE


def high() -> float:
    return math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Busy("b"), Retry.LATER),
        (ConnectionLost("c"), Retry.RECONNECT),
        (DataError("d"), Retry.NEVER),
        (DataError("d", retry=Retry.LATER), Retry.LATER),
        (TimeoutError(), Retry.RECONNECT),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Retry.RECONNECT),
        (BrokenPipeError(errno.EPIPE, "pipe"), Retry.RECONNECT),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Retry.RECONNECT),
        (OSError(errno.ETIMEDOUT, "timed out"), Retry.RECONNECT),
        (OSError(errno.ENETUNREACH, "unreachable"), Retry.RECONNECT),
        (OSError(errno.ENOSPC, "no space"), Retry.NEVER),
        (OSError(errno.EACCES, "no permission"), Retry.NEVER),
        (FileNotFoundError(errno.ENOENT, "no file"), Retry.NEVER),
        (OSError("no number"), Retry.NEVER),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), Retry.LATER),
        (socket.gaierror(socket.EAI_NONAME, "no such host"), Retry.NEVER),
        (MemoryError(), Retry.NEVER),
        (ValueError("connection reset by peer"), Retry.NEVER),
        (KeyboardInterrupt(), Retry.NEVER),
    ],
)
def test_an_error_is_classified_by_type_and_number_never_by_its_text(error: BaseException, kind: Retry) -> None:
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("error", "action"),
    [(Busy("b"), Action.RETRY), (TimedOut("t"), Action.RECONNECT), (NotReady("n"), Action.SNOOZE)],
)
def test_each_retry_kind_has_its_action(error: PenstockError, action: Action) -> None:
    assert decide(RetryPolicy(), error, 1, 0.0, high).action is action


def test_what_fails_again_is_given_up_at_the_first_attempt() -> None:
    decision = decide(RetryPolicy(), CredentialsRefused("wrong password"), 1, 0.0, high)

    assert decision == Decision(Action.GIVE_UP, 0.0, "the same call would fail again")


def test_attempts_count_the_first_try_too() -> None:
    policy = RetryPolicy(attempts=3)

    actions = [decide(policy, Busy("b"), attempt, 0.0, high).action for attempt in (1, 2, 3)]

    assert actions == [Action.RETRY, Action.RETRY, Action.GIVE_UP]


def test_giving_up_says_why() -> None:
    decision = decide(RetryPolicy(attempts=2), Busy("b"), 2, 0.0, high)

    assert decision.reason == "2 attempts without progress"


def test_one_attempt_means_no_retry() -> None:
    assert decide(RetryPolicy(attempts=1), Busy("b"), 1, 0.0, high).action is Action.GIVE_UP


def test_waits_double_up_to_the_maximum() -> None:
    policy = RetryPolicy(attempts=9, backoff_s=1.0, max_backoff_s=10.0)

    waits = [decide(policy, Busy("b"), attempt, 0.0, high).wait_s for attempt in range(1, 7)]

    assert waits == pytest.approx([1, 2, 4, 8, 10, 10])


@given(POLICIES, st.integers(1, 10**6), CHANCES)
def test_a_wait_lies_between_zero_and_the_capped_backoff(policy: RetryPolicy, attempt: int, chance: float) -> None:
    decision = decide(policy, Busy("b"), attempt, 0.0, lambda: chance)

    ceiling_s = min(policy.max_backoff_s, policy.backoff_s * 2 ** min(attempt - 1, 60))
    assert 0 <= decision.wait_s <= ceiling_s


@given(POLICIES, st.integers(1, 199), CHANCES)
def test_the_bound_of_the_wait_never_shrinks_with_the_attempts(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    patient = RetryPolicy(10**9, policy.backoff_s, policy.max_backoff_s)

    waits = [decide(patient, ConnectionLost("c"), n, 0.0, lambda: chance).wait_s for n in (attempt, attempt + 1)]

    assert waits[0] <= waits[1]


@given(POLICIES, st.floats(0.001, MAX_ASKED_WAIT_S), CHANCES)
def test_what_the_other_side_asks_for_is_the_least_wait_even_above_the_maximum(
    policy: RetryPolicy, asked_s: float, chance: float
) -> None:
    patient = RetryPolicy(10, policy.backoff_s, policy.max_backoff_s)

    assert decide(patient, Busy("b", wait_s=asked_s), 1, 0.0, lambda: chance).wait_s >= asked_s


@pytest.mark.parametrize("asked_s", [1e9, math.inf])
def test_an_absurd_request_is_honoured_for_an_hour_only(asked_s: float) -> None:
    assert decide(RetryPolicy(), Busy("b", wait_s=asked_s), 1, 0.0, high).wait_s == MAX_ASKED_WAIT_S


@pytest.mark.parametrize("asked_s", [-5.0, 0.0, math.nan])
def test_a_request_in_the_past_changes_nothing(asked_s: float) -> None:
    assert decide(RetryPolicy(), Busy("b", wait_s=asked_s), 1, 0.0, lambda: 0.5).wait_s == 0.5


def test_snoozes_are_not_counted_as_attempts() -> None:
    assert decide(RetryPolicy(attempts=2), NotReady("n"), 99, 10.0, high).action is Action.SNOOZE


def test_a_snooze_waits_exactly_as_long_as_it_was_told() -> None:
    assert decide(RetryPolicy(), NotReady("n", wait_s=300.0), 1, 0.0, high).wait_s == 300.0


@given(POLICIES, st.floats(0, 1e6), CHANCES)
def test_a_snooze_asks_more_seldom_the_longer_it_lasts(policy: RetryPolicy, elapsed_s: float, chance: float) -> None:
    endless = RetryPolicy(1, policy.backoff_s, policy.max_backoff_s)

    wait_s = decide(endless, NotReady("n"), 1, elapsed_s, lambda: chance).wait_s

    least_s = min(policy.backoff_s, policy.max_backoff_s)
    assert least_s <= wait_s <= policy.max_backoff_s
    assert wait_s <= max(least_s, elapsed_s / 2)


@given(POLICIES, st.integers(1, 300), st.floats(0, 1e5), st.none() | st.floats(0, 1e4), CHANCES)
def test_no_wait_ends_after_the_time_budget(
    policy: RetryPolicy, attempt: int, elapsed_s: float, asked_s: float | None, chance: float
) -> None:
    for error in (Busy("b", wait_s=asked_s), NotReady("n", wait_s=asked_s)):
        decision = decide(policy, error, attempt, elapsed_s, lambda: chance)

        ends_s = elapsed_s + decision.wait_s
        assert decision.action is Action.GIVE_UP or policy.budget_s is None or ends_s <= policy.budget_s


def test_a_spent_time_budget_says_so() -> None:
    decision = decide(RetryPolicy(budget_s=60.0), NotReady("n", wait_s=30.0), 1, 45.0, high)

    assert decision == Decision(Action.GIVE_UP, 0.0, "no progress for 45 s of at most 60 s")


def test_the_policy_of_the_project_file_is_taken_over_whole() -> None:
    spec = RetrySpec(attempts=7, backoff_s=0.5, max_backoff_s=9.0)

    assert RetryPolicy.of(spec, budget_s=60.0) == RetryPolicy(7, 0.5, 9.0, 60.0)


def test_the_decision_is_the_same_after_the_error_came_from_another_process() -> None:
    error = Unavailable("down", "wait", wait_s=12.0, retry=Retry.RECONNECT)

    decisions = [decide(RetryPolicy(), e, 1, 0.0, lambda: 0.0) for e in (error, pickle.loads(pickle.dumps(error)))]

    assert decisions[0] == decisions[1]
    assert decisions[0].wait_s == 12.0


@given(st.lists(st.booleans(), max_size=60))
def test_attempts_begin_anew_after_each_progress(failures: list[bool]) -> None:
    """A long item with hiccups is given up only after as many failures in a row as there are attempts."""
    policy, in_a_row, worst, given_up = RetryPolicy(attempts=4), 0, 0, False
    for failed in failures:
        in_a_row = in_a_row + 1 if failed else 0
        worst = max(worst, in_a_row)
        if failed and decide(policy, Busy("b"), in_a_row, 0.0, high).action is Action.GIVE_UP:
            given_up = True
            break

    assert given_up == (worst >= 4)


def test_a_stop_ends_the_wait_at_once() -> None:
    with FakeClock() as clock:
        stop = StopEvent()
        wait_s = decide(RetryPolicy(), Busy("b", wait_s=600.0), 1, 0.0, high).wait_s
        waiter = clock.spawn(lambda: (clock.wait(stop, wait_s), clock.monotonic()))
        clock.spawn(lambda: (clock.wait(None, 3.0), stop.set()))
        begun = clock.monotonic()

        clock.run()

        assert waiter.result == (True, begun + 3.0)
