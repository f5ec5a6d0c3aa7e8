"""Which tables a prefix holds, and which objects each consists of: the manifest says it where there is one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from penstock.connectors._formats.suffixes import data_suffix, format_of
from penstock.connectors.files.keepers import keeper_of_paths
from penstock.connectors.files.listing import (
    FileSet,
    checked_set,
    is_hidden,
    partition_of,
    path_matches,
    stem_of,
)
from penstock.connectors.files.manifest import Manifest, parsed
from penstock.connectors.files.naming import file_name, table_name
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.root import MANIFEST, STATE
from penstock.connectors.files.stamp import FoundFile
from penstock.connectors.objects.bucket import Stored, Version
from penstock.connectors.objects.prefix import Prefix
from penstock.core.errors import Busy, DataError, Missing, SpecError
from penstock.core.names import TableName

# How data objects written here are named: version, the load's tag, part. One that no manifest lists belongs to a publish
# that is not through yet, or is to be removed: it is no data.
OWN = re.compile(r"part-(\d{6,})-[0-9a-f]{12}-[^/]*\Z")
_LISTING_ATTEMPTS = 20


@dataclass(frozen=True)
class Listed:
    """A table's files with the version of its manifest, None where it has none. `unlisted` are keys of objects written
    here that the manifest does not list."""

    files: FileSet
    version: Version | None
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrefixListing:
    """The Listing of a prefix."""

    options: FileOptions
    root: Prefix

    def tables(self) -> list[FileSet]:
        """Every table: folders, single objects, and the globs that option `tables` names. One listing of all keys, and
        one read for each manifest."""
        grouped: dict[str, list[Stored]] = {}
        for stored in self.root.bucket.objects(self.root.path):
            path = self.root.relative(stored.key)
            if not self.root.only or path == self.root.only:
                grouped.setdefault(path.partition("/")[0], []).append(stored)
        found = [self._set(name, entry, grouped[entry]) for name, entry in self._named(grouped).items()]
        patterns = self.options.patterns().items()
        return sorted(
            [*(one for one in found if one), *(self._match(name, glob) for name, glob in patterns)],
            key=lambda files: files.name,
        )

    def find(self, name: TableName) -> FileSet:
        return self._find(name).checked()

    def _find(self, name: TableName) -> FileSet:
        pattern = self.options.patterns().get(name)
        if pattern is not None:
            return self._match(name, pattern)
        if not self.root.only:
            direct = self.folder(name, file_name(name), self.options.format)
            if direct.version is not None:
                return direct.files
        folders, singles = self.root.bucket.top(self.root.path)
        entries = [*folders, *(self.root.relative(stored.key) for stored in singles)]
        if self.root.only:
            entries = [entry for entry in entries if entry == self.root.only]
        named = [(self._name_of(entry, entry in folders), entry) for entry in entries if self._may_be(entry, folders)]
        full = [entry for _, entry in named if name == TableName((entry,))]
        meant = self._with_data(name, full) or self._with_data(name, [entry for other, entry in named if other == name])
        if len(meant) > 1:
            raise DataError(
                f"table {name} of connection {self.root.connection!r} could be {meant[0].where} or {meant[1].where}",
                "name the object in full, or set the connection's option format",
            )
        if meant:
            return meant[0]
        near = difflib.get_close_matches(str(name), [str(other) for other, _ in named], 1)
        raise Missing(
            f"connection {self.root.connection!r} has no table {name} in {self.root.bucket.url}/{self.root.path}",
            f"did you mean {near[0]}?" if near else f"it has {len(named)} tables",
        )

    def folder(self, name: TableName, path: str, wanted_format: str) -> Listed:
        """The objects of a folder. One that is published meanwhile is listed again, so that files and manifest are of one
        version."""
        key = self.root.inside(path, MANIFEST)
        for _ in range(_LISTING_ATTEMPTS):
            stored = list(self.root.bucket.objects(self.root.inside(path)))
            listed = next((one.version for one in stored if one.key == key), None)
            # No object of a version is removed before the manifest is another one.
            text = self.root.bucket.get(key) if listed else None
            if (text[1].etag if text else None) == (listed.etag if listed else None):
                return self._listed(name, path, stored, text, wanted_format)
        raise Busy(f"table {name} is published faster than its files can be listed", "read it again later")

    def _listed(
        self, name: TableName, path: str, stored: list[Stored], text: tuple[bytes, Version] | None, wanted_format: str
    ) -> Listed:
        manifest = self._manifest(text, path)
        entries = FileSet(name, path, (), manifest).listed
        found = tuple(self._data(stored, "" if manifest else wanted_format))
        ours = {file.path for file in found if OWN.search(file.path) and file.path not in entries}
        files = tuple(file for file in found if file.path not in ours)
        keeper = keeper_of_paths(self.root.relative(one.key).removeprefix(f"{path}/") for one in stored)
        unlisted = tuple(self.root.inside(each) for each in sorted(ours))
        return Listed(
            checked_set(self.root, FileSet(name, path, files, manifest, keeper=keeper)),
            text[1] if text else None,
            unlisted,
        )

    def _manifest(self, text: tuple[bytes, Version] | None, path: str) -> Manifest | None:
        if text is None:
            return None
        return parsed(text[0].decode("utf-8", "surrogatepass"), f"{self.root.bucket.url}/{path}/{MANIFEST}")

    def _set(self, name: TableName, entry: str, stored: list[Stored]) -> FileSet | None:
        """The files of a folder or of one object that were listed together; None where there is no data."""
        if self.root.relative(stored[0].key) == entry:
            return self._single(name, entry, stored[0])
        text = None
        if any(one.key == self.root.inside(entry, MANIFEST) for one in stored):
            return self.folder(name, entry, self.options.format).files
        files = self._listed(name, entry, stored, text, self.options.format).files
        return files if files.files else None

    def _single(self, name: TableName, path: str, stored: Stored) -> FileSet:
        found = self._found(stored, self.options.format)
        if found is None:
            raise SpecError(f"object {path} has no suffix of a data format", "set the connection's option format")
        return FileSet(name, path, (found,))

    def _with_data(self, name: TableName, entries: list[str]) -> list[FileSet]:
        found = []
        for entry in entries:
            stored = [] if data_suffix(entry) else list(self.root.bucket.objects(self.root.inside(entry)))
            one = self._set(name, entry, stored or [self.root.bucket.stat(self.root.inside(entry))])
            if one is not None:
                found.append(one)
        return found

    def _match(self, name: TableName, pattern: str) -> FileSet:
        """The objects whose path matches a glob (`*` and `?` within a folder, `**` across folders)."""
        if self.root.only or pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
            raise SpecError(
                f"pattern {pattern!r} leads out of connection {self.root.connection!r}", "write it from the prefix on"
            )
        wanted = PurePosixPath(pattern).parts
        fixed = wanted[: next((at for at, part in enumerate(wanted) if set("*?[") & set(part)), 0)]
        found = self._data(self.root.bucket.objects(self.root.inside(*fixed)), self.options.format)
        files = tuple(file for file in found if path_matches(tuple(file.path.split("/")), wanted))
        if not files:
            raise Missing(
                f"no data object of connection {self.root.connection!r} matches {pattern!r} in {self.root.bucket.url}",
                "check the pattern",
            )
        return checked_set(self.root, FileSet(name, "", files))

    def _named(self, grouped: Iterable[str]) -> dict[TableName, str]:
        """The entries that may be tables, by table; where two have one name, both go by their full name."""
        named: dict[TableName, list[str]] = {}
        folders = [entry for entry in grouped if not data_suffix(entry)]
        for entry in grouped:
            if self._may_be(entry, folders):
                named.setdefault(self._name_of(entry, entry in folders), []).append(entry)
        return {
            name if len(entries) == 1 else TableName((entry,)): entry
            for name, entries in named.items()
            for entry in entries
        }

    def _may_be(self, entry: str, folders: Iterable[str]) -> bool:
        if is_hidden(entry) or entry == STATE:
            return False
        return entry in folders or bool(format_of(entry, self.options.format))

    def _name_of(self, entry: str, is_folder: bool) -> TableName:
        """The manifest's name for a folder with a shortened name; otherwise what its name says."""
        if is_folder and "%-" in entry:
            manifest = self._manifest(self.root.bucket.get(self.root.inside(entry, MANIFEST)), entry)
            if manifest:
                return manifest.table
        return table_name(entry if is_folder else stem_of(entry))

    def _data(self, stored: Iterable[Stored], wanted_format: str) -> Iterator[FoundFile]:
        """The data files among objects, sorted by path."""
        found = (self._found(one, wanted_format) for one in stored)
        visible = (file for file in found if file and not any(is_hidden(part) for part in file.path.split("/")))
        return iter(sorted(visible, key=lambda file: file.path))

    def _found(self, stored: Stored, wanted_format: str) -> FoundFile | None:
        path = self.root.relative(stored.key)
        kind = format_of(path, wanted_format)
        if kind is None:
            return None
        return FoundFile(path, *kind, stored.size_bytes, stored.modified_ns, 0, partition_of(path), stored.version.etag)
