"""Stores in Azure Data Lake, OneLake and Fabric's open mirroring: account, container and login as a connection."""

from __future__ import annotations

import re
from math import ceil
from typing import Any

from penstock.api.hygge.databases import number
from penstock.api.hygge.ends import WAIT, Place
from penstock.api.hygge.references import carried, secret, variable
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, Value

DROPPED = {
    "file_detection": "how files were numbered; the names of files follow from the plan",
    "starting_sequence": "the first number of a file; the names of files follow from the plan",
    "partner_name": "what Fabric is told of who delivers; only open mirroring says it",
    "source_type": "what Fabric is told of the source; only open mirroring says it",
    "source_version": "what Fabric is told of the source's version, which it does not need",
    "folder_deletion_wait_seconds": "how long to wait until Fabric saw that a folder was deleted; only open mirroring does",
    "mirror_journal": "copied the journal into Fabric; .penstock/journal.db is a SQLite file, and a copy job can read it",
    "journal_table_name": "copied the journal into Fabric; .penstock/journal.db is a SQLite file, and a copy job can read it",
}
_LOGINS = {
    "service_principal": (("tenant_id", "tenant_id"), ("client_id", "client_id"), ("client_secret", "client_secret")),
    "storage_key": (("storage_account_key", "account_key"),),
    "managed_identity": (("client_id", "client_id"),),
}
_HOST = re.compile(r"[\w.${}: -]+\Z")
_SCHEME = re.compile(r"^https?://", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{(?P<name>[^:}]+)(?::-(?P<default>[^}]*))?\}/?")


def lake(options: Section, scene: Scene) -> Place | None:
    """The container as URL, with the login beside it; None, with a note, where account or container is missing."""
    account, container = options.take("account_url"), options.take("filesystem")
    if account is None or container is None:
        scene.tell("lacking", "store", "account_url or filesystem is missing", options.place)
        return None
    text, mark, _ = str(account.data).partition("?")
    beside = {"sas_token": "${AZURE_STORAGE_SAS_TOKEN}"} if mark else {}
    if mark:
        told = "set AZURE_STORAGE_SAS_TOKEN to what stood behind the ?, and have a new one made: it lay in a file"
        scene.tell("secret", "store.account_url", told, account.place)
    name = carried(str(container.data), container.place, scene.notes)
    host = _host(Value(text, account.place), scene)
    if not (_HOST.match(host) and _HOST.match(name)):
        scene.tell("lacking", "store", "account_url or filesystem is none that Azure has", account.place)
        return None
    return Place(f"abfss://{name}@{host}", beside | _login(options, scene, has_token=bool(mark)))


def _host(account: Value, scene: Scene) -> str:
    """The host of an account's URL. A variable that holds the URL cannot stand where a host is needed: another does."""
    found = _REFERENCE.fullmatch(str(account.data).strip())
    if found is None:
        shown = carried(str(account.data), account.place, scene.notes)
        return _SCHEME.sub("", shown).rstrip("/").rpartition("@")[2]
    new = f"{variable(found['name'])}_HOST"
    default = _SCHEME.sub("", found["default"]).rstrip("/") if found["default"] else ""
    text = f"set {new} to the host in {found['name']}, without https://"
    scene.tell("decide", "store.account_url", text, account.place)
    return f"${{{new}:-{default}}}" if default else f"${{{new}}}"


def _login(options: Section, scene: Scene, *, has_token: bool) -> dict[str, str]:
    """What the login needs. A managed identity or the default of the machine needs nothing: it is found by itself."""
    kind = options.text("credential") or "managed_identity"
    wanted = {} if has_token else dict(_LOGINS.get(kind, ()))
    found: dict[str, str] = {}
    for old in ("tenant_id", "client_id", "client_secret", "storage_account_key"):
        value = options.take(old)
        if value is None:
            continue
        if old not in wanted:
            text = "the token in account_url is the login" if has_token else f"not used by credential: {kind}"
            scene.tell("dropped", options.option(old), text, value.place)
        elif old in ("client_secret", "storage_account_key"):
            found[wanted[old]] = secret(value, options.option(old), f"AZURE_{old}", scene.notes, scene.about)
        else:
            found[wanted[old]] = carried(str(value.data), value.place, scene.notes)
    return found


def lake_path(options: Section, kind: str, scene: Scene) -> str | None:
    """The path of the tables in the container, with {entity} in it where the kind of store has one of its own."""
    path, mirror = options.text("path"), options.text("mirror_name")
    if kind == "adls":
        if not path:
            scene.tell("lacking", "store.path", "the path is missing", options.place)
        return path or None
    if kind == "onelake":
        schema = options.text("schema", "schema_name")
        return path or f"Files/{f'{schema}.schema/' if schema else ''}{{entity}}"
    if not mirror:
        scene.tell("lacking", "store.mirror_name", "the id of the mirrored database is missing", options.place)
        return None
    if path and not path.startswith("Files/"):
        return path if path.startswith(f"/{mirror}/") else f"/{mirror}/{path.lstrip('/')}"
    return f"/{mirror}/Files/LandingZone/{{entity}}"


def landing_zone(options: Section, scene: Scene) -> dict[str, Any]:
    """What stands beside the URL of a mirrored database's landing zone."""
    found: dict[str, Any] = {"landing_zone": True}
    for old, new in (("partner_name", "partner"), ("source_type", "source_type")):
        value = options.take(old)
        if value is not None:
            found[new] = carried(str(value.data), value.place, scene.notes)
    option = options.option("folder_deletion_wait_seconds")
    wait = options.take("folder_deletion_wait_seconds")
    seconds = number(wait, option, scene.notes, scene.about, is_whole=False)
    if seconds is not None:
        found[WAIT] = seconds if isinstance(seconds, str) else ceil(seconds)
    return found
