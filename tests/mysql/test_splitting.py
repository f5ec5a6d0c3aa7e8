"""Splitting: every row exactly once, whatever the key; one chunk where nothing orders the rows."""

from __future__ import annotations

import pytest

from penstock.connectors.mysql import split as splitting
from penstock.core.load import CursorValue, Window
from penstock.core.names import TableName
from tests.mysql.loading import connection, opened, read, source_of
from tests.parts.mariadb import MariadbServer

pytestmark = pytest.mark.mariadb

# Definition of the key, the key's columns as SQL of `seq` (1 to 3000).
KEYS = {
    "number": ("k BIGINT PRIMARY KEY", "CAST(seq * seq AS SIGNED) - 4000000"),
    "unsigned": ("k BIGINT UNSIGNED PRIMARY KEY", "18446744073709551615 - seq"),
    "text": ("k VARCHAR(40) COLLATE utf8mb4_general_ci PRIMARY KEY", "CONCAT('É''\\\\%', MD5(seq))"),
    "latin1": ("k VARCHAR(40) CHARACTER SET latin1 PRIMARY KEY", "CONCAT('é', seq)"),
    "bytes": ("k VARBINARY(20) PRIMARY KEY", "UNHEX(MD5(seq))"),
    "uuid": ("k UUID PRIMARY KEY", "CONCAT('00000000-0000-0000-0000-', LPAD(seq, 12, '0'))"),
    "decimal": ("k DECIMAL(30,10) PRIMARY KEY", "seq / 7"),
    "date": ("k DATE PRIMARY KEY", "DATE '0500-01-01' + INTERVAL seq * 100 DAY"),
    "datetime": ("k DATETIME(6) PRIMARY KEY", "TIMESTAMP '1960-01-01 00:00:00' + INTERVAL seq * 1000003 MICROSECOND"),
    "timestamp": ("k TIMESTAMP(6) NOT NULL DEFAULT '2020-01-01', UNIQUE (k)", "TIMESTAMP '2020-01-01 00:00:00' + INTERVAL seq SECOND"),
    "unique with NULL": ("k INT NULL, UNIQUE (k)", "IF(seq % 3 = 0, NULL, seq)"),
    "not unique": ("k INT NOT NULL, INDEX (k)", "seq DIV 700"),
}  # fmt: skip


def _fill(server: MariadbServer, database: str, definition: str, listed: str) -> None:
    server.execute(
        "SET time_zone = '+00:00'",
        f"CREATE TABLE t (n INT, note TEXT, {definition})",
        f"INSERT INTO t SELECT seq, REPEAT('x', 100), {listed} FROM seq_1_to_3000",
        database=database,
    )


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("walk_rows", [5_000_000, 0])
def test_chunks_hold_every_row_once(
    mariadb_server: MariadbServer, url: str, database: str, kind: str, walk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no rows to walk, ranges come from the server's estimates as in large tables."""
    monkeypatch.setattr(splitting, "_WALK_ROWS", walk_rows)
    _fill(mariadb_server, database, *KEYS[kind])
    mariadb_server.execute("ANALYZE TABLE t", database=database)
    with opened(connection(url)) as session:
        source = source_of(session, "t")
        chunks = session.reader().split(source, 40_000)
        found = sorted(read(session, source, chunks).column("n").to_pylist())

    assert found == list(range(1, 3001))
    assert len(chunks) > 3


def test_a_key_of_several_columns_is_cut_within_its_first(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    listed = "seq % 2, CONCAT('line ', seq), seq"
    _fill(mariadb_server, database, "a INT, b VARCHAR(20), c INT, PRIMARY KEY (a, b, c)", listed)
    with opened(connection(url)) as session:
        source = source_of(session, "t")
        chunks = session.reader().split(source, 40_000)
        sizes = [read(session, source, [chunk]).num_rows for chunk in chunks]

    assert sum(sizes) == 3000
    assert len(sizes) > 8
    assert max(sizes) < 400


def test_a_window_is_cut_by_the_index_of_its_column(mariadb_server: MariadbServer, url: str, database: str) -> None:
    _fill(mariadb_server, database, "k INT PRIMARY KEY, at INT, INDEX (at)", "seq, IF(seq % 10 = 0, NULL, seq DIV 2)")
    ends = {"low": CursorValue("int(11)", "1000"), "high": CursorValue("int(11)", "1200")}
    with opened(connection(url)) as session:
        for nulls, count in ((False, 361), (True, 661)):
            source = source_of(session, "t", window=Window("at", **ends, nulls=nulls))
            chunks = session.reader().split(source, 10_000)
            assert {tuple(chunk.bounds["key"]) for chunk in chunks} == {("at",)}
            assert len(chunks) > 3
            assert read(session, source, chunks).num_rows == count == session.reader().count(source)


def test_what_has_no_index_is_one_chunk(mariadb_server: MariadbServer, url: str, database: str) -> None:
    _fill(mariadb_server, database, "k INT", "seq")
    mariadb_server.execute("CREATE VIEW v AS SELECT * FROM t", database=database)
    with opened(connection(url)) as session:
        for name in ("t", "v"):
            assert len(session.reader().split(source_of(session, name), 1000)) == 1
        assert [info.kind for info in session.catalog().tables()] == ["table", "view"]


def test_without_a_database_in_the_url_tables_are_named_by_two_parts(
    mariadb_server: MariadbServer, database: str
) -> None:
    _fill(mariadb_server, database, "k INT PRIMARY KEY", "seq")
    with opened(connection(mariadb_server.url())) as session:
        name = TableName((database, "t"))
        assert name in [info.name for info in session.catalog().tables()]
        source = source_of(session, f"{database}.t")
        assert session.reader().count(source) == 3000
