"""penstock report: what happened in a run, as text, JSON or a page."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.options import Shared, takes_shared


@click.command("report", short_help="Show what happened in a run.")
@click.argument("run", required=False, default="")
@click.option("--html", "html_file", metavar="FILE", help="Write a page that needs nothing else to be shown.")
@takes_shared
def command(shared: Shared, run: str, html_file: str | None) -> int:
    """Show what happened in a run (the newest, if none is named): stages, rates, waits, errors, memory, proof of counts."""
    from penstock import api
    from penstock.api.records import timeline
    from penstock.cli.render.page import write_page
    from penstock.cli.render.runs import report_lines

    project = shared.place()
    report = api.report(project, run)
    if html_file:
        write_page(Path(html_file), report, timeline(project, report.run.run.run_id))
        shared.output.say(f"wrote {html_file}")
        return 0
    output = shared.output
    output.answer(report, lambda: report_lines(report, output.paint, is_verbose=shared.is_verbose))
    return 0
