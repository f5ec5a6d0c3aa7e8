"""The items of one plan in the journal: planned in groups, loaded page by page, changed in group commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from penstock.core.errors import Defect
from penstock.core.item import Item, Json, PlannedGroup
from penstock.engine.job import GroupDone, StateChange
from penstock.engine.journal import ITEMS_PER_PLAN, Journal, from_json, now_ms, to_json
from penstock.engine.outcome import Counts

# An item's id, stage and weight: all the board needs of it.
Member = tuple[int, int, int]

_INSERT_ITEM = """
INSERT INTO items (id, job_run, key, kind, stage, group_name, payload, weight, timeout_s, parent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

# A group's lots ("" only) share one row; the facts of the last lot that has any stay.
_INSERT_GROUP = """
INSERT INTO groups (job_run, name, facts, first_item, last_item, planned_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (job_run, name) DO UPDATE SET
    last_item = excluded.last_item, facts = CASE excluded.facts WHEN '{}' THEN facts ELSE excluded.facts END"""

_UPDATE_ITEM = """
UPDATE items SET state = ?, attempts = ?, attempts_since_progress = ?, cursor = ?, rows = ?, size_bytes = ?, result = ?,
    error = ?, started_ms = ?, finished_ms = ?, worker = ?, ran_in = ?
WHERE id = ?"""

_LOAD = """
SELECT id, key, kind, stage, group_name, payload, weight, timeout_s, attempts, attempts_since_progress, cursor, rows,
    size_bytes, result
FROM items WHERE id IN (SELECT value FROM json_each(?))"""

# What a group has done below a stage, in plan order so that the merged results do not depend on who was first.
_GROUP_DONE = """
SELECT id, rows, size_bytes, result FROM items
WHERE id BETWEEN ? AND ? AND group_name = ? AND stage < ? AND state = 'done'
UNION ALL
SELECT id, rows, size_bytes, result FROM items
WHERE job_run = ? AND group_name = ? AND parent IS NOT NULL AND NOT id BETWEEN ? AND ? AND stage < ? AND state = 'done'
ORDER BY id"""

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


@dataclass(frozen=True, slots=True)
class ItemChange:
    """The whole changeable part of an item; the last change before a commit is the one that is written."""

    state: str
    attempts: int
    attempts_since_progress: int
    cursor: str | None
    rows: int
    size_bytes: int
    result: str | None
    error: str | None
    started_ms: int | None
    finished_ms: int | None
    worker: str


class Items:
    """The items of the plan `origin`, changed by `job_run` of run `run_id`. Driver thread only.

    Changes are buffered until `flush`, which commits all of them in one transaction: an item's change together with its
    StateChanges, notes and samples. Groups and found items are committed at once, with everything buffered before.
    """

    def __init__(self, journal: Journal, run_id: str, job: str, *, job_run: int, origin: int) -> None:
        self._journal = journal
        self._run_id = run_id
        self._job = job
        self._job_run = job_run
        self._origin = origin
        self._first = origin * ITEMS_PER_PLAN
        self._range = (self._first, self._first + ITEMS_PER_PLAN - 1)
        last = journal.db.execute("SELECT max(id) FROM items WHERE id BETWEEN ? AND ?", self._range).fetchone()[0]
        self._next_id = self._first if last is None else last + 1
        self._changes: dict[int, ItemChange] = {}
        self._states: list[StateChange] = []
        self._notes: list[tuple[str, int, int | None, str, str, int]] = []
        self._samples: list[tuple[int | float, ...]] = []
        self._counts = "{}"

    @property
    def is_dirty(self) -> bool:
        return bool(self._changes or self._notes or self._samples or self._states)

    def plan(self, group: PlannedGroup, *, again: bool) -> list[Member]:
        """Commit a group with its items. With `again`, items of group "" that are planned already are left out.

        Raises Defect for a key or a named group that occurs twice.
        """
        items: Sequence[Item] = group.items
        strange = next((item for item in items if item.group != group.group), None)
        if strange is not None:
            raise self._defect(f"item {strange.key!r} of group {strange.group!r} came with group {group.group!r}")
        if group.group == "":
            items = self._without_known(items) if again else items
            if not items and not group.facts:
                return []
        elif self._knows_group(group.group):
            raise self._defect(f"group {group.group!r} was planned twice")
        try:
            with self._journal.transaction() as db:
                self._write(db)
                members = self._insert(db, items, None)
                span = (members[0][0], members[-1][0]) if members else (self._next_id, self._next_id - 1)
                db.execute(_INSERT_GROUP, (self._origin, group.group, to_json(dict(group.facts)), *span, now_ms()))
        except sqlite3.IntegrityError as error:
            raise self._defect(f"key {self._repeated(items)!r} was planned twice") from error
        return self._committed(members)

    def find(self, parent_id: int, items: Sequence[Item]) -> dict[str, list[Member]]:
        """Commit items that a running item found, with everything buffered so far; those known already are left out.

        The answer is by group. A group that nobody planned is planned hereby.
        """
        items = self._without_known(items)
        by_group: dict[str, list[Member]] = {}
        members: list[Member] = []
        with self._journal.transaction() as db:
            self._write(db)
            for group in dict.fromkeys(item.group for item in items):
                of_group = [item for item in items if item.group == group]
                by_group[group] = self._insert(db, of_group, parent_id, offset=len(members))
                members += by_group[group]
                if group and not self._knows_group(group):
                    db.execute(_INSERT_GROUP, (self._origin, group, "{}", members[-1][0] + 1, members[-1][0], now_ms()))
        self._committed(members)
        return by_group

    def knows_group(self, group: str) -> bool:
        return group == "" or self._knows_group(group)

    def _knows_group(self, group: str) -> bool:
        query = "SELECT 1 FROM groups WHERE job_run = ? AND name = ?"
        return self._journal.db.execute(query, (self._origin, group)).fetchone() is not None

    def _without_known(self, items: Sequence[Item]) -> list[Item]:
        query = "SELECT key FROM items WHERE job_run = ? AND key IN (SELECT value FROM json_each(?))"
        known = {row[0] for row in self._journal.db.execute(query, (self._origin, to_json([i.key for i in items])))}
        fresh = {item.key: item for item in items if item.key not in known}
        return list(fresh.values())

    def _insert(
        self, db: sqlite3.Connection, items: Sequence[Item], parent: int | None, offset: int = 0
    ) -> list[Member]:
        first = self._next_id + offset
        if first + len(items) > self._range[1]:
            raise self._defect(f"the plan has more than {ITEMS_PER_PLAN} items")
        db.executemany(
            _INSERT_ITEM,
            (
                (
                    number,
                    self._origin,
                    i.key,
                    i.kind,
                    i.stage,
                    i.group,
                    to_json(i.payload),
                    i.weight,
                    i.timeout_s,
                    parent,
                )
                for number, i in enumerate(items, first)
            ),
        )
        return [(number, item.stage, item.weight) for number, item in enumerate(items, first)]

    def _committed(self, members: list[Member]) -> list[Member]:
        self._next_id += len(members)
        self._clear()
        return members

    def _repeated(self, items: Sequence[Item]) -> str:
        seen: set[str] = set()
        for item in items:
            if item.key in seen:
                return item.key
            seen.add(item.key)
        fresh = {item.key for item in self._without_known(items)}
        return next((item.key for item in items if item.key not in fresh), "")

    def _defect(self, what: str) -> Defect:
        return Defect(f"plan of job {self._job!r}: {what}", "keys and groups of a plan must be unique; report this")

    def load(self, ids: Sequence[int]) -> list[StoredItem]:
        """The items with these ids, in this order; buffered changes of them are committed first."""
        if not self._changes.keys().isdisjoint(ids):
            self.flush()
        found = {row[0]: _stored(row) for row in self._journal.db.execute(_LOAD, (to_json(list(ids)),))}
        return [found[item_id] for item_id in ids]

    def open_items(self) -> Iterator[tuple[int, str, int, int, bool]]:
        """Id, group, stage and weight of items that are not done, and whether they were given up; by group, plan order."""
        query = """
            SELECT id, group_name, stage, weight, state <> 'pending' FROM items
            WHERE id BETWEEN ? AND ? AND state <> 'done' ORDER BY group_name, id"""
        return iter(self._journal.db.execute(query, self._range))

    def facts(self) -> dict[str, Json]:
        """The facts of all planned groups, by group."""
        query = "SELECT name, facts FROM groups WHERE job_run = ? ORDER BY first_item"
        return {name: from_json(facts) for name, facts in self._journal.db.execute(query, (self._origin,))}

    def facts_of(self, group: str) -> Json:
        query = "SELECT facts FROM groups WHERE job_run = ? AND name = ?"
        row = self._journal.db.execute(query, (self._origin, group)).fetchone()
        facts: Json = from_json(row[0]) if row else {}
        return facts

    def group_done(self, group: str, below_stage: int) -> GroupDone:
        """What is done in a group below a stage; buffered changes are committed first."""
        self.flush()
        query = "SELECT first_item, last_item FROM groups WHERE job_run = ? AND name = ?"
        span = self._journal.db.execute(query, (self._origin, group)).fetchone()
        low, high = self._range if group == "" or span is None else span
        values = (low, high, group, below_stage, self._origin, group, low, high, below_stage)
        items = rows = size_bytes = 0
        results: dict[str, object] = {}
        for _, row_count, size, result in self._journal.db.execute(_GROUP_DONE, values):
            items, rows, size_bytes = items + 1, rows + row_count, size_bytes + size
            results.update(from_json(result))
        return GroupDone(items, rows, size_bytes, results)

    def counts(self) -> tuple[Counts, int]:
        """Items by state, as committed, and how many of the done ones this job_run has done."""
        states = {"pending": 0, "running": 0, "done": 0, "failed": 0, "skipped": 0}
        rows = size_bytes = done_here = 0
        for state, items, row_count, size, here in self._journal.db.execute(_COUNTS, (self._job_run, *self._range)):
            states[state] = items
            rows, size_bytes = rows + int(row_count), size_bytes + int(size)
            done_here = int(here) if state == "done" else done_here
        return Counts(**states, rows=rows, size_bytes=size_bytes), done_here

    def failed_exit_codes(self) -> frozenset[int]:
        """The exit codes of the errors of failed items."""
        query = "SELECT DISTINCT json_extract(error, '$.exit_code') FROM items WHERE job_run = ? AND state = 'failed'"
        return frozenset(int(row[0] or 1) for row in self._journal.db.execute(query, (self._origin,)))

    def change(self, item_id: int, change: ItemChange) -> None:
        self._changes[item_id] = change

    def save(self, changes: Iterable[StateChange]) -> None:
        self._states += changes

    def note(self, kind: str, text: str, item_id: int | None = None) -> None:
        self._notes.append((self._run_id, self._job_run, item_id, kind, text, now_ms()))

    def sample(self, counts: Counts, *, retries: int, wait_s: float, rss_bytes: int) -> None:
        """Note how the job stands; other processes read it here."""
        at = (self._job_run, now_ms(), counts.done, counts.failed, counts.rows, counts.size_bytes, counts.running)
        self._samples.append((*at, retries, wait_s, rss_bytes))
        self._counts = to_json(asdict(counts))

    def plan_complete(self) -> None:
        """Commit that the plan was made to its end."""
        with self._journal.transaction() as db:
            db.execute("UPDATE job_runs SET is_planned = 1 WHERE id IN (?, ?)", (self._job_run, self._origin))

    def keep_snapshot(self, shared: Mapping[str, str]) -> None:
        """Commit what readers share, for the report."""
        with self._journal.transaction() as db:
            db.execute("UPDATE job_runs SET snapshot = ? WHERE id = ?", (to_json(dict(shared)), self._job_run))

    def skip_pending(self) -> int:
        """Mark what can never become ready as skipped; returns how many."""
        self.flush()
        with self._journal.transaction() as db:
            query = "UPDATE items SET state = 'skipped' WHERE id BETWEEN ? AND ? AND state = 'pending'"
            return db.execute(query, self._range).rowcount

    def flush(self) -> None:
        """Commit everything buffered. Raises Locked when the run no longer holds its locks."""
        if not self.is_dirty:
            return
        with self._journal.transaction() as db:
            self._write(db)
        self._clear()

    def _write(self, db: sqlite3.Connection) -> None:
        if self._changes:
            db.executemany(_UPDATE_ITEM, (_values(change, self._job_run, i) for i, change in self._changes.items()))
        if self._states:
            self._write_states(db)
        if self._notes:
            db.executemany(
                "INSERT INTO notes (run, job_run, item, kind, text, at_ms) VALUES (?,?,?,?,?,?)", self._notes
            )
        if self._samples:
            db.executemany("INSERT OR REPLACE INTO samples VALUES (?,?,?,?,?,?,?,?,?,?)", self._samples)
            db.execute("UPDATE job_runs SET counts = ? WHERE id = ?", (self._counts, self._job_run))

    def _write_states(self, db: sqlite3.Connection) -> None:
        for change in self._states:
            if change.value is None:
                db.execute("DELETE FROM state WHERE job = ? AND key = ?", (self._job, change.key))
            else:
                values = (self._job, change.key, to_json(dict(change.value)), self._run_id, now_ms())
                db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?)", values)

    def _clear(self) -> None:
        self._changes.clear()
        self._states.clear()
        self._notes.clear()
        self._samples.clear()


def _stored(row: tuple[object, ...]) -> StoredItem:
    item_id, key, kind, stage, group, payload, weight, timeout_s, attempts, since, cursor, rows, size, result = row
    item = Item(key, kind, stage, group, from_json(payload), weight, timeout_s)  # type: ignore[arg-type]
    return StoredItem(item_id, item, attempts, since, cursor, rows, size, result)  # type: ignore[arg-type]


def _values(change: ItemChange, job_run: int, item_id: int) -> tuple[object, ...]:
    return (
        change.state,
        change.attempts,
        change.attempts_since_progress,
        change.cursor,
        change.rows,
        change.size_bytes,
        change.result,
        change.error,
        change.started_ms,
        change.finished_ms,
        change.worker,
        job_run,
        item_id,
    )
