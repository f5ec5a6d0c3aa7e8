"""Loads whose rows are matched with those of the table: by key, or, when rows are read again, by all columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.cursor import at_most, cursor_array
from penstock.connectors.files.merge import Merge, Merged, whole
from penstock.connectors.files.rowkeys import (
    FILE,
    ROW,
    comparable,
    key_columns,
    mask_of,
    met,
    numbered,
    occurrence,
    winners,
    with_order,
)
from penstock.connectors.files.version import Fill, Kept, VersionFile
from penstock.core.load import Mode

if TYPE_CHECKING:
    import polars as pl

_FROM = "from"


def by_key(merge: Merge) -> Merged:
    """UPSERT, INSERT_ONLY and DELETE_INSERT. A load without rows changes nothing."""
    load = merge.target.load
    keys = _keys(merge)
    if not keys.height:
        return Merged(whole(merge.old), 0)
    if load.mode is Mode.DELETE_INSERT:
        left, deleted = _without(merge, keys)
        return Merged((*left, *whole(merge.new)), sum(file.data.rows for file in merge.new), deleted=deleted)
    best = winners(with_order(keys, _cursors(merge)))
    return _insert_only(merge, best) if load.mode is Mode.INSERT_ONLY else _upsert(merge, best)


def _keys(merge: Merge) -> pl.DataFrame:
    """The keys of all rows of the load, numbered by file and row."""
    key = merge.target.load.key
    return numbered(
        (number, comparable(batch, key)) for number, file in enumerate(merge.new) for batch in merge.scan(file, key)
    )


def _cursors(merge: Merge) -> pa.ChunkedArray | None:
    name = merge.target.load.cursor
    if not name:
        return None
    kind = next(column.type for column in merge.target.columns if column.name == name)
    return pa.chunked_array([batch.column(name) for file in merge.new for batch in merge.scan(file, (name,))], kind)


def _insert_only(merge: Merge, best: pl.DataFrame) -> Merged:
    key = merge.target.load.key
    for file in merge.old:
        for batch in merge.scan(file, key) if best.height else ():
            best = best.filter(~met(best, comparable(batch, key)))
    return Merged((*whole(merge.old), *_chosen(merge.new, best, {})), best.height)


def _upsert(merge: Merge, best: pl.DataFrame) -> Merged:
    left, gone = _without(merge, best)
    held = _met_rows(merge, left, best) if gone else best.head(0)
    updated = held.select(key_columns(held)).n_unique() if held.height else 0
    fills = _fills(merge, left, best, held) if updated else {}
    return Merged((*left, *_chosen(merge.new, best, fills)), best.height - updated, updated, gone - updated)


def _chosen(new: tuple[VersionFile, ...], best: pl.DataFrame, fills: dict[int, Fill]) -> tuple[Kept, ...]:
    """The rows of the staged files that are in `best`; whole files where all of them are."""
    counts = dict(best.group_by(FILE).len().iter_rows()) if best.height else {}
    pieces = []
    for number, file in enumerate(new):
        if counts.get(number, 0):
            all_rows = counts[number] == file.data.rows
            keep = None if all_rows else mask_of(best, number, file.data.rows)
            pieces.append(Kept(file, keep, fills.get(number)))
    return tuple(pieces)


def _without(merge: Merge, keys: pl.DataFrame) -> tuple[tuple[Kept, ...], int]:
    """The old files without the rows whose key is among `keys`, and how many those are."""
    wanted = keys.select(key_columns(keys)).unique()
    key = merge.target.load.key
    pieces, gone = [], 0
    for file in merge.old:
        masks = [(~met(comparable(batch, key), wanted)).rechunk().to_arrow() for batch in merge.scan(file, key)]
        mask = pa.concat_arrays(masks) if masks else pa.array([], pa.bool_())
        removed = len(mask) - mask.true_count
        gone += removed
        pieces.append(Kept(file, mask if removed else None))
    return tuple(pieces), gone


def _met_rows(merge: Merge, left: tuple[Kept, ...], best: pl.DataFrame) -> pl.DataFrame:
    """The keys of the old rows that are taken out, in order of files and rows."""
    frames = []
    for piece, batch in _taken_out(merge, left, merge.target.load.key):
        frames.append((merge.old.index(piece.file), comparable(batch, merge.target.load.key)))
    return numbered(frames).select(best.columns)


def _taken_out(merge: Merge, left: tuple[Kept, ...], names: tuple[str, ...]) -> Iterator[tuple[Kept, pa.RecordBatch]]:
    for piece in left:
        at = 0
        for batch in merge.scan(piece.file, names) if piece.keep is not None else ():
            assert piece.keep is not None
            yield piece, batch.filter(pc.invert(piece.keep.slice(at, batch.num_rows)))
            at += batch.num_rows


def _fills(merge: Merge, left: tuple[Kept, ...], best: pl.DataFrame, held: pl.DataFrame) -> dict[int, Fill]:
    """For columns that the load lacks, the values of the rows it replaces."""
    import polars as pl

    loaded = {column.name for column in merge.target.load.columns}
    names = tuple(column.name for column in merge.target.file_columns if column.name not in loaded)
    if not names:
        return {}
    columns = {column.name: column for column in merge.target.columns}
    schema = pa.schema([columns[name].to_field() for name in names])
    values = pa.Table.from_batches([batch for _, batch in _taken_out(merge, left, names)], schema)
    keys = key_columns(held)
    places = held.select(keys).with_row_index(_FROM).unique(keys, keep="first", maintain_order=True)
    found = best.join(places, on=keys, how="left", nulls_equal=True, maintain_order="left")
    fills = {}
    for number, file in enumerate(merge.new):
        mine = found.filter((pl.col(FILE) == number) & pl.col(_FROM).is_not_null()).select(ROW, _FROM)
        if mine.height:
            rows = pl.DataFrame({ROW: pl.int_range(file.data.rows, eager=True, dtype=pl.Int64)})
            rows = rows.join(mine, on=ROW, how="left", maintain_order="left")
            fills[number] = Fill(rows[_FROM].cast(pl.Int64).rechunk().to_arrow(), values)
    return fills


def append_reread(merge: Merge) -> Merged:
    """Of the rows at or below the last watermark (or without a cursor) only those that the table lacks, as a multiset."""
    import polars as pl

    load = merge.target.load
    names = tuple(column.name for column in load.columns if column.name not in load.volatile)
    again = numbered(
        (number, comparable(batch, names).with_columns(pl.Series(_FROM, _is_reread(merge, batch))))
        for number, file in enumerate(merge.new)
        for batch in merge.scan(file, names)
    )
    again = again.filter(pl.col(_FROM)).drop(_FROM) if again.height else again
    kept_old = whole(merge.old)
    if not again.height:
        return Merged((*kept_old, *whole(merge.new)), sum(file.data.rows for file in merge.new))
    keys = key_columns(again)
    wanted = again.select(keys).unique()
    counts = wanted.head(0).with_columns(pl.lit(0, pl.UInt32).alias(_FROM))
    for file in merge.old:
        for batch in merge.scan(file, names):
            rows = comparable(batch.filter(_is_reread(merge, batch)), names)
            found = rows.filter(met(rows, wanted)).group_by(keys).agg(pl.len().cast(pl.UInt32).alias(_FROM))
            counts = pl.concat([counts, found]).group_by(keys).agg(pl.col(_FROM).sum().cast(pl.UInt32))
    numbered_rows = occurrence(again).join(counts, on=keys, how="left", nulls_equal=True, maintain_order="left")
    drop = numbered_rows.filter(pl.col("nth") < pl.col(_FROM).fill_null(0))
    pieces = []
    for number, file in enumerate(merge.new):
        mask = pc.invert(mask_of(drop, number, file.data.rows))
        if mask.true_count:
            pieces.append(Kept(file, None if mask.true_count == len(mask) else mask))
    return Merged((*kept_old, *pieces), sum(file.data.rows for file in merge.new) - drop.height)


def _is_reread(merge: Merge, batch: pa.RecordBatch) -> pa.Array:
    load = merge.target.load
    assert load.reread_to is not None
    column = next(column for column in merge.target.columns if column.name == load.cursor)
    values = batch.column(load.cursor)
    return pc.or_(values.is_null(), pc.fill_null(at_most(values, cursor_array(load.reread_to, column)), False))
