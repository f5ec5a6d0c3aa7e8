"""Check: open every connection a project names, side by side, and say what each can do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from penstock.api.abilities import abilities, able
from penstock.api.project_file.build import KINDS, LaterJob
from penstock.api.selection import select_jobs
from penstock.connectors import registry
from penstock.core.errors import NotSupported, PenstockError, Unavailable
from penstock.core.ports import Ability, Health
from penstock.core.spec import ConnectionSpec, CopySpec, JobSpec, Project
from penstock.engine.failure import Failure

# What a connection gets beyond its own connect_timeout_s to answer a first question.
_ANSWER_S = 5.0


@dataclass(frozen=True)
class ConnectionCheck:
    """One connection: what its connector can do, and who answered. `is_open` is None where nothing was opened."""

    name: str
    url: str
    connector: str = ""
    abilities: tuple[str, ...] = ()
    is_open: bool | None = None
    server: str = ""
    user: str = ""
    notes: tuple[str, ...] = ()
    elapsed_s: float = 0.0
    error: Failure | None = None


@dataclass(frozen=True)
class JobCheck:
    """One job: whether its ends can do what it asks of them."""

    name: str
    kind: str
    error: Failure | None = None


@dataclass(frozen=True)
class Check:
    """Everything checked. `is_offline` says that no connection was opened."""

    connections: tuple[ConnectionCheck, ...]
    jobs: tuple[JobCheck, ...]
    is_offline: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 only if nothing failed; a refused login or a connection that cannot be opened goes before other failures."""
        errors = [*(one.error for one in self.connections), *(one.error for one in self.jobs)]
        codes = [error.exit_code for error in errors if error]
        return next((code for code in (12, 10) if code in codes), min(codes, default=0))


def check(project: Project, jobs: Sequence[str] = (), *, offline: bool = False) -> Check:
    """Check the connections of the named jobs, or all of the project's; `offline` opens none. Writes nothing.

    Every failure is part of the result. Raises SpecError for a job that does not exist. May be repeated.
    """
    names = select_jobs(project, jobs) if jobs or project.jobs else ()
    specs = [project.jobs[name] for name in names]
    used = list(project.connections) if not jobs else _used(specs)
    found = [_described(project.connections[name]) for name in used]
    if not offline:
        found = list(_opened(found, project))
    return Check(tuple(found), tuple(_job(spec, project) for spec in specs), offline)


def _used(specs: Sequence[JobSpec]) -> list[str]:
    return list(
        dict.fromkeys(name for spec in specs if isinstance(spec, CopySpec) for name in (spec.source, spec.target))
    )


def _described(spec: ConnectionSpec) -> ConnectionCheck:
    try:
        connector = registry.connector(spec.scheme)
        connector.limits(spec)
    except PenstockError as error:
        return ConnectionCheck(spec.name, spec.url, error=Failure.of(error))
    return ConnectionCheck(spec.name, spec.url, connector.name, abilities(connector))


def _opened(found: Sequence[ConnectionCheck], project: Project) -> Iterator[ConnectionCheck]:
    """Open all connections at once. A thread that does not come back in time is left behind: it is a daemon."""
    answers = {one.name: _ask(project.connections[one.name]) for one in found if not one.error}
    started = time.monotonic()
    for one in found:
        if one.error:
            yield one
            continue
        spec = project.connections[one.name]
        limit_s = spec.connect_timeout_s + _ANSWER_S
        try:
            health, elapsed_s = answers[one.name].get(timeout=max(0.0, started + limit_s - time.monotonic()))
        except queue.Empty:
            health, elapsed_s = _silent(spec, limit_s), limit_s
        yield _answered(one, health, elapsed_s)


def _ask(spec: ConnectionSpec) -> queue.SimpleQueue[tuple[Health | PenstockError, float]]:
    answer: queue.SimpleQueue[tuple[Health | PenstockError, float]] = queue.SimpleQueue()

    def ask() -> None:
        started = time.monotonic()
        try:
            session = registry.open_session(spec)
            try:
                found: Health | PenstockError = session.check()
            finally:
                session.close()
        except PenstockError as error:
            found = error
        answer.put((found, time.monotonic() - started))

    threading.Thread(target=ask, name=f"check {spec.name}", daemon=True).start()
    return answer


def _silent(spec: ConnectionSpec, limit_s: float) -> PenstockError:
    return Unavailable(
        f"connection {spec.name!r} gave no answer within {limit_s:g} s",
        "check host and port, or raise connect_timeout_s",
    )


def _answered(one: ConnectionCheck, health: Health | PenstockError, elapsed_s: float) -> ConnectionCheck:
    if isinstance(health, PenstockError):
        return ConnectionCheck(
            one.name, one.url, one.connector, one.abilities, False, elapsed_s=elapsed_s, error=Failure.of(health)
        )
    return ConnectionCheck(
        one.name, one.url, one.connector, one.abilities, True, health.server, health.user, health.notes, elapsed_s
    )


def _job(spec: JobSpec, project: Project) -> JobCheck:
    if isinstance(spec, LaterJob):
        error = NotSupported(
            f"job kind {spec.kind!r} is not available in this version (job {spec.name!r})",
            f"take the job out, or name the jobs to take; available kinds: {', '.join(KINDS)}",
        )
        return JobCheck(spec.name, spec.kind, Failure.of(error))
    assert isinstance(spec, CopySpec)
    try:
        for name, needed in _needed(spec):
            _check_abilities(spec, project.connections[name], needed)
    except PenstockError as error:
        return JobCheck(spec.name, "copy", Failure.of(error))
    return JobCheck(spec.name, "copy")


def _needed(spec: CopySpec) -> list[tuple[str, tuple[Ability, ...]]]:
    queries = (Ability.QUERY,) if spec.queries else ()
    return [(spec.source, (Ability.CATALOG, Ability.READ, *queries)), (spec.target, (Ability.WRITE,))]


def _check_abilities(spec: CopySpec, connection: ConnectionSpec, needed: Sequence[Ability]) -> None:
    connector = registry.connector(connection.scheme)
    lacking = [ability.value for ability in needed if ability not in connector.abilities]
    if lacking:
        others = able(*needed)
        raise NotSupported(
            f"job {spec.name!r} needs {', '.join(lacking)} of connection {connection.name!r}, which {connector.name} lacks",
            f"connectors that have it: {', '.join(others)}" if others else "",
        )
