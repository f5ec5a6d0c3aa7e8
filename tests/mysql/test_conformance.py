"""The MySQL connector passes the conformance suite, on MariaDB."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject
from tests.parts.mariadb import MariadbServer
from tests.parts.postgres import free_port

pytestmark = pytest.mark.mariadb


@pytest.fixture
def subject(mariadb_server: MariadbServer, url: str) -> Subject:
    spec = ConnectionSpec("shop", url)
    password = Secret("not-the-right-one")
    return Subject(
        lambda: spec,
        unreachable=replace(spec, url=f"mysql://app@127.0.0.1:{free_port()}/shop", password=password),
        refused=replace(spec, url=mariadb_server.url(user="nobody_known"), password=password),
        quote_mark="`",
        splits_by_key=True,
    )
