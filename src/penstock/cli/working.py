"""What commands that plan or run have in shared: call the API, show how it goes, show how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from penstock import api
from penstock.api import RunOptions
from penstock.cli.options import Shared
from penstock.cli.render import plans, runs
from penstock.cli.render.output import to_json
from penstock.cli.render.progress import shown
from penstock.core.spec import Project
from penstock.engine.signals import stop_on_signals
from penstock.engine.stop import Stop


def show_plan(shared: Shared, project: Project, jobs: Sequence[str], options: RunOptions) -> int:
    """Plan and show; returns the exit code."""
    with shared.output.working("reading catalogs"):
        found = api.plan(project, jobs, options)
    paint = shared.output.paint
    shared.output.answer(found, lambda: plans.plan_lines(found, paint, is_verbose=shared.is_verbose))
    return found.exit_code


def show_run(shared: Shared, project: Project, jobs: Sequence[str], options: RunOptions) -> int:
    """Run and show; returns the exit code."""
    output, stop = shared.output, Stop()
    with stop_on_signals(stop), shown(output, stop) as take:
        outcome = api.run(project, jobs, options, on_event=take, stop=stop)
    report = api.report(project, outcome.run_id)
    if output.is_json:
        output.event({"event": "summary", **to_json(outcome), "tables": report.tables})
    elif not (output.is_quiet and outcome.exit_code == 0):
        for line in runs.summary_lines(outcome, report, output.paint):
            output.line(line)
    return outcome.exit_code
