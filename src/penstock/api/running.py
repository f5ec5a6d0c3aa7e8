"""Run and plan: a project's jobs, composed from registry, job kinds and engine."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow

from penstock import __version__
from penstock.api.options import AS_THE_PROJECT_SAYS, RunOptions, overlay
from penstock.api.selection import runnable_jobs
from penstock.connectors import registry
from penstock.core.errors import Missing, PenstockError
from penstock.core.item import Json
from penstock.core.spec import CopySpec, Project, RunSpec
from penstock.engine import run as engine
from penstock.engine.failure import Failure
from penstock.engine.journal import Journal, journal_path
from penstock.engine.outcome import RunOutcome, State
from penstock.engine.run import OnEvent
from penstock.engine.stop import Stop
from penstock.jobs.copy import Choice, CopyJob, CopyOptions

if TYPE_CHECKING:
    from penstock.jobs.copy.preview import CopyPreview

RunResult = RunOutcome

_FINISHED = (State.DONE, State.ABANDONED, State.SKIPPED)


def run(
    project: Project,
    jobs: Sequence[str] = (),
    options: RunOptions = AS_THE_PROJECT_SAYS,
    *,
    on_event: OnEvent | None = None,
    stop: Stop | None = None,
) -> RunResult:
    """Run the named jobs, or all, in dependency order; what an earlier run of the same plan left unfinished is continued.

    A job that fails is no exception but part of the result, whose `exit_code` is that of the command line. `on_event` is
    called in this thread; `stop.request(...)` from any thread ends the run at the next safe point. May be repeated.
    Raises SpecError for a job that does not exist or cannot run here, Locked when another run holds one of the jobs.
    """
    names = runnable_jobs(project, jobs)
    built = [copy_job(project, name, options) for name in names]
    settings = engine.RunOptions(
        fresh=options.fresh,
        timeout_s=options.timeout_s,
        command=" ".join(["run", *names]),
        versions=versions(),
    )
    return engine.execute(built, journal_path(project.root), registry.open_session, settings, stop, on_event)


@dataclass(frozen=True)
class JobPlan:
    """What one job would do. Instead of a `preview` there is an `error`, or, where the job reads what a job before it has
    yet to make, the name of that job in `waits_for`. `settings` are the run settings in force, `connections` how many
    may be open at once of each connection (None: as many as workers need). `continues` is the unfinished run that would be continued, `items_left` what is left of its plan (None: the plan itself is unfinished).
    """

    job: str
    kind: str
    after: tuple[str, ...]
    settings: RunSpec
    connections: Mapping[str, int | None] = field(default_factory=dict)
    preview: CopyPreview | None = None
    continues: str = ""
    items_left: int | None = 0
    waits_for: str = ""
    error: Failure | None = None


@dataclass(frozen=True)
class Plan:
    """What a run would do, job by job in the order in which they would run."""

    jobs: tuple[JobPlan, ...]

    @property
    def exit_code(self) -> int:
        """0, the common code of all that failed, or 1."""
        codes = {job.error.exit_code for job in self.jobs if job.error}
        return codes.pop() if len(codes) == 1 else int(bool(codes))


def plan(project: Project, jobs: Sequence[str] = (), options: RunOptions = AS_THE_PROJECT_SAYS) -> Plan:
    """What `run` with the same arguments would do, with numbers. Opens the connections and writes nothing anywhere.

    What is wrong with one job stands in its part of the plan. Raises SpecError as `run` does. May be repeated.
    """
    names = runnable_jobs(project, jobs)
    return Plan(tuple(_plan_job(project, name, names, options) for name in names))


def _plan_job(project: Project, name: str, names: Sequence[str], options: RunOptions) -> JobPlan:
    from penstock.jobs.copy.preview import preview

    spec = overlay(project.jobs[name], options)
    planned = JobPlan(name, "copy", spec.after, spec.run)
    try:
        job = copy_job(project, name, options)
        planned = replace(planned, connections=_caps(job))
        if not options.fresh:
            planned = _continuing(planned, project, job.plan_hash)
        return replace(planned, preview=preview(job, saved_state(project, name)))
    except Missing as error:
        before = next((other for other in spec.after if other in names), "")
        return replace(planned, waits_for=before) if before else replace(planned, error=Failure.of(error))
    except PenstockError as error:
        return replace(planned, error=Failure.of(error))


def _caps(job: CopyJob) -> dict[str, int | None]:
    """How many connections of each end may be open: the smaller of what the project and the connector allow."""
    found: dict[str, int | None] = {}
    for spec in job.connections.values():
        limits = (spec.max_connections, registry.connector(spec.scheme).limits(spec).get("max_connections"))
        found[spec.name] = min((limit for limit in limits if limit is not None), default=None)
    return found


def _continuing(planned: JobPlan, project: Project, plan_hash: str) -> JobPlan:
    """The plan with the run that it would continue: the job's newest, if it has the same plan and is not finished."""
    file = journal_path(project.root)
    if not file.exists():
        return planned
    from penstock.engine import history

    with Journal.open(file) as journal:
        for line in history.list_runs(journal):
            if planned.job not in line.jobs:
                continue
            job = next(one for one in history.report(journal, line.run_id).jobs if one.job == planned.job)
            left = job.counts.pending + job.counts.running + job.counts.failed
            if job.plan_hash == plan_hash and job.state not in _FINISHED and (left or not job.is_planned):
                return replace(planned, continues=line.run_id, items_left=left if job.is_planned else None)
            return planned
    return planned


def saved_state(project: Project, job: str) -> Mapping[str, Json]:
    """The watermarks that earlier runs saved for a job; {} before the first run. Writes nothing."""
    file = journal_path(project.root)
    if not file.exists():
        return {}
    with Journal.open(file) as journal:
        return journal.state(job)


def copy_job(project: Project, name: str, options: RunOptions) -> CopyJob:
    """A copy job of the project, ready for the engine; opens nothing yet."""
    spec = overlay(project.jobs[name], options)
    assert isinstance(spec, CopySpec)
    chosen = CopyOptions(
        choice=Choice(options.include, options.exclude),
        full_refresh=options.full_refresh,
        accept_schema_changes=options.accept_schema_changes,
    )
    return CopyJob(spec, project, registry.open_session, registry.connector, chosen)


def versions() -> dict[str, str]:
    """What a report says of the programs that made it."""
    return {
        "penstock": __version__,
        "python": platform.python_version(),
        "pyarrow": pyarrow.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def state_folder(project: Project) -> Path:
    """The folder that holds the project's journal."""
    return journal_path(project.root).parent
