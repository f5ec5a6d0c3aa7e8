"""Connections: a URL and its keys, checked against the options that the URL's connector declares."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from penstock.api.project_file import model
from penstock.api.project_file.document import Path
from penstock.api.project_file.keys import checked
from penstock.api.project_file.options import convert, declared
from penstock.api.project_file.problems import Problems
from penstock.api.project_file.urls import SCHEME, SplitUrl, split_url
from penstock.connectors import registry
from penstock.core.errors import SpecError
from penstock.core.ports import Ability, Connector, Option
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec, RateSpec


def connector_of(url: str) -> Connector | None:
    """The connector of a URL, or None where there is none that can be loaded."""
    try:
        return registry.connector(url.partition(":")[0])
    except SpecError:
        return None


def connection_spec(name: str, raw: Any, problems: Problems, root: str) -> ConnectionSpec | None:
    """One connection; what is wrong goes to `problems`.

    Options of a connection whose connector cannot be loaded are kept unchecked: opening it gives the clear error.
    """
    path: Path = ("connections", name)
    if isinstance(raw, str):
        problems.at(path, f"connections.{name} must hold keys and values", f'write {name}: {{url: "..."}}')
        return None
    keys = checked(model.Connection, path, raw, problems)
    if keys is None:
        return None
    if not SCHEME.match(keys.url):
        what = f"connections.{name}.url is {problems.shown((*path, 'url'), keys.url)}, which has no scheme"
        problems.at((*path, "url"), what, f"begin with one of {', '.join(f'{s}:' for s in registry.schemes())}")
        return None
    _check_scheme(path, keys.url, problems)
    connector = connector_of(keys.url)
    known = declared(connector.options) if connector else None
    if connector and Ability.CALLS not in connector.abilities:
        _refuse_call_limits(path, keys.rate, problems)
    try:
        split = split_url(keys.url, known or {})
    except ValueError as error:
        problems.at((*path, "url"), f"connections.{name}.url {error}")
        return None
    if split.password is not None and keys.password is not None:
        problems.at(
            (*path, "password"), f"connections.{name} has a password in its url and another beside it", "keep one"
        )
    return ConnectionSpec(
        name=name,
        url=split.url,
        options=_options(path, keys.other, split, known, problems),
        password=Secret(keys.password) if keys.password else split.password,
        max_connections=keys.max_connections,
        connect_timeout_s=keys.connect_timeout_s,
        rate=RateSpec(**keys.rate.given),
        base_dir=root,
    )


def _refuse_call_limits(path: Path, rate: model.Rate, problems: Problems) -> None:
    """Limits of calls would limit nothing where no calls are made."""
    for key in sorted(set(rate.given) - {"rows_per_s"}):
        problems.at_key(
            (*path, "rate", key),
            f"{key} counts calls, which connections.{path[-1]} does not make",
            "for a database or a folder set rate.rows_per_s or max_connections",
        )


def _check_scheme(path: Path, url: str, problems: Problems) -> None:
    """A scheme that nobody serves is a mistake at once if it looks like one that somebody serves; else when used."""
    scheme = url.partition(":")[0]
    if scheme in registry.BUILT_IN or scheme in registry.schemes():
        return
    near = difflib.get_close_matches(scheme, registry.schemes(), 1)
    if near:
        what = f'no connector for URLs that begin with "{scheme}:"'
        problems.at((*path, "url"), what, f'did you mean "{near[0]}:"?')


def check_usable(connection: ConnectionSpec, problems: Problems) -> None:
    """A problem when the connector of a connection that a job uses is unknown or lacks its driver."""
    try:
        registry.connector(connection.scheme)
    except SpecError as error:
        problems.at(("connections", connection.name, "url"), error.what, error.hint)


def _options(
    path: Path,
    given: Mapping[str, Any],
    split: SplitUrl,
    known: dict[str, Option] | None,
    problems: Problems,
) -> dict[str, Any]:
    if known is None:
        return dict(given)
    found: dict[str, Any] = {}
    for key, value in {**split.options, **given}.items():
        at = (*path, key if key in given else "url")
        if key not in known:
            problems.unknown_key(at, [*model.Connection.known, *known])
            continue
        if key in given and key in split.options:
            problems.at_key(at, f"{key} stands in the url of connections.{path[-1]} and beside it", "keep one")
        try:
            found[key] = convert(known[key], value)
        except ValueError as error:
            problems.at(at, f"{key} of connections.{path[-1]} is {problems.shown((*path, key), value)}, but {error}")
    return found
