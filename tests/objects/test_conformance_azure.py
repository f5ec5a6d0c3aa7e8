"""The connector of Azure Blob Storage passes the conformance suite."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from penstock.core.secret import Secret
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject
from tests.parts.objects import Azure, free_port


@pytest.fixture
def subject(azure: Azure) -> Subject:
    spec = azure.connection(azure.new_container())
    nowhere = azure.options(endpoint=f"http://127.0.0.1:{free_port()}/devstoreaccount1")
    wrong = Secret(base64.b64encode(b"not-the-right-key").decode())
    return Subject(
        lambda: spec,
        load_options={"format": "ndjson"},
        unreachable=replace(spec, options=nowhere),
        refused=replace(spec, options=azure.options(account_key=wrong)),
    )
