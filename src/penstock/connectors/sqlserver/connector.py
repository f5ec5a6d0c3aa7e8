"""The SQL Server connector: what it can do, its options, how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from penstock.connectors.sqlserver.conninfo import DEFAULT_SESSIONS, OPTIONS, connection_string
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.core.errors import NotSupported
from penstock.core.ports import Ability, Option
from penstock.core.spec import ConnectionSpec


@dataclass(frozen=True)
class SqlServerConnector:
    """SQL Server 2016 to 2025, Azure SQL and SQL databases in Fabric. Snapshots are not claimed, since sessions cannot
    share one: each chunk is read as of a moment of its own."""

    name: str = "sqlserver"
    schemes: tuple[str, ...] = ("mssql", "sqlserver")
    abilities: frozenset[Ability] = frozenset(Ability) - {Ability.CALLS, Ability.SNAPSHOT, Ability.PASS_THROUGH}
    options: tuple[Option, ...] = OPTIONS
    one_process: bool = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        """At most four sessions unless the connection says otherwise: more bulk copies into one server get slower. Raises
        SpecError when url or options are not understood."""
        connection_string(spec)
        return {"max_connections": spec.max_connections or DEFAULT_SESSIONS}

    def open(self, spec: ConnectionSpec) -> SqlServerSession:
        """Raises NotSupported where the driver is missing."""
        if find_spec("mssql_python") is None:
            raise NotSupported(
                f"connection {spec.name!r} needs the package 'mssql-python', which is not installed",
                "install it with: pip install 'penstock[sqlserver]'",
            )
        return SqlServerSession(spec)


connector = SqlServerConnector()
