"""What a store refuses is said by cause, with what to do, without a secret, and tried again only where that helps."""

from __future__ import annotations

import pytest

from penstock.connectors import registry
from penstock.core import errors
from penstock.core.errors import CredentialsRefused, Missing, PenstockError, Retry, SpecError, Unavailable
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from tests.objects.lake import Bay, bay
from tests.parts.objects import S3, Azure, free_port
from tests.parts.proxy import REFUSE, Proxy, Say


@pytest.mark.parametrize(
    ("status", "code", "kind", "retry"),
    [
        (503, "SlowDown", "Busy", Retry.LATER),
        (429, "TooManyRequests", "Busy", Retry.LATER),
        (500, "InternalError", "Unavailable", Retry.LATER),
        (403, "AccessDenied", "PermissionRefused", Retry.NEVER),
        (403, "SignatureDoesNotMatch", "CredentialsRefused", Retry.NEVER),
        (400, "ExpiredToken", "CredentialsRefused", Retry.NEVER),
        (404, "NoSuchBucket", "Missing", Retry.NEVER),
        (507, "XMinioStorageFull", "DiskFull", Retry.NEVER),
        (400, "InvalidRequest", "DataError", Retry.NEVER),
    ],
)
def test_each_refusal_has_its_cause(
    far_lake: Bay, proxy: Proxy, status: int, code: str, kind: str, retry: Retry
) -> None:
    proxy.reset(lambda seen: Say(status, f"<Error><Code>{code}</Code></Error>".encode()))

    with pytest.raises(PenstockError) as caught:
        far_lake.session().check()

    assert type(caught.value) is getattr(errors, kind)
    assert caught.value.retry is retry
    assert "'lake'" in caught.value.what
    assert code in caught.value.what
    assert len(proxy.seen) == 1, "the engine repeats, nobody else"


def test_a_broken_connection_is_tried_again_by_the_engine(far_lake: Bay, proxy: Proxy) -> None:
    proxy.reset(lambda seen: REFUSE)

    with pytest.raises(PenstockError) as caught:
        far_lake.session().check()

    assert caught.value.retry is Retry.LATER


def test_nobody_there_is_unavailable(s3: S3) -> None:
    nowhere = bay(s3.connection("b", endpoint=f"http://127.0.0.1:{free_port()}"))

    with pytest.raises(Unavailable, match="no answer from the store"):
        nowhere.session().check()


def test_a_bucket_that_is_not_there_is_missing(s3: S3) -> None:
    with pytest.raises(Missing, match="NoSuchBucket"):
        bay(s3.connection("no-such-bucket")).session().check()


def test_a_shared_access_signature_is_never_shown(azure: Azure) -> None:
    secret = "sv=2021-12-02&sig=verysecret%3D"
    options = {"endpoint": azure.endpoint, "account": "devstoreaccount1", "sas_token": Secret(secret)}
    spec = ConnectionSpec("lake", f"az://{azure.new_container()}", options)

    with pytest.raises(PenstockError) as caught:
        registry.open_session(spec).check()

    chain: BaseException | None = caught.value
    while chain is not None:
        assert "verysecret" not in str(chain)
        chain = chain.__cause__


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("s3://b", {"endpoint": "http://store.example"}, "plain http"),
        ("s3://b", {"access_key_id": "A"}, "half of a key"),
        ("s3:///prefix", {}, "names no bucket"),
        ("s3://user@b/p", {}, "holds a login"),
        ("s3://b", {"layout": "file"}, "choose one of folder, hive"),
        ("s3://b", {"keep_previous": True}, "no option 'keep_previous'"),
        ("az://c", {"anonymous": True}, "names no storage account"),
        ("az://c", {"account": "a", "client_secret": Secret("s")}, "no tenant_id"),
        ("az://c", {"account": "a", "account_key": Secret("s"), "sas_token": Secret("t")}, "several logins"),
        ("gs://b", {"service_account_key": Secret("{}"), "service_account_file": "x"}, "two logins"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(url: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        registry.open_session(ConnectionSpec("lake", url, {"anonymous": url[:2] == "s3", **options}))


def test_keys_come_from_the_aws_chain(s3: S3, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    spec = ConnectionSpec("lake", f"s3://{s3.new_bucket()}", {"endpoint": s3.url})

    with pytest.raises(CredentialsRefused, match="finds no credentials"):
        registry.open_session(spec)
    (tmp_path / "credentials").write_text("[night]\naws_access_key_id = A\naws_secret_access_key = B\n")
    assert bay(spec, profile="night").session().check().server == spec.url
    with pytest.raises(SpecError, match="profile 'day'"):
        bay(spec, profile="day").session()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "B")

    assert registry.open_session(spec).check().server == spec.url
