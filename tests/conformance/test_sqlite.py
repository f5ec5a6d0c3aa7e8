"""The SQLite connector passes the conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(
        lambda: ConnectionSpec("small", "sqlite:small.db", base_dir=str(tmp_path)),
        unreachable=ConnectionSpec("nowhere", "sqlite:not/there.db", password=Secret("x1y2z3"), base_dir=str(tmp_path)),
    )
