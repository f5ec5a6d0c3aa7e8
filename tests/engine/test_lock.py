"""Locks: atomic, taken over from the dead only, lost locks end the driver."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import Locked
from penstock.engine.journal import Journal, now_ms
from penstock.engine.lock import Holder, acquire, beat, find_holder, is_dead, release
from penstock.engine.process import ProcessId, is_alive, is_here, this_process
from tests.engine.small_job import Project


@pytest.fixture
def journal(project: Project) -> Iterator[Journal]:
    with Journal.open(project.journal) as journal:
        yield journal


def take(journal: Journal, run_id: str, *names: str) -> list[Holder]:
    with journal.transaction(is_owned=False):
        return acquire(journal, run_id, names)


def pretend(journal: Journal, process: ProcessId, heartbeat_ms: int | None = None) -> None:
    """Make the lock "a" look as if that process held it."""
    journal.db.execute(
        "UPDATE locks SET host = ?, pid = ?, process_start = ?, boot_id = ?, heartbeat_ms = ?",
        (process.host, process.pid, process.started, process.boot, heartbeat_ms or now_ms()),
    )


def process_of(pid: int) -> ProcessId:
    """A process of this machine, read from /proc by other means than the code under test."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return replace(this_process(), pid=pid, started=stat.rpartition(")")[2].split()[19])


@contextmanager
def other_process() -> Iterator[ProcessId]:
    """A live process of this machine that is not this one."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process_of(child.pid)
    finally:
        child.communicate(b"\n")


def test_lock_of_a_live_run_is_refused_with_all_one_needs_to_know(journal: Journal) -> None:
    take(journal, "run-1", "job:a")
    journal.owner = None

    with pytest.raises(Locked) as caught:
        take(journal, "run-2", "job:b", "job:a")

    holder = find_holder(journal.db, "job:a")
    assert holder is not None
    assert caught.value.exit_code == 11
    assert caught.value.what.startswith(
        f"job:a is held by run run-1 on host {this_process().host!r} (pid {os.getpid()}) since 20"
    )
    assert caught.value.hint == ("watch it with: penstock status run-1 --follow; stop it with: penstock stop run-1")


def test_all_locks_or_none(journal: Journal) -> None:
    take(journal, "run-1", "b")
    journal.owner = None

    with pytest.raises(Locked):
        take(journal, "run-2", "a", "b")

    assert find_holder(journal.db, "a") is None


def test_lock_of_a_dead_process_is_taken_over_at_once(journal: Journal) -> None:
    take(journal, "run-1", "a")
    with other_process() as process:
        pretend(journal, process)
        with pytest.raises(Locked):
            take(journal, "run-2", "a")

    taken = take(journal, "run-2", "a")

    assert [holder.run_id for holder in taken] == ["run-1"]
    assert find_holder(journal.db, "a").run_id == "run-2"  # type: ignore[union-attr]


def test_pid_used_again_by_another_process_does_not_hold_the_lock(journal: Journal) -> None:
    take(journal, "run-1", "a")
    pretend(journal, replace(this_process(), started="1"))

    assert take(journal, "run-2", "a")


@pytest.mark.parametrize(
    "elsewhere", [{"host": "another"}, {"boot": "another/pid:[1]"}], ids=["other host", "other boot or container"]
)
def test_lock_from_elsewhere_is_taken_over_only_when_its_heartbeat_is_old(
    journal: Journal, elsewhere: dict[str, str]
) -> None:
    take(journal, "run-1", "a")
    process = replace(this_process(), **elsewhere)
    pretend(journal, process, now_ms() - 55_000)
    with pytest.raises(Locked):
        take(journal, "run-2", "a")

    pretend(journal, process, now_ms() - 61_000)

    assert take(journal, "run-2", "a")


def test_heartbeat_tells_when_the_locks_are_lost(journal: Journal) -> None:
    take(journal, "run-1", "a", "b")
    owner = journal.owner
    assert owner is not None
    assert beat(journal.db, owner)

    journal.db.execute("UPDATE locks SET run = 'run-2' WHERE name = 'b'")

    assert not beat(journal.db, owner)


def test_released_locks_are_free_and_others_stay(journal: Journal) -> None:
    take(journal, "run-1", "a")
    journal.owner = None
    take(journal, "run-2", "b")

    release(journal, "run-2")

    assert find_holder(journal.db, "b") is None
    assert find_holder(journal.db, "a") is not None


def test_this_process_is_alive_and_a_zombie_is_not() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = process_of(child.pid)
    assert is_here(process)
    assert is_alive(process)
    assert is_alive(this_process())

    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not is_alive(process)
    child.communicate()
    assert is_dead(Holder("a", "r", process, 0, now_ms()), now_ms())
