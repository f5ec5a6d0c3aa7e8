"""What a rate allows and when: a token bucket kept as one time stamp (GCRA), and an exact count per sliding window."""

from __future__ import annotations

from collections import deque

from penstock.core.spec import RateSpec

# Threads wake late. A caller that was already waiting is booked at the moment it was due, at most this long ago, so that
# late wake-ups do not lower the rate. It loosens the bound of a bucket to rate * (t + LATE_S) + burst.
LATE_S = 0.02

MINUTE_S = 60.0


class Bucket:
    """A token bucket in GCRA form: `rate_per_s` tokens a second, at most `burst` saved up.

    In any t seconds at most rate * (t + LATE_S) + burst tokens are taken. A cost above `burst` passes when the bucket is
    full and leaves a debt that later callers wait for; then `burst` in that bound is the greatest cost. Not thread-safe.
    """

    __slots__ = ("_full_at", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        # The theoretical arrival time of GCRA: when the bucket is full again if nobody comes.
        self._full_at = float("-inf")

    def due(self, cost: float) -> float:
        """The clock time from which `cost` tokens may be taken."""
        return self._full_at - max(0.0, self.burst - cost) / self.rate_per_s

    def take(self, now: float, cost: float, since: float) -> None:
        """Take tokens that are due, for a caller who has been waiting since the time `since`."""
        booked = min(now, max(self.due(cost), since, now - LATE_S))
        self._full_at = max(self._full_at, booked) + cost / self.rate_per_s

    def change(self, now: float, rate_per_s: float, burst: float) -> None:
        """Go on with other limits; what was taken stays taken."""
        missing = (self._full_at - now) * self.rate_per_s
        if missing > 0:
            self._full_at = now + missing / rate_per_s
        self.rate_per_s = rate_per_s
        self.burst = burst


class Quota:
    """At most `limit` in any `period_s` seconds, exactly: remembers when each one was taken. Not thread-safe.

    A token bucket lets limit + burst pass in its first period; a quota that the other side counts must not be exceeded by
    the burst. Memory is one float for each of `limit`.
    """

    __slots__ = ("_taken", "limit", "period_s")

    def __init__(self, limit: int, period_s: float) -> None:
        self.limit = limit
        self.period_s = period_s
        self._taken: deque[float] = deque()

    def due(self, cost: int) -> float:
        """The clock time from which `cost` more may be taken; `cost` must not exceed `limit`."""
        over = len(self._taken) + cost - self.limit
        return self._taken[over - 1] + self.period_s if over > 0 else float("-inf")

    def take(self, now: float, cost: int) -> None:
        booked = max(now, self.due(cost))
        while self._taken and self._taken[0] + self.period_s <= booked:
            self._taken.popleft()
        self._taken.extend([booked] * cost)


class Meter:
    """All configured rates of one limiter together; what passes has passed each of them. Not thread-safe.

    per_second: a bucket of `burst`. per_minute: never more than that many in any 60 s (bursts included), spread evenly;
    saved up are at most `burst` or one second's worth of `per_second`, whichever is more.
    """

    def __init__(self, rate: RateSpec) -> None:
        self._second: Bucket | None = None
        self._minute: Bucket | None = None
        self._quota: Quota | None = None
        self.change(0.0, rate)

    @property
    def rate_per_s(self) -> float | None:
        """The sustained rate that these limits allow; None is unlimited."""
        rates = [bucket.rate_per_s for bucket in (self._second, self._minute) if bucket]
        return min(rates) if rates else None

    @property
    def cost_limit(self) -> float:
        """The greatest cost that can ever pass."""
        return self._quota.limit if self._quota else float("inf")

    def due(self, cost: int) -> float:
        """The clock time from which `cost` may be taken."""
        due = float("-inf")
        for bucket in (self._second, self._minute):
            if bucket:
                due = max(due, bucket.due(cost))
        return max(due, self._quota.due(cost)) if self._quota else due

    def take(self, now: float, cost: int, since: float) -> None:
        for bucket in (self._second, self._minute):
            if bucket:
                bucket.take(now, cost, since)
        if self._quota:
            self._quota.take(now, cost)

    def change(self, now: float, rate: RateSpec) -> None:
        """Go on with other limits; what was taken stays taken."""
        if rate.per_second is not None:
            self._second = _changed(self._second, now, rate.per_second, rate.burst)
        if rate.per_minute is not None:
            limit = max(1, int(rate.per_minute))
            burst = min(limit, max(rate.burst, int(rate.per_second or 0)))
            self._minute = _changed(self._minute, now, rate.per_minute / MINUTE_S, burst)
            if self._quota:
                self._quota.limit = limit
            else:
                self._quota = Quota(limit, MINUTE_S)


def _changed(bucket: Bucket | None, now: float, rate_per_s: float, burst: float) -> Bucket:
    if bucket is None:
        return Bucket(rate_per_s, burst)
    bucket.change(now, rate_per_s, burst)
    return bucket
