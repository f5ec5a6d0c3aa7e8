"""Around the commands: the project file found, errors shown, exit codes, pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Penstock, environment

EMPTY = "version: 1\n"


def test_without_a_project_the_ways_to_get_one_are_named(penstock: Penstock, tmp_path: Path) -> None:
    done = penstock("run")

    assert done.code == 2
    assert done.out == ""
    assert done.err == (
        f"error: no penstock.yml in {tmp_path} or above it\n"
        "  -> make a project with `penstock init DIR`, or pass --project FILE\n"
    )


def test_the_project_file_is_found_above(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text(EMPTY)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    assert penstock("check", cwd=below).code == 0


@pytest.mark.parametrize("given", ["file", "folder", "variable"])
def test_the_project_file_can_be_named(penstock: Penstock, tmp_path: Path, given: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "penstock.yml").write_text(EMPTY)
    file = str(folder / "penstock.yml")
    args = {"file": ["--project", file], "folder": ["--project", str(folder)], "variable": []}[given]
    variables = {"PENSTOCK_PROJECT": file} if given == "variable" else {}

    done = penstock("check", *args, **variables)

    assert (done.code, done.err) == (0, "")


def test_a_named_project_file_that_is_not_there_is_named(penstock: Penstock) -> None:
    done = penstock("check", "--project", "gone.yml")

    assert (done.code, done.err) == (
        2,
        "error: cannot read gone.yml: No such file or directory\n  -> pass --project FILE\n",
    )


def test_errors_of_the_project_file_show_file_line_and_column(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text("version: 1\njobs:\n  a: {kind: cpy}\n  a: {}\nconections: {}\n")

    done = penstock("plan")

    assert done.code == 2
    assert done.out == ""
    assert done.err == (
        'error: penstock.yml:3:13: jobs.a.kind is "cpy", but must be one of copy, dimension, schema, extract; '
        'did you mean "copy"?\n'
        'penstock.yml:4:3: key "a" stands twice, first in line 3; keep one of them\n'
        'penstock.yml:5:1: unknown key "conections" at the top of the file; did you mean "connections"?\n'
    )


def test_errors_come_as_json_too(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text("version: 3\n")

    done = penstock("plan", "--json")

    assert done.code == 2
    assert done.json == {
        "event": "error",
        "kind": "ProjectErrors",
        "what": "penstock.yml:1:10: version is 3, but this Penstock reads version 1; write version: 1",
        "hint": "",
        "exit_code": 2,
    }
    assert done.err.startswith("error: penstock.yml:1:10: ")


def test_a_variable_comes_from_the_command_line_before_the_environment(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text('version: 1\nconnections:\n  a: {url: "file:./${NAME}"}\n')

    urls = [
        penstock("check", "--offline", "--json", *args, NAME="env").json["connections"][0]["url"]
        for args in ([], ["--var", "NAME=line"])
    ]

    assert urls == ["file:./env", "file:./line"]


def test_a_dot_env_file_is_not_read(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NAME=x\n")
    (tmp_path / "penstock.yml").write_text('version: 1\nconnections:\n  a: {url: "file:./${NAME}"}\n')

    done = penstock("check", "--offline")

    assert done.code == 2
    assert "variable NAME is not set" in done.err


def test_a_password_never_shows(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text(
        'version: 1\nconnections:\n  a: {url: "postgresql://u:hunter2@127.0.0.1:1/d", connect_timeout_s: 1}\n'
    )

    for args in (["check"], ["check", "--json"], ["check", "--verbose"]):
        done = penstock(*args)
        assert done.code == 10
        assert "hunter2" not in done.out + done.err


def test_an_exception_nobody_foresaw_is_one_line_and_a_traceback_on_request(tmp_path: Path) -> None:
    program = (
        "import sys, penstock.cli.commands.connectors as c\n"
        "def fail(**_): raise ZeroDivisionError('by zero')\n"
        "c.command.callback = fail\n"
        "from penstock.cli.main import entry\n"
        "sys.argv = ['penstock', 'connectors', *sys.argv[1:]]\n"
        "entry()\n"
    )

    short, long = (
        subprocess.run(
            [sys.executable, "-c", program, *args], env=environment(tmp_path), capture_output=True, text=True
        )
        for args in ([], ["--verbose"])
    )

    assert (short.returncode, long.returncode) == (1, 1)
    assert short.stderr == (
        "error: ZeroDivisionError: by zero\n"
        "  -> this is a defect of penstock: run with --verbose for the traceback and report it\n"
    )
    assert "Traceback (most recent call last)" in long.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m penstock config-schema | head -1",
        shell=True, env=environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_schema_is_printed_as_json(penstock: Penstock) -> None:
    done = penstock("config-schema")

    assert done.code == 0
    assert json.loads(done.out)["title"] == "penstock.yml"
    assert done.out == penstock("config-schema", "--json").out


def test_output_that_is_no_terminal_has_no_colour(penstock: Penstock) -> None:
    for args in (["connectors"], ["run"], ["--help"]):
        done = penstock(*args, FORCE_COLOR="1")
        assert "\x1b" not in done.out + done.err
