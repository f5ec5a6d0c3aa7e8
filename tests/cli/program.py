"""The command with tables in memory behind it, and faults on request: `python program.py ARGUMENTS...`.

`memory:shop` holds the tables; `fault+memory:...` is the same with the option `faults`. Nothing outlives the process.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pyarrow as pa

from penstock.cli.main import entry
from penstock.connectors import registry
from penstock.engine.stop import Stop
from penstock.testing import faults
from penstock.testing.store import store

ROWS = {"orders": 4000, "customers": 100, "items": 9000}


class _Point:
    """An entry point as importlib.metadata gives it."""

    dist = None
    value = "tests.cli.program"

    def load(self) -> object:
        return faults.FaultConnector("memory")


def fill() -> None:
    moment = datetime.datetime(2026, 1, 1)  # the tables' timestamps have no zone
    for name, rows in ROWS.items():
        ids = pa.array(range(rows), pa.int64())
        at = pa.array([moment + datetime.timedelta(seconds=i) for i in range(rows)], pa.timestamp("us"))
        store("shop").put(f"public.{name}", pa.table({"id": ids, "updated_at": at}), ("id",))


def tell_stops() -> None:
    """Let others see how many signals have arrived: a byte each in the file `asked`."""
    press = Stop.press

    def tell(stop: Stop, reason: str) -> None:
        press(stop, reason)
        with Path("asked").open("a") as asked:
            asked.write(".")

    Stop.press = tell  # type: ignore[method-assign]


if __name__ == "__main__":
    tell_stops()
    registry.BUILT_IN["memory"] = ("penstock.testing.memory", "")
    registry.outside = lambda: {"fault+memory": _Point()}  # type: ignore[assignment]
    fill()
    sys.argv[0] = "penstock"
    entry()
