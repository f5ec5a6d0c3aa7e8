"""penstock copy: URLs and names, options, and where an interrupted copy keeps its state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.test_run import Shop


class OneOff(Shop):
    """The command without a project file."""

    def write(self) -> None:
        """There is nothing to write."""


@pytest.fixture
def command(tmp_path: Path) -> OneOff:
    folder = tmp_path / "here"
    folder.mkdir()
    return OneOff(folder)


def preview(command: Shop, *args: str) -> list[dict[str, object]]:
    """The tables that a copy would read."""
    done = command("copy", *args, "--dry-run", "--json")
    assert done.code == 0, done.err
    tables: list[dict[str, object]] = done.json["jobs"][0]["preview"]["tables"]
    return tables


def test_copy_takes_all_tables_between_two_urls(command: OneOff) -> None:
    done = command("copy", "memory:shop", "memory:dw", "--json")

    assert done.code == 0
    assert done.events[-1]["jobs"][0]["counts"]["rows"] == 13_100
    assert list(command.folder.iterdir()) == [command.folder / ".local"]


def test_state_without_a_project_lies_in_the_users_state_folder(command: OneOff, tmp_path: Path) -> None:
    command("copy", "memory:shop", "memory:dw", "--quiet")
    command("copy", "memory:shop", "memory:dw", "--quiet", XDG_STATE_HOME=str(tmp_path / "state"))

    kept = [list(folder.glob("penstock/copies/*/.penstock/journal.db")) for folder in (
        command.folder / ".local" / "state", tmp_path / "state"
    )]  # fmt: skip
    assert [len(found) for found in kept] == [1, 1]
    assert kept[0][0].parts[-3] == kept[1][0].parts[-3]


def test_an_interrupted_copy_continues_and_a_changed_one_does_not(command: OneOff) -> None:
    broken = "fault+memory:shop?faults=read@3:error%3DDataError&faults_noted=noted"
    first = command("copy", broken, "memory:dw", "--json", "--workers", "1")

    again, other = (
        command("copy", broken, "memory:dw", "--dry-run", "--json", *args).json["jobs"][0]
        for args in ([], ["--table", "items"])
    )

    assert first.code == 1
    assert again["continues"] == first.events[-1]["run_id"]
    assert other["continues"] == ""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--table", "items", "--table", "orders"], {("public.items", "replace"), ("public.orders", "replace")}),
        (["--table", "*", "--table", "!items", "--exclude", "orders"], {("public.customers", "replace")}),
        (["--table", "items", "--mode", "append"], {("public.items", "append")}),
        (["--table", "items", "--mode", "upsert", "--key", "id"], {("public.items", "upsert")}),
    ],
)
def test_options_of_copy_choose_tables_and_mode(
    command: OneOff, args: list[str], expected: set[tuple[str, str]]
) -> None:
    assert {(one["target"], one["mode"]) for one in preview(command, "memory:shop", "memory:dw", *args)} == expected


def test_a_mode_that_needs_a_key_asks_for_it(command: OneOff) -> None:
    done = command("copy", "memory:shop", "memory:dw", "--mode", "upsert")

    assert done.code == 2
    assert "no key" in done.out


def test_a_cursor_reads_a_window(command: OneOff) -> None:
    args = ("--table", "items", "--mode", "append", "--cursor", "updated_at")

    (found,) = preview(command, "memory:shop", "memory:dw", *args)

    assert found["cursor"] == "updated_at"


def test_names_of_a_project_may_stand_for_urls(command: OneOff) -> None:
    (command.folder / "penstock.yml").write_text('version: 1\nconnections: {shop: {url: "memory:${WHICH}"}}\n')

    done = command("copy", "shop", "memory:dw", "--json", "--var", "WHICH=shop", "--quiet")
    unknown = command("copy", "shpo", "memory:dw", WHICH="shop")

    assert done.code == 0
    assert (command.folder / ".penstock" / "journal.db").exists()
    assert (unknown.code, unknown.err) == (
        2,
        'error: source "shpo" is neither a URL nor a connection of the project\n  -> did you mean "shop"?\n',
    )


def test_a_secret_may_come_from_the_environment_and_shows_nowhere(command: OneOff) -> None:
    done = command("copy", "memory://u:${PW}@shop", "memory:dw", "--verbose", PW="hunter2")

    assert done.code != 0 or "memory://u@shop" not in done.err  # an empty store of that name has no tables
    assert "hunter2" not in done.out + done.err
    assert not [path for path in command.folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_a_url_of_an_unknown_scheme_is_an_error(command: OneOff) -> None:
    done = command("copy", "sqlit:x.db", "memory:dw")

    assert done.code == 2
    assert re.search(r'no connector for URLs that begin with "sqlit:".*\n?.*did you mean "sqlite:"\?', done.err)


def test_an_unset_variable_in_a_url_is_an_error(command: OneOff) -> None:
    done = command("copy", "memory:${NOWHERE}", "memory:dw")

    assert (done.code, done.err.splitlines()[0]) == (2, "error: variable NOWHERE is not set")


def test_environment_settings_hold_for_a_copy(command: OneOff) -> None:
    done = command("copy", "memory:shop", "memory:dw", "--dry-run", "--json", PENSTOCK_WORKERS="3")

    assert done.json["jobs"][0]["settings"]["workers"] == 3
