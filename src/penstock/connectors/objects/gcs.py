"""The connector of Google Cloud Storage."""

from __future__ import annotations

import os
from typing import Any

from obstore.store import GCSStore

from penstock.connectors.objects.bucket import Bucket
from penstock.connectors.objects.connector import NO_RETRIES, SHARED, ObjectsConnector, Place
from penstock.connectors.objects.failures import named_refusals
from penstock.core.errors import CredentialsRefused, NotSupported, SpecError
from penstock.core.ports import Connector, Option

_OWN = (
    Option("endpoint", "text", "URL of an emulator; Google where it is not set", ""),
    Option("service_account_file", "path", "key file of a service account; without it the Google chain is asked", ""),
    Option("service_account_key", "secret", "the JSON text of such a file"),
)


class _Gcs(ObjectsConnector):
    """Prefixes of Google Cloud Storage buckets as folders of Parquet, CSV, NDJSON and Arrow IPC files. Credentials: a
    service account given here, else Google's application default credentials."""

    name = "gcs"
    schemes = ("gs",)
    options = (*SHARED, *_OWN)

    def open_bucket(self, place: Place) -> Bucket:
        config: Any = {"base_url": place.endpoint} if place.endpoint else {}
        given = _login(place)
        config.update(given)
        credentials = None if given else _chain(place)
        url = f"gs://{place.bucket}"
        client_options = place.client_options
        with named_refusals(f"open {url} of {place.where}"):
            store = GCSStore(
                place.bucket,
                config=config,
                client_options=client_options,
                retry_config=NO_RETRIES,
                credential_provider=credentials,
            )
        return Bucket(store, url, place.spec.name, _leave_uploads)


def _leave_uploads(prefix: str) -> None:
    """The library cannot list unfinished uploads of this store; a lifecycle rule of the bucket ends them."""


def _login(place: Place) -> dict[str, Any]:
    key, file = place.secret("service_account_key"), str(place.values.get("service_account_file") or "")
    if key and file:
        raise SpecError(f"{place.where} has two logins", "keep service_account_file or service_account_key")
    if place.flag("anonymous"):
        return {"skip_signature": True}
    if key:
        return {"service_account_key": key}
    return {"service_account": os.path.join(place.spec.base_dir, file)} if file else {}


def _chain(place: Place) -> Any:
    try:
        from google.auth.exceptions import DefaultCredentialsError
        from obstore.auth.google import GoogleCredentialProvider
    except ModuleNotFoundError as error:
        raise NotSupported(
            f"{place.where} has no login, and asking the Google chain for one needs the package 'google-auth'",
            "install it with: pip install 'penstock[gcs]'",
        ) from error
    try:
        return GoogleCredentialProvider()
    except DefaultCredentialsError as error:
        raise CredentialsRefused(
            f"the Google chain finds no credentials for {place.where}",
            "log in (gcloud auth application-default login), give service_account_file, or set anonymous: true",
        ) from error


connector: Connector = _Gcs()
