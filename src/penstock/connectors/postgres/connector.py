"""The PostgreSQL connector: what it can do, its options, how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.connectors.postgres.conninfo import OPTIONS, parameters
from penstock.connectors.postgres.session import PostgresSession
from penstock.core.ports import Ability, Option
from penstock.core.spec import ConnectionSpec


@dataclass(frozen=True)
class PostgresConnector:
    """Holds no state of a connection."""

    name: str = "postgres"
    schemes: tuple[str, ...] = ("postgresql", "postgres")
    abilities: frozenset[Ability] = frozenset(Ability) - {Ability.CALLS}
    options: tuple[Option, ...] = OPTIONS
    one_process: bool = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        """Nothing beyond what the connection itself declares; raises SpecError when its url is not understood."""
        parameters(spec)
        return {}

    def open(self, spec: ConnectionSpec) -> PostgresSession:
        return PostgresSession(spec)


connector = PostgresConnector()
