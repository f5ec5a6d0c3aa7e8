"""What the journal forgets: the items of old plans, so that it does not grow without bound."""

from __future__ import annotations

from penstock.engine.journal import Journal
from penstock.engine.stored import span

# Plans of each job whose items, samples and notes are kept; of older ones runs, counts and errors of the jobs remain.
KEPT_PLANS = 30

_SUPERSEDED = """
SELECT DISTINCT origin FROM job_runs WHERE job = ? AND origin IS NOT NULL
    AND EXISTS (SELECT 1 FROM groups WHERE groups.job_run = job_runs.origin)
ORDER BY origin DESC LIMIT -1 OFFSET ?"""


def forget_old_plans(journal: Journal, job: str, kept_plans: int = KEPT_PLANS) -> int:
    """Remove what the oldest plans of a job hold beyond the newest `kept_plans`; returns how many plans that were.

    For the run that holds the job's lock, once the job is done: what can still be continued is always the newest plan.
    """
    origins = [row[0] for row in journal.db.execute(_SUPERSEDED, (job, kept_plans))]
    for origin in origins:
        with journal.transaction() as db:
            runs = "(SELECT id FROM job_runs WHERE origin = ?)"
            db.execute("DELETE FROM items WHERE id BETWEEN ? AND ?", span(origin))
            db.execute(f"DELETE FROM samples WHERE job_run IN {runs}", (origin,))
            db.execute(f"DELETE FROM notes WHERE job_run IN {runs}", (origin,))
            db.execute("DELETE FROM groups WHERE job_run = ?", (origin,))
    return len(origins)
