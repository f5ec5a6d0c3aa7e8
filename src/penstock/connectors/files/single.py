"""Layout `file`: a table is one file; its manifest lies in the state folder and counts only for the very file it describes.

The file is replaced in one step. The manifest is written before, as `<table>.next.json`, and renamed after; whichever of
the two describes the file that is there (by size and checksum) is the manifest, so that a crash between the steps leaves
the old version with its manifest or the new one with its own.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

from penstock.connectors._formats.suffixes import data_suffix, format_of
from penstock.connectors.files.manifest import Manifest, read_manifest, to_text, write_text
from penstock.connectors.files.root import MANIFEST, Root
from penstock.connectors.files.stamp import FoundFile
from penstock.connectors.files.swap import link_or_copy, sync_folder

_BLOCK_BYTES = 2**20


def manifest_of_file(root: Root, found: FoundFile) -> Manifest | None:
    """The manifest of a table's file, None where the file was not written here or was changed since."""
    if "/" in found.path:
        return None
    stem = found.path[: -len(data_suffix(found.path))]
    for name in (f"{stem}.json", f"{stem}.next.json"):
        manifest = read_manifest(root.state("tables", name))
        if manifest is not None and _describes(manifest, root, found):
            return manifest
    return None


def _describes(manifest: Manifest, root: Root, found: FoundFile) -> bool:
    entry = manifest.files[0]
    if entry.path != found.path or entry.size_bytes != found.size_bytes:
        return False
    if entry.stamp == (found.mtime_ns, found.inode):
        return True
    # A copied folder has other stamps; only the bytes tell.
    digest = hashlib.blake2b(digest_size=16)
    with open(root.inside(found.path), "rb") as file:
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest() == entry.checksum


def publish_file(root: Root, version: str, source: str, manifest: Manifest) -> None:
    """Put `source` in place of the table's file; the old file and its manifest are linked into the folder `version`."""
    entry = manifest.files[0]
    path = root.inside(entry.path)
    stem = entry.path[: -len(data_suffix(entry.path))]
    following, current = root.state("tables", f"{stem}.next.json"), root.state("tables", f"{stem}.json")
    os.makedirs(os.path.dirname(current), exist_ok=True)
    old = found_file(root, entry.path)
    if old is not None:
        os.makedirs(version, exist_ok=True)
        link_or_copy(path, os.path.join(version, entry.path))
        before = manifest_of_file(root, old)
        if before is not None:
            write_text(os.path.join(version, MANIFEST), to_text(before))
            # A crash may have left the old manifest under the name that is written next.
            write_text(current, to_text(before))
    staged = f"{source}.publish"
    link_or_copy(source, staged)
    status = os.stat(staged)
    stamped = replace(manifest, files=(replace(entry, stamp=(status.st_mtime_ns, status.st_ino)),))
    write_text(following, to_text(stamped))
    os.replace(staged, path)
    sync_folder(root.path)
    os.replace(following, current)
    sync_folder(os.path.dirname(current))


def found_file(root: Root, path: str) -> FoundFile | None:
    """A file directly under the root, None where there is none."""
    kind = format_of(path)
    try:
        status = os.stat(root.inside(path))
    except FileNotFoundError:
        return None
    assert kind is not None
    return FoundFile(path, *kind, status.st_size, status.st_mtime_ns, status.st_ino)


def existing_file(root: Root, path: str) -> tuple[Manifest | None, tuple[FoundFile, ...]]:
    """The manifest of the file in a table's place, or the file itself where it was not written here."""
    found = found_file(root, path)
    if found is None:
        return None, ()
    manifest = manifest_of_file(root, found)
    return manifest, () if manifest else (found,)
