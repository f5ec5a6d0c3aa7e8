"""The items of one plan on their way into the journal: planned in groups, changed in group commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from penstock.core.errors import Defect
from penstock.core.item import Item, PlannedGroup
from penstock.engine.job import GroupDone, StateChange
from penstock.engine.journal import ITEMS_PER_PLAN, Journal, now_ms, to_json
from penstock.engine.outcome import Counts
from penstock.engine.stored import StoredItem, StoredPlan, span

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
    `stored` reads what is committed.
    """

    def __init__(self, journal: Journal, run_id: str, job: str, *, job_run: int, origin: int) -> None:
        self.stored = StoredPlan(journal.db, origin)
        self._journal = journal
        self._run_id = run_id
        self._job = job
        self._job_run = job_run
        self._origin = origin
        self._next_id = self.stored.next_id()
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
        self._check_members(group)
        if group.group == "":
            items = self._without_known(items) if again else items
            if not items and not group.facts:
                return []
        elif self.stored.has_group(group.group):
            raise self._defect(f"group {group.group!r} was planned twice")
        try:
            with self._journal.transaction() as db:
                self._write(db)
                members = self._insert_group(db, group, items)
        except sqlite3.IntegrityError as error:
            raise self._defect(f"key {self._repeated(items)!r} was planned twice") from error
        self._committed(members)
        return members

    def plan_anew(self, group: PlannedGroup) -> list[Member]:
        """Commit new items of a named group in the place of all it has, found ones included, whatever their state. Nothing
        of the group may be in flight. Raises Defect for a key that occurs twice."""
        self._check_members(group)
        where, values = self.stored.of_group(group.group)
        try:
            with self._journal.transaction() as db:
                self._write(db)
                db.execute(f"DELETE FROM items WHERE {where}", values)
                db.execute("DELETE FROM groups WHERE job_run = ? AND name = ?", (self._origin, group.group))
                members = self._insert_group(db, group, group.items)
        except sqlite3.IntegrityError as error:
            raise self._defect(f"key {self._repeated(group.items)!r} was planned twice") from error
        self._committed(members)
        return members

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
                if group and not self.stored.has_group(group):
                    # Found items are found by their parent column, so the range of planned ones is empty.
                    last = members[-1][0]
                    db.execute(_INSERT_GROUP, (self._origin, group, "{}", last + 1, last, now_ms()))
        self._committed(members)
        return by_group

    def load(self, ids: Sequence[int]) -> list[StoredItem]:
        """The items with these ids, in this order; buffered changes of them are committed first."""
        if not self._changes.keys().isdisjoint(ids):
            self.flush()
        return self.stored.load(ids)

    def group_done(self, group: str, below_stage: int) -> GroupDone:
        """What is done in a group below a stage; buffered changes are committed first."""
        self.flush()
        return self.stored.group_done(group, below_stage)

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
            return db.execute(query, span(self._origin)).rowcount

    def flush(self) -> None:
        """Commit everything buffered. Raises Locked when the run no longer holds its locks."""
        if not self.is_dirty:
            return
        with self._journal.transaction() as db:
            self._write(db)
        self._committed([])

    def _check_members(self, group: PlannedGroup) -> None:
        strange = next((item for item in group.items if item.group != group.group), None)
        if strange is not None:
            raise self._defect(f"item {strange.key!r} of group {strange.group!r} came with group {group.group!r}")

    def _insert_group(self, db: sqlite3.Connection, group: PlannedGroup, items: Sequence[Item]) -> list[Member]:
        members = self._insert(db, items, None)
        ends = (members[0][0], members[-1][0]) if members else (self._next_id, self._next_id - 1)
        db.execute(_INSERT_GROUP, (self._origin, group.group, to_json(dict(group.facts)), *ends, now_ms()))
        return members

    def _without_known(self, items: Sequence[Item]) -> list[Item]:
        known = self.stored.known_keys([item.key for item in items])
        return list({item.key: item for item in items if item.key not in known}.values())

    def _insert(
        self, db: sqlite3.Connection, items: Sequence[Item], parent: int | None, offset: int = 0
    ) -> list[Member]:
        first = self._next_id + offset
        if first + len(items) > span(self._origin)[1]:
            raise self._defect(f"there are more than {ITEMS_PER_PLAN} items")
        db.executemany(
            _INSERT_ITEM,
            (
                (n, self._origin, i.key, i.kind, i.stage, i.group, to_json(i.payload), i.weight, i.timeout_s, parent)
                for n, i in enumerate(items, first)
            ),
        )
        return [(number, item.stage, item.weight) for number, item in enumerate(items, first)]

    def _committed(self, members: list[Member]) -> None:
        self._next_id += len(members)
        self._changes.clear()
        self._states.clear()
        self._notes.clear()
        self._samples.clear()

    def _repeated(self, items: Sequence[Item]) -> str:
        seen = self.stored.known_keys([item.key for item in items])
        for item in items:
            if item.key in seen:
                return item.key
            seen.add(item.key)
        return ""

    def _defect(self, what: str) -> Defect:
        return Defect(f"plan of job {self._job!r}: {what}", "keys and groups of a plan must be unique; report this")

    def _write(self, db: sqlite3.Connection) -> None:
        if self._changes:
            db.executemany(_UPDATE_ITEM, (_values(change, self._job_run, i) for i, change in self._changes.items()))
        if self._states:
            self._write_states(db)
        if self._notes:
            insert = "INSERT INTO notes (run, job_run, item, kind, text, at_ms) VALUES (?, ?, ?, ?, ?, ?)"
            db.executemany(insert, self._notes)
        if self._samples:
            db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._samples)
            db.execute("UPDATE job_runs SET counts = ? WHERE id = ?", (self._counts, self._job_run))

    def _write_states(self, db: sqlite3.Connection) -> None:
        for change in self._states:
            if change.value is None:
                db.execute("DELETE FROM state WHERE job = ? AND key = ?", (self._job, change.key))
            else:
                values = (self._job, change.key, to_json(dict(change.value)), self._run_id, now_ms())
                db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?)", values)


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
