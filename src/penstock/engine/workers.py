"""How many workers a job gets."""

from __future__ import annotations

import os
import sys

from penstock.core.errors import SpecError
from penstock.engine.job import Job

# More than eight readers or writers seldom make one source or target faster, and always make it busier.
_MAX_AUTO = 8


def cpu_count() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def choose_workers(job: Job, asked: int | None) -> tuple[int, str]:
    """The number of workers and why it is that, in words.

    Without a wish it is the number of CPUs, at most 8 and at least 2: most of the time a worker waits for source or
    target, and with two the one reads while the other writes, even on a single CPU. Where a connection states
    max_connections, one of them is left for the session that holds the snapshot. Raises SpecError for less than one.
    """
    wanted = asked if asked is not None else job.settings.workers
    if wanted is not None and wanted < 1:
        raise SpecError(f"job {job.name!r} asks for {wanted} workers", "use 1 (one after the other) or more, or auto")
    cpus = cpu_count()
    chosen, why = (wanted, "as asked") if wanted else (max(2, min(cpus, _MAX_AUTO)), f"auto: {cpus} CPUs")
    for spec in job.connections.values():
        cap = None if spec.max_connections is None else max(1, spec.max_connections - 1)
        if cap is not None and cap < chosen:
            chosen, why = cap, f"connection {spec.name!r} allows {spec.max_connections}, one of them for the snapshot"
    return chosen, why
