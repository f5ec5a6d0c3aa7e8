"""Folders that a table format keeps: their data files are not the table, for some of them hold rows that are gone."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.errors import NotSupported
from penstock.core.names import TableName

_DELTA, _HUDI, _ICEBERG = "_delta_log", ".hoodie", "metadata"


def keeper_of(folder: str, folders: Iterable[str], names: Iterable[str]) -> str:
    """Which table format keeps the folder that holds `folders` and files `names`, or the one above it; "" for none."""
    for entry in folders:
        if entry == _DELTA:
            return "Delta Lake"
        if entry == _HUDI:
            return "Apache Hudi"
    if folder == _ICEBERG and any(name.endswith(".metadata.json") for name in names):
        return "Apache Iceberg"
    return ""


def keeper_of_paths(paths: Iterable[str]) -> str:
    """The same by the paths of all objects below a prefix."""
    for path in paths:
        *folders, name = path.split("/")
        found = keeper_of(folders[-1] if folders else "", folders, (name,))
        if found:
            return found
    return ""


def check_keeper(name: TableName, where: str, keeper: str) -> None:
    """Raises NotSupported for a table that a table format keeps."""
    if keeper:
        raise NotSupported(
            f"{where} is a table of {keeper}, not a folder of files: table {name} cannot be read or written yet",
            f'leave it out (tables: "!{name}"), or go through a program that knows {keeper}',
        )
