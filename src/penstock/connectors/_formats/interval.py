"""Calendar intervals (months, days, nanoseconds) as ISO 8601 text and back, exact and without a Python value a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_NANOS_PER_S = 1_000_000_000
_PATTERN = r"^P(-?\d{1,10})M(-?\d{1,10})DT(-?)(\d{1,10})\.(\d{9})S$"
_WORD = 2**32


def interval_to_text(array: pa.Array) -> pa.Array:
    """Each interval as `P<months>M<days>DT<seconds>.<9 digits>S`, each part with its own sign."""
    import polars as pl

    negative = pl.col("nanos") < 0
    # The least int64 has no positive twin, so the magnitude is taken through the bitwise complement.
    magnitude = pl.when(negative).then(-(pl.col("nanos") + 1)).otherwise(pl.col("nanos")).cast(pl.UInt64)
    magnitude = magnitude + negative.cast(pl.UInt64)
    text = _parts(array).select(
        pl.format(
            "P{}M{}DT{}{}.{}S",
            "months",
            "days",
            pl.when(negative).then(pl.lit("-")).otherwise(pl.lit("")),
            magnitude // _NANOS_PER_S,
            (magnitude % _NANOS_PER_S).cast(pl.String).str.zfill(9),
        )
    )
    out = text.to_series().to_arrow().cast(pa.string())
    return pc.if_else(array.is_null(), pa.scalar(None, pa.string()), out)


def parse_intervals(array: pa.Array) -> pa.Array:
    """The inverse; NULL where the text is no such interval or its parts are too large."""
    import polars as pl

    groups = pl.Series("text", array.cast(pa.large_string())).str.extract_groups(_PATTERN)
    parts = groups.struct.unnest()
    months, days, sign, seconds, nanos = (pl.col(name) for name in parts.columns)
    magnitude = seconds.cast(pl.Int128, strict=False) * _NANOS_PER_S + nanos.cast(pl.Int128, strict=False)
    signed = pl.when(sign == "-").then(magnitude * pl.lit(-1, pl.Int128)).otherwise(magnitude)
    words = parts.select(
        months=months.cast(pl.Int32, strict=False).cast(pl.Int64),
        days=days.cast(pl.Int32, strict=False).cast(pl.Int64),
        nanos=signed.cast(pl.Int64, strict=False),
    ).with_columns(valid=pl.all_horizontal(pl.all().is_not_null()))
    valid = words["valid"].to_arrow()
    head = pl.col("days") * _WORD + (pl.col("months") & (_WORD - 1))
    pairs = words.fill_null(0).select(pl.concat_list(head, pl.col("nanos"))).to_series().explode(empty_as_null=False)
    data = pairs.rechunk().to_arrow().buffers()[1]
    built = pa.Array.from_buffers(pa.month_day_nano_interval(), len(array), [None, data])
    return pc.if_else(valid, built, pa.scalar(None, pa.month_day_nano_interval()))


def interval_from_text(array: pa.Array) -> pa.Array:
    """Like parse_intervals, but raises DataError for text that is no interval."""
    parsed = parse_intervals(array)
    if parsed.null_count != array.null_count:
        wrong = array.filter(pc.and_(parsed.is_null(), array.is_valid()))[0].as_py()
        raise DataError(f"stored interval {wrong!r} is not of the form P..M..DT..S", "write the file again")
    return parsed


def _parts(array: pa.Array) -> pl.DataFrame:
    """Months, days and nanoseconds of each value; the 16 bytes of a value are int32, int32, int64."""
    import polars as pl

    data, count = array.buffers()[1], len(array)
    skip = array.offset
    halves = pl.Series(pa.Array.from_buffers(pa.int32(), 4 * (skip + count), [None, data])) if count else None
    if halves is None:
        return pl.DataFrame(schema={"months": pl.Int32, "days": pl.Int32, "nanos": pl.Int64})
    whole = pl.Series(pa.Array.from_buffers(pa.int64(), 2 * (skip + count), [None, data]))
    return pl.DataFrame(
        {
            "months": halves.gather_every(4, 0).slice(skip),
            "days": halves.gather_every(4, 1).slice(skip),
            "nanos": whole.gather_every(2, 1).slice(skip),
        }
    )
