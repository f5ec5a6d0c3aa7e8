"""The target of a load as it stands: where it is, what it holds, what it will look like, and whether it may be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.suffixes import data_suffix, written_suffix
from penstock.connectors.files.evolve import changes, evolved
from penstock.connectors.files.listing import FileSet, file_set
from penstock.connectors.files.manifest import Delivered, Manifest
from penstock.connectors.files.naming import file_name
from penstock.connectors.files.options import FileOptions, listed
from penstock.connectors.files.root import Root
from penstock.connectors.files.shape import columns_of
from penstock.connectors.files.single import existing_file
from penstock.connectors.files.stamp import FoundFile
from penstock.core.errors import DataError, SpecError
from penstock.core.load import Load, Mode, Written
from penstock.core.schema import Column


@dataclass(frozen=True)
class Target:
    """A load's target. `manifest` is the version there is; `columns` those of the version to come; `foreign` the data
    files there that Penstock did not write."""

    options: FileOptions
    load: Load
    settings: FormatSettings
    layout: str
    partition_by: tuple[str, ...]
    manifest: Manifest | None
    foreign: tuple[FoundFile, ...]
    columns: tuple[Column, ...]

    @property
    def root(self) -> Root:
        return self.options.root

    @property
    def is_published(self) -> bool:
        """Whether the version that is there is this load's."""
        return self.manifest is not None and self.manifest.load_id == self.load.load_id

    @property
    def delivered(self) -> Delivered | None:
        """How this load was published, where it was: as the version that is there, or before it."""
        known = self.manifest.delivered if self.manifest else ()
        return next((one for one in known if one.load_id == self.load.load_id), None)

    @property
    def suffix(self) -> str:
        return written_suffix(self.settings.format, self.settings.written_compression)

    @cached_property
    def path(self) -> str:
        """The table's folder, or its file in layout `file`."""
        name = file_name(self.load.table)
        return self.root.inside(name + self.suffix if self.layout == "file" else name)

    @property
    def generation(self) -> int:
        return self.manifest.generation + 1 if self.manifest else 1

    @property
    def file_columns(self) -> tuple[Column, ...]:
        """The columns inside the data files: all but those that folders stand for."""
        return tuple(column for column in self.columns if column.name not in self.partition_by)

    @property
    def foreign_settings(self) -> FormatSettings:
        """How the files taken over are read."""
        return self.options.settings(self.load.table, self.foreign[0].format if self.foreign else self.settings.format)

    @property
    def keep_previous(self) -> bool:
        return bool(self.options.get("keep_previous", self.load.options))

    def data_name(self, part: str) -> str:
        """The name of a data file: version, then part, so that no name of one version means another file in the next."""
        return f"{self.data_prefix}{part}{self.suffix}"

    @property
    def data_prefix(self) -> str:
        return f"part-{self.generation:06d}-{self.root.tag(self.load)}"

    def plan(self) -> Manifest:
        """What prepare keeps for the sessions that write: a manifest without files."""
        load = self.load
        return Manifest(
            load.table, self.settings, self.layout, self.partition_by, self.columns, (), load.load_id, load.job,
            self.generation,
        )  # fmt: skip

    def published_part(self, part: str) -> Written | None:
        """What a part of this load wrote, where the load is published already."""
        delivered = self.delivered
        if delivered is None or part not in delivered.parts:
            return None
        rows, size_bytes = delivered.parts[part]
        return Written(rows, size_bytes, again=True)

    def steps(self) -> list[str]:
        """What prepare, write and publish do, in words."""
        shown = os.path.relpath(self.path, self.root.path)
        steps = [f"write parts as {self.settings.format} ({self.settings.written_compression}) to .penstock/staging"]
        if self.manifest:
            held = f"{len(self.manifest.files)} files, {self.manifest.rows} rows"
            steps += [f"change columns: {change.text}" for change in changes(self.manifest.columns, self.load.columns)]
        else:
            held = f"{len(self.foreign)} files of other makers" if self.foreign else "new"
        words = {
            Mode.REPLACE: "replace",
            Mode.APPEND: "add to",
            Mode.UPSERT: f"update by key ({', '.join(self.load.key)}), or insert into,",
            Mode.DELETE_INSERT: f"delete by key ({', '.join(self.load.key)}), then insert into,",
            Mode.INSERT_ONLY: f"insert keys ({', '.join(self.load.key)}) that are not there into",
        }
        steps.append(f"{words[self.load.mode]} {shown} ({held}); layout {self.layout}")
        steps.append("put the new version in place in one step, its manifest with it")
        return steps


@dataclass(frozen=True)
class Existing:
    """Looks at what a target holds: `added` gives it its manifest and foreign files, `files` lists all its data files."""

    added: Callable[[Target], Target]
    files: Callable[[Target], FileSet]


def target_of(options: FileOptions, load: Load, existing: Existing | None = None) -> Target:
    """The target of a load, checked: options, columns, what is there. Raises SpecError, SchemaChanged or DataError."""
    existing = existing or _FOLDER
    settings = options.target_settings(load.options)
    layout, partition_by = _layout(options, load)
    _check_load(load, options)
    target = Target(options, load, settings, layout, partition_by, None, (), load.columns)
    target = existing.added(target)
    if target.manifest is not None and target.delivered is not None:
        return replace(target, columns=target.manifest.columns)
    _check_existing(target)
    return replace(target, columns=evolved(load, _existing_columns(target, existing)))


def _layout(options: FileOptions, load: Load) -> tuple[str, tuple[str, ...]]:
    layout = str(options.get("layout", load.options))
    partition_by = listed(options.get("partition_by", load.options))
    if partition_by and layout != "hive":
        raise SpecError(f"partition_by of {options.where} needs layout hive, not {layout!r}", "set layout: hive")
    if layout != "hive":
        return layout, ()
    names = [column.name for column in load.columns]
    unknown = [name for name in partition_by if name not in names]
    if not partition_by or unknown or len(set(partition_by)) < len(partition_by) or len(partition_by) == len(names):
        raise SpecError(
            f"partition_by of table {load.table} is {list(partition_by)}",
            f"name some, but not all, of its columns: {', '.join(names)}",
        )
    return layout, partition_by


def _check_load(load: Load, options: FileOptions) -> None:
    if options.root.only:
        raise SpecError(f"{options.where} is the file {options.root.only}, which cannot be a target", "name its folder")
    names = [column.name for column in load.columns]
    if not names or len(set(names)) < len(names) or "" in names:
        raise SpecError(f"table {load.table} has no columns, or two of one name, or one without a name")
    needs_key = load.mode in (Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY)
    lacking = [name for name in (*load.key, *([load.cursor] if load.cursor else [])) if name not in names]
    if needs_key and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "set key: [columns]")
    if lacking:
        raise SpecError(f"table {load.table} has no column {lacking[0]!r}", f"it has {', '.join(names)}")


def _with_existing(target: Target) -> Target:
    """The target with the version that is there, and the data files that are not of it."""
    root, load, name = target.root, target.load, file_name(target.load.table)
    for entry in _entries(root, name):
        if entry != os.path.basename(target.path):
            raise SpecError(
                f"table {load.table} is stored as {entry} in {root.path} and would be written as "
                f"{os.path.basename(target.path)}",
                "use the layout and format it has, or remove it first",
            )
    if target.layout == "file":
        manifest, foreign = existing_file(root, os.path.basename(target.path))
        return replace(target, manifest=manifest, foreign=foreign)
    if not os.path.lexists(target.path):
        return target
    if not os.path.isdir(target.path) or os.path.islink(target.path):
        raise SpecError(f"{target.path} is no folder, which table {load.table} needs", "move it away")
    files = file_set(root, load.table, name, "").checked()
    stray = tuple(file for file in files.files if files.manifest is None or file.path in files.stray)
    return replace(target, manifest=files.manifest, foreign=stray)


def _entries(root: Root, name: str) -> list[str]:
    """What is in the root under a table's name: its folder if it holds files, its files of any format."""
    try:
        found = [entry for entry in os.listdir(root.path) if entry.startswith(name)]
    except FileNotFoundError:
        return []
    return [entry for entry in sorted(found) if _is_stored_as(root, name, entry)]


def _is_stored_as(root: Root, name: str, entry: str) -> bool:
    if entry == name:
        folder = root.inside(entry)
        return os.path.isdir(folder) and bool(os.listdir(folder))
    suffix = data_suffix(entry)
    return bool(suffix) and entry == name + suffix


def _check_existing(target: Target) -> None:
    load, manifest = target.load, target.manifest
    if manifest and manifest.table != load.table:
        raise DataError(
            f"{target.path} holds table {manifest.table}, not {load.table}", "use another connection for one"
        )
    if target.foreign and not target.options.get("adopt", load.options):
        raise SpecError(
            f"{target.path} holds {len(target.foreign)} data files that Penstock did not write, for instance "
            f"{target.foreign[0].path}",
            "move them away, or set adopt: true to make them part of the table, which mode replace then replaces",
        )
    if manifest and load.mode is not Mode.REPLACE:
        mine = (target.settings.format, target.layout, target.partition_by)
        if mine != (manifest.settings.format, manifest.layout, manifest.partition_by):
            raise SpecError(
                f"table {load.table} is stored as {manifest.settings.format}, layout {manifest.layout}, partition_by "
                f"{list(manifest.partition_by)}",
                "add to it in the same way, or load it again with mode replace",
            )


def _existing_columns(target: Target, existing: Existing) -> tuple[Column, ...] | None:
    """The columns of the version that is there with the files taken over, None for a new table."""
    if target.manifest and not target.foreign:
        return target.manifest.columns
    if not target.foreign:
        return None
    return columns_of(target.options, existing.files(target))


def _files(target: Target) -> FileSet:
    return file_set(target.root, target.load.table, os.path.basename(target.path), "")


_FOLDER = Existing(_with_existing, _files)
