"""Durations, sizes and counts as people write them, and as numbers.

Every function takes what YAML, an option or a variable gives and raises ValueError with what it must be instead.
"""

from __future__ import annotations

import re
from typing import Any

from penstock.core.spec import MaxErrors

_SECONDS = {
    "ms": 0.001, "millisecond": 0.001, "milliseconds": 0.001,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d+)?\Z")
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
DURATION_PATTERN = r"^\s*(\d+(\.\d+)?\s*[A-Za-z]*\s*)+$"
SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*([kKmMgGtT][iI]?)?[bB]\s*$"
_DURATION = 'must be a number of seconds or a duration such as "90 s", "10 minutes" or "1h 30m"'
_SIZE = 'must be a size with its unit, such as "64MiB" or "500 MB"'
_WORKERS = 'must be "auto" or a whole number from 1'
_MAX_ERRORS = 'must be a whole number from 0 or a share such as "5%"'


def seconds(value: Any) -> float:
    """Seconds of a number or of a text such as "10 minutes"."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(_DURATION)
    if _NUMBER.match(value.strip()):
        return float(value)
    return _sum_of_parts(value)


def _sum_of_parts(text: str) -> float:
    total, position = 0.0, 0
    while position < len(text):
        part = _PART.match(text, position)
        if not part or part[2].lower() not in _SECONDS:
            raise ValueError(_DURATION)
        total += float(part[1]) * _SECONDS[part[2].lower()]
        position = part.end()
    return total


def positive_seconds(value: Any) -> float:
    """Like `seconds`, but a limit of 0 would stop everything at once."""
    if not (found := seconds(value)):
        raise ValueError("must be more than 0 seconds")
    return found


def size_bytes(value: Any) -> int:
    """Bytes of a text such as "64MiB". A bare number is refused: rows or bytes?"""
    part = _PART.fullmatch(value) if isinstance(value, str) else None
    if not part or part[2].lower() not in _BYTES:
        raise ValueError(_SIZE)
    found = int(float(part[1]) * _BYTES[part[2].lower()])
    if found < 1:
        raise ValueError("must be at least 1 B")
    return found


def workers(value: Any) -> int | None:
    """A number of workers; None is auto."""
    if value == "auto":
        return None
    found = _whole(value, _WORKERS)
    if found < 1:
        raise ValueError(_WORKERS)
    return found


def max_errors(value: Any) -> MaxErrors:
    """How many items may fail: "3" or "5%"."""
    if isinstance(value, str) and value.strip().endswith("%"):
        share = value.strip()[:-1].strip()
        if not _NUMBER.match(share) or float(share) > 100:
            raise ValueError(_MAX_ERRORS)
        return MaxErrors(0, float(share))
    return MaxErrors(_whole(value, _MAX_ERRORS))


def attempts(value: Any) -> int:
    """How often an item is tried in all."""
    expected = "must be a whole number from 1"
    found = _whole(value, expected)
    if found < 1:
        raise ValueError(expected)
    return found


def lag(value: Any) -> str:
    """A cursor's lag as text: a number, or a duration with its unit."""
    text = str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else "-"
    if text and not _NUMBER.match(text):
        try:
            _sum_of_parts(text)
        except ValueError as error:
            raise ValueError('must be a number or a duration such as "10 minutes"') from error
    return text


def _whole(value: Any, expected: str) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(expected)
