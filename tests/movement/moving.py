"""Tables to move: Parquet files of any shape, and where the rows went."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tests.acceptance.project import Project

# One value of each kind that a mixed table has; None is added to every column.
MIXED: Mapping[str, tuple[pa.DataType, Any]] = {
    "small": (pa.int16(), -(2**15)),
    "whole": (pa.int32(), 2**31 - 1),
    "big": (pa.int64(), -(2**63)),
    "real": (pa.float64(), 0.1),
    "exact": (pa.decimal128(18, 4), Decimal("-12345678901234.5678")),
    "flag": (pa.bool_(), True),
    "text": (pa.string(), "Blåbær 漢字 \U0001f40b"),
    "bytes": (pa.binary(), b"\x00\xff"),
    "day": (pa.date32(), date(1900, 2, 28)),
    "moment": (pa.timestamp("us"), datetime(2262, 1, 1, 23, 59, 59, 999999)),
    "instant": (pa.timestamp("us", "UTC"), datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)),
    "clock": (pa.time64("us"), time(23, 59, 59, 999999)),
}


def mixed(rows: int) -> pa.Table:
    """A row number, and one column of each kind in which every third value is NULL."""
    columns = {"id": pa.array(range(rows), pa.int64())}
    for name, (kind, value) in MIXED.items():
        columns[name] = pa.array([None if row % 3 == 0 else value for row in range(rows)], kind)
    return pa.table(columns)


def numbers(rows: int) -> pa.Table:
    """Five columns of numbers, made without a Python value a row."""
    ids = pa.array(range(0), pa.int64()) if not rows else pa.chunked_array([_range(rows)])
    return pa.table({"id": ids, "a": ids, "b": ids, "c": ids, "d": ids})


def _range(rows: int) -> pa.Array:
    with duckdb.connect() as connection:
        found: pa.Table = connection.execute(f"select range::bigint as id from range({rows})").to_arrow_table()
    return found["id"].combine_chunks()


def put(folder: Path, table: pa.Table, name: str = "1.parquet", **options: Any) -> Path:
    """A Parquet file in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name, **options)
    return folder / name


def copy(root: Path, source: str, target: str, **job: Any) -> Project:
    """A project in a folder of its own that copies all tables."""
    return Project(root, source, target, **{"tables": ["*"], **job})


def read(folder: Path) -> pa.Table:
    """The rows of a published folder in the order of their id."""
    found = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])
    return found.sort_by("id").replace_schema_metadata(None) if "id" in found.column_names else found


def counted(url: str, table: str) -> int:
    """The rows of a table of a file: or duckdb: or sqlite: URL."""
    scheme, _, path = url.partition(":")
    if scheme == "sqlite":
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute(f'select count(*) from "{table}"').fetchone()[0])
    if scheme == "duckdb":
        with duckdb.connect(path, read_only=True) as house:
            row = house.execute(f'select count(*) from "{table}"').fetchone()
            return int(row[0]) if row else -1
    return sum(pq.read_metadata(file).num_rows for file in Path(path, table).glob("*.parquet"))
