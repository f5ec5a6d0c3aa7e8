"""The board against a model that looks at every item each time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.engine.board import Board


@dataclass
class Thing:
    item_id: int
    group: str
    stage: int
    weight: int
    state: str = "open"  # open, running, delayed, done, failed, replaced
    until: float = 0.0


@dataclass
class Model:
    """Readiness exactly as Item's docstring says it, by looking at everything."""

    things: list[Thing] = field(default_factory=list)
    is_planned: bool = False
    # Groups that wait to be planned anew, each with the item because of which; and those that could not be.
    withdrawn: dict[str, Thing] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)

    def is_ready(self, thing: Thing, now: float) -> bool:
        if thing.state == "delayed":
            return thing.until <= now
        return thing.state == "open" and self.may_run(thing)

    def may_run(self, thing: Thing) -> bool:
        if thing.group in self.withdrawn or thing.group in self.given_up:
            return False
        if thing.group == "":
            if thing.stage and not self.is_planned:
                return False
            below = [t for t in self.things if t.stage < thing.stage]
        else:
            below = [t for t in self.things if t.group == thing.group and t.stage < thing.stage]
        return all(t.state in ("done", "replaced") for t in below)

    def idle_withdrawn(self) -> list[str]:
        return sorted(self.withdrawn.keys() - {t.group for t in self.things if t.state == "running"})

    def ready(self, now: float) -> list[Thing]:
        return [thing for thing in self.things if self.is_ready(thing, now)]


class BoardMachine(RuleBasedStateMachine):
    """Random plans, completions, failures, delays and finds; board and model must agree at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board()
        self.model = Model()
        self.now = 0.0
        self.groups = 0
        self.before: set[int] = set()

    def _add(self, group: str, shape: list[tuple[int, int]], state: str = "open") -> None:
        first = len(self.model.things)
        new = [Thing(first + n, group, stage, weight, state) for n, (stage, weight) in enumerate(shape)]
        self.model.things += new
        self.board.add(group, [(thing.item_id, thing.stage, thing.weight) for thing in new])

    @precondition(lambda self: not self.model.is_planned)
    @rule(shape=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6), named=st.booleans())
    def plan(self, shape: list[tuple[int, int]], named: bool) -> None:
        self.groups += 1
        self._add(f"g{self.groups}" if named else "", shape)

    @precondition(lambda self: not self.model.is_planned and self.groups >= 2)
    @rule()
    def plan_complete(self) -> None:
        self.model.is_planned = True
        self.board.plan_complete()

    @precondition(lambda self: not self.model.is_planned)
    @rule(stage=st.integers(0, 1))
    def plan_given_up(self, stage: int) -> None:
        self.groups += 1
        group, first = f"g{self.groups}", len(self.model.things)
        self.model.things.append(Thing(first, group, stage, 0, "failed"))
        self.before.add(first)
        self.board.add_given_up(group, stage)
        self._add(group, [(0, 1), (2, 1)])

    @rule()
    def take(self) -> None:
        ready = self.model.ready(self.now)
        taken = self.board.take(self.now)
        if not ready:
            assert taken is None
            return
        assert taken is not None
        thing = self.model.things[taken]
        assert thing in ready
        assert thing.weight == max(other.weight for other in ready)
        thing.state = "running"

    def _running(self, data: st.DataObject) -> Thing | None:
        running = [thing for thing in self.model.things if thing.state == "running"]
        return data.draw(st.sampled_from(running)) if running else None

    @rule(data=st.data(), how=st.sampled_from(["done", "done", "done", "failed", "open", "delayed"]))
    def end(self, data: st.DataObject, how: str) -> None:
        thing = self._running(data)
        if thing is None:
            return
        if how == "done":
            self.board.finish(thing.item_id)
        elif how == "failed":
            self.board.fail(thing.item_id)
        elif how == "open":
            self.board.give_back(thing.item_id)
        else:
            thing.until = self.now + 2.0
            self.board.delay(thing.item_id, thing.until)
            if thing.group in self.model.withdrawn:
                how = "open"
        thing.state = how

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        thing = self._running(data)
        if thing is None or not thing.group:
            return
        self.board.withdraw(thing.group)
        self.board.give_back(thing.item_id)
        thing.state = "open"
        self.model.withdrawn.setdefault(thing.group, thing)
        for other in self.model.things:
            if other.group == thing.group and other.state == "delayed":
                other.state = "open"

    @rule(shape=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=4), fails=st.booleans())
    def settle_withdrawn(self, shape: list[tuple[int, int]], fails: bool) -> None:
        for group in self.board.idle_withdrawn():
            thing = self.model.withdrawn.pop(group)
            if fails:
                self.board.give_up(group)
                thing.state = "failed"
                self.model.given_up.add(group)
                continue
            first, old = len(self.model.things), [t for t in self.model.things if t.group == group]
            assert self.board.is_withdrawn(group)
            new = [Thing(first + n, group, stage, weight) for n, (stage, weight) in enumerate(shape)]
            failed = [t for t in old if t.state == "failed"]
            told = self.board.replace(group, [(t.item_id, t.stage, t.weight) for t in new])
            assert told == len(failed) - self.model_given_up(group)
            for one in old:
                one.state = one.state if one.state == "done" else "replaced"
            self.model.things += new

    def model_given_up(self, group: str) -> int:
        """How many items of the group were given up before this run: the board counts them apart."""
        return sum(t.group == group and t.state == "failed" and t.item_id in self.before for t in self.model.things)

    @rule(data=st.data(), above=st.integers(0, 2), weight=st.integers(0, 3))
    def find(self, data: st.DataObject, above: int, weight: int) -> None:
        thing = self._running(data)
        if thing is not None:
            self._add(thing.group, [(thing.stage + above, weight)])

    @rule(by=st.sampled_from([0.5, 3.0]))
    def time_passes(self, by: float) -> None:
        self.now += by

    @invariant()
    def counts_agree(self) -> None:
        states = [thing.state for thing in self.model.things if thing.state != "replaced"]
        assert self.board.idle_withdrawn() == self.model.idle_withdrawn()
        assert self.board.planned == len(states)
        assert self.board.running == states.count("running")
        assert self.board.done == states.count("done")
        assert self.board.failed + self.board.given_up == states.count("failed")
        assert self.board.delayed <= states.count("delayed")
        assert self.board.waiting == sum(
            thing.state == "open" and not self.model.may_run(thing) for thing in self.model.things
        )

    @invariant()
    def is_over_exactly_when_nothing_can_ever_run(self) -> None:
        live = [t for t in self.model.things if t.state in ("running", "delayed")] + self.model.ready(self.now)
        assert self.board.is_over == (self.model.is_planned and not live and not self.model.withdrawn)


BoardMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestBoardAgreesWithModel = BoardMachine.TestCase


@given(weights=st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_heaviest_first_and_equal_weights_in_plan_order(weights: list[int]) -> None:
    board = Board()
    board.add("", [(number, 0, weight) for number, weight in enumerate(weights)])

    order = [board.take(0.0) for _ in weights]

    assert order == sorted(range(len(weights)), key=lambda number: (-weights[number], number))


def test_publish_waits_for_all_items_of_its_group_only() -> None:
    board = Board()
    board.add("a", [(1, 0, 5), (2, 0, 4), (3, 1, 9)])
    board.add("b", [(4, 0, 1)])
    assert [board.take(0.0) for _ in range(3)] == [1, 2, 4]

    board.finish(1)
    assert board.take(0.0) is None
    board.finish(2)

    assert board.take(0.0) == 3


def test_failed_item_keeps_what_stands_above_it_from_running_for_ever() -> None:
    board = Board()
    board.add("a", [(1, 0, 0), (2, 1, 0)])
    board.plan_complete()
    board.take(0.0)

    board.fail(1)

    assert board.take(0.0) is None
    assert board.is_over
    assert board.waiting == 1


def test_ungrouped_higher_stage_waits_for_the_whole_plan() -> None:
    board = Board()
    board.add("", [(1, 1, 0)])
    assert board.take(0.0) is None
    board.add("a", [(2, 0, 0)])
    board.plan_complete()
    assert board.take(0.0) == 2
    assert board.take(0.0) is None

    board.finish(2)

    assert board.take(0.0) == 1


def test_million_items_take_little_memory() -> None:
    board = Board()
    for lot in range(100):
        board.add("", [(lot * 1000 + n, 0, n) for n in range(1000)])

    sizes = [len(lot.ids) * lot.ids.itemsize + len(lot.weights) * lot.weights.itemsize for _, _, lot in board._lots]

    assert sum(sizes) == 16 * 100_000


@pytest.mark.parametrize("until", [1.0, 5.0])
def test_delayed_item_comes_back_when_due_and_not_before(until: float) -> None:
    board = Board()
    board.add("", [(1, 0, 0)])
    board.take(0.0)
    board.delay(1, until)

    assert board.next_due() == until
    assert board.take(until - 0.01) is None
    assert board.take(until) == 1
    assert board.next_due() is None
