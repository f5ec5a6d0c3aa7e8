"""The mistakes that all predecessors made, one test each, as far as they concern the engine."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Busy, DataError, PenstockError, Retry
from penstock.core.item import Item, PlannedGroup, Progress, Spawn
from penstock.core.spec import MaxErrors, RetrySpec, RunSpec
from penstock.engine.items import ItemChange, Items
from penstock.engine.job import WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts, RunOutcome, State
from penstock.engine.run import RunOptions
from penstock.engine.stop import Stop
from tests.engine.small_job import FAST_RETRY, Project, SmallJob, allowing, append, groups_of, lines


@dataclass(frozen=True)
class Wrapped:
    """Raises an error that may be tried again from deep inside, chained as connectors do; works the second time."""

    folder: str

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        append(Path(self.folder) / "tries", "x\n")
        if context.attempt == 1:
            try:
                raise OSError("driver says no")
            except OSError as error:
                raise Busy("table is locked", "wait") from error
        yield Progress()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_1_wrapping_an_error_does_not_kill_its_retry(project: Project, executor: str) -> None:
    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), Wrapped(str(project.folder))), executor=executor)

    assert outcome.state is State.DONE
    assert len(lines(project.folder / "tries")) == 2


def test_2_reaching_the_end_is_no_success(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        raise DataError("nothing works")
        yield

    outcome = project.run(SmallJob(groups_of([Item(k, "k") for k in "abc"]), handler, settings=allowing(100)))

    assert outcome.exit_code != 0
    assert project.query("SELECT state, exit_code FROM runs") == [("failed", 1)]


def seen(project: Project, outcome: RunOutcome) -> object:
    """Everything a user could notice of a run of `probe_job`."""
    counts, run = outcome.jobs[0].counts, project.report().run
    tries = project.query("SELECT sum(attempts) FROM items")
    waits = project.query("SELECT total(wait_s) > 2 FROM samples")
    job = project.query("SELECT workers, executor FROM job_runs ORDER BY id DESC LIMIT 1")
    resumed = outcome.jobs[0].resumed
    return outcome.state, counts, tries, waits, job, resumed, run.command, project.report().versions


def probe_job(settings: RunSpec, slow_s: float = 0.5) -> SmallJob:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.key == "slow" and context.cursor is None:
            yield Progress(1, 1, {"at": 1})
            time.sleep(slow_s)
        if item.key == "busy":
            raise Busy("busy")
        yield Progress(1, 1)

    items = [Item("slow", "k", weight=9), Item("busy", "k", weight=5), *(Item(f"i{n}", "k") for n in range(3))]
    return SmallJob(groups_of(items), handler, settings=settings)


BASE: dict[str, Any] = {"workers": 2, "retry": RetrySpec(2, 0.001, 0.002), "max_errors": MaxErrors(1)}

# Seconds that the slow item takes in the tests of limits that it must break, or keep, on a busy machine too.
SLOW = {"timeout_s": 4.0, "item_timeout_s": 4.0, "grace_s": 4.0, "retry.max_backoff_s": 0.0}

# For each setting of RunSpec (and RetrySpec, MaxErrors) a value that a user must notice.
SETTINGS: dict[str, Any] = {
    "workers": {"workers": 1},
    "executor": {"executor": "serial"},
    "max_errors": {"max_errors": MaxErrors(0)},
    "max_errors.count": {"max_errors": MaxErrors(0)},
    "max_errors.percent": {"max_errors": MaxErrors(1, 10.0)},
    "timeout_s": {"timeout_s": 0.2},
    "item_timeout_s": {"item_timeout_s": 0.2},
    "retry": {"retry": RetrySpec(3, 0.001, 0.002)},
    "retry.attempts": {"retry": RetrySpec(3, 0.001, 0.002)},
    "retry.backoff_s": {"retry": RetrySpec(2, 1000.0, 1000.0), "timeout_s": 1.0},
    "retry.max_backoff_s": {"retry": RetrySpec(2, 1000.0, 0.002)},
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_3_every_setting_of_a_job_changes_what_a_user_sees(project: Project, tmp_path: Path, name: str) -> None:
    # A cap on waits shows only where they would be long; the deadline ends those.
    capped = {**BASE, "retry": RetrySpec(2, 1000.0, 1000.0), "timeout_s": 5.0}
    base, slow_s = capped if name == "retry.max_backoff_s" else BASE, SLOW.get(name, 0.5)
    other = Project(tmp_path / "other")
    plain = seen(other, other.run(probe_job(RunSpec(**base), slow_s), grace_s=0.1))

    changed = seen(project, project.run(probe_job(RunSpec(**{**base, **SETTINGS[name]}), slow_s), grace_s=0.1))

    assert changed != plain


def test_3_no_setting_is_without_such_a_test() -> None:
    names = {one.name for one in fields(RunSpec)}
    names |= {f"retry.{one.name}" for one in fields(RetrySpec)} | {
        f"max_errors.{one.name}" for one in fields(MaxErrors)
    }

    assert set(SETTINGS) == names
    assert {one.name for one in fields(RunOptions)} == set(OPTIONS)


OPTIONS: dict[str, Any] = {
    "workers": 1,
    "executor": "serial",
    "fresh": True,
    "timeout_s": 0.2,
    "grace_s": 60.0,
    "command": "run probe",
    "versions": {"penstock": "9"},
}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_3_every_option_of_a_run_changes_what_a_user_sees(project: Project, tmp_path: Path, name: str) -> None:
    base: dict[str, Any] = {"grace_s": 0.05} | ({"timeout_s": 1.5} if name == "grace_s" else {})
    job, other = probe_job(RunSpec(**BASE), SLOW.get(name, 0.5)), Project(tmp_path / "other")
    for one in (project, other) if name == "fresh" else ():
        one.run(job)
    plain = seen(other, other.run(job, **base))

    changed = seen(project, project.run(job, **{**base, name: OPTIONS[name]}))

    assert changed != plain


def test_4_failed_page_is_no_end_of_data(project: Project) -> None:
    def pages(item: Item, context: WorkerContext) -> Iterator[Progress | Spawn]:
        if item.kind == "page":
            number = item.payload["number"]
            if number == 2:
                raise DataError("page 2 cannot be read")
            if number < 4:
                following = [Item(f"page-{n}", "page", 0, "g", {"number": n}) for n in (number + 1, number + 2)]
                yield Spawn(tuple(following))
            yield Progress(10)

    first = Item("page-0", "page", 0, "g", {"number": 0})
    group = PlannedGroup("g", (first, Item("publish", "publish", 1, "g")))
    outcome = project.run(SmallJob([group], pages, settings=allowing(1)))

    assert outcome.state is State.PARTIAL
    assert project.states() == {
        "page-0": "done",
        "publish": "skipped",
        "page-1": "done",
        "page-2": "failed",
        "page-3": "done",
        "page-4": "done",
        "page-5": "done",
    }


def test_5_resume_resumes(project: Project) -> None:
    ran: list[str] = []
    stop = Stop()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        ran.append(item.key)
        if len(ran) == 3:
            stop.request("test")
        yield Progress()

    items = groups_of([Item(f"i{n}", "k") for n in range(6)])
    project.run(SmallJob(items, handler), stop=stop, workers=1)
    project.run(SmallJob(items, handler), workers=1)

    assert ran == [f"i{n}" for n in range(6)]


@dataclass(frozen=True)
class Steps:
    """Writes a line, then tells the cursor; many short steps."""

    folder: str

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        for step in range(40):
            append(Path(self.folder) / f"{item.key}.txt", f"{step}\n")
            yield Progress(1, 0, {"step": step + 1})
            time.sleep(0.002)


def test_6_cursor_in_the_journal_is_never_ahead_of_the_data(project: Project) -> None:
    ahead: list[tuple[str, int, int]] = []
    looks: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.005):
            if not project.journal.exists():
                continue
            query = "SELECT key, json_extract(cursor, '$.step') FROM items WHERE cursor IS NOT NULL"
            for key, step in project.query(query):
                looks.append(step)
                written = len(lines(project.folder / f"{key}.txt"))
                if step > written:
                    ahead.append((key, step, written))

    with Journal.open(project.journal):
        looking = threading.Thread(target=look)
        looking.start()
        project.run(SmallJob(groups_of([Item(k, "k") for k in "ab"]), Steps(str(project.folder))))
        is_over.set()
        looking.join()

    assert ahead == []
    assert len(set(looks)) > 3


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_7_stop_stops(project: Project, executor: str) -> None:
    stop = Stop()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        stop.request("test")
        step = 0
        while True:
            step += 1
            yield Progress(1, 0, {"step": step})

    outcome = project.run(SmallJob(groups_of([Item("endless", "k")]), handler), stop=stop, executor=executor)

    assert outcome.exit_code == 130


def test_8_runs_of_different_jobs_share_a_journal_without_losing_anything(project: Project) -> None:
    outcomes: dict[str, RunOutcome] = {}

    def run(name: str) -> None:
        items = groups_of([Item(f"{name}{n}", "k") for n in range(300)])
        own = Project(project.folder)
        outcomes[name] = own.run(SmallJob(items, one_row, name=name))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [outcomes[name].jobs[0].counts for name in ("one", "two", "three")] == [Counts(done=300, rows=300)] * 3
    assert len({outcome.run_id for outcome in outcomes.values()}) == 3


def one_row(item: Item, context: WorkerContext) -> Iterator[Progress]:
    yield Progress(1)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_10_any_number_of_workers_and_any_order_give_the_same(project: Project, workers: int) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        time.sleep(random.random() / 500)
        if item.kind == "publish":
            done = context.done
            yield Progress(result={"items": done.items, "rows": done.rows, "merged": dict(done.results)})
        else:
            yield Progress(item.payload["n"], result={"last": item.key, item.key: item.payload["n"]})

    groups = [
        PlannedGroup(
            name,
            (
                *(Item(f"{name}{n}", "load", 0, name, {"n": n}, n % 3) for n in range(7)),
                Item(f"{name}!", "publish", 1, name),
            ),
        )
        for name in "abc"
    ]
    project.run(SmallJob(groups, handler), workers=workers)

    merged = '"last":"{0}6",' + ",".join(f'"{{0}}{n}":{n}' for n in range(7))
    for name in "abc":
        found = project.query("SELECT result FROM items WHERE key = ?", f"{name}!")[0]
        assert found == f'{{"items":7,"rows":21,"merged":{{{merged.format(name)}}}}}'


@pytest.mark.parametrize(("retry", "tries"), [(Retry.NEVER, 1), (Retry.LATER, FAST_RETRY.attempts)])
def test_11_the_kind_of_an_error_decides_and_not_its_text(project: Project, retry: Retry, tries: int) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        raise PenstockError("deadlock detected, timeout, connection reset, try again", retry=retry)
        yield

    project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert project.query("SELECT attempts FROM items") == [tries]


def test_12_a_thousand_events_are_one_commit(project: Project) -> None:
    statements: list[str] = []
    with Journal.open(project.journal) as journal:
        items = Items(journal, "r", "j", job_run=1, origin=1)
        members = items.plan(PlannedGroup("", tuple(Item(f"i{n}", "k") for n in range(1000))), again=False)
        journal.db.set_trace_callback(statements.append)

        for item_id, _, _ in members:
            items.change(item_id, ItemChange("running", 1, 0, None, 0, 0, None, None, 1, None, "w"))
            items.change(item_id, ItemChange("done", 1, 0, None, 1, 0, None, None, 1, 2, "w"))
        items.flush()

    assert statements.count("COMMIT") == 1
    assert sum(statement.lstrip().startswith("UPDATE items") for statement in statements) == 1000
