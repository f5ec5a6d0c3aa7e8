"""Rules for limits themselves: which make sense, and what holds when two connections state different ones."""

from __future__ import annotations

from typing import TypeVar

from penstock.core.errors import SpecError
from penstock.core.spec import RateSpec

Number = TypeVar("Number", int, float)


def check_rate(rate: RateSpec, name: str = "") -> None:
    """Raises SpecError, naming the key, for a limit that would let nothing pass."""
    positive = {"per_second": rate.per_second, "per_minute": rate.per_minute, "rows_per_s": rate.rows_per_s}
    for key, value in positive.items():
        if value is not None and not 0 < value < float("inf"):
            raise _wrong(name, key, value, "a number above 0; leave it out for no limit")
    for key, value in {"burst": rate.burst, "concurrency": rate.concurrency}.items():
        if value is not None and value < 1:
            raise _wrong(name, key, value, "1 or more")
    if rate.max_calls is not None and rate.max_calls < 0:
        raise _wrong(name, "max_calls", rate.max_calls, "0 or more; leave it out for no limit")


def stricter(one: RateSpec, other: RateSpec) -> RateSpec:
    """The limits that satisfy both: of each value the smaller one, where None is no limit.

    A burst counts only on a side that states a rate; without a rate it limits nothing.
    """
    bursts = [side.burst for side in (one, other) if side.per_second is not None or side.per_minute is not None]
    return RateSpec(
        per_second=_least(one.per_second, other.per_second),
        per_minute=_least(one.per_minute, other.per_minute),
        burst=min(bursts, default=min(one.burst, other.burst)),
        concurrency=_least(one.concurrency, other.concurrency),
        max_calls=_least(one.max_calls, other.max_calls),
        rows_per_s=_least(one.rows_per_s, other.rows_per_s),
    )


def _least(one: Number | None, other: Number | None) -> Number | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _wrong(name: str, key: str, value: float, wanted: str) -> SpecError:
    return SpecError(f"{key} of {f'the limits of {name}' if name else 'a limit'} is {value}", f"it must be {wanted}")
