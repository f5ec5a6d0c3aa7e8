"""Whole tables through the wire codec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
import pyarrow as pa

from penstock.connectors.postgres.wire import CopyReader, CopyWriter, Field

Conn = psycopg.Connection[Any]
INT4 = Field("a", "int4", pa.int32())
INT8 = Field("a", "int8", pa.int64())
TEXT = Field("a", "text", pa.string())


def copy_out(query: str) -> str:
    return f"COPY ({query}) TO STDOUT (FORMAT binary)"


def copy_in(table: str) -> str:
    return f"COPY {table} FROM STDIN (FORMAT binary)"


def read(conn: Conn, query: str, fields: Sequence[Field], **options: Any) -> pa.Table:
    """All rows of a query; every batch is checked in full."""
    reader = CopyReader(conn, copy_out(query), fields, **options)
    table = pa.Table.from_batches(reader, reader.schema)
    table.validate(full=True)
    assert reader.rows == table.num_rows
    return table


def write(conn: Conn, table: str, fields: Sequence[Field], batches: Iterable[pa.RecordBatch]) -> int:
    with CopyWriter(conn, copy_in(table), fields) as writer:
        for batch in batches:
            writer.write(batch)
        return writer.finish()


def one_column(values: Iterable[Any], type_: pa.DataType, name: str = "a") -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values, type_)})
