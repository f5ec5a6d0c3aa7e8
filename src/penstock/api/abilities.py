"""What each connector can do, built in and from other packages."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.connectors import registry
from penstock.core.errors import PenstockError
from penstock.core.ports import Ability, Connector, Option
from penstock.engine.failure import Failure


@dataclass(frozen=True)
class ConnectorInfo:
    """One connector: its URL schemes, abilities and options; or why it cannot be loaded here."""

    name: str
    schemes: tuple[str, ...]
    origin: str
    abilities: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    is_one_process: bool = False
    error: Failure | None = None


def list_connectors() -> tuple[ConnectorInfo, ...]:
    """All connectors by name, those that lack their driver too. Opens nothing."""
    found: dict[str, ConnectorInfo] = {}
    for scheme in registry.schemes():
        info = _info(scheme)
        found.setdefault(info.name, info)
    return tuple(found[name] for name in sorted(found))


def abilities(connector: Connector) -> tuple[str, ...]:
    """What a connector can do, in the order in which Ability lists it."""
    return tuple(ability.value for ability in Ability if ability in connector.abilities)


def able(*needed: Ability) -> tuple[str, ...]:
    """Names of the connectors that can do all of `needed`."""
    return tuple(
        info.name for info in list_connectors() if {ability.value for ability in needed} <= set(info.abilities)
    )


def _info(scheme: str) -> ConnectorInfo:
    origin = "built in"
    if scheme not in registry.BUILT_IN:
        point = registry.outside()[scheme]
        origin = point.dist.name if point.dist else point.value
    try:
        connector = registry.connector(scheme)
    except PenstockError as error:
        return ConnectorInfo(scheme, (scheme,), origin, error=Failure.of(error))
    return ConnectorInfo(
        connector.name, connector.schemes, origin, abilities(connector), connector.options, connector.one_process
    )
