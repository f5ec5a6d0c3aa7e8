"""penstock connectors: what each connector can do."""

from __future__ import annotations

import click

from penstock.cli.options import Shared, takes_shared


@click.command("connectors", short_help="Show what each connector can do.")
@takes_shared
def command(shared: Shared) -> int:
    """Show what each connector can do, those of other packages too; --verbose adds their options."""
    from penstock import api
    from penstock.cli.render.checks import connector_lines

    found = api.list_connectors()
    paint = shared.output.paint
    shared.output.answer(found, lambda: connector_lines(found, paint, is_verbose=shared.is_verbose))
    return 0
