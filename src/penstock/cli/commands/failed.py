"""penstock failed: items that were given up: list, show, retry, clear."""

from __future__ import annotations

import click

from penstock.cli.options import Shared, takes_shared

_JOB = click.option("--job", default="", metavar="JOB", help="Only items of this job.")
_IDS = click.argument("ids", nargs=-1, type=int, metavar="[ID]...")


@click.group("failed", short_help="List, show, retry or clear items that were given up.")
def command() -> None:
    """Items that were given up after their last attempt: list, show, retry or clear them."""


@command.command("list", short_help="List failed items.")
@_JOB
@takes_shared
def list_failed(shared: Shared, job: str) -> int:
    """List failed items of the newest plan of each job."""
    from penstock import api
    from penstock.cli.render.runs import failed_lines

    items = api.failed_items(shared.place(), job)
    shared.output.answer(items, lambda: failed_lines(items, shared.output.paint))
    return 0


@command.command("show", short_help="Show one failed item whole.")
@click.argument("item_id", type=int, metavar="ID")
@takes_shared
def show_failed(shared: Shared, item_id: int) -> int:
    """Show one failed item whole: payload, cursor, error."""
    from penstock import api
    from penstock.cli.render.runs import failed_item_lines

    item = api.failed_item(shared.place(), item_id)
    shared.output.answer(item, lambda: failed_item_lines(item, shared.output.paint))
    return 0


@command.command("retry", short_help="Let the next run take them again.")
@_IDS
@_JOB
@takes_shared
def retry(shared: Shared, ids: tuple[int, ...], job: str) -> int:
    """Let the next run take failed items again with fresh attempts: those named, or all."""
    from penstock import api
    from penstock.cli.render.numbers import plural

    count = api.retry_failed(shared.place(), job, ids)
    shared.output.answer(
        {"retried": count}, lambda: [f"the next `penstock run` takes them again: {plural(count, 'failed item')}"]
    )
    return 0


@command.command("clear", short_help="Give them up for good.")
@_IDS
@_JOB
@takes_shared
def clear(shared: Shared, ids: tuple[int, ...], job: str) -> int:
    """Give failed items up for good: those named, or all."""
    from penstock import api
    from penstock.cli.render.numbers import plural

    count = api.clear_failed(shared.place(), job, ids)
    shared.output.answer({"cleared": count}, lambda: [f"given up: {plural(count, 'failed item')}"])
    return 0
