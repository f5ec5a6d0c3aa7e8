"""penstock plan: what a run would do, with numbers."""

from __future__ import annotations

import click

from penstock.cli.options import Running, Shared, takes_running, takes_shared


@click.command("plan", short_help="Show what a run would do, with numbers.")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@takes_running(full_refresh=True, dry_run=False)
@takes_shared
def command(shared: Shared, running: Running, jobs: tuple[str, ...]) -> int:
    """Show what a run would do: items, rows, bytes, chunks, types, publish statements. Writes nothing."""
    from penstock.cli import working

    return working.show_plan(shared, shared.load(running.variables), jobs, running.options)
