"""Runs that go on where an earlier one ended: adopted, abandoned, retried, cleared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.core.errors import DataError, Locked, Missing, Unavailable
from penstock.core.item import Item, PlannedGroup, Progress
from penstock.engine.dead_letters import clear_failed, list_failed, retry_failed, show_failed
from penstock.engine.job import Known, WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts, State
from penstock.engine.stop import Stop
from tests.engine.small_job import Project, SmallJob, allowing, groups_of


class Work:
    """A handler that fails for the keys in `broken` and notes which items it ran, with their cursors."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.ran: list[str] = []

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        self.ran.append(item.key)
        if item.key in self.broken:
            raise DataError(f"{item.key} is broken", "mend it")
        yield Progress(1, 0, {"at": 1}, {"key": item.key})


def plan() -> list[PlannedGroup]:
    return groups_of(
        [
            *(Item(f"a{n}", "load", 0, "a") for n in range(3)),
            Item("a-publish", "publish", 1, "a"),
            *(Item(f"b{n}", "load", 0, "b") for n in range(3)),
            Item("b-publish", "publish", 1, "b"),
        ]
    )


def test_run_that_was_done_starts_anew(project: Project) -> None:
    work = Work()
    project.run(SmallJob(plan(), work))
    outcome = project.run(SmallJob(plan(), work))

    assert not outcome.jobs[0].resumed
    assert len(work.ran) == 16


def test_failed_items_alone_are_run_again_with_fresh_attempts(project: Project) -> None:
    work = Work("a1")
    first = project.run(SmallJob(plan(), work, settings=allowing(1)))
    assert first.state is State.PARTIAL
    assert project.query("SELECT attempts, attempts_since_progress FROM items WHERE key = 'a1'") == [(1, 1)]

    work.broken.clear()
    work.ran.clear()
    job = SmallJob(plan(), work, settings=allowing(1))
    second = project.run(job)

    assert second.state is State.DONE
    assert work.ran == ["a1", "a-publish"]
    assert job.known == []
    assert second.jobs[0].resumed
    assert (second.jobs[0].done_here, second.jobs[0].counts) == (2, Counts(done=8, rows=8))
    assert project.query("SELECT attempts FROM items WHERE key = 'a1'") == [2]
    assert project.report().jobs[0].resumed_from == first.run_id
    assert project.report().jobs[0].plan_id == first.run_id


def test_items_fail_again_in_every_run_until_they_are_mended(project: Project) -> None:
    work = Work("a1")
    states = [project.run(SmallJob(plan(), work, settings=allowing(1))).state for _ in range(3)]

    assert states == [State.PARTIAL] * 3
    assert work.ran.count("a1") == 3
    assert work.ran.count("b1") == 1


def test_stopped_run_goes_on_at_the_cursor(project: Project) -> None:
    stop = Stop()
    cursors: list[object] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        cursors.append(context.cursor)
        for step in range(context.cursor["step"] if context.cursor else 0, 4):
            if step == 2 and not context.cursor:
                stop.request("test")
            yield Progress(1, 1, {"step": step + 1})

    groups = groups_of([Item("a", "k")])
    first = project.run(SmallJob(groups, handler), stop=stop)
    second = project.run(SmallJob(groups, handler))

    assert (first.state, first.exit_code) == (State.STOPPED, 130)
    assert first.jobs[0].counts == Counts(pending=1, rows=3, size_bytes=3)
    assert second.jobs[0].counts == Counts(done=1, rows=4, size_bytes=4)
    assert cursors == [None, {"step": 3}]


def test_changed_plan_is_never_resumed_and_the_old_one_is_closed(project: Project) -> None:
    stop = Stop()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        stop.request("test")
        yield Progress(1, 0, {"at": 1})

    project.run(SmallJob(plan(), handler), stop=stop, workers=1)
    outcome = project.run(SmallJob(plan(), Work(), plan_hash="2"))

    assert outcome.state is State.DONE
    assert not outcome.jobs[0].resumed
    assert outcome.jobs[0].done_here == 8
    assert project.query("SELECT state FROM job_runs ORDER BY id") == ["abandoned", "done"]
    assert any("settings changed" in text for text in project.query("SELECT text FROM notes WHERE kind = 'abandoned'"))


def test_fresh_begins_anew(project: Project) -> None:
    work = Work("a1")
    project.run(SmallJob(plan(), work, settings=allowing(1)))
    work.broken.clear()

    outcome = project.run(SmallJob(plan(), work), fresh=True)

    assert not outcome.jobs[0].resumed
    assert outcome.jobs[0].done_here == 8


def test_interrupted_planning_goes_on_with_known_groups_and_facts(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        yield Progress(result={"facts": context.facts["n"]})

    def make(is_broken: bool) -> SmallJob:
        def groups(known: Known) -> Iterator[PlannedGroup]:
            for n, name in enumerate("abc"):
                if name == "c" and is_broken:
                    raise DataError("catalog is broken")
                if name not in known.groups:
                    yield PlannedGroup(name, (Item(name, "k", 0, name),), {"n": n})

        return SmallJob(groups, handler)

    first = project.run(make(is_broken=True))
    again = make(is_broken=False)
    second = project.run(again)

    assert first.state is State.FAILED
    assert second.state is State.DONE
    assert again.known[0].groups == {"a": {"n": 0}, "b": {"n": 1}}
    assert again.known[0].resumed
    assert again.known[0].plan_id == first.run_id
    assert project.query("SELECT result FROM items ORDER BY id") == ['{"facts":0}', '{"facts":1}', '{"facts":2}']


def test_plan_id_is_the_same_over_resumes_and_new_for_a_new_plan(project: Project) -> None:
    ids: list[str] = []

    def make(is_broken: bool) -> SmallJob:
        def groups(known: Known) -> Iterator[PlannedGroup]:
            ids.append(known.plan_id)
            if is_broken:
                raise Unavailable("no answer")
            yield from plan()

        return SmallJob(groups, Work())

    for is_broken in (True, True, False, False):
        project.run(make(is_broken))

    assert len(set(ids[:-1])) == 1
    assert ids[-1] != ids[0]


def test_dead_letters_are_listed_shown_and_retried(project: Project) -> None:
    work = Work("a1", "b2")
    project.run(SmallJob(plan(), work, settings=allowing(2)))
    with Journal.open(project.journal) as journal:
        listed = list_failed(journal)
        assert [(item.job, item.key) for item in listed] == [("small", "a1"), ("small", "b2")]
        shown = show_failed(journal, listed[0].item_id)
        assert shown.error is not None
        assert str(shown.error) == "a1 is broken; mend it"
        assert retry_failed(journal, item_ids=[listed[0].item_id]) == 1
        assert [item.key for item in list_failed(journal, "small")] == ["b2"]
        assert list_failed(journal, "other") == []
        with pytest.raises(Missing, match="there is no failed item"):
            show_failed(journal, listed[0].item_id)

    work.broken.clear()
    assert project.run(SmallJob(plan(), work, settings=allowing(2))).state is State.DONE


def test_cleared_dead_letters_are_taken_up_by_no_later_run_of_the_plan(project: Project) -> None:
    work = Work("a1", "b2")
    project.run(SmallJob(plan(), work, settings=allowing(2)))
    with Journal.open(project.journal) as journal:
        cleared = next(item for item in list_failed(journal) if item.key == "a1")
        assert clear_failed(journal, item_ids=[cleared.item_id]) == 1

    work.broken.clear()
    work.ran.clear()
    outcome = project.run(SmallJob(plan(), work, settings=allowing(2)))

    assert outcome.state is State.PARTIAL
    assert work.ran == ["b2", "b-publish"]
    assert project.states()["a-publish"] == "skipped"

    work.ran.clear()
    assert project.run(SmallJob(plan(), work)).state is State.DONE
    assert len(work.ran) == 8


def test_dead_letters_of_a_live_run_are_left_alone(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.key == "bad":
            raise DataError("bad")
        with Journal.open(project.journal) as journal:
            while not list_failed(journal):
                context.moved(0, 0)
            with pytest.raises(Locked, match="job:small is held by run"):
                retry_failed(journal)
        yield Progress()

    items = [Item("bad", "k", weight=2), Item("good", "k", weight=1)]
    outcome = project.run(SmallJob(groups_of(items), handler, settings=allowing(1)), workers=1)

    assert outcome.jobs[0].counts == Counts(done=1, failed=1)


def test_report_of_the_first_run_keeps_its_own_end(project: Project) -> None:
    work = Work("a1")
    first = project.run(SmallJob(plan(), work, settings=allowing(1)))
    work.broken.clear()
    project.run(SmallJob(plan(), work, settings=allowing(1)))

    report = project.report(first.run_id)

    assert report.jobs[0].state is State.PARTIAL
    assert report.jobs[0].counts == Counts(done=6, failed=1, skipped=1, rows=6)


def test_run_killed_after_its_last_item_has_nothing_left_to_do(project: Project) -> None:
    work = Work()
    project.run(SmallJob(plan(), work))
    project.query("UPDATE job_runs SET state = 'running'")
    project.query("UPDATE runs SET state = 'running'")
    work.ran.clear()

    outcome = project.run(SmallJob(plan(), work))

    assert work.ran == []
    assert (outcome.state, outcome.jobs[0].resumed, outcome.jobs[0].done_here) == (State.DONE, True, 0)
    assert outcome.jobs[0].counts == Counts(done=8, rows=8)


def test_state_is_done_exactly_when_the_journal_says_all_are(project: Project) -> None:
    stop = Stop()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        stop.request("late")
        yield Progress()

    outcome = project.run(SmallJob(groups_of([Item("only", "k")]), handler), stop=stop)

    assert outcome.state is State.DONE
    assert project.states() == {"only": "done"}
