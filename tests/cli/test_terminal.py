"""What is different on a terminal: a moving picture, colour, and questions."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import environment
from tests.cli.test_run import PROGRAM, ROOT, Shop

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Seen:
    """What a command showed on a terminal, and what it wrote to a stdout that is none."""

    code: int
    screen: str
    out: str


def on_terminal(args: list[str], folder: Path, answer: str = "", **variables: str) -> Seen:
    """Run with a terminal as stdin and stderr; `answer` is typed when a question is asked."""
    master, slave = pty.openpty()
    env = environment(folder, **{"TERM": "xterm", "COLUMNS": "120", "LINES": "30", **variables})
    env["PYTHONPATH"] += os.pathsep + str(ROOT)
    with subprocess.Popen(args, cwd=folder, env=env, stdin=slave, stdout=subprocess.PIPE, stderr=slave) as process:
        os.close(slave)
        screen, begun = b"", time.monotonic()
        while time.monotonic() - begun < 300:
            if not select.select([master], [], [], 0.2)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                screen += os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if answer and b"[y/N]" in screen:
                os.write(master, answer.encode())
                answer = ""
        out = process.stdout.read() if process.stdout else b""
    os.close(master)
    return Seen(process.returncode, screen.decode(), out.decode())


Terminal = Callable[..., Seen]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    found = Shop(tmp_path)
    found.connections["shop"]["faults"] = "read x*:slow=0.3"
    found.write()
    return found


@pytest.fixture
def run_on_terminal(shop: Shop) -> Terminal:
    return lambda *args, **variables: on_terminal([sys.executable, str(PROGRAM), *args], shop.folder, **variables)


def test_a_run_on_a_terminal_is_drawn_with_a_line_a_job_and_the_tables_in_work(run_on_terminal: Terminal) -> None:
    seen = run_on_terminal("run", "--workers", "2")

    assert seen.code == 0
    plain = COLOUR.sub("", seen.screen)
    assert re.search(r"raw +━+ +\d+ %  \d+/\d+\+? items  [\d,]+ rows  ", plain)
    assert re.search(r"now: public\.\w+", plain)
    assert "Ctrl-C stops at the next safe point" in plain
    assert "\x1b[2K" in seen.screen  # lines are taken away and drawn anew
    assert seen.out.startswith("run ")
    assert "\x1b" not in seen.out


@pytest.mark.parametrize(
    ("args", "variables"),
    [(["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"}), (["--quiet"], {}), (["--json"], {})],
    ids=["--no-color", "NO_COLOR", "TERM=dumb", "--quiet", "--json"],
)
def test_a_terminal_stays_still_and_without_colour_on_request(
    run_on_terminal: Terminal, args: list[str], variables: dict[str, str]
) -> None:
    seen = run_on_terminal("run", *args, **variables)

    assert seen.code == 0
    assert "\x1b" not in seen.screen


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A project whose source has got a column since the first run, with schema_changes: ask."""
    project = {
        "version": 1,
        "connections": {"a": {"url": "sqlite:a.db"}, "b": {"url": "sqlite:b.db"}},
        "jobs": {
            "raw": {"kind": "copy", "source": "a", "target": "b", "tables": ["t"], "schema_changes": "ask"},
        },
    }
    (tmp_path / "penstock.yml").write_text(json.dumps(project))
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.executescript("create table t (id integer primary key); insert into t values (1), (2)")
    command = [sys.executable, "-m", "penstock", "run"]
    subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=True, capture_output=True)
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.executescript("alter table t add column note text default 'new'")
    return tmp_path


def columns(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "b.db")) as db:
        return [row[1] for row in db.execute("pragma table_info(t)")]


@pytest.mark.parametrize(("answer", "code", "expected"), [("y\n", 0, ["id", "note"]), ("n\n", 1, ["id"])])
def test_a_schema_change_is_asked_for_on_a_terminal(changed: Path, answer: str, code: int, expected: list[str]) -> None:
    seen = on_terminal([sys.executable, "-m", "penstock", "run"], changed, answer)

    assert "note" in seen.screen
    assert "adapt the target? [y/N]" in seen.screen
    assert seen.code == code
    assert columns(changed) == expected


def test_where_nobody_can_be_asked_the_change_is_refused_or_accepted_in_advance(changed: Path) -> None:
    command = [sys.executable, "-m", "penstock", "run"]
    refused, accepted = (
        subprocess.run([*command, *args], cwd=changed, env=environment(changed), capture_output=True, text=True)
        for args in ([], ["--accept-schema-changes"])
    )

    assert refused.returncode == 1
    assert "schema_changes" in refused.stdout
    assert accepted.returncode == 0
    assert columns(changed) == ["id", "note"]
