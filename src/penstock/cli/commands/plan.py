"""penstock plan: what a run would do, with numbers."""

from __future__ import annotations

import click

from penstock.cli.options import Common, Running, takes_common, takes_running


@click.command("plan", short_help="Show what a run would do, with numbers.")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@takes_running(full_refresh=True, dry_run=False)
@takes_common
def command(common: Common, running: Running, jobs: tuple[str, ...]) -> int:
    """Show what a run would do: items, rows, bytes, chunks, types, publish statements. Writes nothing."""
    from penstock.cli import working

    return working.show_plan(common, common.load(running.variables), jobs, running.options)
