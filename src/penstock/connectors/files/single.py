"""Layout `file`: a table is one file; its manifest is kept beside in the state folder and recognised by checksum."""

from __future__ import annotations

from penstock.connectors.files.manifest import Manifest
from penstock.connectors.files.root import Root
from penstock.connectors.files.stamp import FoundFile
from penstock.core.names import TableName


def manifest_of_file(root: Root, found: FoundFile) -> Manifest | None:
    return None


def existing_file(root: Root, table: TableName, path: str) -> tuple[Manifest | None, tuple[FoundFile, ...]]:
    return None, ()


def publish_file(*args: object) -> None:
    raise NotImplementedError
