"""Numbers for a display, from events alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.core.errors import Busy, DataError
from penstock.core.item import Item, Progress
from penstock.engine.job import WorkerContext
from penstock.engine.progress import ProgressMeter, RunEvent
from penstock.engine.stop import Stop
from tests.engine.small_job import Project, SmallJob, allowing, groups_of


def meter_of(*events: RunEvent) -> ProgressMeter:
    meter = ProgressMeter()
    for event in events:
        meter.take(event)
    return meter


def test_rates_are_the_plain_mean_at_first_and_follow_later() -> None:
    meter = meter_of(RunEvent("run", 0, key="r"), RunEvent("job", 0, "j", text="running"))
    for second in range(1, 6):
        meter.take(RunEvent("advanced", second * 1000, "j", "k", rows=100, size_bytes=1000))
        assert meter.snapshot(second * 1000).jobs[0].rows_per_s == pytest.approx(100)
    for second in range(6, 60):
        meter.take(RunEvent("advanced", second * 1000, "j", "k", rows=300))
        meter.snapshot(second * 1000)

    last = meter.snapshot(60_000).jobs[0]
    assert last.rows_per_s == pytest.approx(300, rel=0.2)
    assert last.rows == 500 + 54 * 300


def test_rows_on_their_way_are_shown_apart_from_rows_that_are_safe() -> None:
    meter = meter_of(
        RunEvent("job", 0, "j", text="running"),
        RunEvent("started", 0, "j", "a"),
        RunEvent("moved", 1, "j", "a", rows=50, size_bytes=500),
        RunEvent("moved", 2, "j", "a", rows=50, size_bytes=500),
    )
    moving = meter.snapshot().jobs[0]
    meter.take(RunEvent("advanced", 3, "j", "a", rows=120, size_bytes=1200))
    safe = meter.snapshot().jobs[0]

    assert (moving.rows, moving.rows_moving, moving.size_moving_bytes) == (0, 100, 1000)
    assert (safe.rows, safe.rows_moving, safe.size_moving_bytes) == (120, 120, 1200)


def test_percent_and_eta_wait_for_the_whole_plan() -> None:
    meter = meter_of(
        RunEvent("job", 0, "j", text="running"),
        RunEvent("planned", 0, "j", items=10),
        RunEvent("done", 2000, "j", "a"),
        RunEvent("done", 4000, "j", "b"),
    )
    assert (meter.snapshot(4000).jobs[0].percent, meter.snapshot(4000).jobs[0].eta_s) == (None, None)

    meter.take(RunEvent("plan_done", 4000, "j"))

    assert (meter.snapshot(4000).jobs[0].percent, meter.snapshot(4000).jobs[0].eta_s) == (20.0, 16.0)


def test_resumed_items_count_but_do_not_speed_up_the_eta() -> None:
    meter = meter_of(
        RunEvent("job", 0, "j", text="running"),
        RunEvent("resumed", 0, "j", items=90, rows=900),
        RunEvent("planned", 0, "j", items=10),
        RunEvent("plan_done", 0, "j"),
        RunEvent("done", 1000, "j", "a"),
    )

    now = meter.snapshot(1000).jobs[0]

    assert (now.planned, now.done, now.rows, now.percent, now.eta_s) == (100, 91, 900, 91.0, 9.0)
    assert now.rows_per_s == 0


def test_ended_job_stands_still() -> None:
    meter = meter_of(
        RunEvent("job", 0, "j", text="running"),
        RunEvent("advanced", 1000, "j", "a", rows=10),
        RunEvent("job", 2000, "j", text="done"),
    )

    assert meter.snapshot(2000).jobs == meter.snapshot(99_000).jobs
    assert meter.snapshot(99_000).jobs[0].elapsed_s == 2


def flaky(item: Item, context: WorkerContext) -> Iterator[Progress]:
    """Item 3 fails, item 5 is tried twice."""
    yield Progress(1, 10, {"at": 1})
    if item.payload["n"] == 3:
        raise DataError("bad")
    if item.payload["n"] == 5 and context.cursor is None:
        raise Busy("busy")
    yield Progress(1, 10)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_numbers_agree_with_the_journal_at_the_end(project: Project, is_resumed: bool) -> None:
    items = [Item(f"i{n}", "k", payload={"n": n}) for n in range(10)]
    if is_resumed:
        stop = Stop()

        def stopping(item: Item, context: WorkerContext) -> Iterator[Progress]:
            if item.payload["n"] == 2:
                stop.request("test")
            yield Progress(2, 20)

        project.run(SmallJob(groups_of(items), stopping), stop=stop, workers=1)
        project.events.clear()

    outcome = project.run(SmallJob(groups_of(items), flaky, settings=allowing(1)))

    meter = meter_of(*project.events)
    shown, counts = meter.snapshot().jobs[0], outcome.jobs[0].counts
    assert meter.snapshot().run_id == outcome.run_id
    assert outcome.jobs[0].resumed == is_resumed
    assert (shown.planned, shown.done, shown.failed) == (10, counts.done, 1)
    assert (shown.rows, shown.size_bytes) == (counts.rows, counts.size_bytes)
    assert (shown.in_flight, shown.retries, shown.state, shown.is_planned) == (0, 1, "partial", True)
    assert shown.percent == 100
