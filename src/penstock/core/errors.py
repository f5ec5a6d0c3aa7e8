"""Errors named by cause; each says what failed, what to do, and whether the engine may try again."""

from __future__ import annotations

from enum import Enum
from typing import Any


class Retry(Enum):
    """What the engine does with an item after an error.

    NEVER: the same call fails again. LATER: busy; wait, then try again. RECONNECT: drop this worker's connection, then
    try again. SNOOZE: not ready yet; wait and do not count an attempt. REPLAN: what was planned no longer holds; plan the
    item's group anew.
    """

    NEVER = "never"
    LATER = "later"
    RECONNECT = "reconnect"
    SNOOZE = "snooze"
    REPLAN = "replan"


class PenstockError(Exception):
    """Base of every error a user may see: `what` failed (object, cause, numbers) and a `hint` what to do.

    `wait_s` is how long the other side asked to wait, in seconds. Errors survive pickling whole, so that the retry kind
    is not lost on the way back from a worker process.
    """

    retry: Retry = Retry.NEVER
    exit_code: int = 1

    def __init__(self, what: str, hint: str = "", *, wait_s: float | None = None, retry: Retry | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.wait_s = wait_s
        if retry is not None:
            self.retry = retry

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.hint, self.wait_s, self.retry)


def _rebuild(kind: type[PenstockError], what: str, hint: str, wait_s: float | None, retry: Retry) -> PenstockError:
    return kind(what, hint, wait_s=wait_s, retry=retry)


class SpecError(PenstockError):
    """The project file, an option or an argument is wrong."""

    exit_code = 2


class NotSupported(SpecError):
    """A connector was asked for something it cannot do."""


class Missing(PenstockError):
    """A table, column, file or other named object does not exist."""


class DataError(PenstockError):
    """A value cannot be read, carried or stored as declared."""


class SchemaChanged(PenstockError):
    """Source and target no longer fit and the policy forbids adapting."""


class SourceChanged(PenstockError):
    """The source changed such that chunks planned earlier no longer cover every row once; the table is planned anew."""

    retry = Retry.REPLAN


class SettingsChanged(PenstockError):
    """A job that remembers a position was changed so that the position no longer means what it meant."""


class CountMismatch(PenstockError):
    """What arrived is not what was sent."""


class DiskFull(PenstockError):
    """The target has no room left."""


class PermissionRefused(PenstockError):
    """The login works but lacks a permission."""


class CredentialsRefused(PenstockError):
    """The other side refused the login."""

    exit_code = 12


class Unavailable(PenstockError):
    """A connection could not be opened, or the other side is down or overloaded."""

    retry = Retry.LATER
    exit_code = 10


class Busy(PenstockError):
    """A lock, quota or limit was in the way; the same call may succeed later."""

    retry = Retry.LATER


class BudgetSpent(PenstockError):
    """The run made as many calls as it was allowed to (max_calls)."""


class ConnectionLost(PenstockError):
    """An open connection broke."""

    retry = Retry.RECONNECT
    exit_code = 10


class SnapshotLost(ConnectionLost):
    """The snapshot that readers shared is gone; the run goes on with a new one and says so."""


class TimedOut(PenstockError):
    """An item or a statement exceeded its time and was cancelled."""

    retry = Retry.RECONNECT


class WorkerDied(PenstockError):
    """The process of a worker ended while it ran an item."""

    retry = Retry.RECONNECT


class Defect(PenstockError):
    """Something raised an error that says nothing about trying again: a defect of a job, a connector or a driver."""


class Locked(PenstockError):
    """Another run holds the job or the target table."""

    exit_code = 11


class Stopped(PenstockError):
    """The run was asked to stop."""

    exit_code = 130
