"""penstock status: the runs of a project, or one of them."""

from __future__ import annotations

import click

from penstock.cli.options import Shared, takes_shared


@click.command("status", short_help="Show the project's runs, or follow one.")
@click.argument("run", required=False, default="")
@click.option("--follow", is_flag=True, help="Stay with a live run (the newest, if none is named) until it ends.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many runs to list.")
@takes_shared
def command(shared: Shared, run: str, follow: bool, limit: int) -> int:
    """List runs, newest first, or show one run; RUN is its id or the beginning of it."""
    from penstock import api
    from penstock.cli import following
    from penstock.cli.render.runs import report_lines, runs_lines

    project, output = shared.place(), shared.output
    if follow:
        return following.follow(output, project, run)
    if run:
        report = api.report(project, run)
        output.answer(report, lambda: report_lines(report, output.paint, is_verbose=shared.is_verbose))
    else:
        runs = api.status(project, limit)
        output.answer(runs, lambda: runs_lines(runs, output.paint))
    return 0
