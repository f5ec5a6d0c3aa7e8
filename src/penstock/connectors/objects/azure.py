"""The connector of Azure Blob Storage, ADLS Gen2 and OneLake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from obstore.store import AzureStore

from penstock.connectors.objects.bucket import Bucket
from penstock.connectors.objects.connector import NO_RETRIES, SHARED, ObjectsConnector, Place
from penstock.connectors.objects.failures import named_refusals
from penstock.connectors.objects.landing import OPTIONS as LANDING
from penstock.core.errors import CredentialsRefused, NotSupported, SpecError
from penstock.core.ports import Connector, Option

_OWN = (
    Option("account", "text", "name of the storage account; abfss: URLs hold it", ""),
    Option("endpoint", "text", "URL of the account in another cloud, or of an emulator", ""),
    Option("account_key", "secret", "key of the account; without any secret the Azure chain is asked"),
    Option("sas_token", "secret", "shared access signature"),
    Option("tenant_id", "text", "tenant of a service principal", ""),
    Option("client_id", "text", "application id of a service principal, or of a managed identity", ""),
    Option("client_secret", "secret", "secret of a service principal"),
)
_ONELAKE = "fabric.microsoft.com"


class _Azure(ObjectsConnector):
    """Containers of Azure Blob Storage and ADLS Gen2, and OneLake, as folders of Parquet, CSV, NDJSON and Arrow IPC files.
    Credentials: those given here, else what the Azure chain finds (environment, workload and managed identity, az login).
    URLs are az://container/prefix with option account, or abfss://container@account.dfs.core.windows.net/prefix."""

    name = "azure"
    schemes = ("az", "abfss", "abfs")
    options = (*SHARED, *_OWN, *LANDING)

    def open_bucket(self, place: Place) -> Bucket:
        place, host = _account(place)
        config: Any = {"account_name": place.values["account"]}
        if place.endpoint:
            config["endpoint"] = place.endpoint
        if _ONELAKE in host:
            config["use_fabric_endpoint"] = True
        given = _login(place)
        config.update(given)
        credentials = None if given else _chain(place)
        url = f"az://{place.bucket}"
        client_options = place.client_options
        with named_refusals(f"open {url} of {place.where}"):
            store = AzureStore(
                place.bucket,
                config=config,
                client_options=client_options,
                retry_config=NO_RETRIES,
                credential_provider=credentials,
            )
        return Bucket(store, url, place.spec.name, _leave_uploads)


def _leave_uploads(prefix: str) -> None:
    """Azure forgets blocks that were never made a blob after a week, and when their blob is written again."""


def _account(place: Place) -> tuple[Place, str]:
    """The place with its container and account, and the host of an abfss: URL."""
    container, at, host = place.bucket.partition("@")
    account = str(place.values.get("account") or "") or (host.partition(".")[0] if at else "")
    if not account:
        raise SpecError(f"{place.where} names no storage account", "set account, or write abfss://container@account...")
    return replace(place, bucket=container, values={**place.values, "account": account}), host


def _login(place: Place) -> dict[str, Any]:
    """What the connection itself says; nothing means the chain."""
    names = {"account_key": "account_key", "sas_token": "sas_key", "client_secret": "client_secret"}
    given = {key: place.secret(name) for name, key in names.items() if place.secret(name)}
    if len(given) > 1:
        raise SpecError(f"{place.where} has several logins", f"keep one of {', '.join(names)}")
    if place.flag("anonymous"):
        return {"skip_signature": True}
    if "client_secret" in given:
        for name in ("tenant_id", "client_id"):
            if not place.values.get(name):
                raise SpecError(f"{place.where} has client_secret, but no {name}", f"set {name}")
            given[name] = str(place.values[name])
    return given


def _chain(place: Place) -> Any:
    try:
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential
        from obstore.auth.azure import AzureCredentialProvider
    except ModuleNotFoundError as error:
        raise NotSupported(
            f"{place.where} has no login, and asking the Azure chain for one needs the package 'azure-identity'",
            "install it with: pip install 'penstock[azure]'",
        ) from error
    identity = str(place.values.get("client_id") or "") or None
    provider = AzureCredentialProvider(DefaultAzureCredential(managed_identity_client_id=identity))
    try:
        provider()
    except ClientAuthenticationError as error:
        raise CredentialsRefused(
            f"the Azure chain finds no credentials for {place.where}",
            "log in (az login), give account_key, sas_token or a service principal, or set anonymous: true",
        ) from error
    return provider


connector: Connector = _Azure()
