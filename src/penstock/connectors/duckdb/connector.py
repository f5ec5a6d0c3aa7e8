"""The connector of `duckdb:` URLs: `duckdb:FILE` (relative to the project) and `duckdb::memory:` within one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.connectors.duckdb.instance import OPTIONS
from penstock.connectors.duckdb.session import DuckdbSession
from penstock.core.ports import Ability, Option
from penstock.core.spec import ConnectionSpec


@dataclass(frozen=True)
class DuckdbConnector:
    """Can all but pass streams through and share a snapshot.

    A transaction of DuckDB belongs to one cursor, so chunks that several workers read are of one moment only while nobody
    changes the table; other processes cannot, since the file is locked. A table that lost or moved rows after it was split
    is noticed and refused.
    """

    name: str = "duckdb"
    schemes: tuple[str, ...] = ("duckdb",)
    abilities: frozenset[Ability] = frozenset(
        {Ability.CATALOG, Ability.READ, Ability.WRITE, Ability.SPLIT, Ability.CURSOR, Ability.QUERY, Ability.UPSERT}
    )
    options: tuple[Option, ...] = OPTIONS
    one_process: bool = True

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        """Table names have a schema and a table here."""
        return {"name_parts": 2}

    def open(self, spec: ConnectionSpec) -> DuckdbSession:
        """Raises Locked when another process holds the file, SpecError, Missing, PermissionRefused or Unavailable."""
        return DuckdbSession(spec)


connector = DuckdbConnector()
