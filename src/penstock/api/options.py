"""How one call differs from what the project says: the choices that run, plan and copy share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from penstock.core.spec import JobSpec, MaxErrors


@dataclass(frozen=True)
class RunOptions:
    """None leaves what the project says.

    `workers` is a number (1 is sequential) or "auto". `fresh` does not continue an interrupted run; `full_refresh`
    ignores watermarks and loads incremental tables anew. `include` and `exclude` are table patterns that narrow the
    jobs' own. `accept_schema_changes` answers every schema_changes "ask" with yes. `timeout_s` limits each job and the
    run as a whole, in seconds.
    """

    workers: int | Literal["auto"] | None = None
    executor: str | None = None
    fresh: bool = False
    full_refresh: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_errors: MaxErrors | None = None
    timeout_s: float | None = None
    accept_schema_changes: bool = False


AS_THE_PROJECT_SAYS = RunOptions()


def overlay(job: JobSpec, options: RunOptions) -> JobSpec:
    """The job with the run settings that `options` gives: they win over environment, job and defaults."""
    run = job.run
    if options.workers is not None:
        run = replace(run, workers=None if options.workers == "auto" else options.workers)
    if options.executor is not None:
        run = replace(run, executor=options.executor)
    if options.max_errors is not None:
        run = replace(run, max_errors=options.max_errors)
    if options.timeout_s is not None:
        run = replace(run, timeout_s=options.timeout_s)
    return replace(job, run=run)
