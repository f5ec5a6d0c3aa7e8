"""PostgreSQL to SQLite and back: every type returns with its own declaration and equal values; of floats not NaN and -0."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.names import TableName
from tests.duckdb.loading import load_of, load_whole, opened, source_of, spec_of
from tests.duckdb.loading import read as read_rows
from tests.parts.postgres import PostgresServer
from tests.postgres.loading import ALL_TYPES, described, make_all_types, run, session, texts
from tests.postgres.loading import read as read_postgres
from tests.postgres.loading import source_of as source_in_postgres

pytestmark = pytest.mark.postgres


def test_every_type_of_postgresql_comes_back_from_sqlite(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.start()
    dsn = postgres_server.dsn(postgres_server.create_database())
    make_all_types(dsn)
    floats = [f"c{at}" for at, kind in enumerate(ALL_TYPES) if kind in ("float4", "float8")]
    run(dsn, *(f"UPDATE things.every SET {name} = NULL WHERE {name}::text IN ('NaN', '-0')" for name in floats))
    spec = spec_of("sqlite:rows.db", tmp_path)
    with session(dsn) as shop:
        source = source_in_postgres(shop, "things.every")
        with opened(spec) as rows:
            load_whole(rows, load_of("every", source.columns), read_postgres(shop, source))
        with opened(spec) as rows:
            back = source_of(rows, "every")
            load_whole(shop, load_of("copied.every", back.columns), read_rows(rows, back))
        declared = described(shop, TableName(("copied", "every"))).columns

    assert len(ALL_TYPES) > 70
    assert [column.native for column in declared] == [column.native for column in source.columns]
    assert texts(dsn, "copied.every") == texts(dsn, "things.every")
