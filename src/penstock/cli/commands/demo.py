"""penstock demo: a small real example, built and run."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.options import Shared, takes_shared


@click.command("demo", short_help="Build and run a small real example.")
@click.option("--dir", "folder", metavar="DIR", default="demo", show_default=True, help="Where to build the example.")
@takes_shared
def command(shared: Shared, folder: str) -> int:
    """Build a small real example and run it on embedded parts: CSV, SQLite, Parquet and DuckDB; ends with the report."""
    from penstock.cli.showing import show_demo

    return show_demo(shared, Path(folder))
