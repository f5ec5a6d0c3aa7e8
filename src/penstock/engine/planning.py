"""The driver's own calls of a job: groups pulled from its plan one at a time, and what it shares, tried again if need be."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

from penstock.core.errors import PenstockError
from penstock.core.item import PlannedGroup
from penstock.engine.items import Items, Member
from penstock.engine.job import Job, Known
from penstock.engine.journal import Journal
from penstock.engine.outcome import Counts
from penstock.engine.resume import Begun
from penstock.engine.retry import Action, RetryPolicy, decide
from penstock.engine.worker import job_call


class Patience:
    """How often one of the driver's calls failed since it last worked, and when it may be tried again."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._attempts = 0
        self._since = 0.0
        self.not_before = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.not_before

    def worked(self) -> None:
        self._attempts = 0

    def failed(self, error: PenstockError) -> float:
        """The seconds to wait before the call is tried again; raises the error when it is not to be tried again."""
        now = time.monotonic()
        self._since = self._since if self._attempts else now
        decision = decide(self._policy, error, self._attempts + 1, now - self._since, random.random)
        if decision.action is Action.GIVE_UP:
            raise error
        if decision.action is not Action.SNOOZE:
            self._attempts += 1
        self.not_before = now + decision.wait_s
        return decision.wait_s


# How often one group is planned anew in one run: a source that changes while it is read would make it go on for ever.
_MAX_ANEW = 3


class _Anew:
    """A group that is planned anew: because of what, how often it was before in this run, and how patiently."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.patience = Patience(policy)
        self.times = 0
        self.error = PenstockError("")


class Planning:
    """A job's plan on its way into the journal. Driver thread only."""

    def __init__(self, journal: Journal, job: Job, items: Items, begun: Begun, policy: RetryPolicy) -> None:
        self.is_complete = begun.is_planned
        self._journal = journal
        self._job = job
        self._items = items
        self._begun = begun
        self._groups: Iterator[PlannedGroup] | None = None
        self._again = bool(begun.resumed_from)
        self._patience = Patience(policy)
        self._sharing = Patience(policy)
        self._shared: Mapping[str, str] | None = None
        self._takes_up = begun.is_planned
        self._policy = policy
        self._anew: dict[str, _Anew] = {}

    @property
    def is_due(self) -> bool:
        """Whether `step` would do something now."""
        return not self.is_complete and self._patience.is_due

    def step(self) -> tuple[str, list[Member]] | None:
        """Plan and commit one more group; None when there was none (the plan is complete, or must be tried again later).

        An error that may be tried again makes the job plan once more, with what is known by then. Raises PenstockError
        when it is not to be tried again.
        """
        try:
            with job_call(f"planning job {self._job.name!r}", self._job.connections):
                if self._groups is None:
                    self._groups = self._job.plan(self._known())
                group = next(self._groups, None)
                members = None if group is None else self._items.plan(group, again=self._again)
        except PenstockError as error:
            self._groups, self._again = None, True
            wait_s = self._patience.failed(error)
            self._items.note("retry", f"planning is tried again in {wait_s:.1f} s: {error.what}")
            self.recover(error)
            return None
        self._patience.worked()
        if group is None or members is None:
            self._complete()
            return None
        return group.group, members

    def stale(self, group: str, error: PenstockError) -> None:
        """Note that a group is to be planned anew because of `error`."""
        self._anew.setdefault(group, _Anew(self._policy)).error = error

    def replan(self, group: str) -> tuple[list[Member], Counts] | None:
        """Plan a stale group anew and commit that; its new items, and what those were whose place they take. None when
        that must be tried again later. Raises PenstockError when it is not to be tried again, or was done too often."""
        anew = self._anew[group]
        if anew.times >= _MAX_ANEW:
            text = f"{anew.error.what} (in this run group {group!r} was planned anew {anew.times} times)"
            raise type(anew.error)(text, anew.error.hint)
        if not anew.patience.is_due:
            return None
        try:
            with job_call(f"planning group {group!r} of job {self._job.name!r} anew", self._job.connections):
                planned = self._job.replan(group, self._known())
                self._items.flush()
                before = self._items.stored.counts_of(group)
                done = f"{before.done} item{'' if before.done == 1 else 's'}"
                self._items.note("replan", f"group {group!r} is planned anew, {done} done before: {anew.error.what}")
                members = self._items.plan_anew(planned)
        except PenstockError as error:
            wait_s = anew.patience.failed(error)
            self._items.note("retry", f"planning group {group!r} anew is tried again in {wait_s:.1f} s: {error.what}")
            self.recover(error)
            return None
        anew.patience.worked()
        anew.times += 1
        return members, before

    def shared(self) -> Mapping[str, str] | None:
        """What goes along with every item; None while the job cannot tell and must be asked again.

        Raises PenstockError when it is not to be asked again.
        """
        if not self._sharing.is_due:
            return None
        try:
            with job_call(f"preparing job {self._job.name!r}", self._job.connections):
                if self._takes_up:
                    self._job.resume(self._known())
                    self._takes_up = False
                shared = self._job.shared()
        except PenstockError as error:
            wait_s = self._sharing.failed(error)
            self._items.note("retry", f"preparing is tried again in {wait_s:.1f} s: {error.what}")
            self.recover(error)
            return None
        self._sharing.worked()
        if self._shared is None or shared != self._shared:
            self._keep(dict(shared))
        return self._shared

    def recover(self, error: PenstockError) -> None:
        """Let the job renew what it shares before something is tried again; whether it could shows at the next attempt."""
        try:
            with job_call(f"recovering job {self._job.name!r}", self._job.connections):
                if self._job.recover(error):
                    self._items.note("recover", f"job {self._job.name!r} recovered from: {error.what}")
        except PenstockError as failed:
            self._items.note("recover", f"job {self._job.name!r} could not recover: {failed.what}")

    def _keep(self, shared: dict[str, str]) -> None:
        if self._shared is not None:
            self._items.note("snapshot", "items handed out from now on read another snapshot")
        self._shared = shared
        self._items.keep_snapshot(shared)

    def _known(self) -> Known:
        state = self._journal.state(self._job.name)
        return Known(self._items.stored.facts(), state, bool(self._begun.resumed_from), self._begun.plan_id)

    def _complete(self) -> None:
        self._items.plan_complete()
        self.is_complete = True
