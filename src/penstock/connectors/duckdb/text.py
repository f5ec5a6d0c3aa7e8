"""Values of other systems as text that DuckDB reads, and SQL for the two types whose text needs care."""

from __future__ import annotations

import re

from penstock.core.load import CursorValue

_BC = re.compile(r"(?P<date>\d+-\d\d-\d\d)(?P<time>.*) BC\Z")
_TICKS = re.compile(r"-?\d+\Z")
_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def bound(value: CursorValue, kind: str) -> str:
    """The text of a value to bind where type `kind` is wanted, whichever system wrote it. Years before 1 are written as DuckDB does; integers that Arrow types are told by, as times."""
    bc = _BC.match(value.text)
    if bc and kind.startswith(("DATE", "TIMESTAMP")):
        return f"{bc['date']} (BC){bc['time']}"
    if _TICKS.match(value.text) and kind.startswith(("DATE", "TIMESTAMP")):
        return _from_ticks(int(value.text), value.type)
    return value.text


def _from_ticks(ticks: int, kind: str) -> str:
    """Ticks since 1970 as a date of any year: days move the epoch, which Python's calendar could not."""
    unit = re.search(r"\[(s|ms|us|ns)", kind)
    per_s = _PER_S[unit[1]] if unit else 0
    days, rest = divmod(ticks, 86_400 * per_s) if per_s else (ticks, 0)
    year, month, day = _civil(days)
    date = f"{year:04d}-{month:02d}-{day:02d}" if year > 0 else f"{1 - year:04d}-{month:02d}-{day:02d} (BC)"
    if not per_s:
        return date
    seconds, fraction = divmod(rest, per_s)
    digits = len(str(per_s)) - 1
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{date} {clock}" + (f".{fraction:0{digits}d}" if digits else "") + ("+00" if "tz=" in kind else "")


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day number in the proleptic Gregorian calendar, by cycles of 400 years from March on."""
    era, of_era = divmod(days + 719_468, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


def interval(text: str) -> str:
    """SQL that reads interval text of PostgreSQL ("1 year 2 mons -3 days +04:05:06.789") or DuckDB exactly: months, days
    and microseconds each with its own sign.

    DuckDB's cast knows no plus sign and fails on hours near the end of 64 bits, so those are computed.
    """
    clean = f"replace({text}, '+', '')"
    clock = r"^(.*?)(-?)(\d+):(\d+):(\d+)(?:\.(\d{1,6}))?$"
    part = [f"regexp_extract({clean}, '{clock}', {number})" for number in range(7)]
    calendar = f"CASE WHEN trim({part[1]}) = '' THEN INTERVAL '0 days' ELSE CAST({part[1]} AS INTERVAL) END"
    # 128 bits, since the magnitude of the least 64-bit number needs 64 bits and a sign.
    magnitude = (
        f"(CAST({part[3]} AS HUGEINT) * 3600000000 + CAST({part[4]} AS HUGEINT) * 60000000"
        f" + CAST({part[5]} AS HUGEINT) * 1000000 + CAST(rpad({part[6]}, 6, '0') AS HUGEINT))"
    )
    micros = f"CAST(CASE WHEN {part[2]} = '-' THEN -{magnitude} ELSE {magnitude} END AS BIGINT)"
    return (
        rf"CASE WHEN regexp_matches({clean}, '\d{{8,}}:\d\d:') THEN {calendar} + to_microseconds({micros})"
        f" ELSE CAST({clean} AS INTERVAL) END"
    )
