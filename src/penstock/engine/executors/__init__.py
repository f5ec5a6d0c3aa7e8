"""Executors: where workers live. What differs by place is here; the worker and the loop are the same for all."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

from penstock.core.errors import PenstockError, SpecError
from penstock.engine.events import Event, Task, WorkerSetup
from penstock.engine.stop import Stop

# How long a cancelled attempt has to end before its worker is given up.
CANCEL_GRACE_S = 10.0

# How long `close` waits for workers that still run something: after a hard stop hardly at all.
CLOSE_S = 5.0
CLOSE_HARD_S = 0.5

# Name -> (module, class). The class is called with the number of workers.
_BUILT_IN = {
    "threads": ("penstock.engine.executors.threads", "ThreadExecutor"),
    "processes": ("penstock.engine.executors.processes", "ProcessExecutor"),
    "serial": ("penstock.engine.executors.serial", "SerialExecutor"),
}


class Executor(Protocol):
    """Workers in some place. Driver thread only.

    Every submitted task gets exactly one Ended with its ticket, whatever happens to its worker: a worker that dies ends
    its task with WorkerDied, one that does not react to `cancel` within CANCEL_GRACE_S is replaced and its task ends with
    the error given there. Only when no worker can be started any more a Broken comes instead. Workers look at the stop
    themselves: soft, they leave running items at the next safe point and give waiting tasks back; hard, at once.
    """

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        ...

    def start(self, setup: WorkerSetup, stop: Stop) -> None:
        """Begin to start workers. Raises SpecError when the setup cannot be brought where the workers are."""
        ...

    def submit(self, task: Task) -> None:
        """Hand a task over. More than `slots` may be under way; those in excess wait in order."""
        ...

    def poll(self, timeout_s: float) -> list[Event]:
        """All events there are; waits for the first one at most so long. Looks after workers that are dead or overdue."""
        ...

    def cancel(self, ticket: int, error: PenstockError) -> None:
        """Interrupt an attempt, which ends with `error`. Does not wait."""
        ...

    def close(self) -> None:
        """End all workers and their sessions; what still runs is interrupted. May be repeated."""
        ...


def make_executor(name: str, slots: int) -> Executor:
    """The executor of that name with so many workers. Raises SpecError for an unknown name."""
    if name not in _BUILT_IN:
        near = difflib.get_close_matches(name, _BUILT_IN, 1)
        raise SpecError(
            f"there is no executor {name!r}", f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_BUILT_IN)}"
        )
    module, kind = _BUILT_IN[name]
    make = cast("Callable[[int], Executor]", getattr(import_module(module), kind))
    return make(slots)
