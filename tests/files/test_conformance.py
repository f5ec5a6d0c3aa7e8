"""Each format and layout of the file connector passes the suite that every connector passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject

# Small row groups, so that the suite's small tables can be split.
ROW_GROUPS = {"row_group_rows": 500}
VARIANTS: dict[str, dict[str, Any]] = {
    "parquet": {"format": "parquet", **ROW_GROUPS},
    "arrow": {"format": "arrow", **ROW_GROUPS},
    "csv": {"format": "csv"},
    "ndjson": {"format": "ndjson"},
    "parquet-file": {"format": "parquet", "layout": "file", **ROW_GROUPS},
}


@pytest.fixture(params=VARIANTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    spec = ConnectionSpec("lake", "file:./lake", base_dir=str(tmp_path))
    return Subject(lambda: spec, load_options=VARIANTS[request.param])
