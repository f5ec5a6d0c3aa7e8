"""How a job and a run ended, derived from counts alone: the only place where a status or an exit code is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from penstock.core.spec import MaxErrors
from penstock.engine.failure import Failure

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_PARTIAL = 3
EXIT_LOCKED = 11
EXIT_STOPPED = 130

# What an exit code may say when nothing at all was done: wrong usage, cannot connect, locked, login refused.
_TELLING = frozenset({2, 10, EXIT_LOCKED, 12})


class State(StrEnum):
    """State of a run or of a job within a run.

    RUNNING: under way. DONE: every item is done. PARTIAL: some items failed, within what max_errors allows, the rest is
    done. FAILED: more failed than allowed, or planning failed, or the time was over. STOPPED: asked to stop. SKIPPED: a
    job it comes after did not end done. KILLED: the process ended without a word. ABANDONED: unfinished, and never to be
    continued (the plan changed, or --fresh).
    """

    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "skipped"
    KILLED = "killed"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Counts:
    """Items of a plan by state, with the rows and bytes that are safe at the target; over all resumes of the plan."""

    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    rows: int = 0
    size_bytes: int = 0

    @property
    def planned(self) -> int:
        return self.pending + self.running + self.done + self.failed + self.skipped


@dataclass(frozen=True)
class JobEnd:
    """What is known when a job's loop has ended, besides its counts.

    `error` is what ended the whole job (planning failed, deadline, no worker could start); None otherwise. `exit_codes`
    are those of the failed items, without repetition.
    """

    is_planned: bool
    is_stopped: bool
    error: Failure | None = None
    exit_codes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class JobOutcome:
    """How one job ended. `reason` says in words why it is not done; `resumed` that it continued an earlier run.

    Times are UTC, in ms since 1970. `counts` cover the whole plan; `done_here` are the items done in this run.
    """

    job: str
    kind: str
    state: State
    exit_code: int
    counts: Counts = Counts()
    done_here: int = 0
    resumed: bool = False
    reason: str = ""
    error: Failure | None = None
    started_ms: int = 0
    finished_ms: int = 0


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, job by job in the order in which they ran."""

    run_id: str
    state: State
    exit_code: int
    jobs: tuple[JobOutcome, ...]
    started_ms: int = 0
    finished_ms: int = 0


def within_budget(failed: int, planned: int, allowed: MaxErrors) -> bool:
    """Whether so many failed items of so many planned ones are still allowed."""
    if allowed.percent is not None:
        return failed * 100 <= allowed.percent * planned
    return failed <= allowed.count


def job_state(counts: Counts, end: JobEnd, allowed: MaxErrors) -> State:
    """The state that counts and end amount to. Reaching the end is no success: only items that are done are."""
    if end.error is not None:
        return State.FAILED
    if counts.failed and (not counts.done or not within_budget(counts.failed, counts.planned, allowed)):
        return State.FAILED
    if end.is_stopped and (counts.pending or counts.running or not end.is_planned):
        return State.STOPPED
    if counts.pending or counts.running or not end.is_planned:
        return State.FAILED
    if counts.failed or counts.skipped:
        return State.PARTIAL
    return State.DONE


def job_exit_code(state: State, counts: Counts, end: JobEnd) -> int:
    """The exit code of one job. When nothing was done for one reason (no connection, login refused), it names it."""
    if state is State.DONE:
        return EXIT_DONE
    if state is State.STOPPED:
        return EXIT_STOPPED
    if state is State.PARTIAL:
        return EXIT_PARTIAL
    codes = {end.error.exit_code} if end.error else set(end.exit_codes)
    if not counts.done and len(codes) == 1 and codes <= _TELLING:
        return codes.pop()
    return EXIT_FAILED


def job_reason(state: State, counts: Counts, end: JobEnd, allowed: MaxErrors) -> str:
    """Why a job did not end done, in words; "" if it did or was stopped."""
    if end.error is not None:
        return str(end.error)
    if counts.failed:
        most = f"{allowed.percent:g} %" if allowed.percent is not None else str(allowed.count)
        return f"{counts.failed} of {counts.planned} items failed (allowed: {most})"
    if state is State.PARTIAL:
        return f"{counts.skipped} of {counts.planned} items were skipped, since items before them were given up"
    if state is State.FAILED:
        return f"{counts.pending + counts.running} of {counts.planned} items were not reached"
    return ""


def run_state(states: Sequence[State]) -> State:
    """The state of a run from those of its jobs; a run without jobs failed."""
    for state in (State.STOPPED, State.FAILED, State.SKIPPED, State.PARTIAL):
        if state in states:
            return State.FAILED if state is State.SKIPPED else state
    return State.DONE if states and set(states) == {State.DONE} else State.FAILED


def run_exit_code(jobs: Sequence[JobOutcome]) -> int:
    """The exit code of a run: 130 if stopped, the common code of its failed jobs or 1, 3 if partial, 0 if all is done."""
    state = run_state([job.state for job in jobs])
    if state is State.DONE:
        return EXIT_DONE
    if state is State.STOPPED:
        return EXIT_STOPPED
    if state is State.PARTIAL:
        return EXIT_PARTIAL
    codes = {job.exit_code for job in jobs if job.state is State.FAILED}
    return codes.pop() if len(codes) == 1 else EXIT_FAILED
