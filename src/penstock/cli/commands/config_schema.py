"""penstock config-schema: the JSON schema of penstock.yml."""

from __future__ import annotations

import json

import click

from penstock.cli.options import Common, takes_common


@click.command("config-schema", short_help="Print the JSON schema of penstock.yml.")
@takes_common
def command(common: Common) -> int:
    """Print the JSON schema of penstock.yml, for editors and checks."""
    from penstock.api.project_file.json_schema import project_schema

    schema = project_schema()
    common.output.answer(schema, lambda: [json.dumps(schema, indent=2, ensure_ascii=False)])
    return 0
