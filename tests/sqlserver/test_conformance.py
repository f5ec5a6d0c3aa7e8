"""The SQL Server connector passes the conformance suite on the server that PENSTOCK_TEST_SQLSERVER names."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from penstock.core.names import TableName
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject
from tests.parts.postgres import free_port
from tests.sqlserver.conftest import without_password

pytestmark = pytest.mark.sqlserver


@pytest.fixture
def subject(server: ConnectionSpec) -> Subject:
    parts = urlsplit(server.url)
    nowhere = parts._replace(netloc=f"{parts.username}@127.0.0.1:{free_port()}").geturl()
    return Subject(
        lambda: server,
        table_name=lambda name: TableName(("dbo", name)),
        unreachable=replace(server, url=nowhere, password=without_password(server, "not-the-right-one").password),
        refused=without_password(server, "not-the-right-one"),
    )
