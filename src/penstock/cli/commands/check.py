"""penstock check: validate the project and open every connection it names."""

from __future__ import annotations

from dataclasses import replace

import click

from penstock.cli.options import Shared, takes_shared, takes_variables


@click.command("check", short_help="Validate the project and open its connections.")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--offline", is_flag=True, help="Validate the project file only; open no connection.")
@takes_variables
@takes_shared
def command(shared: Shared, jobs: tuple[str, ...], offline: bool, variables: dict[str, str]) -> int:
    """Validate the project, open every connection it names, and say what each can do."""
    from penstock import api
    from penstock.cli.render.checks import check_lines

    read = shared.read(variables)
    with shared.output.working("opening connections"):
        found = replace(api.check(read.project, jobs, offline=offline), warnings=read.warnings)
    paint = shared.output.paint
    shared.output.answer(found, lambda: check_lines(found, paint))
    return found.exit_code
