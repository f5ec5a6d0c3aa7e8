"""DuckDB passes the suite that every connector passes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from penstock.core.names import TableName
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    # A file that does not exist is Missing to a catalog; an empty database is what the suite starts from.
    duckdb.connect(str(tmp_path / "house.duckdb")).close()
    spec = ConnectionSpec("house", "duckdb:house.duckdb", base_dir=str(tmp_path))
    nowhere = ConnectionSpec("nowhere", "duckdb:not/there.duckdb", password=Secret("x1y2z3"), base_dir=str(tmp_path))
    return Subject(lambda: spec, unreachable=nowhere, table_name=lambda name: TableName(("main", name)))
