"""The MySQL connector: what it can do, its options, how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.connectors.mysql.conninfo import OPTIONS, limits
from penstock.connectors.mysql.session import MysqlSession
from penstock.core.ports import Ability, Option
from penstock.core.spec import ConnectionSpec


@dataclass(frozen=True)
class MysqlConnector:
    """Can all but pass streams through. Serves MySQL 8.0 and MariaDB 10.5 and later. Holds no state of a connection."""

    name: str = "mysql"
    schemes: tuple[str, ...] = ("mysql", "mariadb")
    abilities: frozenset[Ability] = frozenset(Ability) - {Ability.CALLS, Ability.PASS_THROUGH}
    options: tuple[Option, ...] = OPTIONS
    one_process: bool = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        """How many connections may read one moment, and how many parts a table's name has: one where the url names a
        database, else two. Raises SpecError when the url is not understood."""
        return limits(spec)

    def open(self, spec: ConnectionSpec) -> MysqlSession:
        return MysqlSession(spec)


connector = MysqlConnector()
