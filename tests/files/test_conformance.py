"""Tables of one file each pass the suite too; tests/conformance holds the folders in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    spec = ConnectionSpec("lake", "file:./lake?layout=file&row_group_rows=500", base_dir=str(tmp_path))
    return Subject(lambda: spec)
