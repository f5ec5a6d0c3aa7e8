"""The connector of S3 and what speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from obstore.store import S3Store

from penstock.connectors.objects.bucket import Bucket
from penstock.connectors.objects.connector import NO_RETRIES, SHARED, ObjectsConnector, Place
from penstock.connectors.objects.failures import named_refusals
from penstock.core.errors import CredentialsRefused, NotSupported, SpecError, Unavailable
from penstock.core.ports import Connector, Option

_OWN = (
    Option("endpoint", "text", "URL of an S3-compatible store; AWS where it is not set", ""),
    Option("region", "text", "region of the bucket; else what the AWS chain says", ""),
    Option("access_key_id", "text", "access key; without it the AWS chain is asked", ""),
    Option("secret_access_key", "secret", "secret of the access key"),
    Option("session_token", "secret", "token of temporary keys"),
    Option("profile", "text", "profile of the AWS configuration files", ""),
    Option(
        "virtual_host",
        "boolean",
        "put the bucket's name into the host name; default: yes for AWS, no where endpoint is set",
        None,
    ),
)
# Who may not list unfinished uploads, or a store that cannot, leaves them to the bucket's lifecycle rule.
_LEFT_ALONE = ("AccessDenied", "NotImplemented", "MethodNotAllowed", "XNotImplemented", "NoSuchUpload", "403")


class _S3(ObjectsConnector):
    """Prefixes of S3 buckets, and of stores that speak S3 and know conditional puts, as folders of Parquet, CSV, NDJSON
    and Arrow IPC files. Credentials: keys given here, else those that the AWS chain finds (environment, profiles, SSO,
    web identity, container, instance)."""

    name = "s3"
    schemes = ("s3",)
    options = (*SHARED, *_OWN)

    def open_bucket(self, place: Place) -> Bucket:
        keys = _keys(place)
        region, credentials = str(place.values.get("region") or ""), None
        if not keys and not place.flag("anonymous"):
            session = _chain(place)
            region = region or session.region_name or ""
            credentials = _provider(session, place)
        config: Any = {
            **keys,
            "region": region or "us-east-1",
            "virtual_hosted_style_request": _is_virtual(place),
        }
        if place.endpoint:
            config["endpoint"] = place.endpoint
        if place.flag("anonymous"):
            config["skip_signature"] = True
        url = f"s3://{place.bucket}"
        client_options = place.client_options
        with named_refusals(f"open {url} of {place.where}"):
            store = S3Store(
                place.bucket,
                config=config,
                client_options=client_options,
                retry_config=NO_RETRIES,
                credential_provider=credentials,
            )
        return Bucket(store, url, place.spec.name, _aborter(place, region or "us-east-1"))


def _keys(place: Place) -> dict[str, str]:
    """The keys given with the connection; none means the chain."""
    given = {
        "access_key_id": str(place.values.get("access_key_id") or ""),
        "secret_access_key": place.secret("secret_access_key"),
        "session_token": place.secret("session_token"),
    }
    keys = {name: value for name, value in given.items() if value}
    if keys and not (given["access_key_id"] and given["secret_access_key"]):
        raise SpecError(f"{place.where} has half of a key", "give access_key_id and secret_access_key, or neither")
    return keys


def _is_virtual(place: Place) -> bool:
    """A bucket with a dot in its name has no certificate of its own."""
    if place.values.get("virtual_host") is not None:
        return place.flag("virtual_host")
    return not place.endpoint and "." not in place.bucket


def _chain(place: Place) -> Any:
    """A session of AWS's own library, which looks where all AWS programs look."""
    try:
        import boto3
        from botocore.exceptions import ProfileNotFound
    except ModuleNotFoundError as error:
        raise NotSupported(
            f"{place.where} has no keys, and asking the AWS chain for some needs the package 'boto3'",
            "install it with: pip install 'penstock[s3]'",
        ) from error
    profile = str(place.values.get("profile") or "") or None
    try:
        return boto3.Session(profile_name=profile)
    except ProfileNotFound as error:
        raise SpecError(f"{place.where} names profile {profile!r}, which AWS does not know", "see ~/.aws") from error


def _provider(session: Any, place: Place) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider

    if session.get_credentials() is None:
        raise CredentialsRefused(
            f"the AWS chain finds no credentials for {place.where}",
            "log in (aws sso login), set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give keys, or set anonymous: true",
        )
    return Boto3CredentialProvider(session)


def _aborter(place: Place, region: str) -> Callable[[str], None]:
    """Ends the uploads in parts that a killed process left under a prefix: they show nowhere and cost money for ever."""

    def abort(prefix: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client = _client(place, region)
            pages = client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=place.bucket, Prefix=f"{prefix}/"):
                for upload in page.get("Uploads", ()):
                    client.abort_multipart_upload(Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code not in _LEFT_ALONE:
                raise Unavailable(
                    f"cannot end unfinished uploads of s3://{place.bucket} of {place.where}: {code}", "try again"
                ) from error
        except BotoCoreError as error:
            raise Unavailable(
                f"cannot end unfinished uploads of s3://{place.bucket} of {place.where}: no answer from the store",
                "check the endpoint and the network",
            ) from error

    return abort


@dataclass(frozen=True)
class _Login:
    """What one client of AWS's own library is made for. Making one costs as much as dozens of requests."""

    endpoint: str
    region: str
    keys: tuple[tuple[str, str], ...]
    profile: str
    is_virtual: bool
    connect_timeout_s: float


def _client(place: Place, region: str) -> Any:
    keys = tuple(_keys(place).items())
    profile = str(place.values.get("profile") or "")
    return _client_of(_Login(place.endpoint, region, keys, profile, _is_virtual(place), place.spec.connect_timeout_s))


@cache
def _client_of(login: _Login) -> Any:
    import boto3
    from botocore.config import Config

    keys = dict(login.keys)
    return boto3.Session(profile_name=None if keys else login.profile or None).client(
        "s3",
        region_name=login.region,
        endpoint_url=login.endpoint or None,
        aws_access_key_id=keys.get("access_key_id"),
        aws_secret_access_key=keys.get("secret_access_key"),
        aws_session_token=keys.get("session_token"),
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=login.connect_timeout_s,
            s3={"addressing_style": "virtual" if login.is_virtual else "path"},
        ),
    )


connector: Connector = _S3()
