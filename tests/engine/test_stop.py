"""Stops that stop and time-outs that cancel."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.core.item import Item, Progress
from penstock.core.spec import ConnectionSpec, RetrySpec, RunSpec
from penstock.engine.executors.processes import ProcessExecutor
from penstock.engine.executors.threads import ThreadExecutor
from penstock.engine.job import WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts, State
from penstock.engine.run import request_stop
from penstock.engine.signals import stop_on_signals
from penstock.engine.stop import Stop
from tests.engine.small_job import FakeSession, Project, SmallJob, append, groups_of, lines, until

ONCE = RunSpec(workers=2, retry=RetrySpec(attempts=1))
TWICE = RunSpec(workers=2, retry=RetrySpec(attempts=2, backoff_s=0.001))


@dataclass(frozen=True)
class Blocking:
    """Items named "stuck" block in a session for ever; the others are done at once."""

    folder: str

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        append(Path(self.folder) / "tries", f"{item.key} {context.attempt}\n")
        if item.key == "stuck":
            yield Progress(1, 1, {"at": 1})
            session: Any = context.session("there")
            append(Path(self.folder) / "stuck", "now\n")
            session.block()
        yield Progress(1)


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_time_out_cancels_a_blocked_call_and_the_item_is_tried_again(project: Project, executor: str) -> None:
    items = [Item("stuck", "k", timeout_s=1.0, weight=1), Item("quick", "k")]
    job = SmallJob(groups_of(items), Blocking(str(project.folder)), settings=TWICE)

    outcome = project.run(job, executor=executor)

    assert outcome.state is State.FAILED
    tries = [line for line in lines(project.folder / "tries") if line.startswith("stuck")]
    assert len(tries) == 2
    error = project.report().jobs[0].failed[0].error
    assert error is not None
    assert (error.kind, error.what) == ("TimedOut", "item 'stuck' made no progress for 1 s and was cancelled")


def test_moved_rows_keep_an_item_from_timing_out(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        ends_at = time.monotonic() + 4
        while time.monotonic() < ends_at:
            time.sleep(0.05)
            context.moved(1, 1)
        yield Progress(1)

    outcome = project.run(SmallJob(groups_of([Item("a", "k", timeout_s=3.0)]), handler, settings=ONCE))

    assert outcome.state is State.DONE


def test_time_out_of_the_job_holds_for_items_without_their_own(project: Project) -> None:
    settings = RunSpec(workers=1, retry=RetrySpec(attempts=1), item_timeout_s=0.2)

    outcome = project.run(SmallJob(groups_of([Item("stuck", "k")]), Blocking(str(project.folder)), settings=settings))

    assert outcome.state is State.FAILED
    assert project.report().jobs[0].failed[0].error.kind == "TimedOut"  # type: ignore[union-attr]


def deaf_session(spec: ConnectionSpec) -> Any:
    """A session whose calls cannot be interrupted."""
    session = FakeSession()
    session.is_deaf = True
    return session


def test_thread_that_cannot_be_cancelled_is_left_behind_and_its_late_events_ignored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadExecutor, "__init__", _with_grace(ThreadExecutor.__init__, 0.3))
    released = threading.Event()
    tries: list[int] = []

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        if item.key == "stuck" and not tries:
            tries.append(1)
            released.wait(120)
            yield Progress(1000, 0, {"late": True})
        elif item.key == "last":
            released.set()
            time.sleep(0.3)
        yield Progress(1)

    items = [Item("stuck", "k", 0, "g", timeout_s=1.0), Item("last", "k", 1, "g")]
    outcome = project.run(SmallJob(groups_of(items), handler, settings=TWICE), workers=1)

    assert outcome.state is State.DONE
    assert outcome.jobs[0].counts == Counts(done=2, rows=2)


# The real grace is 10 s; the shorter one is given the way a caller would give it.
def _with_grace(init: Any, grace_s: float) -> Any:
    def shortened(self: Any, slots: int) -> None:
        init(self, slots, grace_s)

    return shortened


def test_process_that_cannot_be_cancelled_is_killed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessExecutor, "__init__", _with_grace(ProcessExecutor.__init__, 0.3))
    items = [Item("stuck", "k", timeout_s=0.3), Item("quick", "k", weight=1)]
    job = SmallJob(groups_of(items), Blocking(str(project.folder)), settings=ONCE)

    project.run(job, executor="processes", sessions=deaf_session, workers=1)

    assert project.report().jobs[0].failed[0].error.kind == "TimedOut"  # type: ignore[union-attr]


def test_soft_stop_waits_for_the_safe_point_and_hands_items_back(project: Project) -> None:
    stop = Stop()
    began = threading.Barrier(2)

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        began.wait(120)
        stop.request("the test")
        for step in range(100):
            yield Progress(1, 0, {"step": step})

    items = [Item(f"i{n}", "k") for n in range(50)]
    outcome = project.run(SmallJob(groups_of(items), handler), stop=stop)

    assert (outcome.state, outcome.exit_code, outcome.jobs[0].reason) == (State.STOPPED, 130, "the test")
    assert outcome.jobs[0].counts == Counts(pending=50, rows=2)
    assert project.query("SELECT sum(attempts_since_progress) FROM items") == [0]


def test_item_without_a_cursor_is_finished_before_a_soft_stop(project: Project) -> None:
    stop = Stop()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        stop.request("the test")
        yield Progress(1)
        yield Progress(1)

    outcome = project.run(SmallJob(groups_of([Item("a", "k"), Item("b", "k")]), handler), stop=stop, workers=1)

    assert outcome.jobs[0].counts == Counts(pending=1, done=1, rows=2)


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_hard_stop_interrupts_blocked_calls(project: Project, executor: str) -> None:
    stop = Stop()
    items = [Item("stuck", "k", weight=1), Item("quick", "k")]

    def press() -> None:
        # The journal cannot be asked: a serial driver that is in the handler may not have written the cursor yet.
        until(lambda: lines(project.folder / "stuck"))
        stop.press("first")
        stop.press("second")

    threading.Thread(target=press, daemon=True).start()
    outcome = project.run(
        SmallJob(groups_of(items), Blocking(str(project.folder))), stop=stop, executor=executor, workers=1
    )

    assert (outcome.state, outcome.jobs[0].reason) == (State.STOPPED, "first")
    assert project.states() == {"stuck": "pending", "quick": "pending"}
    assert project.query("SELECT cursor FROM items WHERE key = 'stuck'") == ['{"at":1}']


def test_second_request_through_the_journal_stops_at_once(project: Project) -> None:
    def ask() -> None:
        until(lambda: lines(project.folder / "tries"))
        run_id = request_stop(project.journal)
        assert request_stop(project.journal, run_id[:12]) == run_id

    asking = threading.Thread(target=ask)
    asking.start()
    outcome = project.run(SmallJob(groups_of([Item("stuck", "k")]), Blocking(str(project.folder))))
    asking.join()

    assert (outcome.state, outcome.jobs[0].reason) == (State.STOPPED, "penstock stop")
    assert [(note.kind, note.text) for note in project.report().notes] == [("stop", "stopped: penstock stop")]


@pytest.mark.parametrize("whose", ["run", "job"])
def test_run_that_takes_too_long_is_failed_with_a_time_out_and_goes_on_later(project: Project, whose: str) -> None:
    steps: list[int] = []
    is_late = threading.Event()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        while not is_late.is_set():
            steps.append(context.cursor["step"] if context.cursor else 0)
            time.sleep(0.02)
            yield Progress(1, 0, {"step": len(steps)})
        yield Progress(1)

    settings = RunSpec(workers=1, timeout_s=1.0 if whose == "job" else None)
    options = {"timeout_s": 1.0} if whose == "run" else {}
    later = SmallJob(name="later")
    first = project.run(SmallJob(groups_of([Item("a", "k")]), handler, settings=settings), later, **options)
    is_late.set()
    second = project.run(SmallJob(groups_of([Item("a", "k")]), handler))

    assert (first.state, first.exit_code) == (State.FAILED, 1)
    assert first.jobs[0].error is not None
    assert first.jobs[0].error.kind == "TimedOut"
    assert first.jobs[0].error.what == {"run": "the run", "job": "job 'small'"}[whose] + " took longer than 1.0 s"
    assert first.jobs[1].state is (State.SKIPPED if whose == "run" else State.DONE)
    assert second.jobs[0].counts == Counts(done=1, rows=len(steps) + 1)


def test_time_out_is_hard_after_the_grace(project: Project) -> None:
    settings = RunSpec(workers=1, timeout_s=0.2)

    started = time.monotonic()
    outcome = project.run(
        SmallJob(groups_of([Item("stuck", "k")]), Blocking(str(project.folder)), settings=settings), grace_s=0.3
    )

    assert time.monotonic() - started > 0.4
    assert outcome.state is State.FAILED
    assert project.states() == {"stuck": "pending"}


def test_jobs_after_a_stop_do_not_begin(project: Project) -> None:
    stop = Stop()

    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        stop.request("the test")
        yield Progress()

    job = SmallJob(groups_of([Item("a", "k")]), handler)
    outcome = project.run(job, SmallJob(groups_of([Item("b", "k")]), name="next"), stop=stop)

    assert [job.state for job in outcome.jobs] == [State.DONE, State.STOPPED]
    assert (outcome.state, outcome.exit_code) == (State.STOPPED, 130)


def test_former_signal_handlers_are_back_afterwards() -> None:
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop = Stop()

    with stop_on_signals(stop):
        signal.raise_signal(signal.SIGTERM)
        assert stop.soft.wait(120)
        assert (stop.hard.is_set(), stop.reason) == (False, "SIGTERM")
        signal.raise_signal(signal.SIGINT)
        assert stop.hard.wait(120)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == former


def test_signals_that_come_while_one_is_handled_are_all_counted() -> None:
    """Handlers run on top of what the main thread does, be it the handling of another signal."""
    for _ in range(200):
        stop = Stop()
        with stop_on_signals(stop):
            interrupt = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))
            interrupt.start()
            signal.raise_signal(signal.SIGINT)
            interrupt.join()
            assert stop.hard.wait(120)


def test_driver_whose_lock_was_taken_over_stops_and_writes_no_more(project: Project) -> None:
    def handler(item: Item, context: WorkerContext) -> Iterator[Progress]:
        with Journal.open(project.journal) as journal:
            journal.db.execute("UPDATE locks SET run = 'another', host = 'elsewhere'")
        yield Progress(7, 7, {"at": 1})
        yield Progress(7, 7)

    outcome = project.run(SmallJob(groups_of([Item("a", "k"), Item("b", "k")]), handler), workers=1)

    assert (outcome.state, outcome.exit_code) == (State.FAILED, 11)
    assert "lost its locks to another run" in outcome.jobs[0].reason
    assert project.query("SELECT sum(rows) FROM items") == [0]
    assert project.query("SELECT run FROM locks") == ["another"]
