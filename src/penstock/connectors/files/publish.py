"""Publishing: the whole new version of a table is built beside it and put in its place in one step."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from penstock.connectors._formats.registry import format_named
from penstock.connectors.files import staging as stage
from penstock.connectors.files.manifest import Manifest, to_text, write_text
from penstock.connectors.files.merge import NewVersion, new_version
from penstock.connectors.files.root import MANIFEST, Root
from penstock.connectors.files.single import publish_file
from penstock.connectors.files.stamp import PlainFile
from penstock.connectors.files.staging import Mark, Staging
from penstock.connectors.files.swap import link_or_copy, replace_folder, sync_folder
from penstock.connectors.files.target import Target
from penstock.core.errors import CountMismatch
from penstock.core.load import Expected, Load, Published
from penstock.core.names import TableName


def publish(target: Target, load: Load, expected: Expected, check_stop: Callable[[], None]) -> Published:
    """Make the load visible. A crash at any point leaves the old version or the new one in place; calling it again ends
    what was begun. Raises CountMismatch, changing nothing."""
    root = target.root
    staging = stage.staging_of(root, load)
    if target.is_published:
        assert target.manifest is not None
        assert target.manifest.published is not None
        retire(target, staging)
        return replace(target.manifest.published, again=True)
    stage.prepared(staging, load)
    ledger = stage.marks(staging)
    _check_counts(target, ledger, expected)
    stage.check_files(staging, ledger, lambda path: format_named(target.settings.format).rows(PlainFile(path)))
    version = new_version(target, staging, ledger, check_stop)
    published = _counted(target, version, sum(mark.rows for mark in ledger))
    manifest = _manifest(target, version, ledger, published)
    if target.layout == "file":
        publish_file(target, version, manifest)
    else:
        _build(target, staging, version, manifest)
        replace_folder(staging.version, target.path)
    retire(target, staging)
    return published


def _check_counts(target: Target, ledger: list[Mark], expected: Expected) -> None:
    rows = sum(mark.rows for mark in ledger)
    if (len(ledger), rows) != (expected.parts, expected.rows):
        raise CountMismatch(
            f"staging of table {target.load.table} holds {len(ledger)} parts with {rows} rows, not {expected.parts} "
            f"parts with {expected.rows} rows",
            "nothing was published; run again with --fresh",
        )


def _counted(target: Target, version: NewVersion, staged: int) -> Published:
    after = sum(file.data.rows for file in version.files)
    return Published(
        rows_staged=staged,
        rows_inserted=version.inserted,
        rows_updated=version.updated,
        rows_deleted=version.deleted,
        rows_before=version.before,
        rows_after=after,
        how="replaced the file in one step" if target.layout == "file" else "put the new folder in place in one step",
        notes=version.notes,
    )


def _manifest(target: Target, version: NewVersion, ledger: list[Mark], published: Published) -> Manifest:
    return replace(
        target.plan(),
        files=tuple(file.data for file in version.files),
        previous_load_id=target.manifest.load_id if target.manifest else "",
        parts={mark.part: (mark.rows, mark.size_bytes) for mark in ledger},
        published=published,
    )


def _build(target: Target, staging: Staging, version: NewVersion, manifest: Manifest) -> None:
    """The new folder: data files by link, what is not ours carried over, the manifest last."""
    stage.remove_tree(staging.version)
    os.makedirs(staging.version)
    folders = {staging.version}
    for file in version.files:
        path = os.path.join(staging.version, *file.data.path.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        folders.add(os.path.dirname(path))
        link_or_copy(file.source, path)
    folders |= _carry_over(target, staging.version)
    for folder in folders:
        sync_folder(folder)
    write_text(os.path.join(staging.version, MANIFEST), to_text(manifest))
    os.makedirs(os.path.dirname(target.path), exist_ok=True)


def _carry_over(target: Target, version: str) -> set[str]:
    """Link the files in the table's folder that are no data of it: read-me files, hidden files, other folders."""
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


def retire(target: Target, staging: Staging) -> None:
    """After the step: keep the old version for readers that have listed it (and to go back to), remove staging."""
    if os.path.isdir(staging.version):
        previous = target.root.previous(target.load.table)
        stage.remove_tree(previous)
        if target.keep_previous:
            os.makedirs(os.path.dirname(previous), exist_ok=True)
            os.rename(staging.version, previous)
            sync_folder(os.path.dirname(previous))
    stage.remove(staging)
