"""What commands that plan or run have in shared: call the API, show how it goes, show how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock import api
from penstock.api import RunOptions
from penstock.cli import collecting
from penstock.cli.options import Shared
from penstock.cli.render.output import to_json
from penstock.cli.render.progress import shown
from penstock.core.errors import SchemaChanged
from penstock.core.spec import CopySpec, JobSpec, Project
from penstock.engine.signals import stop_on_signals
from penstock.engine.stop import Stop


def show_plan(shared: Shared, project: Project, jobs: Sequence[str], options: RunOptions) -> int:
    """Plan and show; returns the exit code."""
    from penstock.cli.render import plans

    collecting.resume()
    with shared.output.working("reading catalogs"):
        found = api.plan(project, jobs, options)
    paint = shared.output.paint
    shared.output.answer(found, lambda: plans.plan_lines(found, paint, is_verbose=shared.is_verbose))
    return found.exit_code


def show_run(shared: Shared, project: Project, jobs: Sequence[str], options: RunOptions) -> int:
    """Run and show; returns the exit code."""
    output, stop = shared.output, Stop()
    options = _with_answer(shared, project, jobs, options)
    collecting.resume()
    with stop_on_signals(stop), shown(output, stop) as take:
        outcome = api.run(project, jobs, options, on_event=take, stop=stop)
    if output.is_json:
        tables = api.report(project, outcome.run_id).tables
        output.event({"event": "summary", **to_json(outcome), "tables": tables})
    elif not (output.is_quiet and outcome.exit_code == 0):
        from penstock.cli.render import runs

        report = api.report(project, outcome.run_id)
        for line in runs.summary_lines(outcome, report, output.paint):
            output.line(line)
    return outcome.exit_code


def _with_answer(shared: Shared, project: Project, jobs: Sequence[str], options: RunOptions) -> RunOptions:
    """The options, with consent to schema changes if a job asks for it and the person at the terminal gives it.

    Elsewhere nobody can be asked, and the run fails as the policy says.
    """
    if options.accept_schema_changes or not shared.output.can_ask or not any(map(_asks, project.jobs.values())):
        return options
    found = api.plan(project, jobs, options)
    changed = [job.error for job in found.jobs if job.error and job.error.kind == SchemaChanged.__name__]
    for error in changed:
        shared.output.say(str(error))
    if changed and shared.output.ask("adapt the target?"):
        return replace(options, accept_schema_changes=True)
    return options


def _asks(job: JobSpec) -> bool:
    """Whether a job has schema_changes: ask anywhere."""
    if not isinstance(job, CopySpec):
        return False
    policies = [settings.get("schema_changes") or {} for settings in (job.settings, *job.overrides.values())]
    return any("ask" in policy.values() for policy in policies)
