"""The connector of `sqlite:` URLs: `sqlite:FILE`, relative to the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.connectors.sqlite.database import OPTIONS
from penstock.connectors.sqlite.session import SqliteSession
from penstock.core.ports import Ability, Option
from penstock.core.spec import ConnectionSpec


@dataclass(frozen=True)
class SqliteConnector:
    """Can all but pass streams through and share a snapshot: SQLite has no read transaction that several connections
    share, so chunks that several workers read are of one moment only while nobody writes. Each chunk is."""

    name: str = "sqlite"
    schemes: tuple[str, ...] = ("sqlite",)
    abilities: frozenset[Ability] = frozenset(
        {Ability.CATALOG, Ability.READ, Ability.WRITE, Ability.SPLIT, Ability.CURSOR, Ability.QUERY, Ability.UPSERT}
    )
    options: tuple[Option, ...] = OPTIONS
    one_process: bool = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        """Tables have no schema here."""
        return {"name_parts": 1}

    def open(self, spec: ConnectionSpec) -> SqliteSession:
        """Raises SpecError, DataError when the file is no database, Busy or Unavailable."""
        return SqliteSession(spec)


connector = SqliteConnector()
