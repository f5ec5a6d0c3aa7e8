"""A driver process for tests that kill or stop it: runs one job of files, prints the outcome as its last line.

python -m tests.engine.driver FOLDER '{"items": 8, "steps": 3, "sleep_s": 0.02, "workers": 2, "executor": "threads"}'
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from penstock.core.errors import PenstockError
from penstock.core.item import Item, PlannedGroup
from penstock.core.spec import RunSpec
from penstock.engine.run import RunOptions, execute
from penstock.engine.signals import stop_on_signals
from penstock.engine.stop import Stop
from tests.engine.small_job import FAST_RETRY, FileHandler, SmallJob, fake_session


def file_job(folder: str, settings: dict[str, Any]) -> SmallJob:
    """A job of two groups; each has items that write files and a publish item after them."""
    payload = {"steps": settings.get("steps", 1), "sleep_s": settings.get("sleep_s", 0.0)}
    groups = []
    for name in "ab":
        loads = [Item(f"{name}{n}", "load", 0, name, payload, n) for n in range(settings.get("items", 8) // 2)]
        groups.append(PlannedGroup(name, (*loads, Item(f"{name}-publish", "publish", 1, name))))
    run = RunSpec(workers=settings.get("workers", 2), executor=settings.get("executor", "threads"), retry=FAST_RETRY)
    return SmallJob(groups, FileHandler(folder), settings=run, plan_hash=settings.get("plan_hash", "1"))


def say(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")


def tell(stop: Stop, folder: Path) -> None:
    """Let others see that a signal has arrived."""
    for event, name in ((stop.soft, "soft"), (stop.hard, "hard")):
        event.wait()
        (folder / f"stop-{name}").touch()


def main() -> int:
    folder, settings = sys.argv[1], json.loads(sys.argv[2])
    stop = Stop()
    threading.Thread(target=tell, args=(stop, Path(folder)), daemon=True).start()
    try:
        with stop_on_signals(stop):
            journal = Path(folder) / ".penstock" / "journal.db"
            outcome = execute([file_job(folder, settings)], journal, fake_session, RunOptions(command="test"), stop)
    except PenstockError as error:
        say({"error": str(error)})
        return error.exit_code
    job = outcome.jobs[0]
    say({"run": outcome.run_id, "state": outcome.state, "done_here": job.done_here, "resumed": job.resumed})
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
