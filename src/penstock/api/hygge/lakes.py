"""Stores in Azure Data Lake, OneLake and Fabric's open mirroring: account, container and login as a connection."""

from __future__ import annotations

from penstock.api.hygge.ends import Place
from penstock.api.hygge.references import carried, secret
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section

DROPPED = {
    "file_detection": "how files were numbered; the names of files follow from the plan",
    "starting_sequence": "the first number of a file; the names of files follow from the plan",
    "partner_name": "who wrote, for _partnerEvents.json, which Fabric does not need",
    "source_type": "what was read, for _partnerEvents.json, which Fabric does not need",
    "source_version": "what was read, for _partnerEvents.json, which Fabric does not need",
    "folder_deletion_wait_seconds": "how long to wait until Fabric saw that a folder was deleted",
    "mirror_journal": "copied the journal into Fabric; .penstock/journal.db is a SQLite file, and a copy job can read it",
    "journal_table_name": "copied the journal into Fabric; .penstock/journal.db is a SQLite file, and a copy job can read it",
}
_LOGINS = {
    "service_principal": (("tenant_id", "tenant_id"), ("client_id", "client_id"), ("client_secret", "client_secret")),
    "storage_key": (("storage_account_key", "account_key"),),
}


def lake(options: Section, scene: Scene) -> Place | None:
    """The container as URL, with account and login beside it; None, with a note, where one is missing."""
    account, container = options.take("account_url"), options.take("filesystem")
    if account is None or container is None:
        scene.tell("lacking", "store", "account_url or filesystem is missing", options.place)
        return None
    beside: dict[str, str] = {}
    text = str(account.data)
    if "?" in text:
        text = text.partition("?")[0]
        beside["sas_token"] = "${" + "AZURE_STORAGE_SAS_TOKEN" + "}"
        told = "set AZURE_STORAGE_SAS_TOKEN to what stood behind the ?, and have a new one made: it lay in a file"
        scene.tell("secret", "store.account_url", told, account.place)
    beside = {"account_url": carried(text, account.place, scene.notes)} | beside
    name = carried(str(container.data), container.place, scene.notes)
    return Place(f"az://{name}", beside | _login(options, scene))


def _login(options: Section, scene: Scene) -> dict[str, str]:
    """What the login needs. A managed identity or the default of the machine needs nothing: it is found by itself."""
    kind = options.text("credential") or "managed_identity"
    wanted = dict(_LOGINS.get(kind, ()))
    found: dict[str, str] = {}
    for old in ("tenant_id", "client_id", "client_secret", "storage_account_key"):
        value = options.take(old)
        if value is None:
            continue
        is_secret = old in ("client_secret", "storage_account_key")
        shown = (
            secret(value, options.option(old), f"AZURE_{old}", scene.notes, scene.about)
            if is_secret
            else carried(str(value.data), value.place, scene.notes)
        )
        if old in wanted:
            found[wanted[old]] = shown
        else:
            scene.tell("dropped", options.option(old), f"not used by credential: {kind}", value.place)
    return found


def mirror_path(options: Section, kind: str, scene: Scene) -> str | None:
    """The path of the tables in the container, with {entity} in it where the kind of store has one of its own."""
    path, schema = options.text("path"), options.text("schema", "schema_name")
    mirror = options.text("mirror_name")
    if kind == "adls":
        if not path:
            scene.tell("lacking", "store.path", "the path is missing", options.place)
        return path or None
    inside = f"{schema}.schema/" if schema else ""
    if kind == "onelake":
        return path or f"Files/{inside}{{entity}}"
    if not mirror:
        scene.tell("lacking", "store.mirror_name", "the id of the mirrored database is missing", options.place)
        return None
    if path and not path.startswith("Files/"):
        return path if path.startswith(f"/{mirror}/") else f"/{mirror}/{path.lstrip('/')}"
    return f"/{mirror}/Files/LandingZone/{inside}{{entity}}"
