"""Dead letters: items given up after their last attempt, with cause and payload; listed, shown, retried, cleared."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import Missing
from penstock.engine.history import ITEM, ItemLine, item_line
from penstock.engine.journal import Journal, to_json
from penstock.engine.lock import job_lock, refuse_live

# The items that failed in the newest plan of each job; what failed in older plans nobody can take up any more.
_FAILED = f"""{ITEM}
WHERE i.state = 'failed' AND i.job_run IN (
    SELECT origin FROM job_runs WHERE id IN (SELECT max(id) FROM job_runs WHERE origin IS NOT NULL GROUP BY job)
) AND ? IN ('', r.job)"""


def list_failed(journal: Journal, job: str = "", limit: int = 1000) -> list[ItemLine]:
    """Failed items of the newest plan of each job (or of one job), oldest first."""
    return [item_line(row) for row in journal.db.execute(f"{_FAILED} ORDER BY i.id LIMIT ?", (job, limit))]


def show_failed(journal: Journal, item_id: int) -> ItemLine:
    """One failed item with payload, cursor, error and traceback. Raises Missing."""
    row = journal.db.execute(f"{_FAILED} AND i.id = ?", ("", item_id)).fetchone()
    if row is None:
        raise Missing(f"there is no failed item {item_id}", "list them with: penstock failed list")
    return item_line(row)


def retry_failed(journal: Journal, job: str = "", item_ids: Sequence[int] = ()) -> int:
    """Make failed items pending, so that the next run takes them with fresh attempts; all of the job (of all jobs) if no
    ids are given. Returns how many. Raises Locked while a live run holds one of the jobs, Missing for an unknown id."""
    return _update(journal, job, item_ids, "state = 'pending', error = NULL, attempts_since_progress = 0")


def clear_failed(journal: Journal, job: str = "", item_ids: Sequence[int] = ()) -> int:
    """Give failed items up for good: they are skipped and no later run of the same plan takes them. Otherwise as retry."""
    return _update(journal, job, item_ids, "state = 'skipped'")


def _update(journal: Journal, job: str, item_ids: Sequence[int], change: str) -> int:
    with journal.transaction() as db:
        chosen = [show_failed(journal, item_id) for item_id in item_ids]
        if not item_ids:
            chosen = [item_line(row) for row in db.execute(_FAILED, (job,))]
        for name in {item.job for item in chosen}:
            refuse_live(db, job_lock(name))
        ids = to_json([item.item_id for item in chosen])
        db.execute(f"UPDATE items SET {change} WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    return len(chosen)
