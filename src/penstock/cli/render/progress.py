"""Progress of a run while it runs: a moving picture on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from penstock.cli.render import numbers
from penstock.cli.render.output import Output
from penstock.core.secret import mask
from penstock.engine.progress import JobProgress, ProgressMeter, RunEvent, RunProgress
from penstock.engine.stop import Stop

# The longest silence of plain and JSON output, and how often a terminal is drawn anew.
_LINE_S = 10.0
_DRAW_S = 0.25
# Events that a program may want one by one; the others come many times a second and are told as totals.
_TOLD = frozenset(
    {"run", "job", "planned", "plan_done", "done", "retry", "failed", "skipped", "note", "returned", "replanned"}
)
# Events that people should see one by one, even above a moving picture.
_NEWS = frozenset({"failed", "note", "replanned"})


class Watch:
    """Adds up the events of a run and knows which items are in work. Events come from one thread, looks from another."""

    def __init__(self) -> None:
        self._meter = ProgressMeter()
        self._lock = threading.Lock()
        self._in_work: dict[str, dict[str, None]] = {}

    def take(self, event: RunEvent) -> None:
        with self._lock:
            self._meter.take(event)
            if event.kind == "started":
                self._in_work.setdefault(event.job, {})[event.key] = None
            elif event.kind in ("done", "returned", "retry", "failed"):
                self._in_work.get(event.job, {}).pop(event.key, None)

    def look(self) -> tuple[RunProgress, dict[str, list[str]]]:
        """The numbers at this moment, and for each job its items in work."""
        with self._lock:
            return self._meter.snapshot(time.time_ns() // 1_000_000), {
                job: list(keys) for job, keys in self._in_work.items() if keys
            }


@contextmanager
def shown(output: Output, stop: Stop) -> Iterator[Callable[[RunEvent], None]]:
    """Show the progress of a run for as long as the block runs; what is yielded takes its events."""
    watch = Watch()
    if output.moves:
        with _moving(output, watch, stop) as take:
            yield take
        return

    if output.is_quiet:
        yield watch.take
        return

    def told(event: RunEvent) -> None:
        watch.take(event)
        if output.is_json:
            _json_event(output, event)
        else:
            _say_event(output, watch, event)

    with _ticking(_LINE_S, lambda: _json_progress(output, watch) if output.is_json else _say_running(output, watch)):
        yield told


@contextmanager
def _ticking(every_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` at intervals, from a thread of its own, until the block ends."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(every_s):
            act()

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _json_event(output: Output, event: RunEvent) -> None:
    if event.kind in _TOLD:
        told = {name: value for name, value in event._asdict().items() if value not in ("", 0, 0.0)}
        output.event({"event": told.pop("kind"), **told})


def _json_progress(output: Output, watch: Watch) -> None:
    progress, in_work = watch.look()
    output.event({"event": "progress", "elapsed_s": progress.elapsed_s, "jobs": progress.jobs, "in_work": in_work})


def _say_running(output: Output, watch: Watch) -> None:
    progress, _ = watch.look()
    for job in progress.jobs:
        if job.state == "running":
            output.say(f"[{numbers.duration(progress.elapsed_s)}] {job_line(job)}")


def _say_event(output: Output, watch: Watch, event: RunEvent) -> None:
    if event.kind == "job":
        progress, _ = watch.look()
        job = next((job for job in progress.jobs if job.job == event.job), None)
        if event.text == "running" or job is None:
            output.say(f"{event.job}: {event.text}")
        else:
            output.say(f"[{numbers.duration(progress.elapsed_s)}] {job_line(job)}  {event.text}")
    elif (text := news(event, is_verbose=output.is_verbose)) is not None:
        output.say(text)


def news(event: RunEvent, *, is_verbose: bool) -> str | None:
    """One line for an event that people should see, or None. Retries are news with --verbose only: they pass."""
    if event.kind in _NEWS or (is_verbose and event.kind == "retry"):
        where = " ".join(part for part in (event.job, event.key) if part)
        wait = f" (again in {numbers.duration(event.wait_s)})" if event.kind == "retry" else ""
        return f"{event.kind} {where}{wait}: {mask(event.text)}"
    return None


def job_line(job: JobProgress) -> str:
    """The numbers of one job in one line."""
    return "  ".join(part for part in (job.job, *job_numbers(job)) if part)


def job_numbers(job: JobProgress) -> list[str]:
    """Percent, items, rows, bytes, rate, and what went wrong or waits, each ready to show; "" where there is nothing."""
    if job.state == "running" and not job.planned:
        return ["", "planning"]
    planned = f"{job.planned:,}" if job.is_planned else f"{job.planned:,}+"
    return [
        numbers.percent(job.percent),
        f"{job.done:,}/{planned} items",
        f"{job.rows_moving:,} rows",
        numbers.size(job.size_moving_bytes),
        numbers.rate(job.rows_per_s, "rows") if job.state == "running" and job.rows_per_s else "",
        f"{job.retries:,} retries" if job.retries else "",
        f"waited {numbers.duration(job.wait_s)}" if job.wait_s >= 0.1 else "",
        f"{job.failed:,} failed" if job.failed else "",
        f"ETA {numbers.duration(job.eta_s)}" if job.eta_s is not None and job.state == "running" else "",
    ]


@contextmanager
def _moving(output: Output, watch: Watch, stop: Stop) -> Iterator[Callable[[RunEvent], None]]:
    from rich.console import Console
    from rich.live import Live

    from penstock.cli.render.picture import draw

    console = Console(stderr=True, highlight=False)
    picture = Live(
        console=console,
        auto_refresh=True,
        refresh_per_second=1 / _DRAW_S,
        transient=True,
        get_renderable=lambda: draw(*watch.look(), console.width, stop.reason if stop.soft.is_set() else ""),
    )

    def take(event: RunEvent) -> None:
        watch.take(event)
        text = news(event, is_verbose=output.is_verbose)
        if text is not None:
            console.print(_plain(text))

    with picture:
        yield take


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def show_followed(output: Output, looks: Iterable[RunProgress]) -> None:
    """Show looks at a run that another process makes, until there are no more."""
    if output.moves:
        _draw_followed(looks)
        return
    said_s = -_LINE_S
    for progress in looks:
        if progress.elapsed_s - said_s < _LINE_S:
            continue
        said_s = progress.elapsed_s
        if output.is_json:
            output.event({"event": "progress", "elapsed_s": progress.elapsed_s, "jobs": progress.jobs})
            continue
        for job in progress.jobs:
            output.say(f"[{numbers.duration(progress.elapsed_s)}] {job_line(job)}")


def _draw_followed(looks: Iterable[RunProgress]) -> None:
    from rich.console import Console
    from rich.live import Live

    from penstock.cli.render.picture import draw

    console = Console(stderr=True, highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as picture:
        for progress in looks:
            picture.update(draw(progress, {}, console.width, ""), refresh=True)
