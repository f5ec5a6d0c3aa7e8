"""Whole copy jobs with MySQL at either end: several workers, one moment, incremental loads, other systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.parts.mariadb import MariadbServer

pytestmark = pytest.mark.mariadb

_TABLE = (
    "CREATE TABLE orders (id BIGINT UNSIGNED PRIMARY KEY, tenant VARCHAR(20) CHARACTER SET latin1, total DECIMAL(40,4),"
    " state ENUM('open','paid'), doc JSON, at TIMESTAMP(6) NULL, INDEX (at))"
)
_ROWS = (
    "INSERT INTO orders SELECT 18446744073709551615 - seq, CONCAT('é', seq % 7), seq / 3, ELT(1 + seq % 2, 'open', 'paid'),"
    " JSON_OBJECT('n', seq), TIMESTAMP '2024-01-01 00:00:00' + INTERVAL seq SECOND FROM seq_1_to_20000"
)
_CUSTOMERS = "CREATE TABLE customers AS SELECT seq AS id, CONCAT('customer ', seq) AS name FROM seq_1_to_50"
SUM = "SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', id, tenant, total, state, doc, at))) FROM orders"


@pytest.fixture
def shop(mariadb_server: MariadbServer, database: str) -> str:
    mariadb_server.execute("SET time_zone = '+00:00'", _TABLE, _ROWS, _CUSTOMERS, database=database)
    return database


@pytest.fixture
def house(mariadb_server: MariadbServer) -> str:
    name = mariadb_server.create_database()
    return mariadb_server.url(name)


def _sum(server: MariadbServer, url: str) -> object:
    return server.execute("SET time_zone = '+00:00'", SUM, database=url.rpartition("/")[2])


def test_tables_come_back_through_parquet_from_several_workers(
    mariadb_server: MariadbServer, url: str, shop: str, house: str, tmp_path: Path
) -> None:
    out = Project(tmp_path / "out", url, f"file:{tmp_path}/lake", tables=["*"], chunk_size="200 kB", workers=3).run()
    back = Project(tmp_path / "back", f"file:{tmp_path}/lake", house, tables=["*"], workers=3).run()

    assert (out.jobs[0].counts.rows, back.jobs[0].counts.rows) == (20_050, 20_050)
    assert len(list((tmp_path / "lake" / "orders").glob("*.parquet"))) > 5
    assert _sum(mariadb_server, house) == _sum(mariadb_server, url)
    definition = "SELECT COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = 'orders'"
    made = [mariadb_server.execute(definition.format(at.rpartition("/")[2])) for at in (url, house)]
    assert made[0] == made[1]


def test_an_incremental_load_between_two_servers_brings_each_row_once(
    mariadb_server: MariadbServer, url: str, shop: str, house: str, tmp_path: Path
) -> None:
    project = Project(tmp_path, url, house, tables=["orders"], mode="upsert", key=["id"], cursor="at", workers=2)
    first = project.run()
    mariadb_server.execute(
        "SET time_zone = '+00:00'",
        "UPDATE orders SET state = 'paid', at = '2025-01-01' WHERE id % 1000 = 0",
        "INSERT INTO orders VALUES (1, 'new', 1, 'open', '{}', '2025-01-01 00:00:00.000001')",
        database=shop,
    )
    second, third = project.run(), project.run()

    assert first.jobs[0].counts.rows == 20_000
    assert second.jobs[0].counts.rows == 22
    assert third.jobs[0].counts.rows == 1
    assert _sum(mariadb_server, house) == _sum(mariadb_server, url)


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_without_a_shared_moment_worker_processes_read_too(
    mariadb_server: MariadbServer, url: str, shop: str, house: str, tmp_path: Path, executor: str
) -> None:
    project = Project(
        tmp_path, f"{url}?snapshot=none", house, tables=["*"], chunk_size="500 kB", executor=executor, workers=2
    )

    assert project.run().jobs[0].counts.rows == 20_050
    assert _sum(mariadb_server, house) == _sum(mariadb_server, url)


def test_processes_with_a_shared_moment_are_refused_with_the_way_out(
    url: str, shop: str, house: str, tmp_path: Path
) -> None:
    result, said = Project(tmp_path, url, house, tables=["customers"], executor="processes", workers=2).attempt()

    assert result.exit_code != 0
    assert any("snapshot: none" in reason for reason in said), said
