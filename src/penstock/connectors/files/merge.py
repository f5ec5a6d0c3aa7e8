"""What the new version of a table consists of, by mode: which files stay, which are rewritten, which are new."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from penstock.connectors.files.manifest import DataFile
from penstock.connectors.files.naming import part_name
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.staging import Mark, Staging
from penstock.connectors.files.target import Target
from penstock.core.load import Mode


@dataclass(frozen=True)
class VersionFile:
    """One data file of the new version: where it is now, and its entry in the manifest."""

    source: str
    data: DataFile


@dataclass(frozen=True)
class NewVersion:
    """The files of the new version and what happened to rows."""

    files: tuple[VersionFile, ...]
    before: int
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    notes: tuple[str, ...] = ()


def new_version(
    target: Target, staging: Staging, ledger: list[Mark], check_stop: Callable[[], None]
) -> NewVersion:
    """The new version's files; those that do not exist yet are written into staging."""
    kept, new = old_files(target), new_files(target, staging, ledger)
    before = sum(file.data.rows for file in kept)
    staged = sum(mark.rows for mark in ledger)
    if target.load.mode is Mode.REPLACE:
        found = NewVersion(tuple(new), before, inserted=staged, deleted=before)
    else:
        found = NewVersion((*kept, *new), before, inserted=staged)
    return replace(found, files=_without_empty(target, staging, found.files))


def old_files(target: Target) -> list[VersionFile]:
    """The files of the version that is there, with those taken over, in order of their paths."""
    found = [
        VersionFile(os.path.join(target.path, *file.path.split("/")), file)
        for file in (target.manifest.files if target.manifest else ())
    ]
    return found


def new_files(target: Target, staging: Staging, ledger: list[Mark]) -> list[VersionFile]:
    """The staged files under their names in the new version: generation, then part."""
    return [
        VersionFile(
            os.path.join(staging.parts, *file.path.split("/")),
            replace(file, path=versioned(target, file.path)),
        )
        for mark in ledger
        for file in mark.files
    ]


def versioned(target: Target, path: str) -> str:
    """The name of a staged file in the new version; no name of one version means another file in the next."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{_file(target, name)}" if folder else _file(target, name)


def _file(target: Target, name: str) -> str:
    return f"part-{target.generation:06d}-{name}"


def _without_empty(target: Target, staging: Staging, files: tuple[VersionFile, ...]) -> tuple[VersionFile, ...]:
    """Files with rows; or one without, so that an empty table keeps its columns."""
    filled = tuple(file for file in files if file.data.rows)
    if filled or files:
        return filled or files[:1]
    name = f"{part_name('empty')}{target.suffix}"
    out = OutFile(os.path.join(staging.path, name), target.file_columns, target.settings)
    out.finish()
    return (VersionFile(os.path.join(staging.path, name), DataFile(_file(target, name), 0, out.size_bytes, out.checksum)),)
