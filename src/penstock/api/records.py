"""What the journal of a project tells of its runs: status, report, stop, and the items given up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from penstock.core.errors import Missing, TimedOut
from penstock.core.spec import Project
from penstock.engine import dead_letters, history
from penstock.engine.history import ItemLine, RunLine, RunReport
from penstock.engine.journal import Journal, journal_path
from penstock.engine.run import request_stop

# How often a wait looks into the journal: often enough for a person, rare enough for the run that writes it.
_LOOK_S = 0.2


@contextmanager
def open_journal(project: Project) -> Iterator[Journal]:
    """The project's journal. Raises Missing before the first run: asking must not make one."""
    file = journal_path(project.root)
    if not file.exists():
        raise Missing(f"no run has been made yet in {project.root}", "start one with `penstock run`")
    with Journal.open(file) as journal:
        yield journal


def status(project: Project, limit: int = 20) -> list[RunLine]:
    """The project's runs, newest first; none before the first run."""
    if not journal_path(project.root).exists():
        return []
    with open_journal(project) as journal:
        return history.list_runs(journal, limit)


def report(project: Project, run: str = "") -> RunReport:
    """Everything known of one run, given by its id or a unique beginning of it; of the newest without. Raises Missing."""
    with open_journal(project) as journal:
        return history.report(journal, run)


def stop(project: Project, run: str = "", *, now: bool = False, wait_s: float | None = None) -> RunLine:
    """Ask a live run (the newest without an id) to stop at the next safe point; `now`, or a second call, stops it at once.

    Waits until the run has ended, at most `wait_s` seconds; 0 does not wait, None waits without limit. Returns the run as
    it is then. Raises Missing when there is no such live run, TimedOut when it has not ended in time.
    """
    with open_journal(project) as journal:
        found = history.find_run(journal, run)
        run_id = request_stop(journal_path(project.root), found.run_id if run else "", hard=now)
        started = time.monotonic()
        line = history.find_run(journal, run_id)
        while line.is_live and wait_s != 0:
            if wait_s is not None and time.monotonic() - started > wait_s:
                raise TimedOut(
                    f"run {run_id} has not ended within {wait_s:g} s",
                    "wait longer, or stop it at once with `stop --now`",
                )
            time.sleep(_LOOK_S)
            line = history.find_run(journal, run_id)
        return line


def failed_items(project: Project, job: str = "") -> list[ItemLine]:
    """Items given up in the newest plan of each job, or of one job; none before the first run."""
    if not journal_path(project.root).exists():
        return []
    with open_journal(project) as journal:
        return dead_letters.list_failed(journal, job)


def failed_item(project: Project, item_id: int) -> ItemLine:
    """One failed item with payload, cursor, error and traceback. Raises Missing."""
    with open_journal(project) as journal:
        return dead_letters.show_failed(journal, item_id)


def retry_failed(project: Project, job: str = "", item_ids: Sequence[int] = ()) -> int:
    """Let the next run take failed items again, all without ids; returns how many. Raises Locked during a live run."""
    with open_journal(project) as journal:
        return dead_letters.retry_failed(journal, job, item_ids)


def clear_failed(project: Project, job: str = "", item_ids: Sequence[int] = ()) -> int:
    """Give failed items up for good, all without ids; returns how many. Raises Locked during a live run."""
    with open_journal(project) as journal:
        return dead_letters.clear_failed(journal, job, item_ids)
