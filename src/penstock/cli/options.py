"""Options that commands share, and the values they become."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from penstock.api import RunOptions
    from penstock.api.project_file.build import ReadProject
    from penstock.cli.render.output import Output
    from penstock.core.spec import Project

Function = Callable[..., Any]


@dataclass(frozen=True)
class Shared:
    """What every command takes."""

    project_file: str | None
    is_json: bool
    is_quiet: bool
    is_verbose: bool
    no_color: bool
    output: Output

    def read(self, variables: dict[str, str] | None = None) -> ReadProject:
        """The project file, with its warnings."""
        from penstock.cli import config

        return config.read(self.project_file, variables)

    def load(self, variables: dict[str, str] | None = None) -> Project:
        """The project."""
        return self.read(variables).project

    def place(self) -> Project:
        """The project's folder alone: enough to look into its journal, even while its file is broken."""
        from penstock.cli import config

        return config.place(self.project_file)


@dataclass(frozen=True)
class Running:
    """What commands that plan or run take."""

    options: RunOptions
    variables: dict[str, str]
    is_dry_run: bool


class Pairs(click.ParamType[Any]):
    """name=value"""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, mark, text = str(value).partition("=")
        if not mark or not name.isidentifier():
            self.fail(f"{value!r} is not of the form name=value", param, ctx)
        return name, text


class Unit(click.ParamType[Any]):
    """A value that one of the project file's unit functions reads."""

    def __init__(self, function: str, name: str) -> None:
        self.function = function
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from penstock.api.project_file import units

        try:
            return getattr(units, self.function)(value)
        except ValueError as error:
            self.fail(f'"{value}" {error}', param, ctx)


class Workers(Unit):
    """auto, or a number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx) or "auto"


_SHARED = (
    click.option("--project", "project_file", metavar="FILE", help="Project file, or the folder it is in. [default: the "
                 "nearest penstock.yml, from here upwards]"),
    click.option("--json", "is_json", is_flag=True, help="Results as JSON on stdout."),
    click.option("--quiet", "is_quiet", is_flag=True, help="Nothing but results and errors."),
    click.option("--verbose", "is_verbose", is_flag=True, help="More detail; a traceback for defects."),
    click.option("--no-color", "no_color", is_flag=True, help="No colour and no moving output (as with NO_COLOR set)."),
)  # fmt: skip
_VAR = click.option("--var", "variables", type=Pairs(), multiple=True, metavar="NAME=VALUE",
                    help="Value for ${NAME} in the project file; goes before the environment. May be repeated.")  # fmt: skip
_CHOOSING = (
    click.option("--workers", type=Workers("workers", "workers"), metavar="N",
                 help="Workers side by side: a number (1 is sequential) or auto."),
    click.option("--executor", type=click.Choice(["threads", "processes", "serial"]), help="Where workers live: threads, processes, or serial (one, in the driver itself)."),
    click.option("--fresh", is_flag=True, help="Do not continue an interrupted run."),
    click.option("--include", multiple=True, metavar="PATTERN", help="Only these tables of the jobs. May be repeated."),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Not these tables. May be repeated."),
    click.option("--max-errors", type=Unit("max_errors", "max-errors"), metavar="N|N%",
                 help="How many items may fail before the run stops."),
    click.option("--timeout", "timeout_s", type=Unit("positive_seconds", "timeout"), metavar="S",
                 help='Longest time, in seconds or as "10 minutes"; then the run stops and can be continued.'),
    click.option("--accept-schema-changes", is_flag=True, help="Answer every schema_changes: ask with yes."),
)  # fmt: skip
_FULL_REFRESH = click.option("--full-refresh", is_flag=True, help="Ignore watermarks; load incremental tables anew.")
_DRY_RUN = click.option("--dry-run", "is_dry_run", is_flag=True, help="Show the plan and change nothing.")


def takes_shared(function: Function) -> Function:
    """Give a command the options that all have, as one argument `shared`."""

    @functools.wraps(function)
    def wrapped(**values: Any) -> Any:
        from penstock.cli.render.output import Output

        given = {name: values.pop(name) for name in ("project_file", "is_json", "is_quiet", "is_verbose", "no_color")}
        output = Output(
            is_json=given["is_json"],
            is_quiet=given["is_quiet"],
            is_verbose=given["is_verbose"],
            is_plain=given["no_color"],
        )
        click.get_current_context().obj.output = output
        return function(shared=Shared(**given, output=output), **values)

    return _with(wrapped, _SHARED)


def takes_variables(function: Function) -> Function:
    """Give a command --var, as a mapping `variables`."""

    @functools.wraps(function)
    def wrapped(variables: tuple[tuple[str, str], ...], **values: Any) -> Any:
        return function(variables=dict(variables), **values)

    return _VAR(wrapped)


def takes_running(*, full_refresh: bool, dry_run: bool) -> Callable[[Function], Function]:
    """Give a command the options of planning and running, as one argument `running`."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapped(variables: dict[str, str], **values: Any) -> Any:
            from penstock.api.options import RunOptions

            is_dry_run = values.pop("is_dry_run", False)
            names = ("workers", "executor", "fresh", "include", "exclude", "max_errors", "timeout_s")
            chosen = {name: values.pop(name) for name in (*names, "accept_schema_changes")}
            options = RunOptions(**chosen, full_refresh=values.pop("full_refresh", False))
            return function(running=Running(options, variables, is_dry_run), **values)

        extra = (*((_FULL_REFRESH,) if full_refresh else ()), *((_DRY_RUN,) if dry_run else ()))
        return _with(takes_variables(wrapped), (*_CHOOSING, *extra))

    return decorate


def _with(function: Function, options: tuple[Callable[[Function], Function], ...]) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
