"""The first load into a database: schema and ledger are made by sessions that come at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import psycopg
import pyarrow as pa
import pytest

from penstock.connectors.postgres.connector import connector
from penstock.core.load import Load, Mode
from penstock.core.names import TableName
from penstock.core.schema import Column
from penstock.core.spec import ConnectionSpec

SESSIONS = 8

pytestmark = pytest.mark.postgres


def test_sessions_prepare_the_first_loads_of_a_database_at_the_same_time(postgres_dsn: str) -> None:
    start = Barrier(SESSIONS)

    def prepare(number: int, schema: str) -> None:
        load = Load(f"load{number}", "raw", TableName((schema, f"t{number}")), (Column("n", pa.int32()),), Mode.REPLACE)
        with closing(connector.open(ConnectionSpec("house", postgres_dsn))) as session:
            writer = session.writer()
            start.wait(120)
            writer.prepare(load)

    with ThreadPoolExecutor(SESSIONS) as threads:
        for schema in ("public", "fresh"):
            list(threads.map(prepare, range(SESSIONS), [schema] * SESSIONS))

    with psycopg.connect(postgres_dsn) as connection:
        found = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = '_penstock_ledger'").fetchall()
        loads = connection.execute("SELECT count(*) FROM fresh._penstock_ledger WHERE part = ''").fetchall()
    assert sorted(found) == [("fresh",), ("public",)]
    assert loads == [(SESSIONS,)]
