from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.objects.lake import Bay, bay
from tests.parts.gcs import Gcs
from tests.parts.objects import AZURITE, S3, Azure, find_azurite, has_moto
from tests.parts.proxy import Proxy


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """This test process's own S3."""
    if not has_moto():
        pytest.skip("S3: the package moto[server] is not installed")
    server = S3()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def azure() -> Iterator[Azure]:
    """This test process's own Azure Blob Storage."""
    program = find_azurite()
    if program is None:
        pytest.skip(f"Azure: no node, or no Azurite (npm package) in .test-parts, PATH or {AZURITE}")
    server = Azure(program)
    yield server
    server.remove()


@pytest.fixture
def lake(s3: S3) -> Bay:
    """An empty prefix in S3."""
    return bay(s3.connection(s3.new_bucket(), "house"))


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    """A proxy in front of S3."""
    server = Proxy(s3.url)
    yield server
    server.close()


@pytest.fixture
def far_lake(s3: S3, proxy: Proxy) -> Bay:
    """An empty prefix behind the proxy."""
    return bay(s3.connection(s3.new_bucket(), "house", endpoint=proxy.url))


@pytest.fixture(scope="session")
def gcs(s3: S3) -> Iterator[Gcs]:
    """Google's interface in front of S3."""
    server = Gcs(s3)
    yield server
    server.close()
