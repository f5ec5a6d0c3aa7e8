"""The columns of a set of files: from the manifest where there is one, from the files where not, joined to one schema."""

from __future__ import annotations

from dataclasses import replace

from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.unify import unified
from penstock.connectors.files.listing import FileSet
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.partition import partition_columns
from penstock.core.errors import DataError
from penstock.core.schema import Column


def settings_of(options: FileOptions, found: FileSet) -> FormatSettings:
    """How the files of a set are read: as they were written here, else by the connection's options."""
    if found.manifest is not None:
        return found.manifest.settings
    if not found.files:
        return options.settings(found.name, options.format or "parquet")
    settings = options.settings(found.name, found.files[0].format)
    if "delimiter" not in options.values and found.files[0].path.lower().rpartition(".tsv")[1]:
        return replace(settings, dialect=replace(settings.dialect, delimiter="\t"))
    return settings


def columns_of(options: FileOptions, found: FileSet) -> tuple[Column, ...]:
    """The columns of the table, partition columns last unless the manifest orders them."""
    manifest = found.manifest
    if manifest is not None and not found.stray:
        return manifest.columns
    settings = settings_of(options, found)
    files = [file for file in found.files if manifest is None or file.path in found.stray]
    blobs = [options.root.blob(file) for file in files]
    shapes = format_named(settings.format).columns(blobs, settings)
    named = [(file.path, columns) for file, columns in zip(files, shapes, strict=True)]
    partitions = partition_columns(found.files, settings)
    if manifest is not None:
        inside = tuple(column for column in manifest.columns if column.name not in manifest.partition_by)
        named.insert(0, (f"the manifest of table {found.name}", inside))
        partitions = tuple(column for column in manifest.columns if column.name in manifest.partition_by)
    columns = unified(named)
    doubled = [column.name for column in partitions if column.name in {other.name for other in columns}]
    if doubled:
        raise DataError(
            f"table {found.name} has column {doubled[0]!r} in its files and in its folder names", "rename one of them"
        )
    if not columns and not partitions:
        raise DataError(f"the files of table {found.name} hold no columns, such as {files[0].path}", "write a header")
    return (*columns, *partitions)
