"""The memory connector passes the suite that is measured by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject
from penstock.testing.memory import drop_store


@pytest.fixture
def subject() -> Iterator[Subject]:
    drop_store("conformance")
    yield Subject(lambda: ConnectionSpec("memory", "memory:conformance"))
    drop_store("conformance")
