"""From events to the numbers a renderer shows; prints nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class RunEvent(NamedTuple):
    """Something that happened, as told to `on_event` in the driver thread; all numbers are additions, not totals.

    `kind`: "run" and "job" (state in `text`), "planned" (`items` of them, `text` is the group), "plan_done", "started",
    "moved" (rows on their way), "advanced" (rows safe), "done", "returned" (handed back by a stop), "retry" (in `wait_s`
    seconds, because of `text`), "failed" (because of `text`), "skipped" (`items` of them), "throttled" (`wait_s` seconds
    lost to a limit), "note" (`text`). `at_ms` is UTC in ms since 1970.
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


class ProgressMeter:
    """Adds up events. `take` is cheap enough for every event; `snapshot` may be called as often as a screen is drawn."""

    def take(self, event: RunEvent) -> None:
        raise NotImplementedError

    def snapshot(self, at_ms: int | None = None) -> RunProgress:
        raise NotImplementedError
