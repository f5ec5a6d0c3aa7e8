"""What the connectors of all object stores share: options, the place a URL names, sessions, one store a process."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.connectors._formats.suffixes import data_suffix
from penstock.connectors.files.options import OPTIONS as FILE_OPTIONS
from penstock.connectors.files.options import FileOptions, checked
from penstock.connectors.objects.bucket import Bucket
from penstock.connectors.objects.landing import LandingZone, zone_options
from penstock.connectors.objects.prefix import Prefix
from penstock.connectors.objects.session import ObjectsSession
from penstock.core.errors import SpecError
from penstock.core.ports import Ability, Option, Session
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec, digest

_LAYOUTS = ("folder", "hive")
_TRUE = ("true", "yes", "on", "1")
# No part of an upload or a range read takes longer on a link that is worth using; silence ends a request earlier.
_REQUEST_S = 600
_SILENCE_S = 60


def _shared() -> tuple[Option, ...]:
    """The options of folders of files that mean something in a bucket."""
    kept = [option for option in FILE_OPTIONS if option.name != "keep_previous"]
    words = "one folder a table (folder), or folders by the values of partition_by (hive)"
    return tuple(
        replace(option, choices=_LAYOUTS, help=words) if option.name == "layout" else option for option in kept
    )


SHARED: tuple[Option, ...] = (
    *_shared(),
    Option("anonymous", "boolean", "send requests without credentials, to read public data", False),
    Option("allow_http", "boolean", "let the endpoint be plain http: on another machine than this one", False),
)


@dataclass(frozen=True)
class Place:
    """A connection taken apart: the bucket (or container), the prefix below it, the options that were set."""

    spec: ConnectionSpec
    bucket: str
    prefix: str
    values: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"connection {self.spec.name!r}"

    @property
    def endpoint(self) -> str:
        return str(self.values.get("endpoint") or "").rstrip("/")

    def secret(self, name: str) -> str:
        """The text of a secret option, "" where it is not set."""
        value = self.values.get(name)
        return value.reveal() if isinstance(value, Secret) else str(value or "")

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        return value if isinstance(value, bool) else str(value or "").lower() in _TRUE

    @property
    def client_options(self) -> Any:
        """How the store's HTTP client behaves. Raises SpecError for a plain http endpoint that nobody asked for."""
        is_plain = self.endpoint.startswith("http://")
        if is_plain and not (self.flag("allow_http") or _is_loopback(self.endpoint)):
            raise SpecError(
                f"endpoint {self.endpoint} of {self.where} is plain http, which shows data to the network",
                "use https, or set allow_http: true",
            )
        return {
            "allow_http": is_plain,
            "connect_timeout": f"{self.spec.connect_timeout_s}s",
            "read_timeout": f"{_SILENCE_S}s",
            "timeout": f"{_REQUEST_S}s",
        }


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# Retries are the engine's business: it counts them, waits between them and can be stopped.
NO_RETRIES: Any = {"max_retries": 0}


def place_of(spec: ConnectionSpec, known: Mapping[str, Option]) -> Place:
    """The place a connection names. Raises SpecError."""
    parts = urlsplit(spec.url)
    where = f"connection {spec.name!r}"
    if spec.password is not None or (parts.username is not None and parts.scheme not in ("abfs", "abfss")):
        raise SpecError(
            f"url of {where} holds a login", f"write {parts.scheme}://bucket/prefix and keys as options of their own"
        )
    if not parts.netloc:
        raise SpecError(f"url {spec.url!r} of {where} names no bucket", f"write {parts.scheme}://bucket/prefix")
    values: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    values.update({name: value for name, value in spec.options.items() if value is not None})
    unknown = [name for name in values if name not in known]
    if unknown:
        raise SpecError(f"{where} has no option {unknown[0]!r}", f"known: {', '.join(known)}")
    return Place(spec, parts.netloc, unquote(parts.path).strip("/"), values)


def file_options(place: Place, bucket: Bucket) -> tuple[FileOptions, Prefix]:
    """The options of the files in a place, and its root. A URL that names a data file is that one object."""
    names = {option.name for option in FILE_OPTIONS}
    values = {name: checked(name, value, place.where) for name, value in place.values.items() if name in names}
    if values.get("layout", _LAYOUTS[0]) not in _LAYOUTS:
        raise SpecError(f"layout of {place.where} is {values['layout']!r}", f"choose one of {', '.join(_LAYOUTS)}")
    folder, only = place.prefix, ""
    if data_suffix(place.prefix):
        folder, _, only = place.prefix.rpartition("/")
    root = Prefix(folder, place.spec.name, only, bucket=bucket)
    return FileOptions(root, values), root


class ObjectsConnector(ABC):
    """An object store. `open_bucket` connects to a place."""

    name = ""
    schemes: tuple[str, ...] = ()
    abilities = frozenset({Ability.CATALOG, Ability.READ, Ability.WRITE, Ability.SPLIT, Ability.CURSOR, Ability.UPSERT})
    options: tuple[Option, ...] = ()
    one_process = False

    def limits(self, spec: ConnectionSpec) -> Mapping[str, Any]:
        return {}

    def open(self, spec: ConnectionSpec) -> Session:
        place = place_of(spec, {option.name: option for option in self.options})
        options, root = file_options(place, _kept(place, partial(self.open_bucket, place)))
        if not place.flag("landing_zone"):
            return ObjectsSession(options, root)
        if not root.path:
            raise SpecError(f"{place.where} names no landing zone", "end the url with /Files/LandingZone")
        zone = LandingZone(root.path, root.connection, bucket=root.bucket)
        return ObjectsSession(replace(options, root=zone), zone, zone_options(place.values))

    @abstractmethod
    def open_bucket(self, place: Place) -> Bucket:
        """Connect. Raises Unavailable, CredentialsRefused, NotSupported or SpecError."""


_buckets: dict[tuple[Any, ...], Bucket] = {}
_guard = threading.Lock()


def _kept(place: Place, make: Callable[[], Bucket]) -> Bucket:
    """One store for all sessions of a process that mean the same place: its connections and credentials are shared."""
    secrets = {name: value.reveal() for name, value in place.values.items() if isinstance(value, Secret)}
    facts = digest([place.spec.url, place.spec.name, place.spec.connect_timeout_s, place.values, secrets])
    key = (os.getpid(), facts)
    with _guard:
        if key not in _buckets:
            _buckets[key] = make()
        return _buckets[key]
