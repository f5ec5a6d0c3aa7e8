"""Drivers and workers that die: nothing is lost, nothing is done twice but what was under way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Missing
from penstock.core.item import Item, Progress
from penstock.engine.history import list_runs
from penstock.engine.job import WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.outcome import State
from penstock.engine.run import request_stop
from tests.engine.small_job import FileHandler, Project, SmallJob, append, groups_of, lines, until

ROOT = Path(__file__).parents[2]


@contextmanager
def driver(folder: Path, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A driver process in a group of its own; whatever is left of it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.driver", str(folder), json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    out, _ = process.communicate(timeout=300)
    return process.returncode, json.loads(out.splitlines()[-1])


def begun(folder: Path) -> list[str]:
    return [line.split()[1] for line in lines(folder / "log") if line.startswith("begin")]


def ends(project: Project) -> list[str]:
    """The states of the job's runs so far."""
    return project.query("SELECT state FROM job_runs") if project.journal.exists() else []


def wait_for_next_item(folder: Path, process: subprocess.Popen[str]) -> None:
    seen = len(begun(folder))
    until(lambda: len(begun(folder)) > seen or process.poll() is not None)


def repeated(folder: Path) -> list[str]:
    """The items of which some step was done more than once, as often as the step that was repeated most."""
    found: list[str] = []
    for file in folder.glob("*.txt"):
        steps = lines(file)
        found += [file.stem] * (max(steps.count(step) for step in set(steps)) - 1)
    return found


@pytest.mark.parametrize(("executor", "times"), [("threads", 6), ("processes", 2)])
def test_run_killed_at_any_moment_ends_exact_when_it_runs_again(project: Project, executor: str, times: int) -> None:
    dice = random.Random(os.getpid())
    settings: dict[str, Any] = {"items": 16, "steps": 3, "sleep_s": 0.01, "workers": 2, "executor": executor}
    kills = 0
    while kills < times and "done" not in ends(project):
        with driver(project.folder, **settings) as process:
            wait_for_next_item(project.folder, process)
            time.sleep(dice.random() * 0.08)
            process.send_signal(signal.SIGKILL)
            kills += 1
    # A process may also have been killed after all was done.
    if "done" not in ends(project):
        with driver(project.folder, **settings) as process:
            code, outcome = finish(process)
        assert (code, outcome["state"], outcome["resumed"]) == (0, "done", True)

    for name in "ab":
        for n in range(8):
            assert sorted(set(lines(project.folder / f"{name}{n}.txt"))) == ["0", "1", "2"]
    assert len(repeated(project.folder)) <= kills * settings["workers"]
    log = lines(project.folder / "log")
    for name in "ab":
        publish = next(n for n, line in enumerate(log) if line.startswith(f"begin {name}-publish"))
        assert all(f"end {name}{n}" in log[:publish] for n in range(8))


def test_killed_run_shows_as_killed_and_its_lock_is_taken_over_at_once(project: Project) -> None:
    (project.folder / "hold").touch()
    with driver(project.folder, items=4) as process:
        until(lambda: begun(project.folder))
        process.kill()
        process.wait()
    (project.folder / "hold").unlink()
    with Journal.open(project.journal) as journal:
        assert [(run.state, run.is_live) for run in list_runs(journal)] == [(State.KILLED, False)]

    with driver(project.folder, items=4) as process:
        assert finish(process)[0] == 0

    assert any("took job:small over from run" in text for text in project.query("SELECT text FROM notes"))
    assert project.query("SELECT state FROM runs ORDER BY started_ms") == ["killed", "done"]


def test_second_run_of_a_live_job_exits_with_locked(project: Project) -> None:
    hold = project.folder / "hold"
    hold.touch()
    with driver(project.folder, items=4) as first:
        until(lambda: begun(project.folder))
        with driver(project.folder, items=4) as second:
            code, outcome = finish(second)
        hold.unlink()
        assert code == 11
        assert f"pid {first.pid}" in outcome["error"]
        assert "penstock stop" in outcome["error"]
        assert finish(first)[0] == 0

    assert repeated(project.folder) == []
    assert len(project.query("SELECT id FROM runs")) == 1


def test_run_is_stopped_from_another_process_and_goes_on_later(project: Project) -> None:
    settings = {"items": 8, "steps": 12, "sleep_s": 0.03}
    with driver(project.folder, **settings) as process:
        until(lambda: len(begun(project.folder)) >= 2)
        run_id = request_stop(project.journal)
        code, outcome = finish(process)

    assert (code, outcome["state"], outcome["run"]) == (130, "stopped", run_id)
    with driver(project.folder, **{**settings, "sleep_s": 0}) as process:
        code, outcome = finish(process)
    assert (code, outcome["resumed"]) == (0, True)
    assert repeated(project.folder) == []


def test_nothing_can_be_stopped_when_nothing_runs(project: Project) -> None:
    project.run(SmallJob())

    with pytest.raises(Missing, match="nothing is running in this project"):
        request_stop(project.journal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_drains_to_the_next_safe_point(project: Project, number: signal.Signals) -> None:
    with driver(project.folder, items=4, steps=20, sleep_s=0.05) as process:
        until(lambda: len(begun(project.folder)) >= 2)
        process.send_signal(number)
        code, outcome = finish(process)

    assert (code, outcome["state"]) == (130, "stopped")
    steps = {
        row[0]: json.loads(row[1])["step"] for row in project.query("SELECT key, cursor FROM items WHERE cursor > ''")
    }
    assert steps == {file.stem: len(lines(file)) for file in project.folder.glob("*.txt")}


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_second_signal_ends_the_run_at_once(project: Project, executor: str) -> None:
    with driver(project.folder, items=4, steps=1, sleep_s=1e6, executor=executor) as process:
        until(lambda: begun(project.folder))
        process.send_signal(signal.SIGINT)
        until((project.folder / "stop-soft").exists)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        if executor == "serial":
            # A sleep cannot be interrupted from beside; the third signal ends even that.
            until((project.folder / "stop-hard").exists)
            process.send_signal(signal.SIGINT)
        process.wait(120)

    assert process.returncode != 0
    assert set(project.states().values()) <= {"pending", "running"}


def test_worker_processes_die_with_their_driver(project: Project) -> None:
    with driver(project.folder, items=4, sleep_s=1e6, executor="processes") as process:
        until(lambda: len(begun(project.folder)) >= 2)
        workers = {int(line.split()[3]) for line in lines(project.folder / "log")}
        assert process.pid not in workers
        process.kill()
        process.wait()

    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))


@dataclass(frozen=True)
class DyingHandler:
    """The first attempt at an item named "bad" takes its whole process with it."""

    folder: str

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        append(Path(self.folder) / "tries", f"{item.key} {context.attempt}\n")
        yield Progress(1, 1, {"half": True})
        if item.key == "bad" and len(lines(Path(self.folder) / "bad")) < item.payload["deaths"]:
            append(Path(self.folder) / "bad", "died\n")
            os.kill(os.getpid(), signal.SIGKILL)
        yield Progress(1, 1)


def test_item_of_a_worker_process_that_died_is_tried_again(project: Project) -> None:
    items = [Item("bad", "k", payload={"deaths": 1}, weight=1), *(Item(f"i{n}", "k") for n in range(6))]

    outcome = project.run(SmallJob(groups_of(items), DyingHandler(str(project.folder))), executor="processes")

    assert outcome.state is State.DONE
    assert (
        project.query("SELECT DISTINCT rows FROM items") == [2, 3]
        or project.query("SELECT key FROM items WHERE state <> 'done'") == []
    )
    assert sum(line.startswith("bad") for line in lines(project.folder / "tries")) == 2
    assert any(
        "died with exit code -9" in text for text in project.query("SELECT text FROM notes WHERE kind = 'retry'")
    )


def test_handler_that_cannot_be_sent_to_processes_says_so(project: Project) -> None:
    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), lambda item, context: iter(())), executor="processes")

    assert outcome.exit_code == 2
    assert "cannot run in processes" in outcome.jobs[0].reason


@dataclass(frozen=True)
class Unloadable:
    """Pickles well, but loading it ends the process: no worker can start."""

    def __reduce__(self) -> Any:
        return os._exit, (7,)

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        yield Progress()


def test_job_whose_workers_cannot_start_is_failed_not_done(project: Project) -> None:
    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), Unloadable()), executor="processes", workers=1)

    assert (outcome.state, outcome.exit_code) == (State.FAILED, 1)
    assert outcome.jobs[0].reason.startswith("no worker process could be started: the last one ended with exit code 7")
    assert outcome.jobs[0].counts.pending == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_ends_is_replaced_and_its_item_tried_again(project: Project) -> None:
    tries: list[str] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        tries.append(item.key)
        if len(tries) == 1:
            raise KeyboardInterrupt
        yield Progress()

    outcome = project.run(SmallJob(groups_of([Item("a", "k"), Item("b", "k")]), handler), workers=1)

    assert outcome.state is State.DONE
    assert sorted(tries) == ["a", "a", "b"]


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_handler_that_exits_fails_its_item_and_not_the_run(project: Project, executor: str) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        raise SystemExit(3)
        yield Progress()

    outcome = project.run(SmallJob(groups_of([Item("a", "k")]), handler), executor=executor)

    assert outcome.state is State.FAILED
    assert outcome.jobs[0].counts.failed == 1


def test_files_of_the_handler_are_what_the_journal_says(project: Project) -> None:
    items = [Item(f"i{n}", "k", payload={"steps": 3}) for n in range(4)]

    project.run(SmallJob(groups_of(items), FileHandler(str(project.folder))), executor="processes")

    assert [len(lines(project.folder / f"i{n}.txt")) for n in range(4)] == project.query("SELECT rows FROM items")
