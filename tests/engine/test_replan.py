"""Groups that are planned anew because what was planned no longer holds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import Busy, DataError, PenstockError, SourceChanged
from penstock.core.item import Item, PlannedGroup, Progress, Spawn
from penstock.core.spec import MaxErrors, RunSpec
from penstock.engine.job import Known, WorkerContext
from penstock.engine.outcome import Counts, State
from penstock.engine.progress import ProgressMeter
from tests.engine.small_job import FAST_RETRY, Project, SmallJob, lines

ROOT = Path(__file__).parents[2]


def table(name: str, version: int = 0, loads: int = 4) -> PlannedGroup:
    """A group of loads and a publish above them; the facts and the loads' payload say which plan they are of."""
    items = [Item(f"{name}/{n}", "load", 0, name, {"version": version}) for n in range(loads)]
    return PlannedGroup(name, (*items, Item(f"{name}/publish", "publish", 1, name)), {"version": version})


def anew(group: str, known: Known) -> PlannedGroup:
    return table(group, known.groups[group]["version"] + 1)


@dataclass
class Source:
    """Items of a plan older than the table's version are refused; what was done is in `done`."""

    versions: dict[str, int]
    done: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.kind == "load" and item.payload["version"] < self.versions[item.group]:
            raise SourceChanged(f"table {item.group} changed", "read it again")
        self.done.append((item.key, context.facts["version"]))
        yield Progress(10, 100)


def test_stale_group_is_planned_anew_and_others_keep_their_work(project: Project) -> None:
    """In the second run the source of `a` has changed; only `a` is read again."""
    source = Source({"a": 0, "b": 0})
    refuses = [True]

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if refuses[0] and item.key in ("a/3", "b/3"):
            raise DataError("not yet")
        yield from source(item, context)

    groups = [table("a"), table("b")]
    budget = RunSpec(workers=1, retry=FAST_RETRY, max_errors=MaxErrors(2))
    first = project.run(SmallJob(groups, handler, settings=budget))
    assert first.jobs[0].counts == Counts(done=6, failed=2, skipped=2, rows=60, size_bytes=600)
    refuses[0], source.versions["a"] = False, 1
    source.done.clear()
    project.events.clear()

    second = project.run(SmallJob(groups, handler, replanning=anew))

    assert second.state is State.DONE
    assert second.jobs[0].counts == Counts(done=10, rows=100, size_bytes=1000)
    assert sorted(source.done) == [*((f"a/{n}", 1) for n in range(4)), ("a/publish", 1), ("b/3", 0), ("b/publish", 0)]
    told = [event for event in project.events if event.kind == "replanned"]
    assert [(event.key, event.items, event.rows) for event in told] == [("a", 3, -30)]
    notes = [note.text for note in project.report().jobs[0].notes if note.kind == "replan"]
    assert notes == ["group 'a' is planned anew, 3 items done before: table a changed"]
    meter = ProgressMeter()
    for event in project.events:
        meter.take(event)
    told_job = meter.snapshot().jobs[0]
    assert (told_job.planned, told_job.done, told_job.rows, told_job.percent) == (10, 10, 100, 100.0)


def test_group_that_changes_in_mid_run_starts_again_with_all_workers(project: Project) -> None:
    source = Source({"a": 0, "b": 0})

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.key == "a/2" and source.versions["a"] == 0:
            source.versions["a"] = 1
        yield from source(item, context)

    outcome = project.run(SmallJob([table("a", loads=40), table("b", loads=40)], handler, replanning=anew), workers=4)

    assert outcome.jobs[0].counts == Counts(done=5 + 41, rows=460, size_bytes=4600)
    assert project.query("SELECT DISTINCT json_extract(payload, '$.version') FROM items WHERE group_name = 'a'") == [
        1,
        None,
    ]
    assert project.query("SELECT facts FROM groups WHERE name = 'a'") == ['{"version":1}']


def test_group_that_never_holds_still_is_a_dead_letter_after_three_times(project: Project) -> None:
    tries: list[int] = []

    def restless(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.group == "a":
            tries.append(item.payload["version"])
            raise SourceChanged("table a changed", "read it at night")
        yield Progress(1)

    job = SmallJob([table("a"), table("b")], restless, replanning=anew)
    outcome = project.run(replace(job, settings=replace(job.settings, max_errors=MaxErrors(1))), workers=1)

    assert (outcome.state, outcome.exit_code) == (State.PARTIAL, 3)
    assert outcome.jobs[0].counts == Counts(done=5, failed=1, skipped=4, rows=5)
    assert sorted(set(tries)) == [0, 1, 2, 3]
    error = project.report().jobs[0].failed[0].error
    assert str(error) == "table a changed (in this run group 'a' was planned anew 3 times); read it at night"


def test_group_that_is_gone_fails_with_the_reason_and_leaves_its_items_as_they_were(project: Project) -> None:
    source = Source({"a": 1, "b": 0})

    outcome = project.run(
        SmallJob([table("a"), table("b")], source, settings=RunSpec(workers=1, max_errors=MaxErrors(1)))
    )

    assert (outcome.state, outcome.jobs[0].counts) == (
        State.PARTIAL,
        Counts(done=5, failed=1, skipped=4, rows=50, size_bytes=500),
    )
    assert project.report().jobs[0].failed[0].error.what == "group 'a' is gone"  # type: ignore[union-attr]
    again = project.run(SmallJob([table("a"), table("b")], source, replanning=anew))
    assert (again.state, again.jobs[0].counts.done) == (State.DONE, 10)


def test_planning_anew_is_tried_again_after_an_error_that_passes(project: Project) -> None:
    errors: list[PenstockError] = [Busy("the catalog is locked"), Busy("the catalog is locked")]

    def busy(group: str, known: Known) -> PlannedGroup:
        if errors:
            raise errors.pop()
        return anew(group, known)

    outcome = project.run(SmallJob([table("a")], Source({"a": 1}), replanning=busy))

    assert (outcome.state, errors) == (State.DONE, [])


def test_items_without_a_group_cannot_be_planned_anew(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        raise SourceChanged("the table changed")
        yield

    outcome = project.run(SmallJob([PlannedGroup("", (Item("a", "k"),))], handler, replanning=anew))

    assert (outcome.state, outcome.jobs[0].counts.failed) == (State.FAILED, 1)


def test_found_items_go_with_the_plan_of_their_group(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress | Spawn]:
        version = context.facts["version"]
        if item.key == "a/0":
            yield Spawn((Item(f"a/found-{version}", "found", 0, "a"),))
        if item.key == "a/3" and version == 0:
            raise SourceChanged("table a changed")
        yield Progress(1)

    project.run(SmallJob([table("a")], handler, replanning=anew), workers=1)

    assert "a/found-1" in project.states()
    assert "a/found-0" not in project.states()
    assert set(project.states().values()) == {"done"}


DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from penstock.core.errors import SourceChanged
from penstock.engine.run import RunOptions, execute
from tests.engine.small_job import SmallJob, append, fake_session
from tests.engine.test_replan import anew, table, Progress

folder, version, die_at = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def die(point):
    if point == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

def replan(group, known):
    die("replan")
    return anew(group, known)

def handler(item, context):
    if item.kind == "load" and item.payload["version"] < version and item.group == "a":
        raise SourceChanged("table a changed")
    append(folder / "log", f"{item.key} {context.facts['version']}\\n")
    yield Progress(10)
    die(item.key)

def tell(event):
    if event.kind == "replanned":
        die("replanned")

job = SmallJob([table("a"), table("b")], handler, replanning=replan)
outcome = execute([job], folder / ".penstock" / "journal.db", fake_session, RunOptions(workers=1), None, tell)
print(outcome.state)
"""


@pytest.mark.parametrize("points", [["replan"], ["replanned"], ["replan", "replanned", "a/2"], ["a/publish"]])
def test_driver_killed_while_planning_anew_goes_on(project: Project, points: list[str]) -> None:
    def run(version: int, die_at: str) -> int:
        command = [sys.executable, "-c", DRIVER, str(project.folder), str(version), die_at]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        return subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, timeout=300).returncode

    assert run(0, "a/1") == -signal.SIGKILL
    for point in points:
        assert run(1, point) == -signal.SIGKILL
    assert run(1, "never") == 0

    assert project.report().jobs[0].counts == Counts(done=10, rows=100)
    log = lines(project.folder / "log")
    assert {f"a/{n} 1" for n in range(4)} | {"a/publish 1"} <= set(log)
    assert "a/publish 0" not in log
    assert project.query("SELECT DISTINCT json_extract(payload, '$.version') FROM items WHERE key LIKE 'a/_'") == [1]


@dataclass
class Restless:
    """A source whose tables change at random; what counts is what was read since a table last changed."""

    dice: random.Random
    changes: int
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys("abc", 0))
    read: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in "abc"})
    published: dict[str, set[str]] = field(default_factory=dict)

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.kind == "publish":
            self.published[item.group] = set(self.read[item.group])
            yield Progress(result={"items": context.done.items})
            return
        if self.changes and self.dice.random() < 0.1:
            self.changes -= 1
            name = self.dice.choice([name for name in "abc" if name not in self.published] or ["a"])
            if name not in self.published:
                self.versions[name] += 1
        if self.dice.random() < 0.05:
            raise Busy("wait")
        if item.payload["version"] != self.versions[item.group]:
            raise SourceChanged(f"table {item.group} changed")
        self.read[item.group].add(item.key)
        yield Progress(1, 1, {"at": 1})

    def replan(self, group: str, known: Known) -> PlannedGroup:
        self.read[group].clear()
        return table(group, self.versions[group], loads=self.dice.randint(1, 6))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), changes=st.integers(0, 12), workers=st.integers(1, 3))
def test_journal_holds_one_whole_plan_of_each_group_whatever_changes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, changes: int, workers: int
) -> None:
    project = Project(tmp_path_factory.mktemp("restless"))
    source = Restless(random.Random(seed), changes)
    job = SmallJob([table(name, loads=5) for name in "abc"], source, replanning=source.replan)
    for _ in range(changes + 1):
        outcome = project.run(job, workers=workers)
        _check_plan(project)
        if outcome.state is State.DONE:
            break

    assert outcome.state is State.DONE
    for name in "abc":
        loads = project.query("SELECT key FROM items WHERE group_name = ? AND kind = 'load'", name)
        assert source.published[name] == set(loads)
        result = project.query("SELECT result FROM items WHERE key = ?", f"{name}/publish")[0]
        assert json.loads(result) == {"items": len(loads)}


def _check_plan(project: Project) -> None:
    """Every item lies in the range of its group, is of its group's version, and the counts of the run are theirs."""
    wrong = project.query(
        "SELECT key FROM items i LEFT JOIN groups g ON g.job_run = i.job_run AND g.name = i.group_name"
        " WHERE g.name IS NULL OR NOT i.id BETWEEN g.first_item AND g.last_item"
        " OR i.kind = 'load' AND json_extract(i.payload, '$.version') <> json_extract(g.facts, '$.version')"
    )
    assert wrong == []
    ranges = project.query(
        "SELECT last_item - first_item + 1, (SELECT count(*) FROM items WHERE group_name = name) FROM groups"
    )
    assert all(planned == there for planned, there in ranges)
    counts = project.report().jobs[0].counts
    assert counts.planned == project.query("SELECT count(*) FROM items")[0]
    assert counts.done == project.query("SELECT count(*) FROM items WHERE state = 'done'")[0]
    assert project.query("SELECT count(*) FROM items WHERE state = 'running'") == [0]
