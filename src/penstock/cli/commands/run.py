"""penstock run: run jobs in dependency order, and say how it ended."""

from __future__ import annotations

import click

from penstock.cli.options import Running, Shared, takes_running, takes_shared


@click.command("run", short_help="Run jobs in dependency order.")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@takes_running(full_refresh=True, dry_run=True)
@takes_shared
def command(shared: Shared, running: Running, jobs: tuple[str, ...]) -> int:
    """Run jobs in dependency order: all, if none is named.

    An interrupted run of the same plan is continued by itself. Ctrl-C stops at the next safe point, a second one at once.
    """
    from penstock.cli import working

    project = shared.load(running.variables)
    if running.is_dry_run:
        return working.show_plan(shared, project, jobs, running.options)
    return working.show_run(shared, project, jobs, running.options)
