"""What other processes read of runs: live, ended, killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from penstock.core.errors import Busy, DataError, Missing
from penstock.core.item import Item, PlannedGroup, Progress
from penstock.engine import watch
from penstock.engine.history import RunReport, find_run, items, list_runs, report
from penstock.engine.job import Known, WorkerContext
from penstock.engine.journal import Journal, now_ms
from penstock.engine.outcome import Counts, State
from penstock.engine.retention import forget_old_plans
from tests.engine.small_job import Project, SmallJob, allowing, groups_of, until


def work(item: Item, context: WorkerContext) -> Iterator[Progress]:
    """Item "bad" fails; "slow" is tried twice."""
    if item.key == "bad":
        raise DataError("value 7 is bad", "mend it")
    if item.key == "slow" and context.attempt == 1:
        raise Busy("wait")
    yield Progress(3, 30, {"at": 3}, {"note": item.key})


PLAN = [
    PlannedGroup(
        "g", (Item("bad", "load", 0, "g"), Item("slow", "load", 0, "g"), Item("end", "publish", 1, "g")), {"f": 1}
    ),
    PlannedGroup("h", (Item("x", "load", 0, "h"), Item("fin", "publish", 1, "h"))),
]


def test_report_tells_everything_about_a_run(project: Project) -> None:
    job = SmallJob(PLAN, work, settings=allowing(1), share=lambda: {"snapshot": "s1"})

    outcome = project.run(job, command="run small", versions={"penstock": "1"})
    told = project.report(outcome.run_id)

    assert (told.run.state, told.run.exit_code, told.run.command) == (State.PARTIAL, 3, "run small")
    assert (told.run.jobs, told.run.is_live, told.versions) == (("small",), False, {"penstock": "1"})
    one = told.jobs[0]
    assert (one.state, one.workers, one.executor, one.plan_id) == (State.PARTIAL, 2, "threads", outcome.run_id)
    assert one.counts == Counts(done=3, failed=1, skipped=1, rows=9, size_bytes=90) == outcome.jobs[0].counts
    assert one.snapshot == {"snapshot": "s1"}
    assert one.facts == {"g": {"f": 1}, "h": {}}
    assert [(stage.stage, stage.kind, stage.counts.done) for stage in one.stages] == [(0, "load", 2), (1, "publish", 1)]
    assert [(note.kind, note.key) for note in one.notes] == [("workers", ""), ("retry", "slow")]
    assert [(item.key, str(item.error)) for item in one.failed] == [("bad", "value 7 is bad; mend it")]
    assert (one.samples[-1].done, one.samples[-1].failed, one.samples[-1].retries) == (3, 1, 1)
    assert one.samples[-1].rss_bytes > 10_000_000


def test_items_are_listed_by_state_and_page(project: Project) -> None:
    project.run(SmallJob(PLAN, work, settings=allowing(1)))

    with Journal.open(project.journal) as journal:
        every = items(journal, "", "small")
        done = items(journal, "", "small", state="done")
        page = items(journal, "", "small", limit=2, after=every[1].item_id)

    assert [item.key for item in every] == ["bad", "slow", "end", "x", "fin"]
    assert [item.key for item in done] == ["slow", "x", "fin"]
    assert [item.key for item in page] == ["end", "x"]
    assert (done[0].result, done[0].cursor, done[0].attempts) == ({"note": "slow"}, {"at": 3}, 2)
    assert done[0].worker.startswith("worker-")


def test_runs_are_listed_newest_first_and_found_by_the_beginning_of_their_id(project: Project) -> None:
    ids = [project.run(SmallJob([])).run_id for _ in range(3)]

    with Journal.open(project.journal) as journal:
        assert [run.run_id for run in list_runs(journal)] == ids[::-1]
        assert find_run(journal).run_id == ids[-1]
        assert find_run(journal, ids[0]).run_id == ids[0]
        with pytest.raises(Missing, match="several runs begin with '20'"):
            find_run(journal, "20")
        with pytest.raises(Missing, match="there is no run 'nope'; list what ran with: penstock status"):
            find_run(journal, "nope")


def test_live_run_is_read_while_it_runs(project: Project) -> None:
    go_on = threading.Event()

    def waiting(item: Item, context: WorkerContext) -> Iterator[Progress]:
        yield Progress(5, 50, {"at": 1})
        go_on.wait(300)

    running = threading.Thread(target=project.run, args=(SmallJob(groups_of([Item("a", "k")]), waiting),))
    running.start()
    try:
        told = _eventually(project, lambda counts: counts.rows == 5)
        assert (told.run.state, told.run.is_live, told.jobs[0].state) == (State.RUNNING, True, State.RUNNING)
        assert told.jobs[0].counts == Counts(running=1, rows=5, size_bytes=50)
    finally:
        go_on.set()
        running.join()


def _eventually(project: Project, condition: Callable[[Counts], bool]) -> RunReport:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if project.journal.exists() and project.query("SELECT count(*) FROM job_runs") == [1]:
            with Journal.open(project.journal) as journal:
                told = report(journal)
            if condition(told.jobs[0].counts):
                return told
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_old_plans_are_forgotten_and_their_runs_remembered(project: Project) -> None:
    job = SmallJob(PLAN, work, settings=allowing(1), share=lambda: {"snapshot": "s"})
    unfinished = project.run(job, fresh=True)
    ids = [project.run(SmallJob(groups_of([Item("a", "k")])), fresh=True).run_id for _ in range(4)]
    project.run(SmallJob([], name="other"))

    with Journal.open(project.journal) as journal:
        assert forget_old_plans(journal, "small", kept_plans=2) == 3
        assert forget_old_plans(journal, "small", kept_plans=2) == 0

    assert len(project.query("SELECT id FROM items")) == 2
    assert project.report(ids[0]).jobs[0].counts == Counts(done=1)
    assert project.report(ids[0]).jobs[0].stages == ()
    assert len(project.report(ids[3]).jobs[0].stages) == 1
    assert project.report(unfinished.run_id).run.state is State.PARTIAL


def test_run_elsewhere_is_live_as_long_as_its_heart_beats(project: Project) -> None:
    run_id = project.run(SmallJob([])).run_id
    project.query("UPDATE runs SET state = 'running', host = 'elsewhere'")
    lock = "INSERT OR REPLACE INTO locks VALUES ('job:small', ?, 'elsewhere', 1, '', '', 0, ?)"

    project.query(lock, run_id, now_ms() - 5_000)
    assert project.report().run.is_live
    project.query(lock, run_id, now_ms() - 70_000)

    assert not project.report().run.is_live
    assert project.report().run.state is State.KILLED


def test_heart_beats_while_the_driver_is_busy_planning(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.1)
    beats: list[int] = []

    def plan(known: Known) -> Iterator[PlannedGroup]:
        for _ in range(3):
            until(lambda: project.query("SELECT heartbeat_ms FROM locks") != beats[-1:])
            beats.extend(project.query("SELECT heartbeat_ms FROM locks"))
        yield PlannedGroup("a", (Item("a", "k", 0, "a"),))

    project.run(SmallJob(plan))

    assert beats[0] < beats[1] < beats[2]
