"""The files a new version is made of: as they are, or rewritten with some of their rows, or all in one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from penstock.connectors._formats.batches import fitted
from penstock.connectors._formats.port import Request
from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.suffixes import data_suffix
from penstock.connectors.files.manifest import DataFile
from penstock.connectors.files.partition import constant
from penstock.connectors.files.quarantine import Strict
from penstock.connectors.files.staging import STAGED, Staging
from penstock.connectors.files.target import Target


@dataclass(frozen=True)
class VersionFile:
    """One data file: where it is now, its entry in the manifest of the new version, how it was written."""

    source: str
    data: DataFile
    settings: FormatSettings


@dataclass(frozen=True)
class Fill:
    """Values for columns that a load lacks: `rows` says for each row of a file which row of `values` has them, NULL for
    none."""

    rows: pa.Array
    values: pa.Table


@dataclass(frozen=True)
class Kept:
    """A file's rows in the new version: all of them, or those where `keep` is true, with values filled in."""

    file: VersionFile
    keep: pa.Array | None = None
    fill: Fill | None = None

    @property
    def is_whole(self) -> bool:
        return self.keep is None and self.fill is None


def scan(
    target: Target, file: VersionFile, names: Sequence[str], check_stop: Callable[[], None]
) -> Iterator[pa.RecordBatch]:
    """The named columns of all rows of a file, in order, in the types of the new version."""
    columns = {column.name: column for column in target.columns}
    wanted = tuple(columns[name] for name in names)
    partition = dict(zip(target.partition_by, file.data.partition, strict=bool(file.data.partition)))
    inside = tuple(column for column in wanted if column.name not in partition)
    request = Request(inside, target.file_columns, file.settings, Strict())
    for batch in format_named(file.settings.format).read(target.root.own(file.source, file.data.path), request):
        check_stop()
        for column in wanted:
            if column.name in partition:
                values = constant(partition[column.name], column, batch.num_rows, file.data.path)
                batch = batch.append_column(column.to_field(), values)
        yield fitted(batch, wanted, f"file {file.data.path}")


def _rows(target: Target, piece: Kept, check_stop: Callable[[], None]) -> Iterator[pa.RecordBatch]:
    """The rows of a piece with the columns that files hold."""
    names = [column.name for column in target.file_columns]
    at = 0
    for batch in scan(target, piece.file, names, check_stop):
        count = batch.num_rows
        if piece.fill is not None:
            batch = _filled(batch, piece.fill, at)
        if piece.keep is not None:
            batch = batch.filter(piece.keep.slice(at, count))
        at += count
        yield batch


def _filled(batch: pa.RecordBatch, fill: Fill, at: int) -> pa.RecordBatch:
    rows = fill.rows.slice(at, batch.num_rows)
    for name in fill.values.column_names:
        index = batch.schema.get_field_index(name)
        values = fill.values.column(name).take(rows).combine_chunks()
        batch = batch.set_column(index, batch.schema.field(index), values)
    return batch


def files_of(
    target: Target, staging: Staging, pieces: Sequence[Kept], check_stop: Callable[[], None]
) -> tuple[VersionFile, ...]:
    """The files of the new version: whole pieces as they are, the others written into staging; at least one, which may
    have no rows, so that an empty table keeps its columns."""
    if target.layout == "file":
        return (_one_file(target, staging, pieces, check_stop),)
    files = []
    for number, piece in enumerate(pieces):
        if piece.is_whole:
            files.append(piece.file)
        else:
            folder = os.path.dirname(piece.file.data.path)
            path = "/".join((*([folder] if folder else []), target.data_name(f"kept-{number:06d}")))
            files.append(_written(target, staging, path, [piece], piece.file.data.partition, check_stop))
    filled = tuple(file for file in files if file.data.rows)
    empty = tuple(files[:1]) or (_written(target, staging, target.data_name("empty"), [], (), check_stop),)
    return filled or empty


def all_or_none(
    target: Target, old: tuple[VersionFile, ...], files: tuple[VersionFile, ...]
) -> tuple[VersionFile, ...]:
    """The files under such names that a reader which listed the old version finds all of its files or none: where one of
    them goes, those that stay get new names."""
    if target.layout == "file":
        return files
    before, after = {file.data.path for file in old}, {file.data.path for file in files}
    if before <= after:
        return files
    return tuple(
        replace(file, data=replace(file.data, path=_renewed(target, file.data.path, number)))
        if file.data.path in before
        else file
        for number, file in enumerate(files)
    )


def _renewed(target: Target, path: str, number: int) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{target.data_prefix}same-{number:06d}{data_suffix(name)}"


def _one_file(target: Target, staging: Staging, pieces: Sequence[Kept], check_stop: Callable[[], None]) -> VersionFile:
    name = os.path.basename(target.path)
    filled = [piece for piece in pieces if piece.file.data.rows]
    fresh = [piece for piece in filled if piece.file.source.startswith(staging.path)]
    if len(filled) == 1 and fresh and filled[0].is_whole:
        return replace(filled[0].file, data=replace(filled[0].file.data, path=name))
    return _written(target, staging, name, filled, (), check_stop)


def _written(
    target: Target, staging: Staging, path: str, pieces: Sequence[Kept], partition: tuple[str | None, ...],
    check_stop: Callable[[], None],
) -> VersionFile:  # fmt: skip
    source = os.path.join(staging.path, "rewritten", *f"{path}{STAGED}".split("/"))
    out = target.root.create(source, target.file_columns, target.settings)
    try:
        for piece in pieces:
            for batch in _rows(target, piece, check_stop):
                out.add(batch)
        out.finish()
    finally:
        out.abandon()
    data = DataFile(path, out.rows, out.size_bytes, out.checksum, partition, is_cuttable=out.is_cuttable)
    return VersionFile(source, data, target.settings)
