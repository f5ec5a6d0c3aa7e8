"""The connector of file URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.connectors.files.options import OPTIONS, file_options
from penstock.connectors.files.session import FilesSession
from penstock.core.ports import Ability, Connector, Option, Session
from penstock.core.spec import ConnectionSpec


class _Files:
    """Folders of Parquet, CSV, NDJSON and Arrow IPC files."""

    name = "files"
    schemes = ("file",)
    abilities = frozenset({Ability.CATALOG, Ability.READ, Ability.WRITE, Ability.SPLIT, Ability.CURSOR, Ability.UPSERT})
    options: tuple[Option, ...] = OPTIONS
    one_process = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        return {}

    def open(self, spec: ConnectionSpec) -> Session:
        return FilesSession(file_options(spec))


connector: Connector = _Files()
