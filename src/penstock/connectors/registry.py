"""Which connector serves which URL scheme; imported on first use, extended by entry points."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from penstock.core.errors import NotSupported, SpecError
from penstock.core.ports import Connector, Session
from penstock.core.spec import ConnectionSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "penstock.connectors"

# scheme -> (module, extra that brings the driver). The module has an attribute `connector`.
BUILT_IN: dict[str, tuple[str, str]] = {
    "postgresql": ("penstock.connectors.postgres.connector", "postgres"),
    "postgres": ("penstock.connectors.postgres.connector", "postgres"),
    "mysql": ("penstock.connectors.mysql.connector", "mysql"),
    "mariadb": ("penstock.connectors.mysql.connector", "mysql"),
    "duckdb": ("penstock.connectors.duckdb.connector", "duckdb"),
    "sqlite": ("penstock.connectors.sqlite.connector", "sqlite"),
    "s3": ("penstock.connectors.objects.s3", "s3"),
    "az": ("penstock.connectors.objects.azure", "azure"),
    "abfss": ("penstock.connectors.objects.azure", "azure"),
    "abfs": ("penstock.connectors.objects.azure", "azure"),
    "gs": ("penstock.connectors.objects.gcs", "gcs"),
    "mssql": ("penstock.connectors.sqlserver.connector", "sqlserver"),
    "sqlserver": ("penstock.connectors.sqlserver.connector", "sqlserver"),
    "file": ("penstock.connectors.files.connector", ""),
}


@cache
def outside() -> dict[str, EntryPoint]:
    """Schemes that other packages registered under the entry point group `penstock.connectors`."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def schemes() -> tuple[str, ...]:
    """All schemes that can be opened, built in and from other packages, sorted."""
    return tuple(sorted({*BUILT_IN, *outside()}))


@cache
def connector(scheme: str) -> Connector:
    """The connector of a URL scheme. Raises SpecError for an unknown one, NotSupported when its driver is missing."""
    if scheme in BUILT_IN:
        module, extra = BUILT_IN[scheme]
        try:
            found = import_module(module).connector
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("penstock"):
                raise
            raise NotSupported(
                f"connector {scheme!r} needs the package {error.name!r}, which is not installed",
                f"install it with: pip install 'penstock[{extra}]'",
            ) from error
    elif scheme in outside():
        found = _load(scheme, outside()[scheme])
    else:
        near = difflib.get_close_matches(scheme, schemes(), 1)
        raise SpecError(
            f"no connector for URLs that begin with {scheme!r}",
            f"did you mean {near[0]!r}?" if near else f"known: {', '.join(schemes())}",
        )
    return check_connector(scheme, found)


def _load(scheme: str, point: EntryPoint) -> object:
    """What an entry point names. Raises NotSupported when its package is broken or lacks something."""
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise NotSupported(
            f"the connector for {scheme!r} ({point.value}) cannot be loaded: {error}",
            "install what it needs, or take its package out",
        ) from error


def check_connector(scheme: str, found: object) -> Connector:
    """`found` as Connector, or a NotSupported that names what it lacks."""
    lacking = [name for name in ("name", "schemes", "abilities", "options", "open") if not hasattr(found, name)]
    if lacking:
        raise NotSupported(
            f"the connector registered for {scheme!r} lacks {', '.join(lacking)}",
            "its author finds the ports in penstock.core.ports",
        )
    return found  # type: ignore[return-value]


def open_session(spec: ConnectionSpec) -> Session:
    """Open a session for a connection, whatever its kind. Picklable, so worker processes use it too."""
    return connector(spec.scheme).open(spec)
