"""What the other side taught us: pauses it asked for, and a rate that falls when it refuses and climbs while it serves."""

from __future__ import annotations

import math
from collections import deque

from penstock.engine.limits.bucket import Bucket

# The longest pause that is believed: an hour, the longest reset period of the APIs we know. After it one call asks again.
MAX_PAUSE_S = 3600.0

# After a refusal the rate falls to this share of the rate that was seen to be served: the average stays above nine tenths
# of what the other side allows. If too little was served to tell, it falls to the second share of the rate in force.
MEASURED_DECREASE = 0.9
BLIND_DECREASE = 0.5

# The rate never falls below this share of the configured one, or, without one, this many calls a second.
FLOOR_SHARE = 0.02
FLOOR_PER_S = 0.1

# The way back to the rate before takes at least so long. After a decrease that was measured it takes so many calls or so
# many times the pause that a refusal costs, within a maximum: probing must not cost more than it may win. After a blind
# one we look again soon.
CLIMB_MIN_S = 5.0
CLIMB_MAX_S = 120.0
CLIMB_CALLS = 75
CLIMB_PAUSES = 15

# A served rate is believed from so many calls over at least so many seconds (answers come in bunches at first); it is
# measured over so many seconds, or over so many calls where those take longer.
MEASURE_LEAST_CALLS = 5
MEASURE_LEAST_S = 0.5
MEASURE_S = 2.0
MEASURE_CALLS = 10

# Beyond this rate a learned limit of an unlimited connection is dropped.
NO_LIMIT_PER_S = 100_000.0


class Pace:
    """Pause and adaptive rate (additive increase, multiplicative decrease) of one limiter. Not thread-safe.

    `rate_per_s` is None while nothing slows us down. Each decrease begins a new `epoch`: what calls of an earlier one
    report says nothing of the rate in force, so one burst of refusals counts once. The increase is additive, per second in
    which calls succeed; its step doubles after each climb without a refusal, so that an old refusal is forgotten.
    """

    def __init__(self, ceiling_per_s: float | None) -> None:
        self.ceiling_per_s = ceiling_per_s
        self.paused_until = float("-inf")
        self.epoch = 0
        self._bucket: Bucket | None = None
        self._served: deque[float] = deque(maxlen=512)
        self._measure_from = float("-inf")
        self._step_per_s = 0.0
        self._climb_s = CLIMB_MIN_S
        self._climbed_s = 0.0
        self._climbed_at = 0.0

    @property
    def rate_per_s(self) -> float | None:
        return self._bucket.rate_per_s if self._bucket else None

    @property
    def floor_per_s(self) -> float:
        return self.ceiling_per_s * FLOOR_SHARE if self.ceiling_per_s else FLOOR_PER_S

    def due(self, cost: int) -> float:
        """The clock time from which a call may start."""
        return max(self.paused_until, self._bucket.due(cost)) if self._bucket else self.paused_until

    def take(self, now: float, cost: int, since: float) -> None:
        if self._bucket:
            self._bucket.take(now, cost, since)

    def refused(self, now: float, epoch: int, after_s: float | None, in_flight: int) -> None:
        """A call that was granted in `epoch` was refused; `after_s` is how long the other side asked to wait."""
        pause_s = believed(after_s)
        self.paused_until = max(self.paused_until, now + pause_s)
        if epoch < self.epoch:
            return
        self.epoch += 1
        known = self.rate_per_s or self.ceiling_per_s
        # Where nothing is configured or learned yet: as if each call that is under way took a second.
        in_force = known or max(1.0, float(in_flight))
        measured = self._measured(now, in_force)
        if measured is None:
            before, rate, climb_s = in_force, in_force * BLIND_DECREASE, pause_s
        else:
            before = min(measured, known or math.inf)
            rate = before * MEASURED_DECREASE
            climb_s = min(CLIMB_MAX_S, max(CLIMB_CALLS / before, CLIMB_PAUSES * pause_s))
        rate = max(self.floor_per_s, rate)
        self._climb_s = max(CLIMB_MIN_S, climb_s)
        self._step_per_s = max(before - rate, rate * (1 - MEASURED_DECREASE)) / self._climb_s
        self._climbed_s = 0.0
        self._slow_down(now, rate)

    def _slow_down(self, now: float, rate: float) -> None:
        if self._bucket:
            self._bucket.change(now, rate, 1)
        else:
            self._bucket = Bucket(rate, 1)
            self._bucket.take(now, 1, now)
        self._measure_from = self._climbed_at = max(now, self.paused_until)

    def note(self, now: float) -> None:
        """A call succeeded while nothing slowed us down. The one method that needs no lock around it."""
        self._served.append(now)

    def served(self, now: float, epoch: int) -> None:
        """A call that was granted in `epoch` succeeded."""
        self.note(now)
        if self._bucket is None or epoch < self.epoch:
            return
        # Idle time proves nothing: one success vouches for two calls' worth of time at most.
        passed_s = min(now - self._climbed_at, max(1.0, 2.0 / self._bucket.rate_per_s))
        self._climbed_at = max(now, self._climbed_at)
        if passed_s > 0:
            self._climb(now, passed_s)

    def _climb(self, now: float, passed_s: float) -> None:
        assert self._bucket is not None
        rate = self._bucket.rate_per_s + self._step_per_s * passed_s
        if rate >= min(self.ceiling_per_s or math.inf, NO_LIMIT_PER_S):
            self._bucket = None
            return
        self._bucket.change(now, rate, 1)
        self._climbed_s += passed_s
        if self._climbed_s >= self._climb_s:
            self._climbed_s = 0.0
            self._step_per_s *= 2.0

    def _measured(self, now: float, in_force: float) -> float | None:
        """Calls served a second, lately and since the last decrease; None when that is too little to tell."""
        begin = max(self._measure_from, now - max(MEASURE_S, MEASURE_CALLS / in_force))
        recent = [at for at in self._served.copy() if at > begin]
        if len(recent) < MEASURE_LEAST_CALLS or recent[-1] - recent[0] < MEASURE_LEAST_S:
            return None
        return (len(recent) - 1) / (recent[-1] - recent[0])


def believed(after_s: float | None) -> float:
    """The pause to make for a Retry-After of `after_s`: none for a missing, past or absurd (NaN) one, MAX_PAUSE_S at most."""
    if after_s is None or math.isnan(after_s) or after_s <= 0:
        return 0.0
    return min(after_s, MAX_PAUSE_S)
