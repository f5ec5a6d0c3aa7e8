"""Where a job begins: with a new plan, or with what an earlier run of the same plan left unfinished."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from penstock.engine.job import Job
from penstock.engine.journal import Journal, now_ms
from penstock.engine.outcome import State
from penstock.engine.stored import span

_UNFINISHED = (State.RUNNING, State.KILLED, State.STOPPED)

_LATEST = """
SELECT id, run, state, plan_hash, origin, is_planned FROM job_runs
WHERE job = ? AND origin IS NOT NULL ORDER BY id DESC LIMIT 1"""

# What ran when the driver died, what failed, and what was skipped because of that is open again; what failed begins to
# count its attempts anew, and an attempt that died with the driver does not count. Items that were cleared are skipped with an error and stay so.
_REOPEN = """
UPDATE items SET
    attempts_since_progress = CASE state
        WHEN 'failed' THEN 0 WHEN 'running' THEN max(attempts_since_progress - 1, 0) ELSE attempts_since_progress END,
    state = 'pending', error = NULL, finished_ms = NULL
WHERE id BETWEEN ? AND ? AND (state IN ('running', 'failed') OR state = 'skipped' AND error IS NULL)"""

_HAS_OPEN = "SELECT 1 FROM items WHERE id BETWEEN ? AND ? AND state IN ('pending', 'running', 'failed') LIMIT 1"


@dataclass(frozen=True)
class Begun:
    """A job_run that has begun. Groups and items are filed under `origin`; `plan_id` is the run that began the plan.

    `resumed_from` is the run that is continued, "" for a new plan.
    """

    job_run: int
    origin: int
    plan_id: str
    is_planned: bool
    resumed_from: str


class _Earlier(NamedTuple):
    id: int
    run: str
    state: str
    plan_hash: str
    origin: int
    is_planned: int


def begin_job(journal: Journal, run_id: str, job: Job, *, fresh: bool) -> Begun:
    """Open a job_run in one transaction; the caller holds the job's lock.

    An earlier one of the same plan hash is continued unless it ended and nothing of it is left to do. One of another
    hash, or any with `fresh`, is never continued: if it was unfinished, it is closed as abandoned.
    """
    with journal.transaction() as db:
        row = db.execute(_LATEST, (job.name,)).fetchone()
        earlier = _Earlier(*row) if row else None
        if earlier is not None and earlier.state == State.RUNNING:
            earlier = _close_killed(db, earlier)
        continues = earlier is not None and not fresh and _can_continue(db, earlier, job.plan_hash)
        if earlier is not None and not continues and earlier.state in _UNFINISHED:
            _abandon(db, run_id, earlier, "the run was started with --fresh" if fresh else "the job's settings changed")
        begun = _insert(db, run_id, job, earlier if continues else None)
        if continues:
            reopened = db.execute(_REOPEN, span(begun.origin)).rowcount
            _note(
                db, run_id, begun.job_run, "resume", f"continues run {begun.resumed_from}, items reopened: {reopened}"
            )
    return begun


def record_unrun(journal: Journal, run_id: str, job: Job, state: State, reason: str) -> None:
    """Note a job of the run that did not begin, and why."""
    journal.db.execute(
        "INSERT INTO job_runs (run, job, kind, plan_hash, state, reason, started_ms, finished_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (run_id, job.name, job.kind, "", state, reason, now_ms(), now_ms()),
    )


def _can_continue(db: sqlite3.Connection, earlier: _Earlier, plan_hash: str) -> bool:
    if earlier.state in (State.DONE, State.ABANDONED) or earlier.plan_hash != plan_hash:
        return False
    # Killed after its last item but before it could say so: going on finds nothing to do, beginning anew would do all twice.
    if earlier.state in _UNFINISHED:
        return True
    return not earlier.is_planned or db.execute(_HAS_OPEN, span(earlier.origin)).fetchone() is not None


def _close_killed(db: sqlite3.Connection, earlier: _Earlier) -> _Earlier:
    """The lock is ours, so whoever was running this job is dead: say so in its rows."""
    ended = "coalesce((SELECT max(at_ms) FROM samples WHERE job_run = job_runs.id), started_ms)"
    update = f"UPDATE job_runs SET state = ?, finished_ms = {ended} WHERE id = ?"
    db.execute(update, (State.KILLED, earlier.id))
    db.execute(
        "UPDATE runs SET state = ?, finished_ms = (SELECT max(finished_ms) FROM job_runs WHERE run = runs.id) "
        "WHERE id = ? AND state = ?",
        (State.KILLED, earlier.run, State.RUNNING),
    )
    return earlier._replace(state=State.KILLED)


def _abandon(db: sqlite3.Connection, run_id: str, earlier: _Earlier, why: str) -> None:
    db.execute("UPDATE job_runs SET state = ? WHERE id = ?", (State.ABANDONED, earlier.id))
    _note(db, run_id, earlier.id, "abandoned", f"the unfinished plan of run {earlier.run} was abandoned: {why}")


def _insert(db: sqlite3.Connection, run_id: str, job: Job, earlier: _Earlier | None) -> Begun:
    job_run = db.execute(
        "INSERT INTO job_runs (run, job, kind, plan_hash, state, is_planned, resumed_from, started_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run_id,
            job.name,
            job.kind,
            job.plan_hash,
            State.RUNNING,
            earlier.is_planned if earlier else 0,
            earlier.id if earlier else None,
            now_ms(),
        ),
    ).lastrowid
    assert job_run is not None
    origin = earlier.origin if earlier else job_run
    db.execute("UPDATE job_runs SET origin = ? WHERE id = ?", (origin, job_run))
    plan_id = db.execute("SELECT run FROM job_runs WHERE id = ?", (origin,)).fetchone()[0]
    return Begun(job_run, origin, plan_id, bool(earlier and earlier.is_planned), earlier.run if earlier else "")


def _note(db: sqlite3.Connection, run_id: str, job_run: int, kind: str, text: str) -> None:
    values = (run_id, job_run, kind, text, now_ms())
    db.execute("INSERT INTO notes (run, job_run, kind, text, at_ms) VALUES (?, ?, ?, ?, ?)", values)
