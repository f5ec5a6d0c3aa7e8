"""What the engine and its journal cost: item events a second, memory of a large plan, CPU an item.

    python -m bench.journal events           journal alone: planned, started, progress and done of 200,000 items
    python -m bench.journal plan            a plan of 1,000,000 items: time, memory, file, and the same again on resume
    python -m bench.journal overhead        whole runs of 100,000 items without work, per executor

Each prints one line with its numbers; `all` (the default) runs each in a process of its own, so that memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.errors import PenstockError
from penstock.core.item import Item, Json, PlannedGroup, Progress
from penstock.core.spec import ConnectionSpec, RunSpec
from penstock.engine.items import ItemChange, Items
from penstock.engine.job import Handler, Known, StateChange, WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.progress import ProgressMeter
from penstock.engine.run import execute
from penstock.engine.stop import Stop

LOT = 1000


def no_work(item: Item, context: WorkerContext) -> Iterator[Progress]:
    """A handler that does nothing at all."""
    yield Progress()


def open_nothing(spec: ConnectionSpec) -> Any:
    raise AssertionError("nothing is opened here")


@dataclass
class EmptyJob:
    """`items` items in lots, ungrouped or in named groups of `LOT`."""

    items: int
    executor: str = "threads"
    workers: int = 2
    is_grouped: bool = False
    name: str = "empty"
    kind: str = "bench"
    after: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    plan_hash: str = "1"
    connections: Mapping[str, ConnectionSpec] = field(default_factory=dict)
    handler: Handler = no_work

    @property
    def settings(self) -> RunSpec:
        return RunSpec(workers=self.workers, executor=self.executor)

    def plan(self, known: Known) -> Iterator[PlannedGroup]:
        for first in range(0, self.items, LOT):
            name = f"group-{first // LOT}" if self.is_grouped else ""
            if name in known.groups and name:
                continue
            yield PlannedGroup(name, tuple(plain_item(number, name) for number in range(first, first + LOT)))

    def shared(self) -> Mapping[str, str]:
        return {}

    def resume(self, known: Known) -> None:
        pass

    def recover(self, error: PenstockError) -> bool:
        return False

    def settle(self, item: Item, result: Json) -> tuple[StateChange, ...]:
        return ()

    def close(self) -> None:
        pass


def plain_item(number: int, group: str = "") -> Item:
    """An item as a copy plans them: a key, a small payload, a weight."""
    payload = {"ordinal": number, "bounds": {"from": number * 1000, "to": number * 1000 + 999}}
    return Item(f"public.orders/{number:07d}", "load", 0, group, payload, weight=(number * 7919) % 1000)


def events(folder: Path) -> dict[str, float]:
    """Four events an item through the journal alone, in the commits that the loop makes (250 items each)."""
    count, step = 200_000, 250
    with Journal.open(folder / "journal.db") as journal:
        journal.db.execute("INSERT INTO runs VALUES ('r', 0, NULL, 'running', NULL, '', 0, '', '', '', '{}', 0, NULL)")
        items = Items(journal, "r", "j", job_run=1, origin=1)
        started, cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, LOT):
            members = items.plan(PlannedGroup("", tuple(plain_item(n) for n in range(first, first + LOT))), again=False)
            for place in range(0, LOT, step):
                for state, cursor in (("running", None), ("running", '{"at":1}'), ("done", '{"at":1}')):
                    for item_id, _, _ in members[place : place + step]:
                        change = ItemChange(state, 1, 0, cursor, 5, 50, None, None, 1, 2, "worker-1")
                        items.change(item_id, change)
                    items.flush()
        wall, used = time.perf_counter() - started, time.process_time() - cpu
    return {"events": count * 4, "events_per_s": round(count * 4 / wall), "cpu_us_per_event": us(used, count * 4)}


def plan(folder: Path) -> dict[str, float]:
    """Plan a million items while the one worker is busy, and stop; then go on, which reloads the board, and run all."""
    count = 1_000_000
    stop = Stop()

    def tell(event: Any) -> None:
        if event.kind == "plan_done":
            stop.request("bench")

    file = folder / "journal.db"
    job = EmptyJob(count, workers=1, handler=slow)
    started = time.perf_counter()
    execute([job], file, open_nothing, stop=stop, on_event=tell)
    planned_s, planned_mb = time.perf_counter() - started, peak_mb()
    again, marks = EmptyJob(count), dict[str, float]()
    started = time.perf_counter()
    outcome = execute(
        [again], file, open_nothing, on_event=lambda event: marks.setdefault(event.kind, time.perf_counter())
    )
    assert outcome.jobs[0].counts.done == count, outcome.jobs[0]
    return {
        "items": count,
        "plan_s": round(planned_s, 1),
        "rss_after_plan_mb": planned_mb,
        "resume_until_first_item_s": round(marks["started"] - started, 1),
        "run_s": round(time.perf_counter() - marks["started"], 1),
        "peak_rss_mb": peak_mb(),
        "journal_mb": round(file.stat().st_size / 2**20),
    }


def slow(item: Item, context: WorkerContext) -> Iterator[Progress]:
    """Keeps its worker busy while the rest is planned."""
    time.sleep(1)
    yield Progress()


def overhead(folder: Path) -> dict[str, float]:
    """CPU an item (driver and workers together) for whole runs with a progress meter."""
    count, numbers = 100_000, dict[str, float]()
    for executor in ("serial", "threads"):
        for is_grouped in (False, True):
            meter = ProgressMeter()
            job = EmptyJob(count, executor, is_grouped=is_grouped)
            started, cpu = time.perf_counter(), time.process_time()
            outcome = execute([job], folder / f"{executor}{is_grouped}.db", open_nothing, on_event=meter.take)
            wall, used = time.perf_counter() - started, time.process_time() - cpu
            assert outcome.jobs[0].counts.done == count, outcome.jobs[0]
            name = f"{executor}{'_grouped' if is_grouped else ''}"
            numbers[f"{name}_cpu_us"] = us(used, count)
            numbers[f"{name}_items_per_s"] = round(count / wall)
    return numbers


def us(seconds: float, count: int) -> float:
    return round(seconds / count * 1e6, 1)


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


BENCHES: dict[str, Callable[[Path], dict[str, float]]] = {"events": events, "plan": plan, "overhead": overhead}


def main() -> int:
    wanted = sys.argv[1:] or ["all"]
    if wanted == ["all"]:
        return max(subprocess.call([sys.executable, "-m", "bench.journal", name]) for name in BENCHES)
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"bench": name, **BENCHES[name](Path(folder))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
