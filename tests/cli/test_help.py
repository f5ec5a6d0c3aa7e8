"""Every command helps, every option is explained, and asking for help costs next to nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from penstock.cli.main import COMMANDS, cli
from tests.cli.conftest import Penstock, environment

ALL = {"project_file", "is_json", "is_quiet", "is_verbose", "no_color"}
RUNNING = {"workers", "executor", "fresh", "include", "exclude", "max_errors", "timeout_s", "variables"}


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            else:
                yield (*path, name), command


EVERY = dict(commands())


def test_the_contract_of_this_version_is_whole() -> None:
    assert {path[0] for path in EVERY} == set(COMMANDS) == {
        "init", "demo", "check", "plan", "run", "copy", "status", "report", "stop", "failed", "connectors", "config-schema",
        "import",
    }  # fmt: skip
    assert {path[1] for path in EVERY if path[0] == "failed"} == {"list", "show", "retry", "clear"}


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_of_every_command_is_explained(path: tuple[str, ...]) -> None:
    command = EVERY[path]

    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{' '.join(path)} {option.opts}"
            assert option.help.rstrip("]").endswith(".") or "default" in option.help, option.help


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_takes_the_options_that_all_have(path: tuple[str, ...]) -> None:
    assert {option.name for option in EVERY[path].params} >= ALL


@pytest.mark.parametrize("name", ["run", "plan", "copy"])
def test_working_commands_share_their_options(name: str) -> None:
    assert {option.name for option in EVERY[name,].params} >= RUNNING


def test_help_of_the_program_names_every_command_and_the_exit_codes(penstock: Penstock) -> None:
    done = penstock("--help")

    assert done.code == 0
    assert done.err == ""
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", done.out, re.MULTILINE)
    for code in (0, 1, 2, 3, 10, 11, 12, 130):
        assert re.search(rf"\b{code}\b", done.out)


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_names_every_option(penstock: Penstock, path: tuple[str, ...]) -> None:
    if path[0] not in ("run", "failed", "init"):  # the others differ in nothing that a subprocess would show
        help_text = EVERY[path].get_help(click.Context(EVERY[path], info_name=" ".join(path)))
    else:
        done = penstock(*path, "--help")
        assert done.code == 0
        help_text = done.out

    for option in EVERY[path].params:
        if isinstance(option, click.Option):
            assert option.opts[-1] in help_text


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "penstock", "--help"],
        env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert imported & {"pyarrow", "polars", "ruamel", "rich", "duckdb", "psycopg", "sqlite3"} == set()


def test_help_costs_less_than_a_third_of_a_second() -> None:
    """CPU time, the best of three, so that a busy machine does not decide."""
    costs = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "--help"], env=environment(Path.home()), stdout=subprocess.DEVNULL
        )
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = code
        costs.append(usage.ru_utime + usage.ru_stime)

    assert min(costs) < 0.3


def test_version_is_shown(penstock: Penstock) -> None:
    done = penstock("--version")

    assert re.fullmatch(r"penstock \d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("rnu",), "error: no such command 'rnu'"),
        (("run", "--worker", "2"), "error: no such option '--worker'"),
        (
            ("run", "--workers", "0"),
            'error: invalid value for \'--workers\': "0" must be "auto" or a whole number from 1',
        ),
        (
            ("run", "--max-errors", "many"),
            "error: invalid value for '--max-errors': \"many\" must be a whole number from 0",
        ),
        (("run", "--timeout", "soon"), "error: invalid value for '--timeout': \"soon\" must be a number of seconds"),
        (("run", "--var", "day"), "error: invalid value for '--var': 'day' is not of the form name=value"),
        (("run", "--executor", "dask"), "error: invalid value for '--executor': 'dask' is not one of"),
        (("copy", "sqlite:a.db"), "error: missing argument 'TARGET'"),
        (("stop", "a", "b"), "error: got unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_2_and_says_where_the_help_is(
    penstock: Penstock, args: tuple[str, ...], message: str
) -> None:
    done = penstock(*args)

    assert done.code == 2
    assert done.out == ""
    first, *_, last = done.err.splitlines()
    assert first.startswith(message)
    assert re.fullmatch(r"  -> penstock( \w+)? --help", last)


def test_no_arguments_shows_the_help(penstock: Penstock) -> None:
    done = penstock()

    assert done.code == 2
    assert "Usage: penstock" in done.err
