"""What goes between driver and workers: tasks there, events back; plain values that may cross a process boundary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from penstock.core.errors import PenstockError, TimedOut
from penstock.core.item import Item, Json
from penstock.core.spec import ConnectionSpec
from penstock.engine.job import GroupDone, Handler, OpenSession
from penstock.engine.limits import PoliteGate


@dataclass(slots=True)
class Task:
    """One attempt at an item. `ticket` is the attempt's own number: events with an old one are ignored. `cursor` is JSON
    text; `timeout_s` limits the time without progress or moved rows, None is no limit."""

    ticket: int
    item: Item
    attempt: int
    cursor: str | None
    timeout_s: float | None
    shared: Mapping[str, str]
    facts: Json
    done: GroupDone

    def timed_out(self) -> TimedOut:
        """The error of an attempt that made no progress for `timeout_s`."""
        return TimedOut(
            f"item {self.item.key!r} made no progress for {self.timeout_s:g} s and was cancelled",
            "raise item_timeout_s if it is slow by nature, or see what it waits for",
        )


class Started(NamedTuple):
    """A worker began with a task. Times are UTC in ms since 1970."""

    ticket: int
    worker: str
    at_ms: int


class Moved(NamedTuple):
    """Rows on their way, not safe yet, since the last Moved or Advanced; also a mere sign of life with zeros."""

    ticket: int
    rows: int
    size_bytes: int


class Throttled(NamedTuple):
    """A worker lost time to a limit."""

    ticket: int
    wait_s: float


class Advanced(NamedTuple):
    """A Progress; cursor and result as JSON text, None if there is none."""

    ticket: int
    rows: int
    size_bytes: int
    cursor: str | None
    result: str | None


class Found(NamedTuple):
    """A Spawn."""

    ticket: int
    items: tuple[Item, ...]


class Ended(NamedTuple):
    """The attempt is over and the worker free: done (no error), given back by a stop, or failed with `error`.

    `traceback` is "" unless the error is a defect.
    """

    ticket: int
    at_ms: int
    error: PenstockError | None = None
    is_returned: bool = False
    traceback: str = ""


class Noted(NamedTuple):
    """Something worth a note in the journal that belongs to no item."""

    kind: str
    text: str


class Broken(NamedTuple):
    """No worker can be started any more; tasks without an event will get none."""

    error: PenstockError


Event: TypeAlias = Started | Moved | Throttled | Advanced | Found | Ended | Noted | Broken
Emit = Callable[[Event], object]


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker of a job needs, sent once. `share` is the part of row limits that workers of one process may use."""

    run_id: str
    job: str
    handler: Handler
    connections: Mapping[str, ConnectionSpec]
    open_session: OpenSession
    share: float = 1.0

    @property
    def rows_per_s(self) -> float | None:
        """The strictest row limit of the connections, as far as it is this process's part; None is no limit."""
        rates = [spec.rate.rows_per_s for spec in self.connections.values() if spec.rate.rows_per_s is not None]
        return min(rates) * self.share if rates else None

    def gate(self) -> PoliteGate | None:
        """The row limit, to be shared by all workers of this process."""
        return None if self.rows_per_s is None else PoliteGate(rows_per_s=self.rows_per_s, name=self.job)
