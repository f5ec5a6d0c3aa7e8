"""Items in the journal: groups whole or not at all, keys once, results merged in plan order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.core.errors import Defect
from penstock.core.item import Item, PlannedGroup
from penstock.engine.items import ItemChange, Items
from penstock.engine.job import GroupDone, StateChange
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts
from tests.engine.small_job import Project


@pytest.fixture
def journal(project: Project) -> Iterator[Journal]:
    with Journal.open(project.journal) as journal:
        journal.db.execute(
            "INSERT INTO runs (id, started_ms, state, host, pid, process_start, boot_id, command, versions) "
            "VALUES ('r', 0, 'running', '', 0, '', '', '', '{}')"
        )
        journal.db.execute(
            "INSERT INTO job_runs (id, run, job, kind, plan_hash, origin, state, started_ms) "
            "VALUES (7, 'r', 'j', 'k', 'h', 7, 'running', 0)"
        )
        yield journal


@pytest.fixture
def items(journal: Journal) -> Items:
    return Items(journal, "r", "j", job_run=7, origin=7)


def done(rows: int = 0, result: str | None = None) -> ItemChange:
    return ItemChange("done", 1, 0, None, rows, rows * 10, result, None, 1, 2, "w")


def group(name: str, *keys: str, stage: int = 0) -> PlannedGroup:
    return PlannedGroup(name, tuple(Item(key, "k", stage, name) for key in keys), {"of": name} if name else {})


def test_group_is_planned_whole_with_its_facts(items: Items) -> None:
    members = items.plan(PlannedGroup("g", (Item("a", "k", 0, "g", {"n": 1}, 5), Item("b", "k", 1, "g"))), again=False)

    assert members == [(7_000_000_000, 0, 5), (7_000_000_001, 1, 0)]
    assert items.stored.facts() == {"g": {}}
    assert items.load([7_000_000_000])[0].item == Item("a", "k", 0, "g", {"n": 1}, 5)


def test_key_that_occurs_twice_is_refused_and_its_group_left_out(items: Items) -> None:
    items.plan(group("g", "a"), again=False)

    with pytest.raises(Defect, match="plan of job 'j': key 'a' was planned twice"):
        items.plan(group("h", "b", "a"), again=False)

    assert items.stored.facts() == {"g": {"of": "g"}}
    assert items.stored.counts(7)[0] == Counts(pending=1)


def test_named_group_comes_once(items: Items) -> None:
    items.plan(group("g", "a"), again=False)

    with pytest.raises(Defect, match="group 'g' was planned twice"):
        items.plan(group("g", "b"), again=True)


def test_item_of_another_group_is_refused(items: Items) -> None:
    with pytest.raises(Defect, match="item 'a' of group 'h' came with group 'g'"):
        items.plan(PlannedGroup("g", (Item("a", "k", 0, "h"),)), again=False)


def test_ungrouped_items_come_in_lots_and_after_a_resume_again(items: Items) -> None:
    items.plan(group("", "a", "b"), again=False)
    items.plan(group("", "c"), again=False)

    assert len(items.plan(group("", "b", "c", "d"), again=True)) == 1
    assert items.stored.counts(7)[0].planned == 4


def test_repeated_key_among_ungrouped_items_is_no_silent_loss(items: Items) -> None:
    items.plan(group("", "a"), again=False)

    with pytest.raises(Defect, match="key 'a' was planned twice"):
        items.plan(group("", "a"), again=False)


def test_found_items_are_committed_with_the_progress_so_far_and_only_once(items: Items, journal: Journal) -> None:
    members = items.plan(group("g", "a"), again=False)
    items.change(members[0][0], ItemChange("running", 1, 0, '{"at":3}', 3, 30, None, None, 1, None, "w"))

    first = items.find(members[0][0], [Item("b", "k", 0, "g"), Item("c", "k", 0, "new")])
    again = items.find(members[0][0], [Item("b", "k", 0, "g")])

    assert {name: len(found) for name, found in first.items()} == {"g": 1, "new": 1}
    assert again == {}
    assert journal.db.execute("SELECT cursor FROM items WHERE key = 'a'").fetchone() == ('{"at":3}',)
    assert not items.is_dirty


def test_done_item_and_its_state_are_committed_together(items: Items, journal: Journal) -> None:
    members = items.plan(group("g", "a"), again=False)
    items.change(members[0][0], done(5))
    items.save([StateChange("mark", {"high": 9})])
    assert journal.state("j") == {}

    items.flush()

    assert journal.state("j") == {"mark": {"high": 9}}
    assert items.stored.counts(7) == (Counts(done=1, rows=5, size_bytes=50), 1)
    items.save([StateChange("mark", None)])
    items.flush()
    assert journal.state("j") == {}


def test_results_of_a_group_are_merged_in_plan_order_whoever_was_first(items: Items) -> None:
    members = items.plan(
        PlannedGroup("g", (*(Item(key, "k", 0, "g") for key in "abc"), Item("p", "k", 1, "g"))), again=False
    )
    found = items.find(members[0][0], [Item("z", "k", 0, "g")])["g"]
    items.plan(group("other", "x"), again=False)
    for item_id, rows in ((found[0][0], 1), (members[2][0], 2), (members[0][0], 4), (members[1][0], 8)):
        items.change(item_id, done(rows, f'{{"last":{rows},"r{rows}":true}}'))

    merged = items.group_done("g", 1)

    assert merged == GroupDone(4, 15, 150, {"last": 1, "r4": True, "r8": True, "r2": True, "r1": True})
    assert items.group_done("g", 0) == GroupDone()


def test_load_sees_changes_that_are_not_committed_yet(items: Items) -> None:
    members = items.plan(group("g", "a"), again=False)
    items.change(members[0][0], ItemChange("pending", 4, 3, '{"at":1}', 2, 20, '{"x":1}', None, 1, None, "w"))

    loaded = items.load([members[0][0]])[0]

    assert (loaded.attempts, loaded.attempts_since_progress, loaded.cursor, loaded.rows) == (4, 3, '{"at":1}', 2)
