"""The example passes the part of the conformance suite that its abilities claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.names import TableName
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject


@pytest.fixture
def subject(discovered: None, tmp_path: Path) -> Subject:
    def put(table: TableName, data: pa.Table) -> None:
        header = "\t".join(f"{each.name}:{each.type}" for each in data.schema)
        rows = ["\t".join(_text(value) for value in row.values()) for row in data.to_pylist()]
        (tmp_path / f"{table.table}.tabs").write_text("".join(f"{line}\n" for line in [header, *rows]))

    return Subject(
        lambda: ConnectionSpec("tabs", "tabs:.", base_dir=str(tmp_path)),
        put=put,
        unreachable=ConnectionSpec("nowhere", "tabs:not/there", password=Secret("hunter2")),
    )


def _text(value: Any) -> str:
    return "\\N" if value is None else str(value)
