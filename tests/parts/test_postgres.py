"""The test server keeps its promises: fresh databases, passwords that count, restarts, no leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.parts.postgres import PostgresServer

pytestmark = pytest.mark.postgres

_OWNER = """
import sys, time
from tests.parts.postgres import PostgresServer
server = PostgresServer()
print(server.folder, server._process.pid, flush=True)
time.sleep(60)
"""


def test_each_test_gets_an_empty_database(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        row = connection.execute("select count(*) from pg_class where relnamespace = 'public'::regnamespace").fetchone()

    assert row == (0,)


def test_a_database_is_dropped_although_somebody_is_connected(postgres_server: PostgresServer) -> None:
    dbname = postgres_server.create_database()
    connection = psycopg.connect(postgres_server.dsn(dbname))

    postgres_server.drop_database(dbname)

    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    connection.close()


def test_a_user_with_a_password_must_show_it(postgres_server: PostgresServer) -> None:
    postgres_server.execute("DROP ROLE IF EXISTS keeper")
    postgres_server.create_user("keeper", "pa ss/w:rd")

    with psycopg.connect(postgres_server.dsn(user="keeper", password="pa ss/w:rd")) as connection:
        assert connection.info.user == "keeper"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_server.dsn(user="keeper", password="wrong"))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_breaks_connections_and_keeps_data(own_postgres: PostgresServer, postgres_dsn: str, mode: str) -> None:
    connection = psycopg.connect(postgres_dsn, autocommit=True)
    connection.execute("create table kept as select 1 as one")
    own_postgres.execute("checkpoint")

    own_postgres.restart(mode)

    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    connection.close()
    with psycopg.connect(postgres_dsn) as again:
        assert again.execute("select one from kept").fetchone() == (1,)


def test_the_server_ends_when_its_owner_is_killed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert owner.stdout is not None
    folder, pid = owner.stdout.readline().split()

    owner.send_signal(signal.SIGKILL)
    owner.communicate()

    until = time.monotonic() + 120
    while Path(folder).exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
