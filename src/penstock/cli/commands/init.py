"""penstock init: a project that runs at once."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.options import Shared, takes_shared


@click.command("init", short_help="Make a project that runs at once.")
@click.argument("folder", metavar="DIR")
@takes_shared
def command(shared: Shared, folder: str) -> int:
    """Make a project in DIR: penstock.yml and a small SQLite database to copy from. Overwrites nothing."""
    from penstock.cli.example import write_example

    made = write_example(Path(folder))
    shared.output.answer(
        {"folder": str(made.folder), "files": [str(file) for file in made.files]},
        lambda: [
            f"made {', '.join(file.name for file in made.files)} in {made.folder}",
            "",
            "try it:",
            f"  cd {made.folder}",
            "  penstock check     opens the connections",
            "  penstock plan      says what would be done",
            "  penstock run       does it",
        ],
    )
    return 0
