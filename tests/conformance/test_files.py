"""The files connector passes the conformance suite in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject


@pytest.fixture(params=["parquet", "csv", "ndjson", "arrow"])
def subject(tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    spec = ConnectionSpec("lake", "file:.", {"format": request.param}, base_dir=str(tmp_path))
    # Small row groups, so that the suite's small tables can be split.
    groups = {"row_group_rows": 500} if request.param in ("parquet", "arrow") else {}
    return Subject(lambda: spec, load_options={"format": request.param, **groups})
