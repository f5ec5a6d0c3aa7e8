"""Whether to try again, how and when: a pure decision from an error and what was tried since the last progress."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from penstock.core.errors import PenstockError, Retry
from penstock.core.spec import RetrySpec

# The longest wait that the other side may ask for (Retry-After), also above max_backoff_s: an hour, the longest reset period
# of the APIs we know. After it one attempt asks again.
MAX_ASKED_WAIT_S = 3600.0

# 2**n beyond this many doublings exceeds any max_backoff_s, and later any float.
_MAX_DOUBLINGS = 60

# The connection is gone or was never there; everything else of the operating system (no space, no permission, no such
# file) fails again.
_RECONNECT_ERRNOS = frozenset(
    {
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.EPIPE,
        errno.ESHUTDOWN,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
    }
)


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be with one item.

    attempts: tries without any progress in between before giving up (1 = never again). Waits grow from backoff_s, doubled
    each time, to max_backoff_s. budget_s: the most time since the last progress, waits included; None is no limit.
    """

    attempts: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    budget_s: float | None = None

    @classmethod
    def of(cls, spec: RetrySpec, budget_s: float | None = None) -> RetryPolicy:
        return cls(spec.attempts, spec.backoff_s, spec.max_backoff_s, budget_s)


class Action(Enum):
    """What to do with the item: try again; drop the worker's connection, then try again; try again without counting it;
    make it a dead letter."""

    RETRY = "retry"
    RECONNECT = "reconnect"
    SNOOZE = "snooze"
    GIVE_UP = "give_up"


@dataclass(frozen=True)
class Decision:
    """`wait_s` is how long to wait first. `reason` says in words why, for the journal."""

    action: Action
    wait_s: float
    reason: str


def decide(
    policy: RetryPolicy,
    error: BaseException,
    attempts_since_progress: int,
    elapsed_s: float,
    random: Callable[[], float],
) -> Decision:
    """What to do after `error` ended an attempt.

    `attempts_since_progress` counts the attempts since the last progress (or the start), this one included, snoozes not;
    `elapsed_s` is the time since then. `random` gives numbers in [0, 1). Sleeps not; the same arguments decide the same.

    Waits are exponential with full jitter: anywhere between 0 and backoff_s * 2**(attempts - 1), at most max_backoff_s.
    REPLAN is not for this call to help: whoever can plan anew does so before asking here.

    An error's `wait_s` is a minimum, up to MAX_ASKED_WAIT_S. A snooze without it waits between a quarter and a half of
    the time that has passed already, within backoff_s and max_backoff_s: what takes long is asked for seldom.
    """
    kind = classify(error)
    if kind is Retry.NEVER:
        return Decision(Action.GIVE_UP, 0.0, "the same call would fail again")
    if kind is Retry.REPLAN:
        return Decision(Action.GIVE_UP, 0.0, "what was planned no longer holds")
    if kind is not Retry.SNOOZE and attempts_since_progress >= policy.attempts:
        return Decision(Action.GIVE_UP, 0.0, f"{attempts_since_progress} attempts without progress")
    if kind is Retry.SNOOZE:
        wait_s = _snooze_s(policy, elapsed_s, random())
    else:
        wait_s = _ceiling_s(policy, attempts_since_progress) * random()
    asked_s = _asked_s(error)
    if asked_s is not None:
        wait_s = asked_s if kind is Retry.SNOOZE else max(wait_s, asked_s)
    if policy.budget_s is not None and elapsed_s + wait_s > policy.budget_s:
        return Decision(Action.GIVE_UP, 0.0, f"no progress for {elapsed_s:.0f} s of at most {policy.budget_s:.0f} s")
    return Decision(_ACTIONS[kind], wait_s, _reason(kind, attempts_since_progress, policy.attempts))


_ACTIONS = {Retry.LATER: Action.RETRY, Retry.RECONNECT: Action.RECONNECT, Retry.SNOOZE: Action.SNOOZE}


def classify(error: BaseException) -> Retry:
    """The retry kind of any error: its own if it is ours, otherwise by type and error number; never by its text."""
    if isinstance(error, PenstockError):
        return error.retry
    if isinstance(error, (TimeoutError, ConnectionError)):
        return Retry.RECONNECT
    if isinstance(error, socket.gaierror):
        return Retry.LATER if error.errno == socket.EAI_AGAIN else Retry.NEVER
    if isinstance(error, OSError):
        return Retry.RECONNECT if error.errno in _RECONNECT_ERRNOS else Retry.NEVER
    return Retry.NEVER


def _ceiling_s(policy: RetryPolicy, attempts: int) -> float:
    doublings = min(max(0, attempts - 1), _MAX_DOUBLINGS)
    return float(min(policy.max_backoff_s, policy.backoff_s * 2.0**doublings))


def _snooze_s(policy: RetryPolicy, elapsed_s: float, chance: float) -> float:
    return min(policy.max_backoff_s, max(policy.backoff_s, elapsed_s * (0.25 + 0.25 * chance)))


def _asked_s(error: BaseException) -> float | None:
    asked_s = error.wait_s if isinstance(error, PenstockError) else None
    if asked_s is None or math.isnan(asked_s) or asked_s <= 0:
        return None
    return min(asked_s, MAX_ASKED_WAIT_S)


def _reason(kind: Retry, attempt: int, attempts: int) -> str:
    return "not ready yet" if kind is Retry.SNOOZE else f"attempt {attempt} of {attempts} failed"
