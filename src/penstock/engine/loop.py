"""The loop of one job: plan a little, hand out what is ready, take what came back, commit; until nothing is left."""

from __future__ import annotations

import time
from collections import OrderedDict

from penstock.core.errors import PenstockError
from penstock.core.item import Json
from penstock.engine.board import Board
from penstock.engine.events import Broken, WorkerSetup
from penstock.engine.executors import Executor
from penstock.engine.flights import Flights, Tell
from penstock.engine.items import Items, Member
from penstock.engine.job import GroupDone, Job, OpenSession
from penstock.engine.journal import now_ms
from penstock.engine.outcome import Counts, within_budget
from penstock.engine.planning import Planning
from penstock.engine.process import rss_bytes
from penstock.engine.progress import RunEvent
from penstock.engine.stop import Stop
from penstock.engine.stored import StoredItem

# Commits of progress are at least so far apart; a commit takes some 0.1 ms.
_COMMIT_S = 0.005

# The longest the loop sleeps when nothing happens: how late it sees a stop.
_IDLE_S = 0.1

# How often attempts are looked through for those that are overdue.
_LOOK_S = 0.05

# Items that take less than this are handed out in advance, so that workers need not wait for the driver after each: when
# the driver dies, the last item of each worker is repeated, or so much of its time spent on shorter ones.
_AHEAD_S = 0.02
_MAX_AHEAD = 256

# After a hard stop the loop waits so long for workers to let go.
_LET_GO_S = 1.0

# Samples are a second apart in short runs; a long run has some 600 to 1200 in all.
_SAMPLES = 600

_RELOAD_ITEMS = 10_000


class _Pace:
    """How many items a second end, for the number handed out in advance."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._ended = 0
        self._per_s = 0.0

    def ended(self, items: int) -> None:
        self._ended += items
        now = time.monotonic()
        if now - self._at >= 0.1:
            self._per_s = self._ended / (now - self._at)
            self._at, self._ended = now, 0

    def ahead(self, slots: int) -> int:
        """None at all while items take longer than _AHEAD_S, so that a dead driver costs one item a worker."""
        return min(_MAX_AHEAD, slots * int(self._per_s / slots * _AHEAD_S))


class JobLoop:
    """Runs the items of one job. Driver thread only; use once.

    Durable before something else happens: a group before its items are handed out; a done item, with its StateChanges,
    before items that wait for its stage; found items with the progress of the item that found them.
    """

    def __init__(
        self, job: Job, items: Items, planning: Planning, executor: Executor, stop: Stop, tell: Tell | None
    ) -> None:
        self.board = Board()
        self.flights = Flights(job, items, self.board, planning, tell)
        self._job = job
        self._items = items
        self._planning = planning
        self._executor = executor
        self._stop = stop
        self._tell = tell
        self._pace = _Pace()
        self._is_draining = False
        self._failure: PenstockError | None = None
        self._facts: OrderedDict[str, Json] = OrderedDict()
        self._done: OrderedDict[tuple[str, int], GroupDone] = OrderedDict()
        self._committed_at = self._started_at = self._sampled_at = self._looked_at = time.monotonic()
        self._stopped_at: float | None = None
        self._base = Counts()

    def run(self, run_id: str, open_session: OpenSession) -> None:
        """Until nothing is left, or nothing may be begun any more and everything in flight has ended.

        When planning failed or no worker can be started nothing new begins, and that error is raised at the end. Raises
        PenstockError at once when the journal cannot be written.
        """
        setup = WorkerSetup(run_id, self._job.name, self._job.handler, self._job.connections, open_session)
        try:
            self._reload()
            self._executor.start(setup, self._stop)
            while not self._is_over():
                self._plan()
                self._plan_anew()
                self._dispatch()
                self._take_events()
                self._look_after()
        finally:
            self._executor.close()
        self.flights.ground()
        self._sample()
        self._items.flush()
        if self._failure is not None:
            raise self._failure

    def _reload(self) -> None:
        """Put what an earlier run left on the board."""
        self._base, _ = self._items.stored.counts(0)
        group, members = "", list[Member]()
        for item_id, name, stage, weight, is_given_up in self._items.stored.open_items():
            # Group "" may come in parts; named groups come whole.
            if name != group or (name == "" and len(members) >= _RELOAD_ITEMS):
                self.board.add(group, members)
                group, members = name, []
            if is_given_up:
                self.board.add_given_up(name, stage)
            else:
                members.append((item_id, stage, weight))
        self.board.add(group, members)
        base = self._base
        if base.planned:
            self._say("resumed", base.done, rows=base.rows, size_bytes=base.size_bytes)
            self._say("planned", base.planned - base.done)
        if self._planning.is_complete:
            self.board.plan_complete()
            self._say("plan_done", 0)

    def _is_over(self) -> bool:
        if self._stop.hard.is_set():
            self._stopped_at = self._stopped_at or time.monotonic()
            return not len(self.flights) or time.monotonic() - self._stopped_at > _LET_GO_S
        if self._may_begin():
            return self.board.is_over
        return not len(self.flights)

    def _may_begin(self) -> bool:
        return not (self._is_draining or self._stop.soft.is_set())

    def _plan(self) -> None:
        """One group, if workers may run dry soon or the driver has nothing better to do."""
        if not self._planning.is_due or not self._may_begin():
            return
        try:
            planned = self._planning.step()
        except PenstockError as error:
            self._drain(error)
            return
        if planned is not None:
            group, members = planned
            self._facts.pop(group, None)
            self.board.add(group, members)
            self._say("planned", len(members), group)
        elif self._planning.is_complete:
            self.board.plan_complete()
            self._say("plan_done", 0)

    def _plan_anew(self) -> None:
        """Groups whose plan no longer holds, once nothing of them runs."""
        for group in self.board.idle_withdrawn() if self._may_begin() else ():
            if self.flights.replace(group):
                self._facts.pop(group, None)
                self._done = OrderedDict((at, done) for at, done in self._done.items() if at[0] != group)

    def _drain(self, error: PenstockError) -> None:
        """Begin nothing any more; what runs may end."""
        self._failure = self._failure or error
        self._is_draining = True

    def _dispatch(self) -> None:
        slots = self._executor.slots
        ahead = self._pace.ahead(slots)
        room = slots + ahead - len(self.flights)
        if room <= 0 or not self._may_begin():
            return
        # What a worker ended is safe before it begins something else; for very short items that would be too many commits.
        if not ahead and self.flights.has_landed:
            self._flush()
        now = time.monotonic()
        if not self.board.ready and (self.board.next_due() or now + 1) > now:
            return
        try:
            shared = self._planning.shared()
        except PenstockError as error:
            self._drain(error)
            return
        if shared is None:
            return
        taken: list[int] = []
        while len(taken) < room and (item_id := self.board.take(now)) is not None:
            taken.append(item_id)
        if taken:
            for stored in self._items.load(taken):
                group = stored.item.group
                task = self.flights.launch(stored, shared, self._facts_of(group), self._done_below(stored))
                self._executor.submit(task)

    def _facts_of(self, group: str) -> Json:
        """The same object for all items of a group, so that workers may decode it once."""
        facts = self._facts.get(group)
        if facts is None:
            facts = self._facts[group] = self._items.stored.facts_of(group)
            if len(self._facts) > 1024:
                self._facts.popitem(last=False)
        return facts

    def _done_below(self, stored: StoredItem) -> GroupDone:
        """What stands below an item; reading it commits what is done before the item is handed out."""
        group, stage = stored.item.group, stored.item.stage
        if stage == 0:
            return GroupDone()
        done = self._done.get((group, stage))
        if done is None:
            done = self._done[group, stage] = self._items.group_done(group, stage)
            if len(self._done) > 64:
                self._done.popitem(last=False)
        return done

    def _take_events(self) -> None:
        before = self.flights.tally.done + self.flights.tally.failed
        for event in self._executor.poll(self._patience_s()):
            if isinstance(event, Broken):
                self._drain(event.error)
                self.flights.ground()
            else:
                self.flights.take(event)
        self._pace.ended(self.flights.tally.done + self.flights.tally.failed - before)

    def _patience_s(self) -> float:
        """How long to wait for events: not at all while there is something to plan, and not past what is due."""
        if self._planning.is_due and self._may_begin():
            return 0.0
        wait_s = _COMMIT_S if self._items.is_dirty else _IDLE_S
        due = self.board.next_due()
        return wait_s if due is None else max(0.0, min(wait_s, due - time.monotonic()))

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            for ticket, error in self.flights.to_cancel():
                self._executor.cancel(ticket, error)
        if now - self._sampled_at >= max(1.0, (now - self._started_at) / _SAMPLES):
            self._sample()
        if self._items.is_dirty and now - self._committed_at >= _COMMIT_S:
            self._flush()
        if not self._is_draining and self._is_over_budget():
            self._is_draining = True

    def _flush(self) -> None:
        self._items.flush()
        self.flights.has_landed = False
        self._committed_at = time.monotonic()

    def _is_over_budget(self) -> bool:
        failed, allowed = self.flights.tally.failed, self._job.settings.max_errors
        # A share is only known once the plan is.
        if not failed or (allowed.percent is not None and not self._planning.is_complete):
            return False
        return not within_budget(failed, self.board.planned, allowed)

    def _sample(self) -> None:
        self._sampled_at = time.monotonic()
        tally, board, base = self.flights.tally, self.board, self._base
        ended = tally.done + tally.failed + board.given_up
        counts = Counts(
            pending=board.planned - ended - len(self.flights),
            running=len(self.flights),
            done=base.done + tally.done,
            failed=tally.failed,
            skipped=board.given_up,
            rows=base.rows + tally.rows,
            size_bytes=base.size_bytes + tally.size_bytes,
        )
        self._items.sample(counts, retries=tally.retries, wait_s=tally.wait_s, rss_bytes=rss_bytes())

    def _say(self, kind: str, items: int, text: str = "", *, rows: int = 0, size_bytes: int = 0) -> None:
        if self._tell is not None:
            event = RunEvent(kind, now_ms(), self._job.name, "", items, rows, size_bytes, 0.0, text)
            self._tell(event)
