"""Locks of a run, kept in the journal: who may run a job and write a target, and who took over from the dead."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from penstock.core.errors import Locked
from penstock.engine.journal import Journal, Owner, now_ms
from penstock.engine.process import ProcessId, is_alive, is_here, this_process

HEARTBEAT_S = 5.0

# A holder on another machine counts as dead after this long without a heartbeat: twelve missed ones.
STALE_S = 60.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. Times are UTC in ms since 1970."""

    name: str
    run_id: str
    process: ProcessId
    acquired_ms: int
    heartbeat_ms: int


def job_lock(job: str) -> str:
    """The name of the lock that every run of a job takes."""
    return f"job:{job}"


def acquire(journal: Journal, run_id: str, names: Sequence[str]) -> list[Holder]:
    """Take all locks for a run of this process, or none; inside the caller's transaction, which makes it atomic.

    Locks whose holder is dead are taken over; the answer tells from whom. Raises Locked when a live run holds one.
    """
    db, process, at = journal.db, this_process(), now_ms()
    taken_over = []
    for name in names:
        holder = find_holder(db, name)
        if holder is not None and holder.run_id != run_id:
            if not is_dead(holder, at):
                raise _locked(holder)
            taken_over.append(holder)
        values = (name, run_id, process.host, process.pid, process.started, process.boot, at, at)
        db.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    journal.owner = Owner(run_id, len(set(names)))
    return taken_over


def refuse_live(db: sqlite3.Connection, name: str) -> None:
    """Raises Locked when a live run holds the lock."""
    holder = find_holder(db, name)
    if holder is not None and not is_dead(holder, now_ms()):
        raise _locked(holder)


def find_holder(db: sqlite3.Connection, name: str) -> Holder | None:
    """Who holds a lock, dead or alive."""
    query = """
        SELECT name, run, host, pid, process_start, boot_id, acquired_ms, heartbeat_ms FROM locks WHERE name = ?"""
    row = db.execute(query, (name,)).fetchone()
    return Holder(row[0], row[1], ProcessId(*row[2:6]), row[6], row[7]) if row else None


def is_dead(holder: Holder, at_ms: int) -> bool:
    """Whether a holder will never write again: its process is gone, or, elsewhere, its heartbeat is old.

    Equal host names prove nothing (containers), so a host that was started anew counts as elsewhere.
    """
    if is_here(holder.process):
        return not is_alive(holder.process)
    return at_ms - holder.heartbeat_ms > STALE_S * 1000


def beat(db: sqlite3.Connection, owner: Owner) -> bool:
    """Renew the heartbeat of a run's locks. False when it no longer holds all of them."""
    found = db.execute("UPDATE locks SET heartbeat_ms = ? WHERE run = ?", (now_ms(), owner.run_id)).rowcount
    return found == owner.locks


def release(journal: Journal, run_id: str) -> None:
    """Give up whatever locks the run still holds; inside the caller's transaction. May be repeated."""
    journal.owner = None
    journal.db.execute("DELETE FROM locks WHERE run = ?", (run_id,))


def _locked(holder: Holder) -> Locked:
    since = datetime.fromtimestamp(holder.acquired_ms / 1000, UTC)
    return Locked(
        f"{holder.name} is held by run {holder.run_id} on host {holder.process.host!r} "
        f"(pid {holder.process.pid}) since {since:%Y-%m-%d %H:%M:%S} UTC",
        f"watch it with: penstock status {holder.run_id} --follow; stop it with: penstock stop {holder.run_id}",
    )
