"""penstock import: projects of other tools as projects of Penstock."""

from __future__ import annotations

import click

from penstock.cli.options import Shared, takes_shared


@click.group("import", short_help="Make a project from one of another tool.")
def command() -> None:
    """Make a project from one of another tool."""


@command.command("hygge", short_help="Read a project of hygge and write penstock.yml.")
@click.argument("folder", metavar="DIR")
@click.option("--force", is_flag=True, help="Replace a project file that is there.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Show the project file and write nothing.")
@takes_shared
def hygge(shared: Shared, folder: str, force: bool, is_dry_run: bool) -> int:
    """Read the hygge project in DIR (hygge.yml and its flows) and write a penstock.yml that does what its author meant.

    The file says, as comments, where that differs from what hygge did, what has no counterpart, and what to decide. It is
    written into DIR, or where --project says. Nothing else is changed.
    """
    from penstock.api.hygge.convert import import_hygge, write_import
    from penstock.cli import config
    from penstock.cli.render.imports import import_lines

    made = import_hygge(folder, config.file_to_write(shared.project_file))
    if not is_dry_run:
        write_import(made, force=force)
    shared.output.answer(made, lambda: import_lines(made, shared.output.paint, is_written=not is_dry_run))
    return made.exit_code
