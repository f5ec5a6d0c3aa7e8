"""Items in flight: what their events mean for board and journal, and what becomes of those that end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import Defect, PenstockError, Retry
from penstock.core.item import Item, Json
from penstock.engine.board import Board
from penstock.engine.events import Advanced, Ended, Event, Found, Moved, Noted, Started, Task, Throttled
from penstock.engine.failure import Failure
from penstock.engine.items import ItemChange, Items
from penstock.engine.job import GroupDone, Job
from penstock.engine.journal import from_json, now_ms, to_json
from penstock.engine.planning import Planning
from penstock.engine.progress import RunEvent
from penstock.engine.retry import Action, RetryPolicy, classify, decide
from penstock.engine.stored import StoredItem
from penstock.engine.worker import as_failure, job_call

# Retries beyond this many are counted, but no longer noted one by one.
_MAX_RETRY_NOTES = 1000

Tell = Callable[[RunEvent], object]


@dataclass(slots=True)
class Flight:
    """One attempt under way. Rows and bytes with `safe_` are those up to `cursor`; the others come on top of them.

    `since` counts attempts since the last cursor, this one included; `anchor` is when that was. `alive_at` is the last
    sign of life. Both in monotonic seconds.
    """

    item_id: int
    task: Task
    attempts: int
    since: int
    cursor: str | None
    safe_rows: int
    safe_bytes: int
    safe_result: str | None
    rows: int
    size_bytes: int
    result: dict[str, Any]
    anchor: float
    alive_at: float
    started_ms: int | None = None
    worker: str = ""


@dataclass
class Tally:
    """What a job's run has seen so far. `done`, `rows` and `size_bytes` are of this run alone."""

    done: int = 0
    failed: int = 0
    retries: int = 0
    wait_s: float = 0.0
    rows: int = 0
    size_bytes: int = 0


class Flights:
    """The attempts under way, by ticket. Events of tickets that are over are ignored. Driver thread only."""

    def __init__(self, job: Job, items: Items, board: Board, planning: Planning, tell: Tell | None) -> None:
        self.tally = Tally()
        # Whether an attempt ended since the loop last set this to False: its end is not yet committed.
        self.has_landed = False
        self._job = job
        self._items = items
        self._board = board
        self._planning = planning
        self._tell = tell
        self._policy = RetryPolicy.of(job.settings.retry)
        self._flights: dict[int, Flight] = {}
        self._tickets = 0
        self._doomed: list[tuple[int, PenstockError]] = []
        # The attempt because of which a group is to be planned anew.
        self._withdrawn: dict[str, Flight] = {}
        # When items that are tried again made their last progress, in monotonic seconds.
        self._anchors: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def launch(self, stored: StoredItem, shared: Mapping[str, str], facts: Json, done: GroupDone) -> Task:
        """The task for an attempt at an item, which is in flight from now on."""
        now = time.monotonic()
        self._tickets += 1
        item = stored.item
        timeout_s = item.timeout_s if item.timeout_s is not None else self._job.settings.item_timeout_s
        since = stored.attempts_since_progress + 1
        task = Task(self._tickets, item, since, stored.cursor, timeout_s, shared, facts, done)
        self._flights[self._tickets] = Flight(
            stored.item_id,
            task,
            stored.attempts + 1,
            since,
            stored.cursor,
            stored.rows,
            stored.size_bytes,
            stored.result,
            stored.rows,
            stored.size_bytes,
            from_json(stored.result) if stored.result else {},
            self._anchors.get(stored.item_id, now) if self._anchors else now,
            now,
        )
        return task

    def take(self, event: Event) -> None:
        """Account for an event of a worker."""
        if isinstance(event, Noted):
            self._items.note(event.kind, event.text)
            return
        assert not isinstance(event, PenstockError)
        flight = self._flights.get(getattr(event, "ticket", -1))
        if flight is None:
            return
        flight.alive_at = time.monotonic()
        if isinstance(event, Ended):
            self._end(flight, event)
        elif isinstance(event, Started):
            flight.started_ms, flight.worker = event.at_ms, event.worker
            self._change(flight, "running")
            self._say("started", flight)
        elif isinstance(event, Advanced):
            self._advance(flight, event)
        elif isinstance(event, Moved):
            self._say("moved", flight, rows=event.rows, size_bytes=event.size_bytes)
        elif isinstance(event, Throttled):
            self.tally.wait_s += event.wait_s
            self._say("throttled", flight, wait_s=event.wait_s)
        elif isinstance(event, Found):
            self._find(flight, event.items)

    def to_cancel(self) -> list[tuple[int, PenstockError]]:
        """Attempts to cancel, with the error: those without a sign of life for longer than they may be, and those that
        failed while they run."""
        now = time.monotonic()
        doomed, self._doomed = self._doomed, []
        return doomed + [
            (ticket, flight.task.timed_out())
            for ticket, flight in self._flights.items()
            if flight.task.timeout_s is not None
            and flight.started_ms is not None
            and now - flight.alive_at > flight.task.timeout_s
        ]

    def ground(self) -> None:
        """Give all items in flight back: their workers are gone or will not be listened to any more."""
        for flight in list(self._flights.values()):
            self._return(flight)

    def _advance(self, flight: Flight, event: Advanced) -> None:
        flight.rows += event.rows
        flight.size_bytes += event.size_bytes
        self.tally.rows += event.rows
        self.tally.size_bytes += event.size_bytes
        if event.result is not None:
            flight.result.update(from_json(event.result))
        if event.cursor is not None:
            if event.cursor != flight.cursor:
                # The same cursor again is no progress: a handler that repeats it would be tried for ever.
                flight.cursor, flight.since, flight.anchor = event.cursor, 1, flight.alive_at
            flight.safe_rows, flight.safe_bytes = flight.rows, flight.size_bytes
            flight.safe_result = to_json(flight.result) if flight.result else None
            self._change(flight, "running")
        self._say("advanced", flight, rows=event.rows, size_bytes=event.size_bytes)

    def _find(self, flight: Flight, found: tuple[Item, ...]) -> None:
        item = flight.task.item
        for new in found:
            if new.stage < item.stage or (
                new.group not in (item.group, "") and self._items.stored.has_group(new.group)
            ):
                error = Defect(
                    f"item {item.key!r} (group {item.group!r}, stage {item.stage}) found item {new.key!r} "
                    f"(group {new.group!r}, stage {new.stage})",
                    "found items belong to the same or a new group, at the same stage or above; report this",
                )
                self._fail(flight, Failure.of(error))
                self._doomed.append((flight.task.ticket, error))
                return
        for group, members in self._items.find(flight.item_id, found).items():
            self._board.add(group, members)
            if self._tell:
                self._tell(RunEvent("planned", now_ms(), self._job.name, items=len(members), text=group))

    def _end(self, flight: Flight, event: Ended) -> None:
        is_over = event.error is None and not event.is_returned
        if event.is_returned or (not is_over and self._board.is_withdrawn(flight.task.item.group)):
            self._return(flight)
        elif event.error is not None:
            self._retry_or_fail(flight, event.error, event.traceback)
        else:
            self._finish(flight, event.at_ms)

    def _finish(self, flight: Flight, at_ms: int) -> None:
        try:
            what = f"settling item {flight.task.item.key!r} of job {self._job.name!r}"
            with job_call(what, self._job.connections):
                changes = self._job.settle(flight.task.item, flight.result)
                for change in changes:
                    to_json(change.value)
        except PenstockError as error:
            self._fail(flight, as_failure(error, self._job.connections))
            return
        flight.safe_rows, flight.safe_bytes = flight.rows, flight.size_bytes
        flight.safe_result = to_json(flight.result) if flight.result else None
        flight.since = 0
        self._change(flight, "done", finished_ms=at_ms)
        self._items.save(changes)
        self._land(flight)
        self._board.finish(flight.item_id)
        self.tally.done += 1
        self._say("done", flight)

    def _return(self, flight: Flight) -> None:
        # An attempt that was interrupted is not one that failed.
        flight.since = max(0, flight.since - 1)
        self._change(flight, "pending")
        self._land(flight)
        self._board.give_back(flight.item_id)
        self._say_lost("returned", flight)

    def _withdraw(self, flight: Flight, error: PenstockError) -> bool:
        """Whether the item's group is to be planned anew; its items are not handed out any more then."""
        group = flight.task.item.group
        if classify(error) is not Retry.REPLAN or not group:
            return False
        self._planning.stale(group, error)
        self._board.withdraw(group)
        self._return(flight)
        self._withdrawn[group] = flight
        return True

    def replace(self, group: str) -> bool:
        """Plan an idle withdrawn group anew; when that fails for good, so does the item because of which it was withdrawn.
        False when it must be tried again later."""
        try:
            answer = self._planning.replan(group)
        except PenstockError as error:
            self._give_up(group, error)
            return True
        if answer is None:
            return False
        del self._withdrawn[group]
        members, before = answer
        self.tally.failed -= self._board.replace(group, members)
        self.tally.done -= before.done
        self.tally.rows -= before.rows
        self.tally.size_bytes -= before.size_bytes
        if self._tell is not None:
            told = (now_ms(), self._job.name)
            text = f"its source changed: {before.done} items that were done are done again"
            self._tell(RunEvent("replanned", *told, group, before.done, -before.rows, -before.size_bytes, 0.0, text))
            self._tell(RunEvent("planned", *told, items=len(members) - before.planned, text=group))
        return True

    def _give_up(self, group: str, error: PenstockError) -> None:
        flight, failure = self._withdrawn.pop(group), as_failure(error, self._job.connections)
        self._change(flight, "failed", error=to_json(failure.to_json()), finished_ms=now_ms())
        self._board.give_up(group)
        self.tally.failed += 1
        self._say("failed", flight, text=str(failure))

    def _retry_or_fail(self, flight: Flight, error: PenstockError, traceback: str) -> None:
        if self._withdraw(flight, error):
            return
        elapsed_s = flight.alive_at - flight.anchor
        decision = decide(self._policy, error, flight.since, elapsed_s, random.random)
        if decision.action is Action.GIVE_UP:
            self._fail(flight, Failure.of(error, traceback))
            return
        if decision.action is Action.SNOOZE:
            flight.since = max(0, flight.since - 1)
        self._planning.recover(error)
        self._anchors[flight.item_id] = flight.anchor
        self._change(flight, "pending")
        self._flights.pop(flight.task.ticket)
        self._board.delay(flight.item_id, time.monotonic() + decision.wait_s)
        self.tally.retries += 1
        self.tally.wait_s += decision.wait_s
        if self.tally.retries <= _MAX_RETRY_NOTES:
            text = f"{decision.reason}, next try in {decision.wait_s:.1f} s: {error.what}"
            self._items.note("retry", text, flight.item_id)
        self._say_lost("retry", flight, wait_s=decision.wait_s, text=error.what)

    def _fail(self, flight: Flight, failure: Failure) -> None:
        self._change(flight, "failed", error=to_json(failure.to_json()), finished_ms=now_ms())
        self._land(flight)
        self._board.fail(flight.item_id)
        self.tally.failed += 1
        self._say_lost("failed", flight, text=str(failure))

    def _land(self, flight: Flight) -> None:
        self.has_landed = True
        self._flights.pop(flight.task.ticket)
        if self._anchors:
            self._anchors.pop(flight.item_id, None)

    def _change(self, flight: Flight, state: str, *, error: str | None = None, finished_ms: int | None = None) -> None:
        self._items.change(
            flight.item_id,
            ItemChange(
                state,
                flight.attempts,
                flight.since,
                flight.cursor,
                flight.safe_rows,
                flight.safe_bytes,
                flight.safe_result,
                error,
                flight.started_ms,
                finished_ms,
                flight.worker,
            ),
        )

    def _say(
        self, kind: str, flight: Flight, *, rows: int = 0, size_bytes: int = 0, wait_s: float = 0.0, text: str = ""
    ) -> None:
        if self._tell is not None:
            key = flight.task.item.key
            self._tell(RunEvent(kind, now_ms(), self._job.name, key, 1, rows, size_bytes, wait_s, text))

    def _say_lost(self, kind: str, flight: Flight, *, wait_s: float = 0.0, text: str = "") -> None:
        """Tell that an attempt came to nothing; what it had done since its cursor no longer counts."""
        rows, size_bytes = flight.safe_rows - flight.rows, flight.safe_bytes - flight.size_bytes
        self.tally.rows += rows
        self.tally.size_bytes += size_bytes
        self._say(kind, flight, rows=rows, size_bytes=size_bytes, wait_s=wait_s, text=text)
