"""The contract between a job and the engine: a planner, a handler, and what the driver asks in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from penstock.core.errors import PenstockError
from penstock.core.item import Item, Json, PlannedGroup, Progress, Spawn
from penstock.core.ports import Session
from penstock.core.spec import ConnectionSpec, RunSpec

OpenSession = Callable[[ConnectionSpec], Session]


@dataclass(frozen=True)
class GroupDone:
    """What is done in a group below an item's stage: items, their rows and bytes, and their results merged by key."""

    items: int = 0
    rows: int = 0
    size_bytes: int = 0
    results: Json = field(default_factory=dict)


class WorkerContext(Protocol):
    """What a handler is given besides its item; belongs to one worker thread."""

    @property
    def run_id(self) -> str: ...

    @property
    def attempt(self) -> int:
        """1 for the first try since the last progress."""
        ...

    @property
    def cursor(self) -> Json | None:
        """The cursor of the last Progress that reached the journal, in this run or an earlier one; None at the start."""
        ...

    @property
    def shared(self) -> Mapping[str, str]:
        """What the job's `shared()` said when the item was handed out: snapshot tokens and the like."""
        ...

    @property
    def facts(self) -> Json:
        """The facts the plan kept with the item's group (PlannedGroup.facts); {} for a spawned item of an unplanned
        group. The same object for all items of a group within one worker, so that it may be decoded once."""
        ...

    @property
    def done(self) -> GroupDone:
        """What the journal holds as done in the item's group below the item's stage, over all resumes of the plan; the
        whole of those stages, since the item became ready only then. Empty for stage 0."""
        ...

    def session(self, connection: str) -> Session:
        """This worker's own session for a connection, opened on first use and kept until it breaks."""
        ...

    def moved(self, rows: int, size_bytes: int) -> None:
        """Tell the display that rows are on their way (not safe yet). Raises Stopped or TimedOut when the item must end
        now; cheap enough to call for each batch."""
        ...


# A handler is called once per attempt and yields whenever its work so far is safe at the target. It must be picklable
# (a module-level function, or an instance of a module-level frozen dataclass with __call__) to run in processes.
Handler = Callable[[Item, WorkerContext], Iterator[Progress | Spawn]]


@dataclass(frozen=True)
class Known:
    """What the journal knows when a plan is made: groups planned before (with their facts) and the job's saved state.

    `plan_id` names the plan: the same over all resumes, another for every new plan; fit to be part of a load id.
    """

    groups: Mapping[str, Json] = field(default_factory=dict)
    state: Mapping[str, Json] = field(default_factory=dict)
    resumed: bool = False
    plan_id: str = ""


@dataclass(frozen=True)
class StateChange:
    """A value of the job's state (watermarks), saved in the same journal transaction as the item that made it."""

    key: str
    value: Json | None


class Job(Protocol):
    """One job, ready to run. All methods are called from the driver thread only."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def after(self) -> tuple[str, ...]:
        """Names of jobs that must have ended done before this one starts, as far as they are part of the same run."""
        ...

    @property
    def plan_hash(self) -> str:
        """Changes whenever the settings change such that an old plan must not be resumed."""
        ...

    @property
    def settings(self) -> RunSpec: ...

    @property
    def connections(self) -> Mapping[str, ConnectionSpec]:
        """The connections that handlers will ask for by name."""
        ...

    @property
    def locks(self) -> tuple[str, ...]:
        """Names the run must hold alone besides the job itself, such as target tables known before planning."""
        ...

    @property
    def handler(self) -> Handler: ...

    def plan(self, known: Known) -> Iterator[PlannedGroup]:
        """Groups of items, lazily: the engine pulls while workers already run. Groups in known.groups are not made again.

        Called again, with what is known by then, after an error that may be tried again; not called at all when a resumed
        plan was complete. One pull at a time runs in the driver thread, so a pull of seconds should be cut in smaller
        ones: an empty group "" costs nothing and lets the driver look after its workers. A named group comes once; group
        "" may come in any number of lots, and after a resume lots that hold items planned before may come again.
        """
        ...

    def replan(self, group: str, known: Known) -> PlannedGroup:
        """Plan a group anew of which an item ended with an error that asks for it (Retry.REPLAN): all its items, to take
        the place of those it has, whatever those had done. `known.groups[group]` has its facts so far.

        Called when nothing of the group runs. May be repeated after an error, and after a death of the driver by which
        its answer was lost; so it changes nothing that is of use to the items there are. What those left at the target
        must not count for the new ones: their first stage clears it away.
        """
        ...

    def resume(self, known: Known) -> None:
        """Called in place of plan() when a resumed run's plan was complete, before shared(): take again what plan()
        takes for its groups (claims of target tables). May be repeated after an error."""
        ...

    def shared(self) -> Mapping[str, str]:
        """Small facts sent along with every item from now on; asked before items are handed out, so it must be cheap
        when nothing changed. Also the first call of a resumed run whose plan was complete: it opens what it needs."""
        ...

    def recover(self, error: PenstockError) -> bool:
        """Called with an item's error that may be tried again, before it is: renew what shared() tells if the error says
        it is gone (SnapshotLost). True when something changed."""
        ...

    def settle(self, item: Item, result: Json) -> tuple[StateChange, ...]:
        """Called once when an item is done, with its merged result: the state to save with it."""
        ...

    def close(self) -> None:
        """Free what plan() and shared() opened (the session that holds the snapshot). May be repeated."""
        ...
