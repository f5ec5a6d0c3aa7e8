"""What the journal tells of runs, past and live; for status and report, from any process, while a run writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.engine.failure import Failure
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts, State

# All times are UTC in ms since 1970; None is "not yet".


@dataclass(frozen=True)
class RunLine:
    """One run. `is_live` says whether its process still runs; a run whose process is gone shows as KILLED."""

    run_id: str
    state: State
    started_ms: int
    finished_ms: int | None
    host: str
    pid: int
    command: str
    jobs: tuple[str, ...]
    exit_code: int | None
    is_live: bool
    stop_requested: int = 0


@dataclass(frozen=True)
class StageLine:
    """The items of one kind in one stage of a job."""

    stage: int
    kind: str
    counts: Counts
    started_ms: int | None
    finished_ms: int | None
    busy_s: float


@dataclass(frozen=True)
class SampleLine:
    """One look at a job while it ran. `done`, `failed`, `rows` and `size_bytes` count since the plan began, `retries` and
    `wait_s` (time lost to limits and backoff) since the job's run began; `rss_bytes` is the driver's memory."""

    at_ms: int
    done: int
    failed: int
    rows: int
    size_bytes: int
    in_flight: int
    retries: int
    wait_s: float
    rss_bytes: int


@dataclass(frozen=True)
class NoteLine:
    """Something worth knowing afterwards: `kind` is retry, throttle, snapshot, takeover, resume, abandoned, stop, ..."""

    at_ms: int
    kind: str
    job: str
    key: str
    text: str


@dataclass(frozen=True)
class ItemLine:
    """One item as the journal has it."""

    item_id: int
    run_id: str
    job: str
    key: str
    kind: str
    stage: int
    group: str
    state: str
    attempts: int
    rows: int
    size_bytes: int
    payload: Mapping[str, Any]
    cursor: Mapping[str, Any] | None
    result: Mapping[str, Any]
    error: Failure | None
    started_ms: int | None
    finished_ms: int | None
    worker: str


@dataclass(frozen=True)
class JobReport:
    """One job of a run. `counts` cover the whole plan, `done_here` this run alone; `resumed_from` names the run that it
    continued, `snapshot` what readers shared. `facts` are those of the plan's groups, by group."""

    job: str
    kind: str
    state: State
    exit_code: int | None
    counts: Counts
    done_here: int
    workers: int
    executor: str
    plan_hash: str
    plan_id: str
    is_planned: bool
    resumed_from: str
    reason: str
    error: Failure | None
    snapshot: Mapping[str, str]
    started_ms: int
    finished_ms: int | None
    stages: tuple[StageLine, ...] = ()
    samples: tuple[SampleLine, ...] = ()
    notes: tuple[NoteLine, ...] = ()
    failed: tuple[ItemLine, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunReport:
    """Everything the journal knows of one run but the items that are done (see `items`)."""

    run: RunLine
    versions: Mapping[str, str]
    jobs: tuple[JobReport, ...]
    notes: tuple[NoteLine, ...]


def list_runs(journal: Journal, limit: int = 50) -> list[RunLine]:
    """Runs, newest first."""
    raise NotImplementedError


def find_run(journal: Journal, run_id: str = "") -> RunLine:
    """The run of that id or unique beginning of one; without id the newest. Raises Missing."""
    raise NotImplementedError


def report(journal: Journal, run_id: str = "") -> RunReport:
    """The full report of a run (newest without id); of a live one as far as it has come. Raises Missing."""
    raise NotImplementedError


def items(
    journal: Journal, run_id: str, job: str, *, state: str = "", limit: int = 1000, after: int = 0
) -> list[ItemLine]:
    """Items of a job's plan in plan order, from item id `after` on; all states if `state` is ""."""
    raise NotImplementedError
