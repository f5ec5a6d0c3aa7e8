"""The planner of copy jobs: tables into items, under one snapshot, lazily, and the state that the next run needs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from penstock.core.errors import ConnectionLost, Missing, PenstockError, SnapshotLost
from penstock.core.item import Item, Json, PlannedGroup
from penstock.core.load import BatchSize, Chunk, Load
from penstock.core.names import TableName
from penstock.core.ports import Ability, Connector, Session, SmallTables, Snapshots
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec, CopySpec, Project, RunSpec, digest
from penstock.engine.job import Handler, Known, OpenSession, StateChange
from penstock.jobs.copy import watermark as marks
from penstock.jobs.copy.expressions import RunFacts
from penstock.jobs.copy.facts import TablePlan, decode, encode
from penstock.jobs.copy.handler import COPY, COUNT, LOAD, PREPARE, PUBLISH, SNAPSHOT, SOURCE, TARGET, CopyHandler
from penstock.jobs.copy.survey import Choice, Ends, Surveyed, survey

# A count takes about a tenth of the time of reading and writing the same bytes; among chunks it has its place by that, so
# that it never begins when all else has ended.
_COUNT_SHARE = 10

ConnectorOf = Callable[[str], Connector]


@dataclass(frozen=True)
class CopyOptions:
    """How this run differs from the project's settings.

    `full_refresh` ignores watermarks and replaces incremental tables. `accept_schema_changes` answers every "ask" of
    the schema policy with yes.
    """

    choice: Choice = Choice()
    full_refresh: bool = False
    accept_schema_changes: bool = False


class CopyJob:
    """One copy job, ready for the engine; holds the planner's sessions and with them the snapshot and the claims."""

    kind = "copy"
    locks: tuple[str, ...] = ()

    def __init__(
        self,
        spec: CopySpec,
        project: Project,
        open_session: OpenSession,
        connector_of: ConnectorOf,
        options: CopyOptions = CopyOptions(),
    ) -> None:
        self.spec = spec
        self._open = open_session
        self._options = options
        self.connections: Mapping[str, ConnectionSpec] = {
            SOURCE: project.connections[spec.source],
            TARGET: project.connections[spec.target],
        }
        self._connectors = {side: connector_of(one.scheme) for side, one in self.connections.items()}
        self._salts = salts(spec)
        self._handler = CopyHandler(self._salts, BatchSize())
        self._sessions: dict[str, Session] = {}
        self._snapshot = ""
        self._claimed: dict[str, Load] = {}
        self._small: dict[TableName, Chunk] = {}

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def after(self) -> tuple[str, ...]:
        return self.spec.after

    @property
    def settings(self) -> RunSpec:
        return self.spec.run

    @cached_property
    def plan_hash(self) -> str:
        """Of everything that decides what is read and where it goes; not of workers, retries and other ways to run."""
        return digest(
            {
                "spec": replace(self.spec, run=RunSpec(), after=()),
                "connections": {side: one.url for side, one in self.connections.items()},
                "choice": self._options.choice,
                "full_refresh": self._options.full_refresh,
            }
        )

    @property
    def handler(self) -> Handler:
        return self._handler

    # What the engine asks, in the order in which it asks it.

    def plan(self, known: Known) -> Iterator[PlannedGroup]:
        """Survey everything first, so that what is wrong is said before a row moves; then table by table, largest first."""
        self.resume(known)
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        for table in self.survey():
            group = str(table.spec.target_table)
            if group not in known.groups:
                plan, chunks = self.plan_table(table, known.state, now)
                self._claim(plan.load)
                self._session(TARGET).writer().plan(plan.load)  # says now what publish could not do later
                self._handler.tell(plan)
                yield PlannedGroup(group, tuple(items(plan, chunks, table)), encode(plan, self._salts))

    def replan(self, group: str, known: Known) -> PlannedGroup:
        """A table whose source changed, as of the present snapshot. The load stays the same one, so that no claim of its
        target is given up; its new parts are numbered on, so that none of the old ones is taken for a new one."""
        before = decode(known.groups[group], self._salts)
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        found = self.survey(only=group)
        if not found:
            raise Missing(f"{before.source} is gone from the source", "start anew without it: --fresh")
        plan, chunks = self.plan_table(found[0], known.state, now)
        first = before.first_part + before.chunks
        load = replace(plan.load, load_id=before.load.load_id, one_part=False)
        plan = replace(plan, load=load, run=replace(plan.run, load=load.load_id), first_part=first)
        self._session(TARGET).writer().plan(plan.load)
        self._handler.tell(plan)
        chunks = [replace(chunk, ordinal=first + chunk.ordinal) for chunk in chunks]
        return PlannedGroup(group, tuple(items(plan, chunks, found[0])), encode(plan, self._salts))

    def resume(self, known: Known) -> None:
        """Claim the target tables of groups that were planned before."""
        for facts in known.groups.values():
            self._claim(decode(facts, self._salts).load)

    def survey(self, only: str = "") -> list[Surveyed]:
        """The job's tables, or the one that is loaded into `only`, checked; opens both ends and the snapshot. Writes
        nothing."""
        ends = Ends(
            self._session(SOURCE),
            self._session(TARGET),
            self._connectors[SOURCE],
            self._connectors[TARGET],
            int(self._connectors[TARGET].limits(self.connections[TARGET]).get("name_parts", 3)),
        )
        options = self._options
        tables = survey(self.spec, ends, options.choice, options.full_refresh, options.accept_schema_changes, only)
        others = {name: chunk for name, chunk in self._small.items() if only and str(name) != only}
        self._small = others | self._unsplit(tables)
        return tables

    def _unsplit(self, tables: Sequence[Surveyed]) -> dict[TableName, Chunk]:
        """The one chunk of each table that need not be split, by target: asked for together, not table by table."""
        reader = self._session(SOURCE).reader()
        if not isinstance(reader, SmallTables):
            return {}
        found: dict[TableName, Chunk] = {}
        for chunk_bytes in {table.spec.chunk_bytes for table in tables if table.spec.split}:
            asked = [table for table in tables if table.spec.split and table.spec.chunk_bytes == chunk_bytes]
            chunks = reader.unsplit([table.source for table in asked], chunk_bytes)
            found |= {t.spec.target_table: chunk for t, chunk in zip(asked, chunks, strict=True) if chunk is not None}
        return found

    def shared(self) -> Mapping[str, str]:
        """The snapshot's token. Opens what is not open: after a resume of a complete plan, or when recover() could not."""
        if Ability.SNAPSHOT in self._connectors[SOURCE].abilities:
            self._session(SOURCE)
        if self._claimed:
            self._session(TARGET)
        return {SNAPSHOT: self._snapshot} if self._snapshot else {}

    def recover(self, error: PenstockError) -> bool:
        """After a lost snapshot or connection: drop what is dead; shared() opens a new snapshot and claims again."""
        if not isinstance(error, ConnectionLost):
            return False
        dead = [side for side, session in self._sessions.items() if not _alive(session) or _snapshot_gone(error, side)]
        for side in dead:
            self._drop(side)
        return bool(dead)

    def settle(self, item: Item, result: Json) -> tuple[StateChange, ...]:
        """A publish that read rows moves its table's watermark; one that read none leaves it where it was."""
        mark = result.get("watermark")
        if item.kind not in (COPY, PUBLISH) or not mark or not result["proof"]["rows_read"]:
            return ()
        return (StateChange(item.payload["state_key"], mark),)

    def close(self) -> None:
        for side in tuple(self._sessions):
            self._drop(side)

    # How a table becomes items.

    def statements(self, plan: TablePlan) -> list[str]:
        """What the target would do for a planned table, in its own words."""
        return self._session(TARGET).writer().plan(plan.load)

    def plan_table(self, table: Surveyed, state: Mapping[str, Json], now: str = "") -> tuple[TablePlan, list[Chunk]]:
        """One table's plan and chunks as of the snapshot; `now` is the load's moment, ISO 8601 in UTC."""
        reader = self._session(SOURCE).reader()
        spec, source = table.spec, table.source
        # The id is random: a journal that was deleted must never make a new load look like one the target knows.
        load = replace(table.load, load_id=digest([self.plan_hash, table.spec.target_table, secrets.token_hex(16)]))
        watermark: Json | None = None
        if spec.cursor:
            saved = None if self._options.full_refresh else state.get(marks.state_key(spec))
            if not self._options.full_refresh:
                marks.check_settings(spec, saved)
            read = marks.reading(spec, source, reader, saved, now)
            source = replace(source, window=read.window)
            load = replace(load, reread_to=read.reread_to)
            watermark = read.watermark
        small = self._small.get(spec.target_table) if spec.split else Chunk(0)
        chunks = [small] if small is not None else reader.split(source, spec.chunk_bytes)
        plan = TablePlan(
            source=source,
            load=replace(load, one_part=len(chunks) == 1),
            expressions=table.expressions,
            run=RunFacts(now, load.load_id),
            chunks=len(chunks),
            raw=table.raw,
            counted=len(chunks) > 1,
            snapshot=bool(self._snapshot),
            on_empty=spec.on_empty,
            state_key=marks.state_key(spec),
            watermark=watermark,
        )
        return plan, chunks

    def _claim(self, load: Load) -> None:
        if load.load_id not in self._claimed:
            self._session(TARGET).writer().claim(load)
            self._claimed[load.load_id] = load

    def _session(self, side: str) -> Session:
        """The planner's own session; the source's holds the snapshot, the target's the claims."""
        if side not in self._sessions:
            session = self._open(self.connections[side])
            try:
                self._take_hold(side, session)
            except PenstockError:
                session.close()
                raise
            self._sessions[side] = session
        return self._sessions[side]

    def _take_hold(self, side: str, session: Session) -> None:
        if side == TARGET:
            for load in self._claimed.values():
                session.writer().claim(load)
        elif Ability.SNAPSHOT in self._connectors[SOURCE].abilities:
            assert isinstance(session, Snapshots)
            self._snapshot = session.hold_snapshot()

    def _drop(self, side: str) -> None:
        session = self._sessions.pop(side, None)
        if session is not None:
            session.close()


def items(plan: TablePlan, chunks: list[Chunk], table: Surveyed) -> Iterator[Item]:
    """One item for a table of one chunk. Else prepare, then every chunk (and a count of the source beside them), then
    publish: three stages of one group."""
    group = str(plan.load.table)
    whole = max(table.size_bytes, sum(chunk.size_bytes or 0 for chunk in chunks))
    state = {"state_key": plan.state_key}
    if item_count(plan) == 1:
        payload = {"ordinal": chunks[0].ordinal, "bounds": dict(chunks[0].bounds), **state}
        yield Item(f"{group}/{chunks[0].ordinal:06d}", COPY, 0, group, payload, whole)
        return
    yield Item(f"{group}/prepare", PREPARE, 0, group, weight=whole)
    for chunk in chunks:
        payload = {"ordinal": chunk.ordinal, "bounds": dict(chunk.bounds)}
        weight = chunk.size_bytes if chunk.size_bytes is not None else whole // len(chunks)
        yield Item(f"{group}/{chunk.ordinal:06d}", LOAD, 1, group, payload, weight)
    if plan.counted:
        yield Item(f"{group}/count", COUNT, 1, group, weight=whole // _COUNT_SHARE)
    yield Item(f"{group}/publish", PUBLISH, 2, group, state, weight=whole)


def item_count(plan: TablePlan) -> int:
    """How many items a table becomes."""
    # An item for all may be repeated after its publish; clearing away what an earlier plan left must not.
    is_whole = plan.chunks == 1 and not plan.counted and not plan.first_part
    return 1 if is_whole else plan.chunks + 2 + plan.counted


def salts(spec: CopySpec) -> tuple[Secret, ...]:
    """The salts of the job's masks, in the order of its settings, each once."""
    found: list[Secret] = []
    for settings in (spec.settings, *spec.overrides.values()):
        salt = (settings.get("columns") or {}).get("salt")
        if isinstance(salt, Secret) and salt not in found:
            found.append(salt)
    return tuple(found)


def _alive(session: Session) -> bool:
    try:
        session.check()
    except PenstockError:
        return False
    return True


def _snapshot_gone(error: PenstockError, side: str) -> bool:
    return side == SOURCE and isinstance(error, SnapshotLost)
