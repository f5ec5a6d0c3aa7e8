"""What the journal of a project tells of its runs: status, report, stop, and the items given up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from penstock.core.errors import Missing, TimedOut
from penstock.core.spec import Project
from penstock.engine import dead_letters, history
from penstock.engine.clock import SYSTEM_CLOCK
from penstock.engine.history import ItemLine, RunLine, RunReport
from penstock.engine.journal import Journal, journal_path
from penstock.engine.run import request_stop
from penstock.jobs.copy.handler import COPY, PUBLISH

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


@dataclass(frozen=True)
class TableResult:
    """What a run did to one target table, and how its rows were proven. None is not known (or not of use in the mode).

    `rows_read` came from the source, `source_count` is the source's own count, `rows_after` the target's. `is_compared`
    says that source and count saw the same moment, so that a difference would have failed the item. `counted_by` says how
    the target counted the load's rows: "scan", or "acknowledged" where it confirmed them part by part.
    """

    job: str
    table: str
    rows_read: int | None = None
    source_count: int | None = None
    rows_before: int | None = None
    rows_inserted: int | None = None
    rows_updated: int | None = None
    rows_deleted: int | None = None
    rows_after: int | None = None
    is_compared: bool = False
    counted_by: str = ""
    how: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """One run: what the journal says of it, and what became of each table."""

    run: RunReport
    tables: tuple[TableResult, ...]


def report(project: Project, run: str = "") -> Report:
    """Everything known of one run, given by its id or a unique beginning of it; of the newest without. Raises Missing."""
    with open_journal(project) as journal:
        found = history.report(journal, run)
        tables = [
            _table_result(item)
            for job in found.jobs
            for item in _items(journal, found.run.run_id, job.job, "done")
            if item.kind in (COPY, PUBLISH)
        ]
        return Report(found, tuple(tables))


@dataclass(frozen=True)
class ItemSpan:
    """When one item ran, for a picture. Times are UTC in ms since 1970; `worker` names where it ran last."""

    job: str
    key: str
    kind: str
    state: str
    worker: str
    started_ms: int
    finished_ms: int
    rows: int


def timeline(project: Project, run: str = "", limit: int = 3000) -> tuple[ItemSpan, ...]:
    """When the items of a run ran, in the order in which they started; of more than `limit` items the longest ones."""
    with open_journal(project) as journal:
        line = history.find_run(journal, run)
        spans = [
            ItemSpan(i.job, i.key, i.kind, i.state, i.worker, i.started_ms, i.finished_ms, i.rows)
            for job in line.jobs
            for i in _items(journal, line.run_id, job, "")
            if i.started_ms is not None and i.finished_ms is not None and i.started_ms >= line.started_ms
        ]
    longest = sorted(spans, key=lambda span: span.started_ms - span.finished_ms)[:limit]
    return tuple(sorted(longest, key=lambda span: (span.started_ms, span.key)))


def _items(journal: Journal, run: str, job: str, state: str) -> Iterator[ItemLine]:
    last = 0
    while page := history.items(journal, run, job, state=state, after=last):
        yield from page
        last = page[-1].item_id + 1


def _table_result(item: ItemLine) -> TableResult:
    result = item.result
    proof = result.get("proof") or {}
    counts = ("rows_before", "rows_inserted", "rows_updated", "rows_deleted", "rows_after")
    return TableResult(
        item.job,
        item.group,
        proof.get("rows_read"),
        proof.get("source_count"),
        **{name: result.get(name) for name in counts},
        is_compared=bool(proof.get("compared")),
        counted_by=str(result.get("counted_by", "")),
        how=str(result.get("how", "")),
        notes=tuple(result.get("notes", ())),
    )


def stop(project: Project, run: str = "", *, now: bool = False, wait_s: float | None = None) -> RunLine:
    """Ask a live run (the newest without an id) to stop at the next safe point; `now`, or a second call, stops it at once.

    Waits until the run has ended, at most `wait_s` seconds; 0 does not wait, None waits without limit. Returns the run as
    it is then. Raises Missing when there is no such live run, TimedOut when it has not ended in time.
    """
    with open_journal(project) as journal:
        found = history.find_run(journal, run)
        run_id = request_stop(journal_path(project.root), found.run_id if run else "", hard=now)
        started = SYSTEM_CLOCK.monotonic()
        line = history.find_run(journal, run_id)
        while line.is_live and wait_s != 0:
            if wait_s is not None and SYSTEM_CLOCK.monotonic() - started > wait_s:
                raise TimedOut(
                    f"run {run_id} has not ended within {wait_s:g} s",
                    "wait longer, or stop it at once with `stop --now`",
                )
            SYSTEM_CLOCK.wait(None, _LOOK_S)
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
