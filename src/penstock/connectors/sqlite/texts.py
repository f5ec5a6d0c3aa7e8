"""Dates, times, UUIDs and decimals as the text SQLite keeps, exact in both directions and for every value of the carrier.

Years 1 to 9999 are written as everybody does, so that SQLite's own date functions understand them. Others follow
ISO 8601-2: Y and twelve digits beyond 9999, which sorts after the plain ones; a minus and twelve digits before year 1,
which sorts before them. Infinity is a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.errors import DataError
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY

if TYPE_CHECKING:
    import polars as pl

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
_DAY_S = 86_400
_YEAR_DIGITS = 12  # of the last year that 64 bits of seconds reach
_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
ZONE = "+00:00"
_MOMENT = (
    r"^(?:(?P<infinity>-?infinity)|(?P<mark>[Y-]?)(?P<year>\d{4,12})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[ T](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?(?P<zone>\+00:00|Z)?)$"
)

_TIME = r"^(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?$"


def from_text(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """Text as `kind`: a date, time, timestamp, decimal or UUID. Raises DataError naming the column `name`."""
    import polars as pl

    try:
        if kind == pa.uuid():
            return _uuid_from_text(array)
        if pa.types.is_time(kind):
            return _time_from_text(array, kind)
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            return _moment_from_text(array, kind)
        return array.cast(kind)
    except (pa.ArrowInvalid, pl.exceptions.PolarsError, OverflowError) as error:
        raise DataError(
            f"column {name!r} holds text that is no {kind}: {error}", "correct it, or cast the column"
        ) from error


def to_text(array: pa.Array) -> pa.Array:
    """A date, time, timestamp, decimal or UUID as text."""
    kind = array.type
    if kind == pa.uuid():
        return _uuid_to_text(array)
    if pa.types.is_decimal(kind):
        return _decimal_to_text(array)
    if pa.types.is_time(kind):
        return _time_to_text(array)
    return _moment_to_text(array)


# ---- dates and timestamps


def _ticks(array: pa.Array) -> tuple[pa.Array, int]:
    """Ticks since 1970 as int64, and how many of them make a second (0: they are days)."""
    if pa.types.is_date(array.type):
        return array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), 0
    return array.view(pa.int64()), _PER_S[array.type.unit]


def _moment_to_text(array: pa.Array) -> pa.Array:
    import polars as pl

    ticks, per_s = _ticks(array)
    is_zoned = per_s > 0 and array.type.tz is not None
    ends = pc.min_max(ticks).as_py()
    scale = _DAY_S * per_s if per_s else 1
    if ends["min"] is None or (_FIRST_DAY * scale <= ends["min"] and ends["max"] < (_LAST_DAY + 1) * scale):
        plain = array.view(pa.timestamp(array.type.unit)) if is_zoned else array
        text = (plain.cast(pa.date32()) if pa.types.is_date64(plain.type) else plain).cast(pa.string())
        return pc.binary_join_element_wise(text, ZONE, "") if is_zoned else text
    return _any_moment_to_text(pl.Series(ticks), per_s, is_zoned)


def _any_moment_to_text(ticks: pl.Series, per_s: int, is_zoned: bool) -> pa.Array:
    import polars as pl

    end = TIMESTAMP_INFINITY if per_s else DATE_INFINITY
    days = ticks // (_DAY_S * per_s) if per_s else ticks
    parts: dict[str, pl.Series] = dict(zip(("year", "month", "day"), _civil(days), strict=True))
    year = pl.col("year")
    mark = pl.when(year > 9999).then(pl.lit("Y")).when(year < 1).then(pl.lit("-")).otherwise(pl.lit(""))
    digits = pl.when((year > 9999) | (year < 1)).then(_zfill(year.abs(), _YEAR_DIGITS)).otherwise(_zfill(year, 4))
    text = [mark, digits, pl.lit("-"), _zfill(pl.col("month"), 2), pl.lit("-"), _zfill(pl.col("day"), 2)]
    if per_s:
        parts["rest"] = ticks % (_DAY_S * per_s)
        text += [pl.lit(" "), *_clock(pl.col("rest"), per_s)] + ([pl.lit(ZONE)] if is_zoned else [])
    found = pl.DataFrame({"ticks": ticks, **parts}).select(
        pl.when(pl.col("ticks") == end)
        .then(pl.lit("infinity"))
        .when(pl.col("ticks") == -end)
        .then(pl.lit("-infinity"))
        .when(pl.col("ticks").is_not_null())
        .then(pl.concat_str(text))
    )
    return found.to_series().to_arrow().cast(pa.string())


def _clock(rest: pl.Expr, per_s: int) -> list[pl.Expr]:
    """Parts of HH:MM:SS and the fraction, from ticks since midnight."""
    import polars as pl

    seconds = rest // per_s
    parts = [
        _zfill(seconds // 3600, 2),
        pl.lit(":"),
        _zfill(seconds // 60 % 60, 2),
        pl.lit(":"),
        _zfill(seconds % 60, 2),
    ]
    return parts + ([pl.lit("."), _zfill(rest % per_s, len(str(per_s)) - 1)] if per_s > 1 else [])


def _zfill(number: pl.Expr, width: int) -> pl.Expr:
    import polars as pl

    return number.cast(pl.String).str.zfill(width)


def _civil(days: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Year, month, day of a day number, in the proleptic Gregorian calendar: cycles of 400 years that begin in March."""
    import polars as pl

    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    of_400 = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (of_400 * 365 + of_400 // 4 - of_400 // 100)
    from_march = (of_year * 5 + 2) // 153
    day = of_year - (from_march * 153 + 2) // 5 + 1
    month = from_march + 3 - (from_march >= 10).cast(pl.Int64) * 12
    return of_400 + era * 400 + (month <= 2).cast(pl.Int64), month, day


def _moment_from_text(array: pa.Array, kind: pa.DataType) -> pa.Array:
    wanted = pa.date32() if kind == pa.date64() else kind
    try:
        return array.cast(wanted).cast(kind)
    except pa.ArrowInvalid:
        return _any_moment_from_text(array, wanted).cast(kind)


def _any_moment_from_text(array: pa.Array, kind: pa.DataType) -> pa.Array:
    import polars as pl

    per_s = 0 if pa.types.is_date(kind) else _PER_S[kind.unit]
    end = TIMESTAMP_INFINITY if per_s else DATE_INFINITY
    parts = pl.Series("t", array.cast(pa.large_string())).str.extract_groups(_MOMENT).struct.unnest()
    year, month, day = (parts[name].cast(pl.Int64) for name in ("year", "month", "day"))
    days = _days(year * (1 - (parts["mark"] == "-").cast(pl.Int64) * 2), month, day)
    # February 30 is a day number too; only a real date comes back from it.
    _, real_month, real_day = _civil(days)
    is_real = (real_month == month) & (real_day == day)
    is_real &= (parts["zone"].is_not_null() == bool(per_s and kind.tz)) & (parts["hour"].is_null() | bool(per_s))
    ticks = days
    if per_s:
        hour, minute, second = (parts[name].cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second"))
        nanos = parts["fraction"].fill_null("").str.pad_end(9, "0").cast(pl.Int64)
        is_real &= (hour < 24) & (minute < 60) & (second < 60) & (nanos % (10**9 // per_s) == 0)
        ticks = (days * _DAY_S + hour * 3600 + minute * 60 + second) * per_s + nanos // (10**9 // per_s)
    found = pl.DataFrame({"ticks": ticks, "real": is_real, "infinity": parts["infinity"]}).select(
        pl.when(pl.col("infinity") == "infinity")
        .then(pl.lit(end))
        .when(pl.col("infinity") == "-infinity")
        .then(pl.lit(-end))
        .when(pl.col("real"))
        .then(pl.col("ticks"))
        .cast(pl.Int64 if per_s else pl.Int32)
    )
    return _all_found(found.to_series(), array, kind)


def _all_found(found: pl.Series, array: pa.Array, kind: pa.DataType) -> pa.Array:
    """`found` as `kind`. Raises ArrowInvalid with the first text of `array` that gave nothing."""
    if found.null_count() != array.null_count:
        wrong = array.filter(pc.and_(found.is_null().to_arrow(), array.is_valid()))[0].as_py()
        raise pa.ArrowInvalid(f"{wrong!r}")
    is_narrow = pa.types.is_date(kind) or pa.types.is_time32(kind)
    return found.to_arrow().cast(pa.int32() if is_narrow else pa.int64()).view(kind)


def _days(year: pl.Series, month: pl.Series, day: pl.Series) -> pl.Series:
    """The inverse of _civil."""
    import polars as pl

    shifted = year - (month <= 2).cast(pl.Int64)
    era = shifted // 400
    of_400 = shifted - era * 400
    from_march = month - 3 + (month <= 2).cast(pl.Int64) * 12
    of_year = (from_march * 153 + 2) // 5 + day - 1
    return era * 146_097 + of_400 * 365 + of_400 // 4 - of_400 // 100 + of_year - 719_468


# ---- times of day


def _time_to_text(array: pa.Array) -> pa.Array:
    import polars as pl

    per_s = _PER_S[array.type.unit]
    ticks = array.view(pa.int32() if pa.types.is_time32(array.type) else pa.int64()).cast(pa.int64())
    # 24:00:00 is a time too, and more than Arrow's own text form knows.
    text = pl.Series("t", ticks).to_frame().select(pl.concat_str(_clock(pl.col("t"), per_s)))
    return text.to_series().to_arrow().cast(pa.string())


def _time_from_text(array: pa.Array, kind: pa.DataType) -> pa.Array:
    import polars as pl

    per_s = _PER_S[kind.unit]
    found = pl.Series("t", array.cast(pa.large_string())).str.extract_groups(_TIME).struct.unnest()
    hour, minute, second = (found[name].cast(pl.Int64) for name in ("hour", "minute", "second"))
    nanos = found["fraction"].fill_null("").str.pad_end(9, "0").cast(pl.Int64)
    ticks = (hour * 3600 + minute * 60 + second) * per_s + nanos // (10**9 // per_s)
    is_real = (minute < 60) & (second < 60) & (ticks <= _DAY_S * per_s) & (nanos % (10**9 // per_s) == 0)
    known = pl.DataFrame({"t": ticks, "real": is_real}).select(pl.when(pl.col("real")).then(pl.col("t")))
    return _all_found(known.to_series(), array, kind)


# ---- UUIDs and decimals


def _uuid_to_text(array: pa.Array) -> pa.Array:
    import polars as pl

    digits = pl.Series("h", array.storage.cast(pa.large_binary())).bin.encode("hex").to_frame()
    part = pl.col("h").str
    parts = [part.slice(0, 8), part.slice(8, 4), part.slice(12, 4), part.slice(16, 4), part.slice(20, 12)]
    return digits.select(pl.concat_str(parts, separator="-")).to_series().to_arrow().cast(pa.string())


def _uuid_from_text(array: pa.Array) -> pa.Array:
    import polars as pl

    digits = pl.Series(array.cast(pa.large_string())).str.replace_all("[-{}]", "")
    plain = digits.str.decode("hex").to_arrow().cast(pa.binary()).cast(pa.binary(16))
    return pa.ExtensionArray.from_storage(pa.uuid(), plain)


def _decimal_to_text(array: pa.Array) -> pa.Array:
    """Plain digits: Arrow writes small numbers with an exponent, as 1E-10, from the seventh decimal place on."""
    import polars as pl

    scale = array.type.scale
    if scale <= 6:
        return array.cast(pa.string()) if scale >= 0 else array.cast(_whole(array.type)).cast(pa.string())
    text = pl.Series("t", _unscaled(array).cast(pa.large_string())).to_frame()
    bare = pl.col("t").str.strip_prefix("-").str.zfill(scale + 1)
    sign = pl.when(pl.col("t").str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    parts = [sign, bare.str.head(-scale), pl.lit("."), bare.str.tail(scale)]
    return text.select(pl.concat_str(parts)).to_series().to_arrow().cast(pa.string())


def _whole(kind: pa.DataType) -> pa.DataType:
    make = pa.decimal256 if kind.precision - kind.scale > 38 else pa.decimal128
    return make(kind.precision - kind.scale, 0)


def _unscaled(array: pa.Array) -> pa.Array:
    """The same integers with scale 0."""
    wide = array.cast((pa.decimal256 if pa.types.is_decimal256(array.type) else pa.decimal128)(
        max(array.type.precision, array.type.scale), array.type.scale
    ))  # fmt: skip
    kind = (pa.decimal256 if pa.types.is_decimal256(wide.type) else pa.decimal128)(wide.type.precision, 0)
    return pa.Array.from_buffers(kind, len(wide), wide.buffers(), wide.null_count, wide.offset)
