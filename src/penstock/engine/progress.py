"""From events to the numbers a renderer shows; prints nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class RunEvent(NamedTuple):
    """Something that happened, as told to `on_event` in the driver thread; all numbers are additions, not totals.

    `kind`: "run" (run id in `key`) and "job" (both with their state in `text`), "resumed" (`items` were done before, with
    these rows), "planned" (`items` of them, `text` is the group), "plan_done", "started", "moved" (rows on their way),
    "advanced" (rows safe), "done", "returned" (handed back by a stop), "retry" (in `wait_s` seconds, because of `text`),
    "failed" (because of `text`), "replanned" (`items` of the group `key` are done again, because of `text`), "skipped" (`items` of them), "throttled" (`wait_s` seconds lost to a limit), "note"
    (`text`). Rows of an attempt that came to nothing are taken back by negative ones. `at_ms` is UTC in ms since 1970.
    """

    kind: str
    at_ms: int
    job: str = ""
    key: str = ""
    items: int = 1
    rows: int = 0
    size_bytes: int = 0
    wait_s: float = 0.0
    text: str = ""


# The memory of the rates.
RATE_S = 10.0


@dataclass(frozen=True)
class JobProgress:
    """One line of progress. `done`/`planned`/`failed` are items, `is_planned` says whether `planned` is final.

    `rows`, `size_bytes` are safe at the target; `rows_moving` adds what is on its way. Rates are exponentially weighted
    means per second over some 10 s. `percent` and `eta_s` are None while unknown. `wait_s` was lost to limits and backoff.
    """

    job: str
    state: str
    planned: int
    is_planned: bool
    done: int
    failed: int
    skipped: int
    in_flight: int
    retries: int
    wait_s: float
    rows: int
    rows_moving: int
    size_bytes: int
    size_moving_bytes: int
    rows_per_s: float
    bytes_per_s: float
    items_per_s: float
    elapsed_s: float
    percent: float | None
    eta_s: float | None


@dataclass(frozen=True)
class RunProgress:
    """All jobs of a run at one moment, in the order in which they run."""

    run_id: str
    elapsed_s: float
    jobs: tuple[JobProgress, ...]


class _JobMeter:
    """The sums of one job."""

    def __init__(self, job: str, at_ms: int) -> None:
        self.job = job
        self.state = "running"
        self.started_ms = self.seen_ms = at_ms
        self.ended_ms: int | None = None
        self.is_planned = False
        self.planned = self.done = self.failed = self.skipped = self.retries = 0
        self.done_before = self.rows_before = self.bytes_before = 0
        self.rows = self.size_bytes = 0
        self.wait_s = 0.0
        self.in_flight: dict[str, list[int]] = {}
        self._rates = [0.0, 0.0, 0.0]
        self._rated = (0, 0, 0)
        self._rated_ms = at_ms

    def take(self, event: RunEvent) -> None:
        kind = event.kind
        if kind == "started":
            self.in_flight[event.key] = [0, 0]
        elif kind == "moved":
            moving = self.in_flight.setdefault(event.key, [0, 0])
            moving[0] += event.rows
            moving[1] += event.size_bytes
        elif kind == "advanced":
            self.rows += event.rows
            self.size_bytes += event.size_bytes
            self.in_flight[event.key] = [0, 0]
        elif kind in ("done", "failed", "retry", "returned"):
            self._end(event)
        elif kind == "throttled":
            self.wait_s += event.wait_s
        elif kind == "planned":
            self.planned += event.items
        elif kind == "plan_done":
            self.is_planned = True
        elif kind == "skipped":
            self.skipped += event.items
        elif kind == "replanned":
            self.done -= event.items
            self.done_before = min(self.done, self.done_before)
            self.rows += event.rows
            self.size_bytes += event.size_bytes
        elif kind == "resumed":
            self.planned += event.items
            self.done = self.done_before = event.items
            self.rows = self.rows_before = event.rows
            self.size_bytes = self.bytes_before = event.size_bytes
            self._rated = (self.done, self.rows, self.size_bytes)
        elif kind == "job":
            self.state = event.text
            self.ended_ms = None if event.text == "running" else event.at_ms

    def _end(self, event: RunEvent) -> None:
        self.in_flight.pop(event.key, None)
        self.rows += event.rows
        self.size_bytes += event.size_bytes
        if event.kind == "done":
            self.done += 1
        elif event.kind == "failed":
            self.failed += 1
        elif event.kind == "retry":
            self.retries += 1
            self.wait_s += event.wait_s

    def rates(self, at_ms: int) -> list[float]:
        """Items, rows and bytes a second: exponentially weighted means over some RATE_S seconds."""
        moving = self.moving()
        now = (self.done, self.rows + moving[0], self.size_bytes + moving[1])
        past_s = (at_ms - self._rated_ms) / 1000
        if past_s >= 0.2:
            # From the start on it is the plain mean, until RATE_S seconds have passed.
            window_s = min(RATE_S, max(past_s, (at_ms - self.started_ms) / 1000))
            weight = min(1.0, past_s / window_s)
            new = [max(0.0, (there - here) / past_s) for there, here in zip(now, self._rated, strict=True)]
            self._rates = [old + weight * (n - old) for old, n in zip(self._rates, new, strict=True)]
            self._rated, self._rated_ms = now, at_ms
        return self._rates

    def moving(self) -> tuple[int, int]:
        rows = sum(moving[0] for moving in self.in_flight.values())
        return rows, sum(moving[1] for moving in self.in_flight.values())

    def snapshot(self, at_ms: int) -> JobProgress:
        at_ms = self.ended_ms or at_ms
        items_per_s, rows_per_s, bytes_per_s = self.rates(at_ms)
        rows_moving, bytes_moving = self.moving()
        ended = self.done + self.failed + self.skipped
        elapsed_s = max(0.0, (at_ms - self.started_ms) / 1000)
        return JobProgress(
            job=self.job,
            state=self.state,
            planned=self.planned,
            is_planned=self.is_planned,
            done=self.done,
            failed=self.failed,
            skipped=self.skipped,
            in_flight=len(self.in_flight),
            retries=self.retries,
            wait_s=self.wait_s,
            rows=self.rows,
            rows_moving=self.rows + rows_moving,
            size_bytes=self.size_bytes,
            size_moving_bytes=self.size_bytes + bytes_moving,
            rows_per_s=rows_per_s,
            bytes_per_s=bytes_per_s,
            items_per_s=items_per_s,
            elapsed_s=elapsed_s,
            percent=100 * ended / self.planned if self.is_planned and self.planned else None,
            eta_s=self._eta_s(ended, elapsed_s),
        )

    def _eta_s(self, ended: int, elapsed_s: float) -> float | None:
        """What is left at the mean pace of this run; the momentary rate jumps too much for that."""
        ended_here = ended - self.done_before
        if not self.is_planned or ended_here <= 0 or self.state != "running":
            return None
        return (self.planned - ended) * elapsed_s / ended_here


class ProgressMeter:
    """Adds up events. `take` is cheap enough for every event; `snapshot` may be called as often as a screen is drawn.

    One thread only.
    """

    def __init__(self) -> None:
        self._run_id = ""
        self._started_ms = 0
        self._last_ms = 0
        self._jobs: dict[str, _JobMeter] = {}

    def take(self, event: RunEvent) -> None:
        self._last_ms = event.at_ms
        if event.kind == "run":
            self._run_id = self._run_id or event.key
            self._started_ms = self._started_ms or event.at_ms
        if event.job:
            job = self._jobs.get(event.job)
            if job is None:
                job = self._jobs[event.job] = _JobMeter(event.job, event.at_ms)
            job.take(event)

    def snapshot(self, at_ms: int | None = None) -> RunProgress:
        """All numbers at a moment (UTC in ms; without it at the last event)."""
        at_ms = self._last_ms if at_ms is None else at_ms
        elapsed_s = max(0.0, (at_ms - self._started_ms) / 1000)
        return RunProgress(self._run_id, elapsed_s, tuple(job.snapshot(at_ms) for job in self._jobs.values()))
