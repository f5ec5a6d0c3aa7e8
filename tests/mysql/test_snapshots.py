"""One moment for several connections: what they see adds up while others write, and where it cannot be had it is said."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import PermissionRefused, SnapshotLost
from penstock.core.load import BatchSize, Chunk
from penstock.core.ports import Session, Snapshots
from penstock.core.secret import Secret
from tests.mysql.loading import connection, opened, source_of, table_of
from tests.parts.mariadb import MariadbServer

pytestmark = pytest.mark.mariadb


@pytest.fixture
def accounts(mariadb_server: MariadbServer, database: str) -> str:
    """Ten tables that hold 100 together, whoever moves between them."""
    for number in range(10):
        mariadb_server.execute(f"CREATE TABLE t{number} (id INT PRIMARY KEY, held INT)", f"INSERT INTO t{number} VALUES (1, 10)", database=database)  # fmt: skip
    return database


def _snapshots(session: Session) -> Snapshots:
    assert isinstance(session, Snapshots)
    return session


def test_sessions_of_one_moment_see_sums_that_add_up(mariadb_server: MariadbServer, url: str, accounts: str) -> None:
    done = threading.Event()

    def move() -> None:
        with mariadb_server.connect(accounts, autocommit=False) as moving, moving.cursor() as cursor:
            at = 0
            while not done.is_set():
                cursor.execute(f"UPDATE t{at % 10} SET held = held - 1")
                cursor.execute(f"UPDATE t{(at + 3) % 10} SET held = held + 1")
                moving.commit()
                at += 1

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(5):
            with opened(connection(url)) as holder, opened(connection(url)) as other:
                token = _snapshots(holder).hold_snapshot()
                assert token == _snapshots(holder).hold_snapshot()
                held = 0
                for number in range(10):
                    session = (holder, other)[number % 2]
                    _snapshots(session).use_snapshot(token)
                    held += table_of(session, f"t{number}")["held"][0].as_py()
                assert held == 100
    finally:
        done.set()
        mover.join()


def test_connections_that_a_session_gives_back_serve_the_next(url: str, accounts: str) -> None:
    with opened(connection(url, snapshot_connections=2)) as holder:
        token = _snapshots(holder).hold_snapshot()
        for _ in range(5):
            with opened(connection(url)) as other:
                _snapshots(other).use_snapshot(token)
                assert table_of(other, "t0").num_rows == 1
                with opened(connection(url)) as third, pytest.raises(SnapshotLost, match="snapshot_connections"):
                    _snapshots(third).use_snapshot(token)


def test_a_reader_closed_early_keeps_its_moment(mariadb_server: MariadbServer, url: str, database: str) -> None:
    mariadb_server.execute("CREATE TABLE big (id INT PRIMARY KEY, text TEXT)", "INSERT INTO big SELECT seq, REPEAT('x', 1000) FROM seq_1_to_50000", database=database)  # fmt: skip
    with opened(connection(url)) as session:
        _snapshots(session).hold_snapshot()
        mariadb_server.execute("DELETE FROM big WHERE id > 10", database=database)
        source = source_of(session, "big")
        for _ in range(3):
            batches = session.reader().read(source, Chunk(0), BatchSize(rows=100))
            assert next(batches).num_rows == 100
            batches.close()  # type: ignore[attr-defined]

            assert session.reader().count(source) == 50_000


@pytest.fixture
def poor(mariadb_server: MariadbServer, accounts: str) -> str:
    mariadb_server.execute(
        "CREATE OR REPLACE USER poor IDENTIFIED BY 'secret'", f"GRANT SELECT ON `{accounts}`.* TO poor"
    )
    return mariadb_server.url(accounts, "poor")


def test_without_reload_each_chunk_has_its_own_moment_or_it_is_an_error(poor: str) -> None:
    spec = replace(connection(poor), password=Secret("secret"))
    with opened(spec) as session:
        assert _snapshots(session).hold_snapshot() == ""
        _snapshots(session).use_snapshot("")
        assert table_of(session, "t0").num_rows == 1
    with (
        opened(replace(spec, options={"snapshot": "lock"})) as session,
        pytest.raises(PermissionRefused, match="RELOAD"),
    ):
        _snapshots(session).hold_snapshot()


def test_a_moment_belongs_to_one_process(url: str, accounts: str) -> None:
    program = (
        "import sys; from tests.mysql.loading import *\n"
        "from penstock.core.errors import NotSupported\n"
        "with opened(connection(sys.argv[1])) as session:\n"
        "    try:\n        session.use_snapshot(sys.argv[2])\n"
        "    except NotSupported as error:\n        print(error.hint)\n"
    )
    with opened(connection(url)) as holder:
        token = _snapshots(holder).hold_snapshot()
        command = [sys.executable, "-c", program, url, token]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])

    assert "executor: threads" in told.stdout


def test_a_moment_that_ended_is_lost(url: str, accounts: str) -> None:
    with opened(connection(url)) as holder:
        token = _snapshots(holder).hold_snapshot()
    with opened(connection(url)) as session, pytest.raises(SnapshotLost):
        _snapshots(session).use_snapshot(token)
