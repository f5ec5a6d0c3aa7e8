"""What the journal holds of one plan: items, groups, counts; reads only, and only what is committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.core.item import Item, Json
from penstock.engine.job import GroupDone
from penstock.engine.journal import ITEMS_PER_PLAN, from_json, to_json
from penstock.engine.outcome import Counts

_LOAD = """
SELECT id, key, kind, stage, group_name, payload, weight, timeout_s, attempts, attempts_since_progress, cursor, rows,
    size_bytes, result
FROM items WHERE id IN (SELECT value FROM json_each(?))"""

# By group and plan order, so that a group can be put on the board whole.
_OPEN = """
SELECT id, group_name, stage, weight, state <> 'pending' FROM items
WHERE id BETWEEN ? AND ? AND state <> 'done' ORDER BY group_name, id"""

# What a group has done below a stage, in plan order so that the merged results do not depend on who was first.
_GROUP_DONE = """
SELECT id, rows, size_bytes, result FROM items
WHERE id BETWEEN ? AND ? AND group_name = ? AND stage < ? AND state = 'done'
UNION ALL
SELECT id, rows, size_bytes, result FROM items
WHERE job_run = ? AND group_name = ? AND parent IS NOT NULL AND NOT id BETWEEN ? AND ? AND stage < ? AND state = 'done'
ORDER BY id"""

# All items of a group, the planned ones and those that were found.
_OF_GROUP = """
(id BETWEEN ? AND ? AND group_name = ? OR job_run = ? AND group_name = ? AND parent IS NOT NULL)"""

_COUNTS = """
SELECT state, count(*), total(rows), total(size_bytes), total(ran_in = ?) FROM items
WHERE id BETWEEN ? AND ? GROUP BY state"""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as loaded from the journal; `cursor` and `result` are JSON texts."""

    item_id: int
    item: Item
    attempts: int
    attempts_since_progress: int
    cursor: str | None
    rows: int
    size_bytes: int
    result: str | None


def span(origin: int) -> tuple[int, int]:
    """The first and the last id that items of a plan may have."""
    return origin * ITEMS_PER_PLAN, (origin + 1) * ITEMS_PER_PLAN - 1


class StoredPlan:
    """The plan of job_run `origin`."""

    def __init__(self, db: sqlite3.Connection, origin: int) -> None:
        self._db = db
        self._origin = origin
        self._span = span(origin)

    def next_id(self) -> int:
        """The id that follows the last item's."""
        last = self._db.execute("SELECT max(id) FROM items WHERE id BETWEEN ? AND ?", self._span).fetchone()[0]
        return self._span[0] if last is None else int(last) + 1

    def load(self, ids: Sequence[int]) -> list[StoredItem]:
        """The items with these ids, in this order."""
        found = {row[0]: _stored(row) for row in self._db.execute(_LOAD, (to_json(list(ids)),))}
        return [found[item_id] for item_id in ids]

    def open_items(self) -> Iterator[tuple[int, str, int, int, bool]]:
        """Id, group, stage and weight of items that are not done, and whether they were given up; by group, plan order."""
        return iter(self._db.execute(_OPEN, self._span))

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that are planned."""
        query = "SELECT key FROM items WHERE job_run = ? AND key IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._db.execute(query, (self._origin, to_json(list(keys))))}

    def has_group(self, group: str) -> bool:
        query = "SELECT 1 FROM groups WHERE job_run = ? AND name = ?"
        return self._db.execute(query, (self._origin, group)).fetchone() is not None

    def facts(self) -> dict[str, Json]:
        """The facts of all planned groups, by group."""
        query = "SELECT name, facts FROM groups WHERE job_run = ? ORDER BY first_item"
        return {name: from_json(facts) for name, facts in self._db.execute(query, (self._origin,))}

    def facts_of(self, group: str) -> Json:
        """The facts of one group; {} for one that was not planned."""
        query = "SELECT facts FROM groups WHERE job_run = ? AND name = ?"
        row = self._db.execute(query, (self._origin, group)).fetchone()
        facts: Json = from_json(row[0]) if row else {}
        return facts

    def group_done(self, group: str, below_stage: int) -> GroupDone:
        """What is done in a group below a stage."""
        query = "SELECT first_item, last_item FROM groups WHERE job_run = ? AND name = ?"
        planned = self._db.execute(query, (self._origin, group)).fetchone()
        low, high = self._span if group == "" or planned is None else planned
        values = (low, high, group, below_stage, self._origin, group, low, high, below_stage)
        items = rows = size_bytes = 0
        results: dict[str, object] = {}
        for _, row_count, size, result in self._db.execute(_GROUP_DONE, values):
            items, rows, size_bytes = items + 1, rows + row_count, size_bytes + size
            results.update(from_json(result))
        return GroupDone(items, rows, size_bytes, results)

    def counts_of(self, group: str) -> Counts:
        """The items of a named group by state."""
        states = {"pending": 0, "running": 0, "done": 0, "failed": 0, "skipped": 0}
        rows = size_bytes = 0
        where, values = self.of_group(group)
        query = f"SELECT state, count(*), total(rows), total(size_bytes) FROM items WHERE {where} GROUP BY state"
        for state, items, row_count, size in self._db.execute(query, values):
            states[state] = items
            rows, size_bytes = rows + int(row_count), size_bytes + int(size)
        return Counts(**states, rows=rows, size_bytes=size_bytes)

    def of_group(self, group: str) -> tuple[str, tuple[object, ...]]:
        """The SQL condition on items that are of a named group, and its values."""
        query = "SELECT first_item, last_item FROM groups WHERE job_run = ? AND name = ?"
        low, high = self._db.execute(query, (self._origin, group)).fetchone() or self._span
        return _OF_GROUP, (low, high, group, self._origin, group)

    def counts(self, job_run: int) -> tuple[Counts, int]:
        """Items by state, and how many of the done ones `job_run` has done."""
        states = {"pending": 0, "running": 0, "done": 0, "failed": 0, "skipped": 0}
        rows = size_bytes = done_here = 0
        for state, items, row_count, size, here in self._db.execute(_COUNTS, (job_run, *self._span)):
            states[state] = items
            rows, size_bytes = rows + int(row_count), size_bytes + int(size)
            done_here = int(here) if state == "done" else done_here
        return Counts(**states, rows=rows, size_bytes=size_bytes), done_here

    def failed_exit_codes(self) -> frozenset[int]:
        """The exit codes of the errors of failed items."""
        query = "SELECT DISTINCT json_extract(error, '$.exit_code') FROM items WHERE job_run = ? AND state = 'failed'"
        return frozenset(int(row[0] or 1) for row in self._db.execute(query, (self._origin,)))


def _stored(row: tuple[object, ...]) -> StoredItem:
    item_id, key, kind, stage, group, payload, weight, timeout_s, attempts, since, cursor, rows, size, result = row
    item = Item(key, kind, stage, group, from_json(payload), weight, timeout_s)  # type: ignore[arg-type]
    return StoredItem(item_id, item, attempts, since, cursor, rows, size, result)  # type: ignore[arg-type]
