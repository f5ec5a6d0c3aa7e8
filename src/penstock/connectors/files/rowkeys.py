"""Rows by key: which rows of a load win, and which rows of a table they meet. NULL equals NULL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.texts import to_text
from penstock.core.schema import Column

if TYPE_CHECKING:
    import polars as pl

FILE, ROW = "file", "row"
_CURSOR = "cursor"
_OWN = (FILE, ROW, _CURSOR)


def comparable(batch: pa.RecordBatch, names: Sequence[str]) -> pl.DataFrame:
    """The named columns in types that Polars compares exactly, as columns "0", "1", ...; other types as exact text."""
    import polars as pl

    series = [pl.Series(str(at), _plain(batch, name)) for at, name in enumerate(names)]
    return pl.DataFrame(series)


def _plain(batch: pa.RecordBatch, name: str) -> pa.Array:
    values = batch.column(name)
    kind = values.type
    if (
        pa.types.is_integer(kind) or (pa.types.is_floating(kind) and not pa.types.is_float16(kind))
        or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_date32(kind)
        or pa.types.is_decimal128(kind)
    ):  # fmt: skip
        return values
    if pa.types.is_timestamp(kind):
        return values.view(pa.int64())
    return to_text(values, Column.from_field(batch.schema.field(name)).logical)


def numbered(frames: Iterable[tuple[int, pl.DataFrame]]) -> pl.DataFrame:
    """Frames (file number, rows in order of the file) as one frame with FILE and ROW."""
    import polars as pl

    parts: list[pl.DataFrame] = []
    next_row: dict[int, int] = {}
    for file, frame in frames:
        start = next_row.get(file, 0)
        next_row[file] = start + frame.height
        parts.append(
            frame.with_columns(
                pl.lit(file, pl.UInt32).alias(FILE),
                pl.int_range(start, start + frame.height, dtype=pl.Int64).alias(ROW),
            )
        )
    return pl.concat(parts, rechunk=True) if parts else pl.DataFrame(schema={FILE: pl.UInt32, ROW: pl.Int64})


def key_columns(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name not in _OWN]


def with_order(frame: pl.DataFrame, cursor: pa.ChunkedArray | None) -> pl.DataFrame:
    """The frame with a rank of each row's cursor, NULL lowest, NaN highest; without a cursor all rank alike."""
    import polars as pl

    if cursor is None or not len(cursor):
        return frame.with_columns(pl.lit(0, pl.Int64).alias(_CURSOR))
    whole = cursor.combine_chunks() if isinstance(cursor, pa.ChunkedArray) else cursor
    if isinstance(whole.type, pa.BaseExtensionType):
        whole = whole.storage
    ranks = pc.if_else(whole.is_null(), 0, pc.rank(whole, sort_keys="ascending", tiebreaker="dense"))
    return frame.with_columns(pl.Series(_CURSOR, ranks, dtype=pl.UInt64))


def winners(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a key: the greatest cursor, among equals the last in order of parts, which no timing changes."""
    keys = key_columns(frame)
    ordered = frame.sort([_CURSOR, FILE, ROW])
    return ordered.unique(keys, keep="last", maintain_order=True).drop(_CURSOR)


def met(rows: pl.DataFrame, keys: pl.DataFrame) -> pl.Series:
    """For each row whether its key is among `keys`."""
    import polars as pl

    names = key_columns(keys)
    marked = keys.select(names).unique().with_columns(pl.lit(True).alias("met"))
    joined = rows.select(names).join(marked, on=names, how="left", nulls_equal=True, maintain_order="left")
    return joined["met"].fill_null(False)


def mask_of(rows: pl.DataFrame, file: int, count: int) -> pa.Array:
    """True for the rows of `file` (of `count` rows) that are in `rows`."""
    import polars as pl

    mine = rows.filter(pl.col(FILE) == file).select(ROW, pl.lit(True).alias("in"))
    every = pl.DataFrame({ROW: pl.int_range(count, eager=True, dtype=pl.Int64)})
    found = every.join(mine, on=ROW, how="left", maintain_order="left")["in"].fill_null(False)
    return found.rechunk().to_arrow()


def occurrence(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with a column that counts equal ones from 0 on, in order of parts."""
    import polars as pl

    ordered = rows.sort([FILE, ROW])
    return ordered.with_columns(pl.int_range(pl.len()).over(key_columns(rows)).alias("nth"))
