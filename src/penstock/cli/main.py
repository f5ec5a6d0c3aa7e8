"""The command tree, and the one place where an outcome or an error becomes an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from types import TracebackType
from typing import Any

import click

from penstock import __version__
from penstock.cli import collecting
from penstock.cli.config import choose_allocator
from penstock.core.errors import PenstockError

# In the order of the help text. A command is the attribute `command` of the module of its name.
COMMANDS = (
    "init",
    "demo",
    "check",
    "plan",
    "run",
    "copy",
    "status",
    "report",
    "stop",
    "failed",
    "connectors",
    "config-schema",
    "import",
)


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"penstock.cli.commands.{_module(cmd_name)}")
        found: click.Command = module.command
        return found


def _module(command: str) -> str:
    """A command's module: its name, with _ behind a word that Python keeps for itself."""
    name = command.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


@click.group(
    cls=LazyGroup,
    help="Move tables out of systems and into others, in parallel, resumable and proven.",
    epilog="""\b
Exit codes:
    0  done                    10  a connection could not be opened
    1  failed                  11  another run holds the job
    2  wrong usage or file     12  credentials refused
    3  some items failed      130  stopped by request

`penstock COMMAND --help` explains a command.""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="penstock", message="%(prog)s %(version)s")
def cli() -> None:
    """The group itself does nothing."""


class Shell:
    """What one call of the command shares: the output that its options ask for, once they are known."""

    def __init__(self) -> None:
        self._output: Any = None
        self.is_verbose = "--verbose" in sys.argv

    @property
    def output(self) -> Any:
        if self._output is None:
            from penstock.cli.render.output import Output

            self._output = Output()
        return self._output

    @output.setter
    def output(self, output: Any) -> None:
        self._output = output


def run(args: Sequence[str], shell: Shell) -> int:
    """Run one command line and return its exit code; an error that is no PenstockError is a defect and passes through."""
    try:
        code = cli.main(args=list(args), prog_name="penstock", standalone_mode=False, obj=shell)
        sys.stdout.flush()
    except click.Abort:
        return 130
    except click.ClickException as error:
        shell.output.usage_error(error)
        return error.exit_code
    except PenstockError as error:
        shell.output.failure(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return int(code or 0)


def entry() -> None:
    """The program `penstock`."""
    collecting.pause()
    choose_allocator()
    shell = Shell()

    def unknown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if shell.is_verbose:
            sys.__excepthook__(kind, error, trace)
        else:
            shell.output.defect(error)

    sys.excepthook = unknown
    try:
        code = run(sys.argv[1:], shell)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    # The work is over and its exit code stands: a late Ctrl-C must not replace it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)
