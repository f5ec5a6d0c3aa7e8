"""Whole runs: order, readiness, results, retries, budgets, exit codes; with real files, threads and processes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.core.errors import (
    Busy,
    CredentialsRefused,
    DataError,
    PenstockError,
    Retry,
    SnapshotLost,
    SpecError,
    Unavailable,
)
from penstock.core.item import Item, Json, PlannedGroup, Progress, Spawn
from penstock.core.spec import ConnectionSpec, RunSpec
from penstock.engine.job import Known, StateChange, WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts, State
from penstock.engine.workers import choose_workers
from tests.engine.small_job import (
    FAST_RETRY,
    FileHandler,
    Handler,
    Project,
    Sessions,
    SmallJob,
    allowing,
    append,
    groups_of,
    lines,
)


def tables(names: str = "ab", chunks: int = 4) -> list[PlannedGroup]:
    """Groups of a few chunks and a publish item each."""
    return [
        PlannedGroup(
            name,
            (
                *(Item(f"{name}{n}", "load", 0, name, {"steps": 1}, weight=n) for n in range(chunks)),
                Item(f"{name}-publish", "publish", 1, name),
            ),
            {"table": name},
        )
        for name in names
    ]


@dataclass(frozen=True)
class NotingHandler:
    """Appends what a publish item sees of its group to a file."""

    folder: str

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.kind == "publish":
            done = context.done
            seen = f"{context.facts['table']} {done.items} {done.rows} {sorted(done.results)}"
            append(Path(self.folder) / "seen", seen + "\n")
            yield Progress(result={"published": item.key})
        else:
            yield Progress(2, 20, {"at": 1}, {item.key: 1})
            yield Progress(1, 10)


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_all_items_run_and_publish_sees_what_its_group_did(project: Project, executor: str) -> None:
    outcome = project.run(SmallJob(tables(), NotingHandler(str(project.folder))), executor=executor)

    assert (outcome.state, outcome.exit_code) == (State.DONE, 0)
    assert outcome.jobs[0].counts == Counts(done=10, rows=24, size_bytes=240)
    assert sorted(lines(project.folder / "seen")) == [
        "a 4 12 ['a0', 'a1', 'a2', 'a3']",
        "b 4 12 ['b0', 'b1', 'b2', 'b3']",
    ]
    assert project.query("SELECT DISTINCT state FROM items") == ["done"]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_journal_ends_the_same_for_any_number_of_workers(project: Project, workers: int) -> None:
    outcome = project.run(SmallJob(tables("abc", 5), FileHandler(str(project.folder))), workers=workers)

    assert outcome.jobs[0].counts == Counts(done=18, rows=18, size_bytes=180)
    assert project.query("SELECT key, rows, cursor FROM items ORDER BY id") == [
        (key, 1, '{"step":1}') for name in "abc" for key in (*(f"{name}{n}" for n in range(5)), f"{name}-publish")
    ]


def test_heaviest_item_starts_first(project: Project) -> None:
    items = [Item(f"i{n}", "k", weight=weight) for n, weight in enumerate([1, 9, 5, 7])]

    project.run(SmallJob(groups_of(items), FileHandler(str(project.folder))), workers=1)

    begun = [line.split()[1] for line in lines(project.folder / "log") if line.startswith("begin")]
    assert begun == ["i1", "i3", "i2", "i0"]


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_what_a_worker_ended_is_journalled_before_it_begins_the_next(project: Project, executor: str) -> None:
    ended: list[str] = []
    missing: list[tuple[str, str]] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        states = project.states()
        missing.extend((key, states[key]) for key in ended if states[key] != "done")
        time.sleep(0.025)
        yield Progress(1)
        ended.append(item.key)

    project.run(SmallJob(groups_of([Item(f"i{n}", "k") for n in range(20)]), handler), workers=1, executor=executor)

    assert missing == []
    assert len(ended) == 20


def test_workers_run_while_the_plan_is_still_being_made(project: Project) -> None:
    first_done = threading.Event()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        first_done.set()
        yield Progress()

    def plan(known: Known) -> Iterator[PlannedGroup]:
        yield PlannedGroup("a", (Item("a", "k", 0, "a"),))
        while not first_done.is_set():
            yield PlannedGroup("", ())
        yield PlannedGroup("b", (Item("b", "k", 0, "b"),))

    outcome = project.run(SmallJob(plan, handler))

    assert outcome.jobs[0].counts == Counts(done=2)


def test_found_items_run_and_hold_back_the_publish_of_their_group(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress | Spawn]:
        depth = item.payload.get("depth", 0)
        if item.kind == "list" and depth < 3:
            keys = [f"{item.key}.{n}" for n in range(2)]
            yield Spawn(tuple(Item(key, "list", 0, "g", {"depth": depth + 1}) for key in keys))
            yield Progress(1, 0, {"listed": depth})
            yield Spawn((Item(f"{item.key}.0", "list", 0, "g", {"depth": depth + 1}),))
        elif item.kind == "publish":
            yield Progress(result={"saw": context.done.items})

    group = PlannedGroup("g", (Item("root", "list", 0, "g"), Item("publish", "publish", 1, "g")))
    outcome = project.run(SmallJob([group], handler))

    assert outcome.jobs[0].counts == Counts(done=16, rows=7)
    assert project.query("SELECT result FROM items WHERE key = 'publish'") == ['{"saw":15}']


def test_item_that_finds_work_for_a_planned_group_fails(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress | Spawn]:
        yield Spawn((Item("late", "k", 0, "b"),))

    groups = groups_of([Item("a", "k", 0, "a"), Item("b", "k", 0, "b")])
    outcome = project.run(SmallJob(groups[:1] + groups[1:], handler), workers=1)

    assert outcome.state is State.FAILED
    assert "item 'a' (group 'a', stage 0) found item 'late' (group 'b', stage 0)" in project.query(
        "SELECT json_extract(error, '$.what') FROM items WHERE key = 'a'"
    )


@dataclass
class Flaky:
    """Fails `fails` times with `error`, then works; notes attempts and cursors it was given."""

    error: PenstockError
    fails: int
    seen: list[tuple[int, Json | None]]
    progress_first: bool = False

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        self.seen.append((context.attempt, context.cursor))
        if self.progress_first:
            yield Progress(1, 0, {"n": len(self.seen)})
        if len(self.seen) <= self.fails:
            raise self.error
        yield Progress(1)


@pytest.mark.parametrize("retry", [Retry.LATER, Retry.RECONNECT])
def test_item_is_tried_again_as_often_as_allowed(project: Project, retry: Retry) -> None:
    handler = Flaky(PenstockError("no luck", retry=retry), 2, [])

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert outcome.state is State.DONE
    assert [attempt for attempt, _ in handler.seen] == [1, 2, 3]
    assert project.query("SELECT attempts, attempts_since_progress FROM items") == [(3, 0)]
    assert project.kinds("retry", "done") == ["retry", "retry", "done"]


def test_item_is_given_up_after_the_last_attempt_with_its_cause(project: Project) -> None:
    handler = Flaky(Busy("table is locked", "wait for the other session"), 99, [])

    outcome = project.run(SmallJob(groups_of([Item("a", "k", payload={"n": 1})]), handler))

    assert (outcome.state, outcome.exit_code) == (State.FAILED, 1)
    assert len(handler.seen) == FAST_RETRY.attempts
    failed = project.report().jobs[0].failed[0]
    assert (failed.key, failed.attempts, failed.payload) == ("a", 3, {"n": 1})
    assert failed.error is not None
    assert (failed.error.kind, failed.error.what, failed.error.hint) == (
        "Busy",
        "table is locked",
        "wait for the other session",
    )


def test_attempts_count_since_the_last_progress_only(project: Project) -> None:
    handler = Flaky(Busy("hiccup"), 10, [], progress_first=True)

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert outcome.state is State.DONE
    assert handler.seen[:3] == [(1, None), (2, {"n": 1}), (2, {"n": 2})]
    assert outcome.jobs[0].counts.rows == 12


def test_cursor_that_does_not_move_is_no_progress(project: Project) -> None:
    tries: list[int] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        tries.append(context.attempt)
        yield Progress(1, 0, {"page": 1})
        raise Busy("page 2 is busy")

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert outcome.state is State.FAILED
    assert tries == [1, 2, 3]


def test_rows_after_the_cursor_are_not_counted_twice(project: Project) -> None:
    attempts: list[int] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        attempts.append(1)
        if context.cursor is None:
            yield Progress(10, 100, {"at": 10})
        yield Progress(5, 50)
        if len(attempts) == 1:
            raise Busy("again")

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert (outcome.jobs[0].counts.rows, outcome.jobs[0].counts.size_bytes) == (15, 150)
    assert sum(event.rows for event in project.events) == 15


def test_snooze_is_no_attempt(project: Project) -> None:
    handler = Flaky(PenstockError("not ready", retry=Retry.SNOOZE, wait_s=0.001), 8, [])

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert outcome.state is State.DONE
    assert {attempt for attempt, _ in handler.seen} == {1}


def test_job_recovers_before_the_item_is_tried_again_and_items_see_what_is_new(project: Project) -> None:
    shared = {"snapshot": "one"}
    seen: list[str] = []

    def recover(error: PenstockError) -> bool:
        shared["snapshot"] = "two"
        return isinstance(error, SnapshotLost)

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        seen.append(context.shared["snapshot"])
        if context.shared["snapshot"] == "one":
            raise SnapshotLost("snapshot one is gone")
        yield Progress()

    job = SmallJob(groups_of([Item("a", "k")]), handler, share=lambda: dict(shared), recovery=recover)
    outcome = project.run(job)

    assert outcome.state is State.DONE
    assert seen == ["one", "two"]
    assert project.query("SELECT snapshot FROM job_runs") == ['{"snapshot":"two"}']
    assert "snapshot" in project.query("SELECT kind FROM notes")


def test_connection_that_breaks_is_opened_again_and_no_other(project: Project) -> None:
    sessions = Sessions()
    failed: list[str] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        context.session("there")
        if item.key == "b" and not failed:
            failed.append("b")
            raise PenstockError("cut", retry=Retry.RECONNECT)
        yield Progress()

    items = [Item(key, "k") for key in "abcd"]
    outcome = project.run(SmallJob(groups_of(items), handler), sessions=sessions, workers=1)

    assert outcome.state is State.DONE
    assert len(sessions.opened) == 2
    assert all(session.is_closed for session in sessions.opened)


def test_worker_survives_a_session_that_cannot_open(project: Project) -> None:
    sessions = Sessions()
    sessions.refuse = [Unavailable("host x does not answer")]

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        context.session("there")
        yield Progress()

    outcome = project.run(SmallJob(groups_of([Item(k, "k") for k in "abc"]), handler), sessions=sessions, workers=1)

    assert outcome.state is State.DONE
    assert project.query("SELECT key, attempts FROM items ORDER BY id") == [("a", 2), ("b", 1), ("c", 1)]


@pytest.mark.parametrize(
    ("error", "code"),
    [(Unavailable("no answer"), 10), (CredentialsRefused("login refused"), 12), (DataError("bad value"), 1)],
)
def test_exit_code_names_the_reason_when_nothing_could_be_done(
    project: Project, error: PenstockError, code: int
) -> None:
    handler = Flaky(error, 99, [])

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert (outcome.state, outcome.exit_code) == (State.FAILED, code)


def test_unavailable_after_some_work_is_an_ordinary_failure(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.key == "b":
            raise Unavailable("no answer")
        yield Progress()

    outcome = project.run(SmallJob(groups_of([Item("a", "k", weight=1), Item("b", "k")]), handler), workers=1)

    assert outcome.exit_code == 1


def odd_fails(item: Item, context: WorkerContext) -> Iterator[Progress]:
    """Items whose number is odd fail."""
    if item.payload["n"] % 2:
        raise DataError(f"bad value in {item.key}")
    yield Progress(1)


def numbered(count: int) -> list[PlannedGroup]:
    return groups_of([Item(f"i{n}", "k", payload={"n": n}) for n in range(count)])


def test_first_failed_item_ends_the_job_when_none_is_allowed(project: Project) -> None:
    outcome = project.run(SmallJob(numbered(500), odd_fails, settings=allowing(0)), workers=1)

    counts = outcome.jobs[0].counts
    assert (outcome.state, outcome.exit_code) == (State.FAILED, 1)
    assert counts.failed >= 1
    assert counts.pending > 0
    assert outcome.jobs[0].reason == f"{counts.failed} of 500 items failed (allowed: 0)"


def test_failures_within_the_budget_are_partial(project: Project) -> None:
    outcome = project.run(SmallJob(numbered(20), odd_fails, settings=allowing(10)))

    assert (outcome.state, outcome.exit_code) == (State.PARTIAL, 3)
    assert outcome.jobs[0].counts == Counts(done=10, failed=10, rows=10)


def test_one_more_than_the_budget_is_a_failure(project: Project) -> None:
    outcome = project.run(SmallJob(numbered(20), odd_fails, settings=allowing(9)))

    assert (outcome.state, outcome.exit_code) == (State.FAILED, 1)


@pytest.mark.parametrize(("percent", "state"), [(50.0, State.PARTIAL), (49.0, State.FAILED)])
def test_budget_as_a_share_of_the_planned_items(project: Project, percent: float, state: State) -> None:
    outcome = project.run(SmallJob(numbered(20), odd_fails, settings=allowing(percent=percent)))

    assert outcome.state is state


def test_job_whose_items_all_failed_is_failed_whatever_the_budget(project: Project) -> None:
    items = groups_of([Item(f"i{n}", "k", payload={"n": 1}) for n in range(3)])

    outcome = project.run(SmallJob(items, odd_fails, settings=allowing(100)))

    assert (outcome.state, outcome.exit_code) == (State.FAILED, 1)


def test_failed_item_skips_the_publish_of_its_group_alone(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.key == "a1":
            raise DataError("bad value")
        yield Progress()

    outcome = project.run(SmallJob(tables(), handler, settings=allowing(1)))

    assert outcome.state is State.PARTIAL
    assert project.states()["a-publish"] == "skipped"
    assert project.states()["b-publish"] == "done"
    assert outcome.jobs[0].counts == Counts(done=8, failed=1, skipped=1)


def test_unknown_exception_is_a_defect_with_traceback_and_without_secrets(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        raise RuntimeError("cannot reach postgresql://me:hunter2@db/x")
        yield Progress()

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    failed = project.report().jobs[0].failed[0]
    assert outcome.state is State.FAILED
    assert failed.attempts == 1
    assert failed.error is not None
    assert failed.error.what == ("item 'a' of job 'small': RuntimeError: cannot reach postgresql://me:***@db/x")
    assert "in handler" in failed.error.traceback
    assert "hunter2" not in failed.error.traceback


def bad_step(item: Item, context: WorkerContext) -> Iterator[Progress]:
    yield "something else"  # type: ignore[misc]


def bad_cursor(item: Item, context: WorkerContext) -> Iterator[Progress]:
    yield Progress(cursor={"at": Path()})


@pytest.mark.parametrize("handler", [bad_step, bad_cursor])
def test_handler_that_breaks_the_contract_fails_its_item_only(project: Project, handler: Handler) -> None:
    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert outcome.jobs[0].counts == Counts(failed=1)
    assert project.report().jobs[0].failed[0].error.kind == "Defect"  # type: ignore[union-attr]


def test_handler_is_closed_when_its_item_fails(project: Project) -> None:
    closed: list[str] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        try:
            yield Progress(cursor={"bad": {1}})
        finally:
            closed.append(item.key)

    project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert closed == ["a"]


def test_settled_state_is_there_for_the_next_run(project: Project) -> None:
    def settle(item: Item, result: Json) -> tuple[StateChange, ...]:
        return (StateChange(item.key, {"high": result["high"]}),)

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        yield Progress(result={"high": 1})
        yield Progress(result={"high": 7})

    job = SmallJob(groups_of([Item("a", "k")]), handler, settling=settle)
    project.run(job)
    project.run(job)

    assert [dict(known.state) for known in job.known] == [{}, {"a": {"high": 7}}]


def test_item_whose_state_cannot_be_settled_is_not_done(project: Project) -> None:
    def settle(item: Item, result: Json) -> tuple[StateChange, ...]:
        raise KeyError("high")

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), settling=settle))

    assert outcome.jobs[0].counts == Counts(failed=1)
    assert "settling item 'a' of job 'small': KeyError" in project.report().jobs[0].failed[0].error.what  # type: ignore[union-attr]


def test_planning_that_may_be_tried_again_goes_on_with_what_is_planned(project: Project) -> None:
    fails = [Unavailable("the server restarts")]

    def plan(known: Known) -> Iterator[PlannedGroup]:
        for group in tables("abc"):
            if group.group not in known.groups:
                if group.group == "b" and fails:
                    raise fails.pop()
                yield group

    job = SmallJob(plan)
    outcome = project.run(job)

    assert outcome.jobs[0].counts == Counts(done=15)
    assert [list(known.groups) for known in job.known] == [[], ["a"]]


@pytest.mark.parametrize(
    ("error", "code"),
    [(SpecError("no table matches 'x*'"), 2), (CredentialsRefused("refused"), 12), (ZeroDivisionError("oops"), 1)],
)
def test_planning_that_fails_ends_the_job_with_its_reason(project: Project, error: Exception, code: int) -> None:
    def plan(known: Known) -> Iterator[PlannedGroup]:
        raise error
        yield

    outcome = project.run(SmallJob(plan))

    assert (outcome.state, outcome.exit_code) == (State.FAILED, code)
    assert outcome.jobs[0].error is not None
    assert str(error) in outcome.jobs[0].error.what


def test_what_runs_may_end_when_planning_fails(project: Project) -> None:
    began = threading.Event()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        began.set()
        time.sleep(0.2)
        yield Progress(1)

    def plan(known: Known) -> Iterator[PlannedGroup]:
        yield PlannedGroup("a", (Item("a", "k", 0, "a"),))
        while not began.is_set():
            yield PlannedGroup("", ())
        raise DataError("the catalog is broken")

    outcome = project.run(SmallJob(plan, handler))

    assert (outcome.state, outcome.jobs[0].reason) == (State.FAILED, "the catalog is broken")
    assert outcome.jobs[0].counts == Counts(done=1, rows=1)


def test_journal_on_a_full_disk_ends_the_run_with_a_word(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(path: Path, **options: bool) -> Journal:
        journal = opened(path, **options)
        journal.db.execute("PRAGMA max_page_count = 60")
        return journal

    opened = Journal.open
    monkeypatch.setattr(Journal, "open", small)

    plan = groups_of([Item(f"i{n}" * 50, "k") for n in range(2000)])
    full = project.run(SmallJob(plan))
    monkeypatch.undo()
    again = project.run(SmallJob(plan))

    assert full.jobs[0].error is not None
    assert full.jobs[0].error.kind == "DiskFull"
    assert full.exit_code == 1
    assert again.jobs[0].counts == Counts(done=2000)


def test_job_without_items_is_done(project: Project) -> None:
    assert project.run(SmallJob([])).state is State.DONE


def test_jobs_run_in_order_and_those_after_a_failed_one_are_skipped(project: Project) -> None:
    failing = SmallJob(numbered(2), odd_fails, name="raw")
    after = SmallJob(numbered(1), name="mart", after=("raw",))
    last = SmallJob(numbered(1), name="report", after=("mart",))
    free = SmallJob(numbered(1), name="free")

    outcome = project.run(failing, after, last, free)

    assert [(job.job, job.state, job.reason) for job in outcome.jobs[1:]] == [
        ("mart", State.SKIPPED, "job 'raw' ended failed"),
        ("report", State.SKIPPED, "job 'mart' ended skipped"),
        ("free", State.DONE, ""),
    ]
    assert (outcome.state, outcome.exit_code) == (State.FAILED, 1)
    assert [job.closed > 0 for job in (failing, after, last, free)] == [True] * 4


def test_job_before_the_one_it_needs_is_refused(project: Project) -> None:
    with pytest.raises(SpecError, match="job 'mart' comes before 'raw'"):
        project.run(SmallJob(name="mart", after=("raw",)), SmallJob(name="raw"))


def test_unknown_executor_is_an_error_with_a_suggestion(project: Project) -> None:
    outcome = project.run(SmallJob(numbered(1)), executor="thread")

    assert outcome.exit_code == 2
    assert outcome.jobs[0].reason == "there is no executor 'thread'; did you mean 'threads'?"


def test_ungrouped_last_stage_waits_for_everything(project: Project) -> None:
    order: list[str] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        time.sleep(random.random() / 200)
        order.append(item.key)
        yield Progress()

    last = PlannedGroup("", (Item("manifest", "k", 2),))
    project.run(SmallJob([last, *tables("abc")], handler), workers=4)

    assert order[-1] == "manifest"
    assert len(order) == 16


@pytest.mark.parametrize(
    ("asked", "caps", "expected"),
    [(3, [], 3), (8, [5], 4), (8, [5, 3], 2), (4, [1], 1), (1, [9], 1)],
)
def test_workers_never_exceed_what_a_connection_allows(asked: int, caps: list[int], expected: int) -> None:
    connections = {f"c{n}": ConnectionSpec(f"c{n}", "x:", max_connections=cap) for n, cap in enumerate(caps)}

    assert choose_workers(SmallJob(connections=connections), asked)[0] == expected


def test_automatic_workers_are_two_to_eight() -> None:
    workers, why = choose_workers(SmallJob(settings=RunSpec()), None)

    assert 2 <= workers <= 8
    assert why.startswith("auto: ")
    with pytest.raises(SpecError, match="asks for 0 workers"):
        choose_workers(SmallJob(), 0)


def test_row_limit_of_a_connection_slows_the_job(project: Project) -> None:
    from penstock.core.spec import RateSpec

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        for _ in range(3):
            context.moved(100, 0)
        yield Progress(300)

    spec = ConnectionSpec("there", "x:", rate=RateSpec(rows_per_s=1000))
    started = time.monotonic()
    project.run(SmallJob(groups_of([Item(k, "k") for k in "ab"]), handler, connections={"there": spec}))

    assert time.monotonic() - started > 0.4
    assert project.kinds("throttled")
