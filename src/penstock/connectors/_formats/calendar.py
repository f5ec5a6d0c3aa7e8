"""Dates and times as text and back for every value 64 bits hold: also BC, beyond year 9999, and infinity.

Python's own types end at year 9999 and Arrow's text functions near it; the arithmetic here is the proleptic Gregorian
calendar on integers (days since 1970-01-01), as PostgreSQL and DuckDB count. Years before 1 are written as PostgreSQL
does: `0044-03-15 BC`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


DAY_S = 86_400
TICKS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}

# Days of 1 January of year 1 and of year 10000: between them texts are plain ISO 8601.
FIRST_DAY, LAST_DAY = -719_162, 2_932_897

_ERA_DAYS = 146_097
_EPOCH_SHIFT = 719_468
_DATE = r"(\d{4,12})-(\d{2})-(\d{2})"
_CLOCK = r"[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
_ZONE = r"(Z|z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?"


def date_texts(days: pl.Series, infinity: int) -> pl.Series:
    """Days as `YYYY-MM-DD`, years of more digits as they are, BC behind; the value `infinity` and its negative by name."""
    import polars as pl

    frame = pl.DataFrame({"days": days.cast(pl.Int64), "value": days.cast(pl.Int64)})
    return _named(frame, _date_expr(), pl.lit(""), infinity)


def timestamp_texts(ticks: pl.Series, unit: str, zone: str, infinity: int) -> pl.Series:
    """Ticks since 1970 as `YYYY-MM-DDTHH:MM:SS.ffffff` with all digits of the unit and `zone` ("Z" or "") behind."""
    import polars as pl

    per_day = DAY_S * TICKS_PER_S[unit]
    frame = pl.DataFrame({"value": ticks.cast(pl.Int64)}).with_columns(days=pl.col("value") // per_day)
    clock = clock_expr(pl.col("value") - pl.col("days") * per_day, unit)
    return _named(frame, _date_expr() + "T" + clock + zone, pl.lit(""), infinity)


def clock_expr(ticks: pl.Expr, unit: str) -> pl.Expr:
    """Ticks of a day as `HH:MM:SS.ffffff`."""
    seconds = ticks // TICKS_PER_S[unit]
    parts = [_padded(seconds // 3600, 2), _padded(seconds // 60 % 60, 2), _padded(seconds % 60, 2)]
    text = parts[0] + ":" + parts[1] + ":" + parts[2]
    digits = DIGITS[unit]
    return text + "." + _padded(ticks % TICKS_PER_S[unit], digits) if digits else text


def parse_dates(texts: pl.Series, infinity: int) -> pl.Series:
    """The inverse of date_texts as Int64 days; NULL where the text is no date."""
    import polars as pl

    groups = texts.str.extract_groups(rf"^{_DATE}( BC)?$").struct.unnest()
    year, month, day, era = (pl.col(name) for name in groups.columns)
    found = groups.select(days=_days(_year(year, era), month.cast(pl.Int64), day.cast(pl.Int64)))["days"]
    return _with_infinity(texts, found, infinity)


def parse_timestamps(texts: pl.Series, unit: str, zoned: bool, infinity: int) -> pl.Series:
    """The inverse of timestamp_texts as Int64 ticks; NULL where the text is no time, has a zone where there should be none
    or none where there should be one, more digits than the unit, or lies outside 64 bits."""
    import polars as pl

    groups = texts.str.extract_groups(rf"^{_DATE}(?:{_CLOCK})?{_ZONE}( BC)?$").struct.unnest()
    names = ("year", "month", "day", "hour", "minute", "second", "fraction", "zone", "era")
    parts = groups.rename(dict(zip(groups.columns, names, strict=True)))
    number = {name: pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second")}
    days = _days(_year(pl.col("year"), pl.col("era")), pl.col("month").cast(pl.Int64), pl.col("day").cast(pl.Int64))
    seconds = number["hour"] * 3600 + number["minute"] * 60 + number["second"]
    fits = (number["hour"] < 24) & (number["minute"] < 60) & (number["second"] < 60)
    fraction = pl.col("fraction").fill_null("").str.pad_end(9, "0")
    per_tick = 10 ** (9 - DIGITS[unit])
    fits &= fraction.cast(pl.Int64) % per_tick == 0
    fits &= pl.col("zone").is_not_null() if zoned else pl.col("zone").is_null()
    whole = (days.cast(pl.Int128) * DAY_S + seconds - _offset_s(pl.col("zone"))) * TICKS_PER_S[unit]
    ticks = (whole + fraction.cast(pl.Int64) // per_tick).cast(pl.Int64, strict=False)
    found = parts.select(ticks=pl.when(fits).then(ticks))["ticks"]
    return _with_infinity(texts, found, infinity)


def parse_clocks(texts: pl.Series, unit: str) -> pl.Series:
    """`HH:MM[:SS[.fff]]` up to 24:00:00 as Int64 ticks of a day; NULL where the text is none."""
    import polars as pl

    groups = texts.str.extract_groups(r"^(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?$").struct.unnest()
    hour, minute, second, fraction = (pl.col(name) for name in groups.columns)
    nanos = fraction.fill_null("").str.pad_end(9, "0").cast(pl.Int64)
    seconds = hour.cast(pl.Int64) * 3600 + minute.cast(pl.Int64) * 60 + second.cast(pl.Int64).fill_null(0)
    per_tick = 10 ** (9 - DIGITS[unit])
    ticks = seconds * TICKS_PER_S[unit] + nanos // per_tick
    fits = (minute.cast(pl.Int64) < 60) & (second.cast(pl.Int64).fill_null(0) < 60) & (nanos % per_tick == 0)
    fits &= ticks <= DAY_S * TICKS_PER_S[unit]
    return groups.select(ticks=pl.when(fits).then(ticks))["ticks"]


def _padded(number: pl.Expr, digits: int) -> pl.Expr:
    import polars as pl

    return number.cast(pl.String).str.zfill(digits)


def _date_expr() -> pl.Expr:
    """Column `days` as date text without the era."""
    import polars as pl

    shifted = pl.col("days") + _EPOCH_SHIFT
    era = shifted // _ERA_DAYS
    of_era = shifted - era * _ERA_DAYS
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted_month + 2) // 5 + 1
    month = pl.when(shifted_month < 10).then(shifted_month + 3).otherwise(shifted_month - 9)
    year = year_of_era + era * 400 + (month <= 2).cast(pl.Int64)
    shown = pl.when(year > 0).then(year).otherwise(1 - year)
    return _padded(shown, 4) + "-" + _padded(month, 2) + "-" + _padded(day, 2)


def _named(frame: pl.DataFrame, text: pl.Expr, behind: pl.Expr, infinity: int) -> pl.Series:
    import polars as pl

    era = pl.when(pl.col("days") < FIRST_DAY).then(pl.lit(" BC")).otherwise(behind)
    ends = pl.when(pl.col("value") == infinity).then(pl.lit("infinity"))
    named = ends.when(pl.col("value") == -infinity).then(pl.lit("-infinity"))
    return frame.select(text=named.otherwise(text + era))["text"]


def _year(year: pl.Expr, era: pl.Expr) -> pl.Expr:
    import polars as pl

    number = year.cast(pl.Int64)
    return pl.when(number == 0).then(None).when(era.is_not_null()).then(1 - number).otherwise(number)


def _days(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """Days since 1970-01-01, NULL for a day that does not exist."""
    import polars as pl

    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    long = pl.when(month == 2).then(28 + leap.cast(pl.Int64)).when(month.is_in([4, 6, 9, 11])).then(30).otherwise(31)
    shifted = year - (month <= 2).cast(pl.Int64)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * pl.when(month > 2).then(month - 3).otherwise(month + 9) + 2) // 5 + day - 1
    days = era * _ERA_DAYS + of_era * 365 + of_era // 4 - of_era // 100 + of_year - _EPOCH_SHIFT
    return pl.when(month.is_between(1, 12) & day.is_between(1, long)).then(days)


def _offset_s(zone: pl.Expr) -> pl.Expr:
    import polars as pl

    digits = zone.str.replace_all(":", "").str.slice(1).str.pad_end(6, "0")
    hours, minutes, seconds = (digits.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (0, 2, 4))
    total = hours * 3600 + minutes * 60 + seconds
    signed = pl.when(zone.str.starts_with("-")).then(-total).otherwise(total)
    return pl.when(zone.is_null() | zone.str.to_lowercase().eq("z")).then(0).otherwise(signed)


def _with_infinity(texts: pl.Series, found: pl.Series, infinity: int) -> pl.Series:
    import polars as pl

    frame = pl.DataFrame({"text": texts, "found": found})
    ends = pl.when(pl.col("text").is_in(["infinity", "inf"])).then(pl.lit(infinity, pl.Int64))
    named = ends.when(pl.col("text").is_in(["-infinity", "-inf"])).then(pl.lit(-infinity, pl.Int64))
    return frame.select(out=named.otherwise(pl.col("found")))["out"]
