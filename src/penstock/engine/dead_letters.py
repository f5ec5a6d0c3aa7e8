"""Dead letters: items given up after their last attempt, with cause and payload; listed, shown, retried, cleared."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.engine.history import ItemLine
from penstock.engine.journal import Journal


def list_failed(journal: Journal, job: str = "", limit: int = 1000) -> list[ItemLine]:
    """Failed items of the newest plan of each job (or of one job), oldest first."""
    raise NotImplementedError


def show_failed(journal: Journal, item_id: int) -> ItemLine:
    """One failed item with payload, cursor, error and traceback. Raises Missing."""
    raise NotImplementedError


def retry_failed(journal: Journal, job: str = "", item_ids: Sequence[int] = ()) -> int:
    """Make failed items pending, so that the next run takes them with fresh attempts; all of the job (of all jobs) if no
    ids are given. Returns how many. Raises Locked while a live run holds one of the jobs, Missing for an unknown id."""
    raise NotImplementedError


def clear_failed(journal: Journal, job: str = "", item_ids: Sequence[int] = ()) -> int:
    """Give failed items up for good: they are skipped and no later run of the same plan takes them. Otherwise as retry."""
    raise NotImplementedError
