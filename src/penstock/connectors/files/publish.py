"""Publishing: the whole new version of a table is built beside it and put in its place in one step.

What programs see that know nothing of this: a path below the table's folder means one file for ever, since names carry the
number of the version; so a reader that lists the folder before the step and opens files after it finds either the very
files it listed (all of them, kept by an append) or that they are gone, every one, never some of two versions. A reader with open files
reads them to the end. Programs that leave out what is gone between listing and opening (pyarrow.dataset) then show a table
without columns. What is not promised: a listing that takes longer than until the second next publish; folders of
partitions, which a reader lists one by one; a recursive search that goes into `.penstock` and meets a version being built.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.suffixes import data_suffix
from penstock.connectors.files import staging as stage
from penstock.connectors.files.manifest import DataFile, Delivered, Manifest, to_text, write_text
from penstock.connectors.files.merge import Merge, merged
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.root import MANIFEST, Root
from penstock.connectors.files.single import publish_file
from penstock.connectors.files.staging import Mark, Staging
from penstock.connectors.files.swap import link_or_copy, replace_folder, sync_folder, way_of_replacing
from penstock.connectors.files.target import Target
from penstock.connectors.files.version import VersionFile, all_or_none, files_of, scan
from penstock.core.errors import CountMismatch
from penstock.core.load import Expected, Load, Published
from penstock.core.names import TableName

# Jobs whose last load of a table is remembered; more than ever share one.
_MOST_EARLIER = 32


@dataclass(frozen=True)
class NewVersion:
    """The files of the new version and what the publish says of them."""

    files: tuple[VersionFile, ...]
    published: Published


def publish(target: Target, load: Load, expected: Expected, check_stop: Callable[[], None]) -> Published:
    """Make the load visible. A crash at any point leaves the old version or the new one in place; calling it again ends
    what was begun. Raises CountMismatch, changing nothing."""
    staging = stage.staging_of(target.root, load)
    if target.delivered is not None:
        finish(target, staging)
        return replace(target.delivered.published, again=True)
    stage.prepared(staging, load)
    ledger = stage.marks(staging)
    check_counts(target, ledger, expected)
    stage.check_files(
        staging, ledger, lambda path: format_named(target.settings.format).rows(target.root.own(path, path))
    )
    # What a crash left of an earlier try; the parts are still there, so it is built anew.
    stage.remove_tree(staging.version)
    version = new_version(target, staging, new_files(target, staging, ledger), check_stop)
    manifest = manifest_of(target, version, ledger)
    if target.layout == "file":
        publish_file(target.root, staging.version, version.files[0].source, manifest)
    else:
        _build(target, staging, version, manifest)
        replace_folder(staging.version, target.path)
    retire(target, staging)
    return version.published


def check_counts(target: Target, ledger: list[Mark], expected: Expected) -> None:
    rows = sum(mark.rows for mark in ledger)
    if (len(ledger), rows) != (expected.parts, expected.rows):
        raise CountMismatch(
            f"staging of table {target.load.table} holds {len(ledger)} parts with {rows} rows, not {expected.parts} "
            f"parts with {expected.rows} rows",
            "nothing was published; run again with --fresh",
        )


def new_version(
    target: Target, staging: Staging, new: tuple[VersionFile, ...], check_stop: Callable[[], None]
) -> NewVersion:
    """The version that the staged files `new` make of what is there."""
    old = old_files(target, check_stop)
    result = merged(Merge(target, old, new, check_stop))
    files = all_or_none(target, old, files_of(target, staging, result.pieces, check_stop))
    how = "replaced the file in one step"
    if target.layout != "file":
        how = way_of_replacing(target.path, staging.path)
    published = Published(
        rows_staged=sum(file.data.rows for file in new),
        rows_inserted=result.inserted,
        rows_updated=result.updated,
        rows_deleted=result.deleted,
        rows_before=sum(file.data.rows for file in old),
        rows_after=sum(file.data.rows for file in files),
        how=how,
        counted_by="acknowledged",
    )
    return NewVersion(files, published)


def old_files(target: Target, check_stop: Callable[[], None]) -> tuple[VersionFile, ...]:
    """The files of the version that is there, then those taken over."""
    folder = target.root.path if target.layout == "file" else target.path
    mine = target.manifest.files if target.manifest else ()
    settings = target.manifest.settings if target.manifest else target.settings
    found = [VersionFile(os.path.join(folder, *file.path.split("/")), file, settings) for file in mine]
    for file in target.foreign:
        path = os.path.relpath(os.path.join(target.root.path, file.path), folder).replace(os.sep, "/")
        partition = tuple(value for _, value in file.partition)
        taken = DataFile(path, 0, file.size_bytes, "", partition)
        held = VersionFile(os.path.join(folder, *path.split("/")), taken, target.foreign_settings)
        rows = format_named(held.settings.format).rows(target.root.own(held.source, path))
        if rows is None:
            rows = sum(batch.num_rows for batch in scan(target, held, (target.file_columns[0].name,), check_stop))
        found.append(replace(held, data=replace(taken, rows=rows)))
    return tuple(found)


def new_files(target: Target, staging: Staging, ledger: list[Mark]) -> tuple[VersionFile, ...]:
    """The staged files under their names in the new version."""
    return tuple(
        VersionFile(
            os.path.join(staging.parts, *f"{file.path}{stage.STAGED}".split("/")),
            replace(file, path=renamed(target, file.path)),
            target.settings,
        )
        for mark in ledger
        for file in mark.files
    )


def renamed(target: Target, path: str) -> str:
    """The path of a staged file in the new version."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{target.data_prefix}{name}"


def manifest_of(target: Target, version: NewVersion, ledger: list[Mark]) -> Manifest:
    return replace(
        target.plan(),
        files=tuple(file.data for file in version.files),
        previous_load_id=target.manifest.load_id if target.manifest else "",
        parts={mark.part: (mark.rows, mark.size_bytes) for mark in ledger},
        published=version.published,
        earlier=_earlier(target),
    )


def _earlier(target: Target) -> tuple[Delivered, ...]:
    """What the new version's manifest keeps of other jobs' loads."""
    known = target.manifest.delivered if target.manifest else ()
    return tuple(one for one in known if one.job != target.load.job)[-_MOST_EARLIER:]


def _build(target: Target, staging: Staging, version: NewVersion, manifest: Manifest) -> None:
    """The new folder: data files by link, what is not ours carried over, the manifest last."""
    os.makedirs(staging.version)
    folders = {staging.version}
    for file in version.files:
        path = os.path.join(staging.version, *file.data.path.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        folders.add(os.path.dirname(path))
        link_or_copy(file.source, path)
    folders |= carry_over(target, staging.version)
    for folder in folders:
        sync_folder(folder)
    write_text(os.path.join(staging.version, MANIFEST), to_text(manifest))
    os.makedirs(os.path.dirname(target.path), exist_ok=True)


def carry_over(target: Target, version: str) -> set[str]:
    """Link the files in the table's folder that are no data of it: read-me files, hidden files, other folders."""
    if not os.path.lexists(target.path):
        return set()
    ours = {file.path for file in target.manifest.files} if target.manifest else set()
    prefix = os.path.basename(target.path)
    ours |= {file.path.removeprefix(f"{prefix}/") for file in target.foreign}
    folders: set[str] = set()
    for where, _, names in os.walk(target.path):
        relative = os.path.relpath(where, target.path).replace(os.sep, "/")
        for name in names:
            path = name if relative == "." else f"{relative}/{name}"
            if path in ours or path in (MANIFEST, f"{MANIFEST}.tmp"):
                continue
            goal = os.path.join(version, *path.split("/"))
            os.makedirs(os.path.dirname(goal), exist_ok=True)
            folders.add(os.path.dirname(goal))
            link_or_copy(os.path.join(where, name), goal)
    return folders


def recover(root: Root, staging: Staging, table: TableName) -> None:
    """End or take back the two renames that stand in for an exchange, where a crash came between them."""
    target_path = root.table_folder(table)
    if os.path.lexists(staging.away):
        if os.path.lexists(target_path):
            os.rename(staging.away, staging.version)
        else:
            os.rename(staging.away, target_path)


def finish(target: Target, staging: Staging) -> None:
    """What a published load may have left to do: its own version may have been replaced by now. May be repeated."""
    if target.is_published:
        retire(target, staging)
    else:
        stage.remove(staging)


def retire(target: Target, staging: Staging) -> None:
    """After the step: put the old version away and remove staging. May be repeated."""
    root, table = target.root, target.load.table
    if os.path.isdir(staging.version):
        kept = root.previous(table)
        stage.remove_tree(kept)
        stage.remove_tree(root.retired(table))
        if not target.keep_previous:
            if target.layout != "file":
                hollow(target, staging)
            kept = root.retired(table)
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        os.rename(staging.version, kept)
        sync_folder(os.path.dirname(kept))
        if target.layout == "file" and not target.keep_previous:
            stage.remove_tree(kept)
    stage.remove(staging)


def hollow(target: Target, staging: Staging) -> None:
    """Free the old version's rows but keep the names of its files, each with no rows in it, until the next publish.

    A program may have opened the old folder to list it and come to do so only now: it must get all the names, and then
    find that their files are gone from the table (or find those that an append kept). Were the names removed, it would
    take the table for an empty one. The rows must go, for programs that search `.penstock` too.
    """
    source = os.path.join(staging.path, f"empty{stage.STAGED}")
    out = OutFile(source, target.file_columns, target.settings)
    out.finish()
    for where, _, names in os.walk(staging.version):
        for name in names:
            path = os.path.join(where, name)
            if data_suffix(name):
                link_or_copy(source, f"{path}.tmp")
                os.replace(f"{path}.tmp", path)
            else:
                os.unlink(path)
