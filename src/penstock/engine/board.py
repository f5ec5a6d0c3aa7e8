"""What waits, is ready, runs, is delayed, is done or failed; which item goes next. Integers only, no input or output."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from penstock.engine.items import Member


class Lot:
    """Items of one group and stage that became known together, heaviest first; 16 bytes an item."""

    __slots__ = ("group", "ids", "place", "stage", "weights")

    def __init__(self, group: str, stage: int, members: Sequence[Member]) -> None:
        ordered = sorted(members, key=lambda member: (-member[2], member[0]))
        self.group = group
        self.stage = stage
        self.ids = array("q", (member[0] for member in ordered))
        self.weights = array("q", (member[2] for member in ordered))
        self.place = 0

    def __len__(self) -> int:
        return len(self.ids) - self.place


@dataclass(slots=True)
class _Group:
    """`open` counts the items of each stage that are not done; `waiting` holds lots of stages that are not ready.
    `failed` and `given_up` are those of the open ones that will never run."""

    open: dict[int, int]
    waiting: list[Lot]
    failed: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class _Running:
    group: str
    stage: int
    weight: int


class Board:
    """The items of one plan by state. Driver thread only; times are seconds of one monotonic clock.

    An item of a named group is ready when no item of its group in a lower stage is open; one of group "" when no item at
    all in a lower stage is open and the plan is complete. A failed item stays open for ever, so whatever stands above it
    never becomes ready. A group must be added whole, its stages at once; found items join the group of a running item at
    its stage or above, which cannot have begun.
    """

    def __init__(self) -> None:
        self.planned = self.ready = self.done = self.failed = self.given_up = 0
        self._groups: dict[str, _Group] = {"": _Group({}, [])}
        self._open_by_stage: dict[int, int] = {}
        self._is_planned = False
        self._serial = 0
        self._lots: list[tuple[int, int, Lot]] = []
        self._again: list[tuple[int, int, int]] = []
        self._delayed: list[tuple[float, int]] = []
        self._running: dict[int, _Running] = {}
        self._parked: dict[int, _Running] = {}
        self._withdrawn: set[str] = set()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def delayed(self) -> int:
        return len(self._delayed)

    @property
    def waiting(self) -> int:
        """Items that are not ready, delayed, running or ended."""
        ended = self.done + self.failed + self.given_up
        return self.planned - self.ready - self.delayed - self.running - ended

    @property
    def is_over(self) -> bool:
        """Nothing runs and nothing can ever run any more."""
        return self._is_planned and not (self.ready or self._running or self._delayed or self._withdrawn)

    def add(self, group: str, members: Iterable[Member]) -> None:
        """Add items of a group: id, stage, weight."""
        known = self._groups.setdefault(group, _Group({}, []))
        by_stage: dict[int, list[Member]] = {}
        for member in members:
            by_stage.setdefault(member[1], []).append(member)
        for stage, of_stage in by_stage.items():
            known.open[stage] = known.open.get(stage, 0) + len(of_stage)
            self._open_by_stage[stage] = self._open_by_stage.get(stage, 0) + len(of_stage)
            self.planned += len(of_stage)
            if group not in self._withdrawn:
                known.waiting.append(Lot(group, stage, of_stage))
        self._release(group)
        # A done group that nobody waits for any more needs no memory.
        if group and not known.open:
            del self._groups[group]

    def add_given_up(self, group: str, stage: int) -> None:
        """Add an item that will never run: what stands above it will not either. Before `add` of the same group."""
        known = self._groups.setdefault(group, _Group({}, []))
        known.open[stage] = known.open.get(stage, 0) + 1
        known.given_up += 1
        self._open_by_stage[stage] = self._open_by_stage.get(stage, 0) + 1
        self.planned += 1
        self.given_up += 1

    def plan_complete(self) -> None:
        """No group will be added any more."""
        self._is_planned = True
        self._release("")

    def take(self, now: float) -> int | None:
        """The heaviest ready item, which runs from now on; among equals the one that was ready first. None if nothing is ready."""
        while self._delayed and self._delayed[0][0] <= now:
            item_id = heapq.heappop(self._delayed)[1]
            self._push_again(item_id, self._parked.pop(item_id))
        if not self.ready:
            return None
        self.ready -= 1
        if not self._lots or (self._again and self._again[0][:2] <= self._lots[0][:2]):
            item_id = heapq.heappop(self._again)[2]
            self._running[item_id] = self._parked.pop(item_id)
            return item_id
        return self._take_from_lot()

    def _take_from_lot(self) -> int:
        _, serial, lot = self._lots[0]
        item_id, weight = lot.ids[lot.place], lot.weights[lot.place]
        lot.place += 1
        if len(lot):
            heapq.heapreplace(self._lots, (-lot.weights[lot.place], serial, lot))
        else:
            heapq.heappop(self._lots)
        self._running[item_id] = _Running(lot.group, lot.stage, weight)
        return item_id

    def finish(self, item_id: int) -> None:
        """A running item is done; what waited for it alone becomes ready."""
        item = self._running.pop(item_id)
        self.done += 1
        group = self._groups[item.group]
        group.open[item.stage] -= 1
        self._open_by_stage[item.stage] -= 1
        if not group.open[item.stage]:
            del group.open[item.stage]
            if group.waiting:
                self._release(item.group)
            if not group.open and item.group:
                del self._groups[item.group]
        if not self._open_by_stage[item.stage]:
            del self._open_by_stage[item.stage]
            self._release("")

    def fail(self, item_id: int) -> None:
        """A running item has failed for good."""
        item = self._running.pop(item_id)
        self._groups[item.group].failed += 1
        self.failed += 1

    def give_back(self, item_id: int) -> None:
        """A running item is ready again, with its weight, before equals; one of a withdrawn group waits with the rest."""
        item = self._running.pop(item_id)
        if item.group not in self._withdrawn:
            self._push_again(item_id, item)

    def delay(self, item_id: int, until: float) -> None:
        """A running item becomes ready at `until`."""
        if self._running[item_id].group in self._withdrawn:
            self.give_back(item_id)
            return
        self._parked[item_id] = self._running.pop(item_id)
        heapq.heappush(self._delayed, (until, item_id))

    def next_due(self) -> float | None:
        """When the next delayed item becomes ready."""
        return self._delayed[0][0] if self._delayed else None

    def withdraw(self, group: str) -> None:
        """Hand out no more items of a named group: they wait for `replace` or `give_up`, and so does what stands above.
        May be repeated."""
        known = self._groups[group]
        self._withdrawn.add(group)
        self.ready -= sum(len(lot) for _, _, lot in self._lots if lot.group == group)
        self._lots = [entry for entry in self._lots if entry[2].group != group]
        heapq.heapify(self._lots)
        of_group = {item_id for item_id, item in self._parked.items() if item.group == group}
        self.ready -= sum(entry[2] in of_group for entry in self._again)
        self._again = [entry for entry in self._again if entry[2] not in of_group]
        heapq.heapify(self._again)
        self._delayed = [entry for entry in self._delayed if entry[1] not in of_group]
        heapq.heapify(self._delayed)
        for item_id in of_group:
            del self._parked[item_id]
        known.waiting = []

    def is_withdrawn(self, group: str) -> bool:
        return group in self._withdrawn

    def idle_withdrawn(self) -> list[str]:
        """Withdrawn groups of which nothing runs any more."""
        if not self._withdrawn:
            return []
        return sorted(self._withdrawn - {item.group for item in self._running.values()})

    def replace(self, group: str, members: Iterable[Member]) -> int:
        """Put the new items of an idle withdrawn group in the place of all that were not done. The answer is how many of
        those had failed."""
        known = self._groups.pop(group)
        self._withdrawn.remove(group)
        for stage, items in known.open.items():
            self.planned -= items
            self._open_by_stage[stage] -= items
            if not self._open_by_stage[stage]:
                del self._open_by_stage[stage]
        self.failed -= known.failed
        self.given_up -= known.given_up
        self.add(group, members)
        self._release("")
        return known.failed

    def give_up(self, group: str) -> None:
        """One item of an idle withdrawn group has failed for good; the others wait for ever."""
        self._withdrawn.remove(group)
        self._groups[group].failed += 1
        self.failed += 1

    def _push_again(self, item_id: int, item: _Running) -> None:
        self._parked[item_id] = item
        heapq.heappush(self._again, (-item.weight, 0, item_id))
        self.ready += 1

    def _release(self, group: str) -> None:
        """Move the lots of a group that may run now from waiting to ready."""
        known = self._groups[group]
        still = []
        for lot in known.waiting:
            if self._may_run(known, lot):
                self._serial += 1
                heapq.heappush(self._lots, (-lot.weights[lot.place], self._serial, lot))
                self.ready += len(lot)
            else:
                still.append(lot)
        known.waiting = still

    def _may_run(self, group: _Group, lot: Lot) -> bool:
        if lot.group:
            return all(stage >= lot.stage for stage in group.open)
        if lot.stage == 0:
            return True
        return self._is_planned and all(stage >= lot.stage for stage in self._open_by_stage)
