"""penstock copy: one copy, without a project file."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli.options import Pairs, Running, Shared, takes_running, takes_shared


@click.command("copy", short_help="Copy once, without a project file.")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="PATTERN",
    help='Tables to copy, such as "public.*"; ! in front excludes. All, if neither table nor query is given.',
)
@click.option(
    "--query",
    "queries",
    type=Pairs(),
    multiple=True,
    metavar="NAME=SQL",
    help="Copy what a query of the source gives to the table NAME. May be repeated.",
)
@click.option(
    "--mode",
    type=click.Choice(["replace", "append", "upsert", "delete_insert", "insert_only"]),
    help="What the load does to the target table.  [default: replace]",
)
@click.option("--key", multiple=True, metavar="COLUMN", help="Column of the key. May be repeated.")
@click.option("--cursor", metavar="COLUMN", help="Read only rows above the last watermark of this column.")
@takes_running(full_refresh=True, dry_run=True)
@takes_shared
def command(shared: Shared, running: Running, source: str, target: str, **settings: Any) -> int:
    """Copy tables from SOURCE to TARGET: URLs, or names of connections of the project.

    The same command again continues where an interrupted copy ended.
    """
    from penstock.api.copying import one_off_project
    from penstock.cli import config, working

    within = config.one_off(shared.project_file, running.variables)
    given = {name: value for name, value in settings.items() if value}
    given = {name: dict(value) if name == "queries" else value for name, value in given.items()}
    keys = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    ends = [config.expanded(text, running.variables) for text in (source, target)]
    project = one_off_project(ends[0], ends[1], keys, within)
    if running.is_dry_run:
        return working.show_plan(shared, project, (), running.options)
    return working.show_run(shared, project, (), running.options)
