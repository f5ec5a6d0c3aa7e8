"""The PostgreSQL connector passes the conformance suite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.core.names import TableName
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject
from tests.parts.native import has_native_codec
from tests.parts.postgres import PostgresServer, free_port

pytestmark = pytest.mark.postgres


@pytest.fixture
def subject(postgres_server: PostgresServer, postgres_dsn: str) -> Subject:
    spec = ConnectionSpec("shop", postgres_dsn)
    password = Secret("not-the-right-one")
    return Subject(
        lambda: spec,
        table_name=lambda name: TableName(("public", name)),
        unreachable=replace(spec, url=f"postgresql://app@127.0.0.1:{free_port()}/shop", password=password),
        passes_through=has_native_codec(),
        refused=replace(spec, url=postgres_server.dsn(user="nobody_known"), password=password),
    )
