"""What the new version of a table consists of, by mode: which files stay, which are rewritten, which are new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors.files.target import Target
from penstock.connectors.files.version import Kept, VersionFile, scan
from penstock.core.load import Mode


@dataclass(frozen=True)
class Merged:
    """The pieces of the new version, in order, and what happened to rows."""

    pieces: tuple[Kept, ...]
    inserted: int
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class Merge:
    """A load about to be joined with the table that is there. Memory holds the keys of the load and of what it meets."""

    target: Target
    old: tuple[VersionFile, ...]
    new: tuple[VersionFile, ...]
    check_stop: Callable[[], None]

    def scan(self, file: VersionFile, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        return scan(self.target, file, names, self.check_stop)


def merged(merge: Merge) -> Merged:
    """The new version by the load's mode."""
    load = merge.target.load
    staged = sum(file.data.rows for file in merge.new)
    if load.mode is Mode.REPLACE:
        return Merged(whole(merge.new), staged, deleted=sum(file.data.rows for file in merge.old))
    if load.mode is Mode.APPEND and not (load.reread_to is not None and load.cursor):
        return Merged((*whole(merge.old), *whole(merge.new)), staged)
    from penstock.connectors.files import matching

    return matching.append_reread(merge) if load.mode is Mode.APPEND else matching.by_key(merge)


def whole(files: tuple[VersionFile, ...]) -> tuple[Kept, ...]:
    """The pieces of files that stay as they are."""
    return tuple(Kept(file) for file in files)
