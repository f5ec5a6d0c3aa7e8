"""Locks, and what a killed run leaves: uploads that were begun, parts, claims."""

from __future__ import annotations

import json
from dataclasses import replace

import boto3
import pytest

from penstock.connectors.objects import lock
from penstock.core.errors import Locked, NotSupported
from penstock.core.load import Mode
from tests.files.lake import orders
from tests.objects.lake import Bay, load_of
from tests.parts.objects import S3, plain_options
from tests.parts.proxy import Proxy, Say, Seen

LOAD = load_of(Mode.REPLACE, "mine", orders(1).schema)
OTHER = replace(LOAD, load_id="theirs", job="other job")
KEY = "house/.penstock/public.orders.lock"


def hold(lake: Bay, **facts: object) -> None:
    """A lock that another process took."""
    session = lake.session()
    session.writer().claim(OTHER)
    found = lake.bucket.get(KEY)
    assert found is not None
    held = {**json.loads(found[0]), **facts}
    session.close()
    lake.bucket.put(KEY, json.dumps(held).encode())


def test_the_holder_is_named(lake: Bay) -> None:
    hold(lake, machine="another", host="far", process=77)

    with pytest.raises(Locked, match=r"job 'other job' \(process 77 on far\)"):
        lake.session().writer().claim(LOAD)


def test_a_lock_of_a_dead_process_here_is_taken_over_at_once(lake: Bay) -> None:
    hold(lake, process=2**22 - 1)

    session = lake.session()
    session.writer().claim(LOAD)
    session.close()


def test_a_lock_that_nobody_renews_is_taken_over(lake: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(lake, machine="another")
    monkeypatch.setattr(lock, "LEASE_S", -1)

    session = lake.session()
    session.writer().claim(LOAD)
    session.close()


def test_a_holder_renews_its_lock_and_gives_it_back(lake: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_BEAT_S", 0.05)
    session = lake.session()
    session.writer().claim(LOAD)
    first = lake.bucket.stat(KEY).version
    while lake.bucket.stat(KEY).version == first:
        continue

    session.close()
    other = lake.session()
    other.writer().claim(OTHER)
    other.close()


def test_a_store_that_ignores_conditions_is_not_written_to(far_lake: Bay, proxy: Proxy) -> None:
    proxy.reset(lambda seen: Say(200, b"", (("ETag", '"1"'),)) if seen.method == "PUT" else None)

    with pytest.raises(NotSupported, match="ignores the condition of a put"):
        far_lake.session().writer().claim(LOAD)


def test_uploads_that_a_killed_run_began_are_ended_by_the_next(lake: Bay, s3: S3) -> None:
    options = plain_options(lake.spec.options)
    client = boto3.client(
        "s3", endpoint_url=s3.url, region_name="us-east-1", aws_access_key_id=options["access_key_id"],
        aws_secret_access_key=options["secret_access_key"],
    )  # fmt: skip
    bucket = lake.spec.url.removeprefix("s3://").partition("/")[0]
    lake.session().writer().prepare(LOAD)
    [plan] = [key for key in lake.held() if key.endswith("/load.json")]
    client.create_multipart_upload(Bucket=bucket, Key=f"house/{plan.rpartition('/')[0]}/parts/a/000000.parquet.staged")
    client.create_multipart_upload(Bucket=bucket, Key="elsewhere/upload")

    lake.session().writer().prepare(LOAD)

    assert [each["Key"] for each in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["elsewhere/upload"]
    client.close()


def test_a_login_that_may_not_list_uploads_leaves_them_to_the_bucket(far_lake: Bay, proxy: Proxy) -> None:
    def refuse(seen: Seen) -> Say | None:
        return Say(403, b"<Error><Code>AccessDenied</Code></Error>") if "uploads" in seen.path else None

    proxy.reset(refuse)
    far_lake.stage(LOAD, orders(7))
    far_lake.put(orders(1))

    assert far_lake.rows() == [(1, "x")]
    assert any("uploads" in seen.path for seen in proxy.seen)


def test_staging_of_an_older_load_of_the_job_goes(lake: Bay) -> None:
    lake.stage(LOAD, orders(1), orders(2))

    lake.put(orders(3), job="raw")

    assert [key for key in lake.held() if key.startswith(".penstock/")] == []
