"""The far end of a worker process: the same worker, fed through a pipe."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import NamedTuple, TypeAlias

from penstock.core.errors import PenstockError
from penstock.core.item import Json
from penstock.engine.events import Broken, Event, Task, WorkerSetup
from penstock.engine.stop import Stop
from penstock.engine.worker import Worker, job_call

# Exit code of a worker process whose driver is gone.
ORPHANED = 5

_PR_SET_PDEATHSIG = 1


class Cancel(NamedTuple):
    ticket: int
    error: PenstockError


class Halt(NamedTuple):
    soft: bool
    hard: bool


@dataclass(frozen=True)
class Ready:
    """The process has its setup and takes tasks."""


# A task goes with whether its facts were sent before and left out; None ends the process.
Message: TypeAlias = WorkerSetup | tuple[Task, bool] | Cancel | Halt | None


class Recent:
    """The facts of the groups used last. Both ends of a pipe keep one and see the same tasks, so they agree."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._facts: OrderedDict[str, Json] = OrderedDict()

    def has(self, group: str, facts: Json) -> bool:
        """Whether the other end has these very facts; keeps them."""
        is_known = self._facts.get(group) is facts
        self.put(group, facts)
        return is_known

    def put(self, group: str, facts: Json) -> None:
        self._facts[group] = facts
        self._facts.move_to_end(group)
        if len(self._facts) > self._size:
            self._facts.popitem(last=False)

    def get(self, group: str) -> Json:
        self._facts.move_to_end(group)
        return self._facts[group]


def run_child(pipe: Connection, name: str) -> None:
    """Body of a worker process: tasks in, events out, until told to end or the driver is gone."""
    # Ctrl-C goes to the whole process group; only the driver decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_driver()
    sending = threading.Lock()

    def send(event: Event | Ready) -> None:
        with sending:
            pipe.send(event)

    stop = Stop()
    tasks: SimpleQueue[Task | None] = SimpleQueue()
    try:
        with job_call(f"starting worker {name!r}", {}):
            setup: WorkerSetup = pipe.recv()
    except PenstockError as error:
        send(Broken(error))
        return
    worker = Worker(name, setup, send, stop, setup.gate())
    threading.Thread(target=_listen, args=(pipe, worker, stop, tasks), name="listen", daemon=True).start()
    send(Ready())
    while (task := tasks.get()) is not None:
        worker.run(task)
    worker.close()


def _listen(pipe: Connection, worker: Worker, stop: Stop, tasks: SimpleQueue[Task | None]) -> None:
    """Take messages while the main thread works. The end of the pipe is the end of the driver, and of this process."""
    recent = Recent()
    while True:
        try:
            message: Message = pipe.recv()
        except (EOFError, OSError):
            os._exit(ORPHANED)
        if message is None:
            tasks.put(None)
        elif isinstance(message, Cancel):
            threading.Thread(target=worker.cancel, args=message, name="cancel", daemon=True).start()
        elif isinstance(message, Halt):
            if message.soft:
                stop.request("the driver stopped", hard=message.hard)
        elif isinstance(message, tuple):
            task, is_known = message
            if is_known:
                task.facts = recent.get(task.item.group)
            else:
                recent.put(task.item.group, task.facts)
            tasks.put(task)


def _die_with_driver() -> None:
    """Ask Linux to kill this process with its parent: a handler in native code would not notice the end of the pipe."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(ORPHANED)
