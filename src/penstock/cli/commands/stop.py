"""penstock stop: ask a run to stop."""

from __future__ import annotations

import click

from penstock.cli.options import Shared, takes_shared


@click.command("stop", short_help="Ask a run to stop.")
@click.argument("run", required=False, default="")
@click.option("--now", is_flag=True, help="Stop at once instead of at the next safe point.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the run has ended.")
@takes_shared
def command(shared: Shared, run: str, now: bool, no_wait: bool) -> int:
    """Ask a live run (the newest, if none is named) to stop at the next safe point; a second call stops it at once."""
    from penstock import api
    from penstock.cli.render.runs import runs_lines

    with shared.output.working("waiting for the run to stop"):
        line = api.stop(shared.place(), run, now=now, wait_s=0 if no_wait else None)
    shared.output.answer(line, lambda: runs_lines([line], shared.output.paint))
    return 0
