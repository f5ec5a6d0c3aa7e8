"""Which tables a root holds and which data files each consists of, in a fixed order."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote

from penstock.connectors._formats.suffixes import data_suffix, format_of
from penstock.connectors.files.keepers import check_keeper, keeper_of
from penstock.connectors.files.manifest import DataFile, Manifest, parsed, read_manifest, read_text
from penstock.connectors.files.naming import file_name, table_name
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.root import MANIFEST, NULL_PARTITION, Root
from penstock.connectors.files.single import manifest_of_file
from penstock.connectors.files.stamp import FoundFile
from penstock.core.errors import Busy, DataError, Missing, SpecError
from penstock.core.names import TableName

_LISTING_ATTEMPTS = 20
# What ext file systems keep at the top of a disk, for root alone.
_FILE_SYSTEMS_OWN = "lost+found"


@dataclass(frozen=True)
class FileSet:
    """A table's data files, sorted by path. `manifest` is there where Penstock published it; `stray` names the data files
    that the manifest does not list; `keeper` is the table format (Delta Lake and the like) whose table this is."""

    name: TableName
    where: str
    files: tuple[FoundFile, ...]
    manifest: Manifest | None = None
    stray: tuple[str, ...] = ()
    keeper: str = ""

    def checked(self) -> FileSet:
        """The set itself, where its files are the table. Raises NotSupported where a table format keeps it."""
        check_keeper(self.name, self.where, self.keeper)
        return self

    @property
    def partition_by(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.files[0].partition) if self.files else ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def listed(self) -> dict[str, DataFile]:
        """The manifest's entries by path under the root."""
        if self.manifest is None:
            return {}
        prefix = "" if self.manifest.layout == "file" else f"{self.where}/"
        return {f"{prefix}{file.path}": file for file in self.manifest.files}


class Listing(Protocol):
    """Finds the tables of a connection and their files."""

    def tables(self) -> list[FileSet]: ...

    def find(self, name: TableName) -> FileSet:
        """Raises Missing where there is no such table, DataError where two could be meant."""
        ...


@dataclass(frozen=True)
class FolderListing:
    """The Listing of a local folder."""

    options: FileOptions

    def tables(self) -> list[FileSet]:
        return all_tables(self.options)

    def find(self, name: TableName) -> FileSet:
        return find(self.options, name).checked()


def all_tables(options: FileOptions) -> list[FileSet]:
    """Every table of a connection: folders, files, and the globs that its option `tables` names."""
    root, wanted = options.root, options.format
    found = [_listed_set(root, name, path, wanted) for name, path in entries(root, wanted).items()]
    found += [match(root, name, pattern, wanted) for name, pattern in options.patterns().items()]
    return sorted(found, key=lambda files: files.name)


def _listed_set(root: Root, name: TableName, path: str, wanted_format: str) -> FileSet:
    """A table for a list; one whose folder may not be read stands in it too, and is refused when it is read."""
    try:
        return file_set(root, name, path, wanted_format)
    except PermissionError:
        return FileSet(name, path, ())


def entries(root: Root, wanted_format: str) -> dict[TableName, str]:
    """Each table's folder or file directly under the root, by table. Where two have one name, both go by their full file
    name. Empty where the root does not exist yet."""
    named: dict[TableName, list[str]] = {}
    for name, entry in _named_entries(root, wanted_format):
        if root.only or _holds_data(root, entry, wanted_format):
            named.setdefault(name, []).append(entry)
    out: dict[TableName, str] = {}
    for name, paths in named.items():
        for path in paths:
            out[name if len(paths) == 1 else TableName((path,))] = path
    return out


def _named_entries(root: Root, wanted_format: str) -> list[tuple[TableName, str]]:
    """Folders and data files directly under the root that may be tables, with the tables they would be, sorted."""
    if root.only:
        return [(table_name(stem_of(root.only)), root.only)]
    try:
        found = sorted(os.scandir(root.path), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    return [
        (_entry_name(root, entry), entry.name)
        for entry in found
        if not is_hidden(entry.name)
        and (entry.is_dir(follow_symlinks=False) or (not entry.is_dir() and format_of(entry.name, wanted_format)))
    ]


def find(options: FileOptions, name: TableName) -> FileSet:
    """The files of one table. Raises Missing where there is none, DataError where two could be meant."""
    root, wanted = options.root, options.format
    pattern = options.patterns().get(name)
    if pattern is not None:
        return match(root, name, pattern, wanted)
    direct = file_name(name)
    if not root.only and os.path.lexists(os.path.join(root.path, direct, MANIFEST)):
        return file_set(root, name, direct, wanted)
    named = _named_entries(root, wanted)
    full = [entry for _, entry in named if name == TableName((entry,)) and _holds_data(root, entry, wanted)]
    meant = full or [entry for other, entry in named if other == name and _holds_data(root, entry, wanted)]
    if len(meant) > 1:
        raise DataError(
            f"table {name} of connection {root.connection!r} could be {meant[0]} or {meant[1]}",
            "name the file in full, or set the connection's option format",
        )
    if meant:
        return file_set(root, name, meant[0], wanted)
    near = difflib.get_close_matches(str(name), [str(other) for other, _ in named], 1)
    raise Missing(
        f"connection {root.connection!r} has no table {name} in {root.path}",
        f"did you mean {near[0]}?" if near else f"it has {len(entries(root, wanted))} tables",
    )


def file_set(root: Root, name: TableName, path: str, wanted_format: str) -> FileSet:
    """The data files of a folder or file under the root. A folder that is published meanwhile is listed again, so that
    files and manifest are of one version."""
    if not os.path.isdir(root.inside(path)):
        return _single(root, name, path, wanted_format)
    for _ in range(_LISTING_ATTEMPTS):
        text = read_text(root.inside(path, MANIFEST))
        keepers: set[str] = set()
        files = tuple(_walk(root, path, wanted_format if text is None else "", keepers))
        if text == read_text(root.inside(path, MANIFEST)):
            manifest = None if text is None else parsed(text, root.inside(path, MANIFEST))
            return checked_set(root, FileSet(name, path, files, manifest, keeper=min(keepers, default="")))
    raise Busy(f"table {name} is published faster than its {len(files)} files can be listed", "read it again later")


def match(root: Root, name: TableName, pattern: str, wanted_format: str) -> FileSet:
    """The data files whose path under the root matches a glob (`*` and `?` within a folder, `**` across folders)."""
    if root.only:
        raise SpecError(f"connection {root.connection!r} is the file {root.only}, which takes no pattern {pattern!r}")
    if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
        raise SpecError(f"pattern {pattern!r} leads out of connection {root.connection!r}", "write it from the root on")
    wanted = PurePosixPath(pattern).parts
    files = tuple(file for file in _walk(root, "", wanted_format) if path_matches(tuple(file.path.split("/")), wanted))
    if not files:
        raise Missing(
            f"no data file of connection {root.connection!r} matches {pattern!r} in {root.path}", "check the pattern"
        )
    return checked_set(root, FileSet(name, "", files))


def path_matches(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted or not parts:
        return not wanted and not parts
    if wanted[0] == "**":
        return any(path_matches(parts[i:], wanted[1:]) for i in range(len(parts)))
    return fnmatch.fnmatchcase(parts[0], wanted[0]) and path_matches(parts[1:], wanted[1:])


def _single(root: Root, name: TableName, path: str, wanted_format: str) -> FileSet:
    found = _found(root, path, wanted_format)
    if found is None:
        raise SpecError(f"file {path} has no suffix of a data format", "set the connection's option format")
    return FileSet(name, path, (found,), manifest_of_file(root, found))


def checked_set(root: Root, found: FileSet) -> FileSet:
    """Whether the files are of one format and one hive scheme, and all that the manifest lists are there."""
    first = found.files[0] if found.files else None
    for file in found.files[1:]:
        assert first is not None
        if file.format != first.format:
            raise DataError(
                f"table {found.name} of connection {root.connection!r} has files of two formats: {first.path} and "
                f"{file.path}",
                "set the connection's option format, or move one of them",
            )
        if [c for c, _ in file.partition] != [c for c, _ in first.partition]:
            raise DataError(
                f"table {found.name} of connection {root.connection!r} has files in different partition folders: "
                f"{first.path} and {file.path}",
                "use the same column=value folders for all files",
            )
    if found.manifest is None:
        return found
    listed = set(found.listed)
    present = {file.path for file in found.files}
    lacking = sorted(listed - present)
    if lacking:
        raise DataError(
            f"table {found.name} lacks file {lacking[0]}, which its manifest lists ({len(lacking)} of {len(listed)} gone)",
            "restore the files, or load the table again with mode replace",
        )
    return replace(found, stray=tuple(sorted(present - listed)))


def _walk(root: Root, folder: str, wanted_format: str, keepers: set[str] | None = None) -> Iterator[FoundFile]:
    """All data files below a folder, sorted by path. Linked folders are not followed. Table formats that keep a folder on
    the way are added to `keepers`."""
    paths: list[str] = []
    for where, folders, names in os.walk(root.inside(folder) if folder else root.path, onerror=_refuse):
        relative = os.path.relpath(where, root.path).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        if keepers is not None and (keeper := keeper_of(os.path.basename(where), folders, names)):
            keepers.add(keeper)
        folders[:] = [name for name in folders if not is_hidden(name)]
        paths += [f"{prefix}{name}" for name in names if not is_hidden(name) and data_suffix(name)]
    for path in sorted(paths):
        found = _found(root, path, wanted_format)
        if found is not None:
            yield found


def _found(root: Root, path: str, wanted_format: str) -> FoundFile | None:
    """The file with its stamp; None where it is of another format or went away meanwhile."""
    kind = format_of(path, wanted_format)
    if kind is None:
        return None
    try:
        whole = os.path.join(root.path, *path.split("/"))
        if os.path.islink(whole):
            root.inside(*path.split("/"))
        status = os.stat(whole)
    except FileNotFoundError:
        return None
    return FoundFile(path, kind[0], kind[1], status.st_size, status.st_mtime_ns, status.st_ino, partition_of(path))


def found_from_json(value: list[Any], format_name: str) -> FoundFile:
    """The inverse of FoundFile.to_json for a file of a format."""
    path, size_bytes, mtime_ns, inode, *etag = value
    kind = format_of(path, format_name) or (format_name, "")
    return FoundFile(path, format_name, kind[1], size_bytes, mtime_ns, inode, partition_of(path), *etag)


def partition_of(path: str) -> tuple[tuple[str, str | None], ...]:
    pairs = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    return tuple((unquote(name), None if value == NULL_PARTITION else unquote(value)) for name, _, value in pairs)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name == _FILE_SYSTEMS_OWN


def _holds_data(root: Root, entry: str, wanted_format: str) -> bool:
    """Whether a folder or file directly under the root is a table; looks no further than to the first data file."""
    path = os.path.join(root.path, entry)
    if not os.path.isdir(path) or os.path.lexists(os.path.join(path, MANIFEST)):
        return True
    try:
        for _, folders, names in os.walk(path, onerror=_refuse):
            folders[:] = [name for name in folders if not is_hidden(name)]
            if any(not is_hidden(name) and format_of(name, wanted_format) for name in names):
                return True
    except PermissionError:
        return True  # it may: whoever chooses the table is told
    return False


def _refuse(error: OSError) -> None:
    """Ends a walk at a folder that cannot be listed, whose rows would be lost in silence; one that went away is none."""
    if not isinstance(error, FileNotFoundError):
        raise error


def stem_of(path: str) -> str:
    return path[: -len(data_suffix(path))] if data_suffix(path) else path


def _entry_name(root: Root, entry: os.DirEntry[str]) -> TableName:
    """The manifest's name for a folder with a shortened name; otherwise what the folder or file name says."""
    stem = entry.name if entry.is_dir() else stem_of(entry.name)
    if "%-" in stem:
        path = root.inside(entry.name, MANIFEST) if entry.is_dir() else root.state("tables", f"{stem}.json")
        manifest = read_manifest(path)
        if manifest:
            return manifest.table
    return table_name(stem)
