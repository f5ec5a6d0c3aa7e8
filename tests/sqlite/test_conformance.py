"""SQLite passes the suite that every connector passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    # A file that does not exist is Missing to a catalog; an empty file is an empty database.
    (tmp_path / "rows.db").touch()
    spec = ConnectionSpec("rows", "sqlite:rows.db", base_dir=str(tmp_path))
    nowhere = ConnectionSpec("nowhere", "sqlite:not/there.db", password=Secret("x1y2z3"), base_dir=str(tmp_path))
    return Subject(lambda: spec, unreachable=nowhere)
