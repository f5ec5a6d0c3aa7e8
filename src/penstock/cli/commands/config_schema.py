"""penstock config-schema: the JSON schema of penstock.yml."""

from __future__ import annotations

import json

import click

from penstock.cli.options import Shared, takes_shared


@click.command("config-schema", short_help="Print the JSON schema of penstock.yml.")
@takes_shared
def command(shared: Shared) -> int:
    """Print the JSON schema of penstock.yml, for editors and checks."""
    from penstock.api.project_file.json_schema import project_schema

    schema = project_schema()
    shared.output.answer(schema, lambda: [json.dumps(schema, indent=2, ensure_ascii=False)])
    return 0
