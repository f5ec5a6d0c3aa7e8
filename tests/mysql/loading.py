"""Connections and tables for the tests of the MySQL connector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.core.ports import Session
from penstock.core.spec import ConnectionSpec
from tests.duckdb.loading import (
    described,
    load_of,
    load_whole,
    opened,
    put,
    query_of,
    read,
    source_of,
    spec_of,
    table_of,
)

__all__ = [
    "connection", "described", "load_of", "load_whole", "numbered", "opened", "put", "query_of", "read", "source_of",
    "spec_of", "table_of",
]  # fmt: skip


def connection(url: str, **options: Any) -> ConnectionSpec:
    return spec_of(url, Path.cwd(), **options)


def numbered(count: int, first: int = 0, **columns: list[Any]) -> pa.Table:
    """Rows with an id and a text."""
    ids = range(first, first + count)
    return pa.table({"id": pa.array(ids, pa.int64()), "text": [f"row {at}" for at in ids], **columns})


def rows(session: Session, name: str, order: str = "id") -> list[dict[str, Any]]:
    return list(table_of(session, name).sort_by(order).to_pylist())
