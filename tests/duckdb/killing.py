"""Killing a load at any moment, and what must hold afterwards; the same for both embedded databases."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.core.load import Expected, Mode
from tests.duckdb.killed_load import PARTS, ROWS, load_named, part
from tests.duckdb.loading import load_of, load_whole, opened, spec_of, table_of

ROOT = Path(__file__).parents[2]
WHOLE = PARTS * ROWS


@contextmanager
def child(url: str, folder: Path, load_id: str, mode: Mode) -> Iterator[subprocess.Popen[str]]:
    """The loading program; killed at the end however far it is."""
    command = [sys.executable, "-m", "tests.duckdb.killed_load", url, str(folder), load_id, mode.value]
    started = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.close()
        started.stdout.close()


def wait_for(started: subprocess.Popen[str], word: str) -> None:
    assert started.stdout is not None
    for line in started.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the load ended without saying {word!r}")


def go_on(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def fill(url: str, folder: Path) -> None:
    """The table with version 1 of every row."""
    with opened(spec_of(url, folder)) as session:
        load = load_of("t", part(0, 1).schema, key=("id",))
        load_whole(session, load, *(part(number, 1) for number in range(PARTS)))


def versions(url: str, folder: Path) -> dict[int, int]:
    """How many rows of each version the table holds; every id must be there once."""
    with opened(spec_of(url, folder)) as session:
        table = table_of(session, "t")
    ids = table["id"].to_pylist()
    assert len(ids) == len(set(ids))
    found: dict[int, int] = {}
    for version in table["version"].to_pylist():
        found[version] = found.get(version, 0) + 1
    return found


def killed_while_publishing(url: str, folder: Path, load_id: str, mode: Mode, delay_s: float) -> None:
    with child(url, folder, load_id, mode) as started:
        wait_for(started, "prepared")
        go_on(started)
        wait_for(started, "publishing")
        time.sleep(delay_s)  # the moment of the kill is what varies; whichever it is must do


def finish(url: str, folder: Path, load_id: str, mode: Mode) -> list[bool]:
    """Do the whole load again; tells which of its calls found their work done: every part, then the publish."""
    load = load_named(load_id, mode.value)
    with opened(spec_of(url, folder)) as session:
        writer = session.writer()
        writer.prepare(load)
        done = [
            writer.write(load, f"{number:06d}", iter(part(number, 2).to_batches(5000))).again for number in range(PARTS)
        ]
        return [*done, writer.publish(load, Expected(PARTS, WHOLE)).again]
