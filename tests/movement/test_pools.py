"""Ten tables over three connections, fifty over five: the pool holds, is used again and again, and leaks none."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.project import Project, sql
from tests.movement.moving import counted
from tests.parts.postgres import PostgresServer

# Peak of resident memory that the plan allows for fifty tables.
MOST_BYTES = 500 * 10**6
# Runs a project and prints its exit code and the peak of its own memory in bytes. What the system gives by getrusage
# would count the process that began it too.
MEASURED = """
import resource, sys
from pathlib import Path
import penstock
code = penstock.run(penstock.load_project(sys.argv[1])).exit_code
status = Path("/proc/self/status")
if status.exists():
    peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(code, peak)
"""


def make(dsn: str, tables: int, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(tables):
            connection.execute(
                f"CREATE TABLE t{number:02} AS SELECT i::bigint AS id, md5(i::text) AS a, md5((i * {number})::text) AS b, "
                f"now() AS at FROM generate_series(1, {rows}) i"
            )
        connection.execute("ANALYZE")


class Watched:
    """Counts the sessions of one database, again and again, until the block ends."""

    def __init__(self, server: PostgresServer, dbname: str) -> None:
        self._dsn = server.dsn()
        self._dbname = dbname
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0

    def __enter__(self) -> Watched:
        self.before = self.opened()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._ended.wait(0.005):
                self.most = max(self.most, self._now(connection))

    def _now(self, connection: psycopg.Connection[tuple[int]]) -> int:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'",
            [self._dbname],
        ).fetchone()
        return row[0] if row else 0

    def now(self) -> int:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            return self._now(connection)

    def opened(self) -> int:
        """Sessions that ever were, as the server counts them."""
        return int(sql(self._dsn, f"SELECT sessions FROM pg_stat_database WHERE datname = '{self._dbname}'")[0][0])


@pytest.mark.postgres
@pytest.mark.parametrize(("tables", "pool"), [(10, 3), (50, 5)])
def test_a_pool_smaller_than_the_tables_is_kept_and_used_again(
    tables: int, pool: int, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    dbname = postgres_server.create_database()
    make(postgres_server.dsn(dbname), tables, 300)
    project = Project(
        tmp_path,
        postgres_server.dsn(dbname),
        f"file:{tmp_path}/lake",
        tables=["public.*"],
        workers=8,
        target_name="{table}",
    )
    project.limits = {"source": {"max_connections": pool}}

    with Watched(postgres_server, dbname) as watched:
        project.run()

    assert 1 < watched.most <= pool
    assert watched.opened() - watched.before <= pool + 2
    assert watched.now() == 0
    assert sum(counted(f"file:{tmp_path}/lake", f"t{number:02}") for number in range(tables)) == tables * 300


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["file:{}/lake", "duckdb:{}/house.duckdb"])
def test_fifty_tables_stay_below_500_mb(target: str, postgres_server: PostgresServer, tmp_path: Path) -> None:
    source = postgres_server.dsn(postgres_server.create_database())
    make(source, 50, 10_000)
    project = Project(tmp_path, source, target.format(tmp_path), tables=["public.*"], workers=5)
    project.load()

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "penstock.yml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert peak < MOST_BYTES
