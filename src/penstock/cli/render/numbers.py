"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: int | None) -> str:
    """1,234,567; - where unknown."""
    return "-" if number is None else f"{number:,}"


def size(number_bytes: float | None) -> str:
    """12.3 MB (powers of 1000); - where unknown."""
    if number_bytes is None:
        return "-"
    value, unit = float(number_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.{0 if value >= 99.5 else 1}f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3:05, 2:03:05; - where unknown."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(per_second: float | None, unit: str) -> str:
    """82,140 rows/s; - where nothing moved."""
    if not per_second:
        return "-"
    shown = f"{per_second:,.0f}" if per_second >= 9.95 else f"{per_second:.1f}"
    return f"{shown} {unit}/s"


def byte_rate(per_second: float | None) -> str:
    """12.3 MB/s."""
    return f"{size(per_second)}/s" if per_second else "-"


def percent(share: float | None) -> str:
    """34 %; blank while unknown. Never 100 before all is done."""
    return "" if share is None else f"{int(share)} %"


def moment(at_ms: int | None) -> str:
    """2026-11-20 16:25:35 in the local time zone; - for never."""
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(number: int, word: str) -> str:
    """1 table, 2 tables."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
