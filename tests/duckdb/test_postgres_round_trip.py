"""PostgreSQL to DuckDB and back: every type returns with its own declaration and equal values."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.names import TableName
from tests.duckdb.loading import load_of, load_whole, opened, source_of, spec_of
from tests.duckdb.loading import read as read_rows
from tests.parts.postgres import PostgresServer
from tests.postgres.loading import ALL_TYPES, described, make_all_types, session, texts
from tests.postgres.loading import read as read_postgres
from tests.postgres.loading import source_of as source_in_postgres

pytestmark = pytest.mark.postgres


def test_every_type_of_postgresql_comes_back_from_duckdb(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.start()
    dsn = postgres_server.dsn(postgres_server.create_database())
    make_all_types(dsn)
    spec = spec_of("duckdb:house.duckdb", tmp_path)
    with session(dsn) as shop:
        source = source_in_postgres(shop, "things.every")
        with opened(spec) as house:
            load_whole(house, load_of("main.every", source.columns), read_postgres(shop, source))
        with opened(spec) as house:
            back = source_of(house, "main.every")
            load_whole(shop, load_of("copied.every", back.columns), read_rows(house, back))
        declared = described(shop, TableName(("copied", "every"))).columns

    assert len(ALL_TYPES) > 70
    assert [column.native for column in declared] == [column.native for column in source.columns]
    assert texts(dsn, "copied.every") == texts(dsn, "things.every")
