"""Small real jobs for tests of the engine: items that write files, and sessions that block, break or refuse."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.errors import Missing, PenstockError, Stopped
from penstock.core.item import Item, Json, PlannedGroup, Progress, Spawn
from penstock.core.ports import Health
from penstock.core.spec import ConnectionSpec, MaxErrors, RetrySpec, RunSpec
from penstock.engine.history import RunReport, report
from penstock.engine.job import Known, StateChange, WorkerContext
from penstock.engine.journal import Journal
from penstock.engine.outcome import RunOutcome
from penstock.engine.progress import RunEvent
from penstock.engine.run import RunOptions, execute
from penstock.engine.stop import Stop

FAST_RETRY = RetrySpec(attempts=3, backoff_s=0.001, max_backoff_s=0.01)
QUICK = RunSpec(workers=2, retry=FAST_RETRY)

Handler = Callable[[Item, WorkerContext], Iterator[Progress | Spawn]]


def no_work(item: Item, context: WorkerContext) -> Iterator[Progress]:
    """Nothing to do."""
    yield Progress()


def no_plan(group: str, known: Known) -> PlannedGroup:
    """Nothing can be planned anew."""
    raise Missing(f"group {group!r} is gone")


def groups_of(items: Sequence[Item]) -> list[PlannedGroup]:
    """Items as a plan: one PlannedGroup a group, in order of appearance."""
    names = dict.fromkeys(item.group for item in items)
    return [PlannedGroup(name, tuple(i for i in items if i.group == name), {"name": name}) for name in names]


@dataclass
class SmallJob:
    """A job from ready-made groups (or a planner function), a handler and whatever else a test sets."""

    groups: Sequence[PlannedGroup] | Callable[[Known], Iterator[PlannedGroup]] = ()
    handler: Handler = no_work
    name: str = "small"
    kind: str = "test"
    after: tuple[str, ...] = ()
    plan_hash: str = "1"
    settings: RunSpec = QUICK
    connections: Mapping[str, ConnectionSpec] = field(default_factory=lambda: {"there": ConnectionSpec("there", "x:")})
    locks: tuple[str, ...] = ()
    share: Callable[[], Mapping[str, str]] = dict
    recovery: Callable[[PenstockError], bool] = lambda error: False
    replanning: Callable[[str, Known], PlannedGroup] = no_plan
    settling: Callable[[Item, Json], tuple[StateChange, ...]] = lambda item, result: ()
    known: list[Known] = field(default_factory=list)
    closed: int = 0

    def plan(self, known: Known) -> Iterator[PlannedGroup]:
        self.known.append(known)
        if callable(self.groups):
            yield from self.groups(known)
        else:
            yield from (group for group in self.groups if group.group not in known.groups)

    def replan(self, group: str, known: Known) -> PlannedGroup:
        return self.replanning(group, known)

    def shared(self) -> Mapping[str, str]:
        return self.share()

    def resume(self, known: Known) -> None:
        pass

    def recover(self, error: PenstockError) -> bool:
        return self.recovery(error)

    def settle(self, item: Item, result: Json) -> tuple[StateChange, ...]:
        return self.settling(item, result)

    def close(self) -> None:
        self.closed += 1


def allowing(failed: int = 0, percent: float | None = None, **settings: Any) -> RunSpec:
    """Run settings with an error budget."""
    return RunSpec(**{"workers": 2, "retry": FAST_RETRY, "max_errors": MaxErrors(failed, percent), **settings})


class FakeSession:
    """A session whose `block` waits until it is cancelled; notes what happens to it."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.is_closed = False
        self.is_deaf = False

    def block(self) -> None:
        """A call that comes back only when it is cancelled (or, if the session is deaf, not even then)."""
        while self.is_deaf:
            time.sleep(1000)
        self.cancelled.wait()
        raise Stopped("the call was cancelled")

    def check(self) -> Health:
        return Health("fake")

    def catalog(self) -> Any:
        raise AssertionError("a fake session has no catalog")

    reader = writer = catalog

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.is_closed = True


class Sessions:
    """Opens fake sessions and keeps them; `refuse` is raised instead while it is set."""

    def __init__(self) -> None:
        self.opened: list[FakeSession] = []
        self.refuse: list[PenstockError] = []

    def __call__(self, spec: ConnectionSpec) -> Any:
        if self.refuse:
            raise self.refuse.pop(0)
        session = FakeSession()
        self.opened.append(session)
        return session


def fake_session(spec: ConnectionSpec) -> Any:
    """Picklable opener of fake sessions."""
    return FakeSession()


@dataclass(frozen=True)
class FileHandler:
    """Appends to a file of the item's own, one line a step, and to `log` one line for each beginning and end.

    payload: `steps` (default 1), `sleep_s` per step. A step's line is safe before its cursor is told, so a repeated step
    shows as a repeated line. Nothing gets further than its beginning while there is a file `hold`.
    """

    folder: str

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        out = Path(self.folder) / f"{item.key}.txt"
        first = context.cursor["step"] if context.cursor else 0
        self.log(f"begin {item.key} {first} {os.getpid()}")
        while (Path(self.folder) / "hold").exists():
            time.sleep(0.005)
        for step in range(first, item.payload.get("steps", 1)):
            time.sleep(item.payload.get("sleep_s", 0.0))
            append(out, f"{step}\n")
            yield Progress(1, 10, {"step": step + 1})
        self.log(f"end {item.key}")

    def log(self, text: str) -> None:
        append(Path(self.folder) / "log", text + "\n")


def append(path: Path, text: str) -> None:
    """One write at the end of a file: whole lines even from many processes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def until(condition: Callable[[], object]) -> None:
    """Wait for something another thread or process does; the limit is for what never happens."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@dataclass
class Project:
    """A folder with a journal, and short ways to run jobs in it and to look."""

    folder: Path
    events: list[RunEvent] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return self.folder / ".penstock" / "journal.db"

    def run(
        self,
        *jobs: SmallJob,
        sessions: Callable[[ConnectionSpec], Any] = fake_session,
        stop: Stop | None = None,
        **options: Any,
    ) -> RunOutcome:
        return execute(jobs, self.journal, sessions, RunOptions(**options), stop, self.events.append)

    def query(self, sql: str, *values: Any) -> list[Any]:
        with Journal.open(self.journal) as journal:
            rows = journal.db.execute(sql, values).fetchall()
        return [row[0] if len(row) == 1 else row for row in rows]

    def states(self) -> dict[str, str]:
        """Item states by key, of the newest plan."""
        found = self.query("SELECT key, state FROM items WHERE job_run = (SELECT max(job_run) FROM items) ORDER BY id")
        return dict(found)

    def report(self, run_id: str = "") -> RunReport:
        with Journal.open(self.journal) as journal:
            return report(journal, run_id)

    def kinds(self, *wanted: str) -> list[str]:
        return [event.kind for event in self.events if event.kind in wanted]
