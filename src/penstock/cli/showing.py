"""The course of the demo: load, copy in parallel, copy incrementally, copy again, report."""

from __future__ import annotations

from pathlib import Path

from penstock import api
from penstock.api.project_file.build import LATER_KINDS
from penstock.api.records import timeline
from penstock.cli import config, sample, working
from penstock.cli.options import Shared
from penstock.cli.render.page import write_page
from penstock.cli.render.runs import report_lines

_STEPS = (
    ("airline", "1. CSV files into an operational database (SQLite)"),
    ("lake", "2. the whole database into a lake of Parquet files, in parallel"),
    ("warehouse", "3. flights and weather into a warehouse (DuckDB), incrementally"),
    ("warehouse", "4. the same again: nothing is new; only the rows at the last watermark are looked at once more"),
)


def show_demo(shared: Shared, folder: Path) -> int:
    """Build and run the example in `folder`; returns the exit code of the first step that is not done, or 0."""
    output = shared.output
    sample.prepare(folder)
    output.say(f"made {folder}: 336,776 flights of 2013 with airlines, airports, planes and weather, as CSV files")
    project = config.load_project(folder, environ={})
    for job, title in _STEPS:
        output.say(f"\n{title}")
        code = working.show_run(shared, project, [job], api.RunOptions())
        if code:
            return code
    report = api.report(project)
    if not (output.is_json or output.is_quiet):
        output.line("")
        for line in report_lines(report, output.paint, is_verbose=output.is_verbose):
            output.line(line)
    write_page(folder / "report.html", report, timeline(project, report.run.run.run_id))
    output.say(
        f"\nthe same report as a page: {folder / 'report.html'}\n"
        f"look around: cd {folder}; penstock status; penstock plan; penstock run\n"
        f"not in this version: the job kinds {', '.join(LATER_KINDS)}"
    )
    return 0
