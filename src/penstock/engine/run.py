"""One run: jobs in order, under locks, with a journal, to an outcome that follows from what the journal says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.engine.job import Job, OpenSession
from penstock.engine.outcome import RunOutcome
from penstock.engine.progress import RunEvent
from penstock.engine.stop import Stop

OnEvent = Callable[[RunEvent], None]


@dataclass(frozen=True)
class RunOptions:
    """How this execution differs from what its jobs say; None leaves a job's own setting.

    `fresh` abandons unfinished earlier runs of the jobs. `timeout_s` limits the whole run (a job's own RunSpec.timeout_s
    limits that job). `grace_s` is what a soft stop by time-out gets before the hard one. `command` is a summary for the
    list of runs, without argument values; `versions` go into the report.
    """

    workers: int | None = None
    executor: str | None = None
    fresh: bool = False
    timeout_s: float | None = None
    grace_s: float = 10.0
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def execute(
    jobs: Sequence[Job],
    journal_file: Path,
    open_session: OpenSession,
    options: RunOptions = RunOptions(),
    stop: Stop | None = None,
    on_event: OnEvent | None = None,
) -> RunOutcome:
    """Run `jobs`, one after the other in the given order (a job stands behind those in its `after`).

    Continues by itself what an earlier run of the same plan left unfinished. Job.close() is called for each job, also for
    those that did not start. `on_event` is called in this thread. A failed job is no exception but an outcome; raises
    Locked (nothing was changed) when another live run holds one of the jobs or locks, SpecError for a wrong option.
    """
    raise NotImplementedError


def request_stop(journal_file: Path, run_id: str = "", *, hard: bool = False) -> str:
    """Ask a live run (the newest without id) to stop; the second request, or `hard`, stops at once. Seen within 0.5 s.

    Returns the run's id. Raises Missing when there is no such run or it has ended.
    """
    raise NotImplementedError
