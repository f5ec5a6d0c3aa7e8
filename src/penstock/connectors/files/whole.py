"""Loads of one part: its file is written into the new version itself, whose manifest is the mark of the part.

A folder is made, the data file and the manifest are written into it, and the publish renames it into the table's place:
four syncs (data, manifest, folder, parent) where a load of many parts needs a plan, a ledger and links besides. The
manifest comes last, so a version without it is what a crash left, and is begun anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa

from penstock.connectors._formats.batches import fitted
from penstock.connectors._formats.registry import format_named
from penstock.connectors.files import staging as stage
from penstock.connectors.files.manifest import DataFile, Manifest, read_manifest, to_text, write_text
from penstock.connectors.files.naming import part_name
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.publish import (
    NewVersion,
    carry_over,
    check_counts,
    finish,
    manifest_of,
    new_version,
    recover,
    renamed,
    retire,
)
from penstock.connectors.files.root import MANIFEST
from penstock.connectors.files.staging import Mark, Staging
from penstock.connectors.files.swap import replace_folder, sync_folder
from penstock.connectors.files.target import Target, target_of
from penstock.connectors.files.version import VersionFile
from penstock.core.errors import Missing
from penstock.core.load import Expected, Load, Mode, Published, Written

CheckStop = Callable[[], None]


def is_whole(options: FileOptions, load: Load) -> bool:
    """Whether a load goes this way: one part that replaces a table in a folder."""
    return load.one_part and load.mode is Mode.REPLACE and options.get("layout", load.options) == "folder"


class WholeLoads:
    """The loads of one part of one session; it remembers what it has staged, to publish it without reading it again."""

    def __init__(self, options: FileOptions, check_stop: CheckStop) -> None:
        self._options = options
        self._check_stop = check_stop
        self._fresh: tuple[Target, Manifest] | None = None

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        """The version with its one file and its manifest, durable; a version that is there already is left alone."""
        self._fresh = None
        staging = stage.staging_of(self._options.root, load)
        recover(self._options.root, staging, load.table)
        target = target_of(self._options, load)
        published = target.published_part(part)
        if published:
            return published
        staged = _staged(staging, load)
        if staged is not None and part in staged.parts:
            return Written(*staged.parts[part], again=True)
        stage.remove_tree(staging.path)
        os.makedirs(staging.version)
        file = self._file(target, staging, part, batches)
        self._fresh = target, _sealed(target, staging, part, self._version(target, staging, file))
        return Written(file.data.rows, file.data.size_bytes)

    def publish(self, load: Load, expected: Expected) -> Published:
        """Put the version in place. Raises CountMismatch or DataError, changing nothing, when it is not what is expected."""
        staging = stage.staging_of(self._options.root, load)
        fresh, self._fresh = self._fresh, None
        if fresh is not None and fresh[0].load == load and _is_new(fresh[0]):
            target, manifest = fresh
            check_counts(
                target, [_mark(part, _as_written(target, staging, manifest, part)) for part in manifest.parts], expected
            )
        else:
            recover(self._options.root, staging, load.table)
            target = target_of(self._options, load)
            if target.delivered is not None:
                finish(target, staging)
                return replace(target.delivered.published, again=True)
            manifest = self._fitted(target, staging, expected, fresh[1] if fresh else None)
        replace_folder(staging.version, target.path)
        retire(target, staging)
        assert manifest.published is not None
        return manifest.published

    def _fitted(self, target: Target, staging: Staging, expected: Expected, fresh: Manifest | None) -> Manifest:
        """The staged version made to fit the table as it is now: checked, renewed where the table has changed since, and
        with what is carried over."""
        load = target.load
        staged = fresh if fresh is not None and fresh.load_id == load.load_id else _staged(staging, load)
        if staged is None:
            raise Missing(f"load {load.load_id} of table {load.table} is not prepared", "call prepare and write first")
        part = next(iter(staged.parts))
        file = _as_written(target, staging, staged, part)
        check_counts(target, [_mark(part, file)], expected)
        if staged is not fresh:
            rows_of = format_named(file.settings.format).rows
            stage.check_file(file.source, file.data, part, lambda path: rows_of(target.root.own(path, path)))
        manifest = self._renewed(target, staging, staged, file, part)
        for folder in carry_over(target, staging.version):
            sync_folder(folder)
        return manifest

    def _file(self, target: Target, staging: Staging, part: str, batches: Iterator[pa.RecordBatch]) -> VersionFile:
        name = renamed(target, f"{part_name(part)}{target.suffix}")
        path = os.path.join(staging.version, name)
        where = f"part {part!r} of table {target.load.table}"
        out = OutFile(path, target.file_columns, target.settings, syncs_folder=False)
        try:
            for batch in batches:
                self._check_stop()
                out.add(fitted(batch, target.columns, where))
            out.finish()
        finally:
            out.abandon()
        data = DataFile(name, out.rows, out.size_bytes, out.checksum, is_cuttable=out.is_cuttable)
        return VersionFile(path, data, target.settings)

    def _version(self, target: Target, staging: Staging, file: VersionFile) -> NewVersion:
        return new_version(target, staging, (file,), self._check_stop)

    def _renewed(self, target: Target, staging: Staging, staged: Manifest, file: VersionFile, part: str) -> Manifest:
        """The manifest of the version, made anew where the table has changed since it was written."""
        version = self._version(target, staging, file)
        if manifest_of(target, version, [_mark(part, file)]) == staged:
            return staged
        return _sealed(target, staging, part, version)


def _sealed(target: Target, staging: Staging, part: str, version: NewVersion) -> Manifest:
    """Give the data file its name in the version and write the manifest beside it; all durable."""
    file = version.files[0]
    path = os.path.join(staging.version, file.data.path)
    if file.source != path:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(staging.version, MANIFEST))
        os.rename(file.source, path)
    manifest = manifest_of(target, version, [_mark(part, file)])
    write_text(os.path.join(staging.version, MANIFEST), to_text(manifest))
    return manifest


def _as_written(target: Target, staging: Staging, staged: Manifest, part: str) -> VersionFile:
    """The staged file under the name that it has in the version to come."""
    held = staged.files[0]
    path = renamed(target, f"{part_name(part)}{target.suffix}")
    return VersionFile(os.path.join(staging.version, held.path), replace(held, path=path), target.settings)


def _is_new(target: Target) -> bool:
    """Whether there is no table yet, neither when the target was looked at nor now."""
    return target.manifest is None and not target.foreign and not os.path.lexists(target.path)


def _staged(staging: Staging, load: Load) -> Manifest | None:
    """The manifest of the staged version, None where there is none of this load."""
    manifest = read_manifest(os.path.join(staging.version, MANIFEST))
    return manifest if manifest is not None and manifest.load_id == load.load_id else None


def _mark(part: str, file: VersionFile) -> Mark:
    return Mark(part, (file.data,))
