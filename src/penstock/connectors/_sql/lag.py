"""How far an incremental load reaches back: "10 minutes", "2 days", or a plain number, understood once for all systems."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from penstock.core.errors import SpecError

_LAG = re.compile(
    r"\s*(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|m|h|d|min|sec|microsecond|millisecond|second|minute|hour|day|week)?"
    r"(?P<plural>s?)\s*\Z"
)
_MICROS = {
    "us": 1, "microsecond": 1, "ms": 10**3, "millisecond": 10**3, "s": 10**6, "sec": 10**6, "second": 10**6,
    "m": 60 * 10**6, "min": 60 * 10**6, "minute": 60 * 10**6, "h": 3600 * 10**6, "hour": 3600 * 10**6,
    "d": 86_400 * 10**6, "day": 86_400 * 10**6, "week": 7 * 86_400 * 10**6,
}  # fmt: skip

# Meanings of text that does not sort like the values it stands for, so that it is no cursor.
UNSORTED = frozenset({"numeric", "interval", "timetz", "json"})


@dataclass(frozen=True)
class Lag:
    """Either a `number` or a duration in `micros` (a fraction of a microsecond counts as a whole one)."""

    number: Decimal | None = None
    micros: int | None = None


def parse_lag(text: str) -> Lag:
    """Raises SpecError for a text that is neither a number nor a duration."""
    match = _LAG.match(text)
    if not match:
        raise SpecError(f"lag {text!r} is no duration and no number", 'write "10 minutes", "2 days" or a number')
    amount = Decimal(match["amount"])
    if not match["unit"]:
        return Lag(number=amount)
    exact = amount * _MICROS[match["unit"]]
    return Lag(micros=int(exact) + (exact != int(exact)))


def duration(text: str, column: str) -> int:
    """The lag in microseconds off a column of times. Raises SpecError for a plain number."""
    micros = parse_lag(text).micros
    if micros is None:
        raise SpecError(f"lag {text!r} lacks a unit for column {column!r}", 'write "10 minutes" or "2 days"')
    return micros


def number(text: str, column: str) -> Decimal:
    """The lag off a column of numbers. Raises SpecError for a duration."""
    amount = parse_lag(text).number
    if amount is None:
        raise SpecError(f"lag {text!r} is a duration but column {column!r} holds numbers", "write a plain number")
    return amount
