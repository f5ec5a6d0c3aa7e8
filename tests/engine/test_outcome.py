"""State and exit code as pure functions of counts."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import errors
from penstock.core.errors import PenstockError, Retry, SnapshotLost
from penstock.core.spec import MaxErrors
from penstock.engine.failure import Failure
from penstock.engine.outcome import (
    Counts,
    JobEnd,
    JobOutcome,
    State,
    job_exit_code,
    job_reason,
    job_state,
    run_exit_code,
    run_state,
    within_budget,
)

ENDED = JobEnd(is_planned=True, is_stopped=False)
counts = st.builds(Counts, *[st.integers(0, 5)] * 5)
ends = st.builds(JobEnd, st.booleans(), st.booleans(), st.none() | st.just(Failure("X", "x")))
budgets = st.builds(MaxErrors, st.integers(0, 3), st.none() | st.floats(0, 100))


@given(counts=counts, end=ends, allowed=budgets)
def test_done_means_planned_whole_and_every_item_done(counts: Counts, end: JobEnd, allowed: MaxErrors) -> None:
    is_done = job_state(counts, end, allowed) is State.DONE

    assert is_done == (end.error is None and end.is_planned and counts.done == counts.planned)


@given(counts=counts, end=ends, allowed=budgets)
def test_exit_code_is_zero_exactly_when_done(counts: Counts, end: JobEnd, allowed: MaxErrors) -> None:
    state = job_state(counts, end, allowed)

    assert (job_exit_code(state, counts, end) == 0) == (state is State.DONE)
    assert bool(job_reason(state, counts, end, allowed)) or state in (State.DONE, State.STOPPED)


@given(counts=counts, end=ends, allowed=budgets)
def test_partial_means_within_budget_with_something_done_and_nothing_left(
    counts: Counts, end: JobEnd, allowed: MaxErrors
) -> None:
    if job_state(counts, end, allowed) is State.PARTIAL:
        assert not counts.pending
        assert not counts.running
        assert counts.failed or counts.skipped
        assert counts.failed == 0 or (counts.done and within_budget(counts.failed, counts.planned, allowed))


@pytest.mark.parametrize(
    ("given_counts", "end", "allowed", "state", "code"),
    [
        (Counts(done=3), ENDED, MaxErrors(), State.DONE, 0),
        (Counts(), ENDED, MaxErrors(), State.DONE, 0),
        (Counts(), JobEnd(False, False), MaxErrors(), State.FAILED, 1),
        (Counts(done=2, failed=1), ENDED, MaxErrors(1), State.PARTIAL, 3),
        (Counts(done=2, failed=1), ENDED, MaxErrors(0), State.FAILED, 1),
        (Counts(failed=1), ENDED, MaxErrors(9), State.FAILED, 1),
        (Counts(failed=1), JobEnd(True, False, None, frozenset({10})), MaxErrors(), State.FAILED, 10),
        (Counts(failed=2), JobEnd(True, False, None, frozenset({10, 12})), MaxErrors(), State.FAILED, 1),
        (Counts(failed=1, done=1), JobEnd(True, False, None, frozenset({12})), MaxErrors(), State.FAILED, 1),
        (Counts(pending=1, done=1), JobEnd(True, True), MaxErrors(), State.STOPPED, 130),
        (Counts(done=1), JobEnd(True, True), MaxErrors(), State.DONE, 0),
        (Counts(done=1), JobEnd(False, True), MaxErrors(), State.STOPPED, 130),
        (Counts(done=1, skipped=1), ENDED, MaxErrors(), State.PARTIAL, 3),
        (Counts(), JobEnd(False, False, Failure("Unavailable", "x", exit_code=10)), MaxErrors(), State.FAILED, 10),
    ],
)
def test_table_of_ends(given_counts: Counts, end: JobEnd, allowed: MaxErrors, state: State, code: int) -> None:
    found = job_state(given_counts, end, allowed)

    assert (found, job_exit_code(found, given_counts, end)) == (state, code)


def job(state: State, code: int) -> JobOutcome:
    return JobOutcome("j", "k", state, code)


@pytest.mark.parametrize(
    ("jobs", "state", "code"),
    [
        ([job(State.DONE, 0), job(State.DONE, 0)], State.DONE, 0),
        ([job(State.DONE, 0), job(State.PARTIAL, 3)], State.PARTIAL, 3),
        ([job(State.PARTIAL, 3), job(State.SKIPPED, 1)], State.FAILED, 1),
        ([job(State.FAILED, 10), job(State.SKIPPED, 1)], State.FAILED, 10),
        ([job(State.FAILED, 10), job(State.FAILED, 12)], State.FAILED, 1),
        ([job(State.FAILED, 1), job(State.STOPPED, 130)], State.STOPPED, 130),
        ([], State.FAILED, 1),
    ],
)
def test_run_is_as_good_as_its_worst_job(jobs: list[JobOutcome], state: State, code: int) -> None:
    assert (run_state([one.state for one in jobs]), run_exit_code(jobs)) == (state, code)


@pytest.mark.parametrize(
    "kind", [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PenstockError)]
)
def test_error_keeps_its_class_and_retry_kind_through_journal_and_pickle(kind: type[PenstockError]) -> None:
    error = kind("what", "hint", wait_s=2.5)

    for again in (Failure.from_json(Failure.of(error).to_json()).to_error(), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert (again.what, again.hint, again.wait_s, again.retry) == ("what", "hint", 2.5, error.retry)


def test_failure_of_a_later_version_is_still_read() -> None:
    values = {**Failure.of(SnapshotLost("gone")).to_json(), "severity": 3, "kind": "SomethingNew"}

    assert Failure.from_json(values).to_error().retry is Retry.RECONNECT
