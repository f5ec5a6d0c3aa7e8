"""Whole tables through the wire codec, and queries that take long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
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


# None of these ends by itself: that a test comes back at all shows that somebody ended them.
NUMBERS = "generate_series(1::int8, 30000) a (i), generate_series(1, 30000) b (i), generate_series(1, 30000) c (i)"
ENDLESS = copy_out(f"SELECT a.i FROM {NUMBERS}")
SLEEPING = copy_out("SELECT pg_sleep(1000000)::text")
# Large enough rows that the server has sent the first of them when it falls asleep.
DOZING = copy_out(
    "SELECT repeat('x', 100000) FROM generate_series(1, 20) i WHERE i <= 5 OR pg_sleep(1000000) IS NOT NULL"
)


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


def numbers(start: int, rows: int = 10_000) -> pa.RecordBatch:
    return one_column(range(start, start + rows), pa.int64())


def write_all(writer: CopyWriter, batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        writer.write(batch)


def terminate(victim: Conn, by: Conn) -> None:
    by.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])


def is_asleep(conn: Conn, by: Conn) -> bool:
    """Whether the backend of `conn` is in pg_sleep. (One that is terminated while it sends rows can say nothing.)"""
    found = by.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", [conn.info.backend_pid]).fetchone()
    return found == ("PgSleep",)


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what another process does; the limit is for what never happens."""
    at = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < at, "it did not happen"
        time.sleep(0.02)


def count(conn: Conn, table: str = "t") -> int:
    row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def after(seconds: float) -> Callable[[], bool]:
    """A stop that says so from `seconds` after now."""
    at = time.monotonic() + seconds
    return lambda: time.monotonic() > at


def drop(batches: Iterable[pa.RecordBatch]) -> None:
    for _ in batches:
        pass
