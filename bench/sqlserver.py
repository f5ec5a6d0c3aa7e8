"""The race on SQL Server: Penstock against the bare driver, reading and writing Arrow, on the server that you name.

`PENSTOCK_TEST_SQLSERVER=mssql://user:password@host:1433/database python -m bench.sqlserver [--rows N] [--rounds N]`

Makes and drops the tables race_source and race_target. CPU is that of the client; each contender runs in a process of its
own, in turn, and the least of its rounds counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from penstock.connectors import registry
from penstock.connectors.sqlserver.conninfo import connection_string
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Source
from penstock.core.names import TableName
from penstock.core.ports import Session
from penstock.core.schema import Column, TypePolicy
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec

SOURCE, TARGET = TableName(("dbo", "race_source")), TableName(("dbo", "race_target"))
COLUMNS = "id bigint, flag bit, amount decimal(38,4), share float, name nvarchar(50), at datetime2(6), number int"
_BATCH_ROWS = 65_536


def connection() -> ConnectionSpec:
    parts = urlsplit(os.environ["PENSTOCK_TEST_SQLSERVER"])
    bare = parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@")).geturl()
    return ConnectionSpec("race", bare, password=Secret(unquote(parts.password or "")))


def data(rows: int) -> pa.Table:
    """Seven columns of common types, some 60 bytes a row."""
    import polars as pl

    frame = pl.select(id=pl.int_range(rows, dtype=pl.Int64)).with_columns(
        flag=pl.col("id") % 3 == 0,
        amount=(pl.col("id") * 7 % 1_000_000).cast(pl.Decimal(18, 4)) / pl.lit(100).cast(pl.Decimal(18, 4)),
        share=pl.col("id") / 7,
        name=pl.format("customer number {}", pl.col("id") % 50_000),
        at=(pl.col("id") * 1_000_003 + 1_600_000_000_000_000).cast(pl.Datetime("us")),
        number=(pl.col("id") % 2**31).cast(pl.Int32),
    )
    kinds = [pa.int64(), pa.bool_(), pa.decimal128(38, 4), pa.float64(), pa.string(), pa.timestamp("us"), pa.int32()]
    table = frame.to_arrow()
    return pa.table([table.column(at).cast(kind) for at, kind in enumerate(kinds)], names=table.column_names)


@contextlib.contextmanager
def session() -> Iterator[Session]:
    opened = registry.open_session(connection())
    try:
        yield opened
    finally:
        opened.close()


def _driver() -> Any:
    import mssql_python

    mssql_python.pooling(enabled=False)
    return mssql_python.connect(connection_string(connection()), autocommit=True)


def _load(table: pa.Table) -> Load:
    columns = tuple(Column.from_field(field) for field in table.schema)
    return Load(f"race-{time.time_ns()}", "race", TARGET, columns, Mode.REPLACE)


# ---- contenders: each returns the rows that it moved


def read_bare(rows: int) -> int:
    with contextlib.closing(_driver().cursor()) as cursor:
        cursor.execute(f"SELECT * FROM {SOURCE.quoted()}")
        total = 0
        while batch := cursor.arrow_batch(_BATCH_ROWS).num_rows:
            total += batch
        return total


def read_penstock(rows: int) -> int:
    with session() as opened:
        described = opened.catalog().describe([SOURCE], TypePolicy())[SOURCE]
        source = Source(SOURCE, columns=described.columns)
        return sum(batch.num_rows for batch in opened.reader().read(source, Chunk(0), BatchSize()))


def write_bare(rows: int) -> int:
    table = data(rows)
    with contextlib.closing(_driver()) as driver:
        cursor = driver.cursor()
        cursor.execute(f"CREATE TABLE {TARGET.quoted()} ({COLUMNS})")
        names = [(name, name) for name in table.column_names]
        found = cursor.bulkcopy_arrow(
            TARGET.quoted(), table.to_reader(_BATCH_ROWS), timeout=0, column_mappings=names, table_lock=True
        )
        return int(found["rows_copied"])


def write_penstock(rows: int) -> int:
    table = data(rows)
    load = _load(table)
    with session() as opened:
        writer = opened.writer()
        writer.prepare(load)
        written = writer.write(load, "000000", iter(table.to_batches(_BATCH_ROWS)))
        return writer.publish(load, Expected(1, written.rows)).rows_staged


def make_nothing(rows: int) -> int:
    """What every writer pays before it begins: start-up and the rows."""
    return int(data(rows).num_rows)


CONTENDERS: dict[str, Callable[[int], int]] = {
    "read_bare": read_bare,
    "read_penstock": read_penstock,
    "make_nothing": make_nothing,
    "write_bare": write_bare,
    "write_penstock": write_penstock,
}


# ---- the race


def one(name: str, rows: int) -> dict[str, float]:
    """Run a contender in a process of its own; seconds of CPU and of the clock. The target is dropped before."""
    with session() as opened:
        _drop(opened, TARGET)
    command = [sys.executable, "-m", "bench.sqlserver", "--rows", str(rows), "--contender", name]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(told.stdout))


def _drop(opened: Session, table: TableName) -> None:
    cast(SqlServerSession, opened).writing.execute(f"DROP TABLE IF EXISTS {table.quoted()}")


def contend(name: str, rows: int) -> None:
    """In the child: run, check the rows, tell the cost."""
    import polars  # noqa: F401 - both sides pay for it

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    moved = CONTENDERS[name](rows)
    after = resource.getrusage(resource.RUSAGE_SELF)
    if moved != rows:
        raise SystemExit(f"{name} moved {moved} rows of {rows}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu_s": cpu_s, "wall_s": time.perf_counter() - started}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sqlserver")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        contend(given.contender, given.rows)
        return
    with session() as opened:
        print(opened.check().server)
        _drop(opened, SOURCE)
        table = data(given.rows)
        load = _load(table)
        load = Load(load.load_id, "race", SOURCE, load.columns, Mode.REPLACE)
        opened.writer().prepare(load)
        opened.writer().write(load, "0", iter(table.to_batches(_BATCH_ROWS)))
        opened.writer().publish(load, Expected(1, given.rows))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(given.rounds):
        for name in CONTENDERS:
            runs[name].append(one(name, given.rows))
    for name, found in runs.items():
        cpu_s, wall_s = (min(run[what] for run in found) for what in ("cpu_s", "wall_s"))
        print(f"{name:16} {cpu_s:8.2f} s CPU {wall_s:8.2f} s {given.rows / wall_s:12,.0f} rows/s")
    least = {name: min(run["cpu_s"] for run in found) for name, found in runs.items()}
    print(f"read: {least['read_penstock'] / least['read_bare']:.2f} x the CPU of the bare driver")
    paid = least["make_nothing"]
    print(f"write: {(least['write_penstock'] - paid) / (least['write_bare'] - paid):.2f} x the CPU of a bare bulk copy")
    with session() as opened:
        for table_name in (SOURCE, TARGET):
            _drop(opened, table_name)


if __name__ == "__main__":
    main()
