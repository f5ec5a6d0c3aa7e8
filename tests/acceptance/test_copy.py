"""The copy job as a user meets it: same result for any workers, no collisions, odd names, schema changes, consent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import psycopg
import pytest

import penstock
from tests.acceptance.project import Project, sql

pytestmark = pytest.mark.postgres


@pytest.fixture
def source(postgres_server) -> str:
    return postgres_server.dsn(postgres_server.create_database())


@pytest.fixture
def target(postgres_server) -> str:
    return postgres_server.dsn(postgres_server.create_database())


def many_rows(dsn: str, rows: int = 30_000) -> None:
    sql(
        dsn,
        f"CREATE TABLE big AS SELECT i::bigint AS id, md5(i::text) AS t, (i % 97)::numeric(8,2) / 4 AS n FROM generate_series(1, {rows}) i",
        "ANALYZE",
    )


def digests(folder: Path) -> dict[str, str]:
    """Each file below the published table, by its name, as a hash of its bytes; the manifest tells ids and is left out."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.glob("lake/public.big/*"))
        if not file.name.startswith("_")
    }


@pytest.mark.parametrize("format", ["parquet", "csv", "ndjson", "arrow"])
def test_files_are_byte_identical_for_1_2_and_8_workers(format, source, tmp_path):
    many_rows(source)
    results = []
    for workers in (1, 2, 8):
        folder = tmp_path / str(workers)
        Project(
            folder,
            source,
            f"file:{folder}/lake",
            tables=["public.big"],
            format=format,
            chunk_size="128 KiB",
            workers=workers,
        ).run()
        results.append(digests(folder))

    assert len(results[0]) > 5
    assert results[1] == results[0]
    assert results[2] == results[0]


def test_worker_processes_give_the_same_files_as_threads(source, tmp_path):
    many_rows(source)
    results = []
    for executor in ("threads", "processes", "serial"):
        folder = tmp_path / executor
        job = {"tables": ["public.big"], "chunk_size": "128 KiB", "workers": 2, "executor": executor}
        Project(folder, source, f"file:{folder}/lake", **job).run()
        results.append(digests(folder))

    assert results[1] == results[0]
    assert results[2] == results[0]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_tables_are_equal_row_for_row_for_any_workers(workers, source, target, tmp_path):
    many_rows(source)

    Project(tmp_path, source, target, tables=["public.big"], chunk_size="128 KiB", workers=workers).run()

    query = "SELECT count(*), sum(hashtextextended(b::text, 0)::numeric) FROM big b"
    assert sql(target, query) == sql(source, query)


def test_all_readers_of_a_run_see_one_moment(source, tmp_path):
    """A writer adds pairs to two tables in one transaction all the time; the copies must pair up."""
    sql(
        source,
        "CREATE TABLE a (id int)",
        "CREATE TABLE b (id int)",
        "INSERT INTO a SELECT generate_series(1,20000)",
        "INSERT INTO b TABLE a",
        "ANALYZE",
    )
    script = (
        "import psycopg, sys\n"
        f"with psycopg.connect({source!r}) as c:\n"
        "    for i in range(100000, 10**9):\n"
        "        c.execute('INSERT INTO a VALUES (%s)', [i]); c.execute('INSERT INTO b VALUES (%s)', [i]); c.commit()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script])
    try:
        while sql(source, "SELECT count(*) FROM a") == [(20_000,)]:
            pass
        for number in range(3):
            Project(
                tmp_path / str(number),
                source,
                f"file:{tmp_path}/{number}/lake",
                tables=["public.*"],
                chunk_size="64 KiB",
                workers=4,
            ).run()
    finally:
        writer.kill()
        writer.wait()

    for number in range(3):
        with duckdb.connect() as connection:
            counts = [
                connection.execute(
                    f"SELECT count(*), max(id) FROM read_parquet('{tmp_path}/{number}/lake/public.{t}/*.parquet')"
                ).fetchall()
                for t in ("a", "b")
            ]
        assert counts[0] == counts[1]
        assert counts[0][0][0] > 20_000


def test_two_runs_of_one_job_never_collide(source, tmp_path):
    many_rows(source, 200_000)
    project = Project(tmp_path, source, f"file:{tmp_path}/lake", tables=["public.big"], chunk_size="64 KiB", workers=2)
    project.load()
    command = [sys.executable, "-m", "penstock", "run", "--json"]

    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    codes = sorted((process.communicate(timeout=300), process.returncode)[1] for process in both)

    assert codes == [0, 11]
    with duckdb.connect() as connection:
        assert connection.execute(
            f"SELECT count(*), count(DISTINCT id) FROM read_parquet('{tmp_path}/lake/public.big/*.parquet')"
        ).fetchall() == [(200_000, 200_000)]


@pytest.mark.parametrize("kind", ["file", "postgres", "duckdb"])
def test_two_projects_on_one_target_table_never_collide(kind, source, target, tmp_path):
    many_rows(source, 200_000)
    url = {"file": f"file:{tmp_path}/lake", "postgres": target, "duckdb": f"duckdb:{tmp_path}/h.duckdb"}[kind]
    command = [sys.executable, "-m", "penstock", "run", "--json"]
    both = []
    for name in ("one", "two"):
        Project(
            tmp_path / name, source, url, tables=["public.big"], chunk_size="64 KiB", workers=2, retry={"attempts": 1}
        ).load()
        both.append(
            subprocess.Popen(command, cwd=tmp_path / name, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )

    codes = sorted((process.communicate(timeout=300), process.returncode)[1] for process in both)

    assert codes in ([0, 11], [0, 0]), codes  # one waits its turn out or is refused; both never
    query = "SELECT count(*), count(DISTINCT id) FROM {}"
    if kind == "postgres":
        assert sql(target, query.format("big")) == [(200_000, 200_000)]
    else:
        place = f"read_parquet('{tmp_path}/lake/public.big/*.parquet')" if kind == "file" else "public.big"
        with duckdb.connect(str(tmp_path / "h.duckdb") if kind == "duckdb" else ":memory:") as connection:
            assert connection.execute(query.format(place)).fetchall() == [(200_000, 200_000)]


ODD = [
    'with "quotes"',
    "with space",
    "with.dot",
    "Ünïcode 💧",
    "UPPER",
    "select",
    "a" * 50,
    "semi;colon--",
    "back\\slash",
    "per%cent",
]


@pytest.mark.parametrize("kind", ["file", "postgres", "duckdb", "sqlite"])
def test_odd_names_of_tables_and_columns_arrive_as_they_are(kind, source, target, tmp_path):
    with psycopg.connect(source, autocommit=True) as connection:
        for name in ODD:
            columns = psycopg.sql.SQL(", ").join(
                psycopg.sql.SQL("{} int").format(psycopg.sql.Identifier(n)) for n in ODD
            )
            connection.execute(psycopg.sql.SQL("CREATE TABLE {} ({})").format(psycopg.sql.Identifier(name), columns))
            connection.execute(psycopg.sql.SQL("INSERT INTO {} VALUES (1)").format(psycopg.sql.Identifier(name)))
    url = {
        "file": f"file:{tmp_path}/lake",
        "postgres": target,
        "duckdb": f"duckdb:{tmp_path}/h.duckdb",
        "sqlite": f"sqlite:{tmp_path}/h.sqlite",
    }[kind]

    Project(tmp_path / "p", source, url, tables=["public.*"]).run()
    back = Project(tmp_path / "q", url, source, tables=["*"], target_name="b_{table}").run()

    assert back.exit_code == 0
    for name in ODD:
        stem = f"public_{name}" if kind == "sqlite" else name
        table = psycopg.sql.Identifier(f"b_{stem}").as_string()
        found = sql(source, f"SELECT * FROM {table}")
        assert found == [(1, *[None] * 9)], name


@pytest.mark.parametrize("kind", ["file", "duckdb", "postgres"])
def test_wide_tables(kind, source, target, tmp_path):
    columns = ", ".join(f"c{i} int" for i in range(1_590))
    sql(source, f"CREATE TABLE wide ({columns})", "INSERT INTO wide (c0, c1589) VALUES (1, 2)")
    url = {"file": f"file:{tmp_path}/lake", "postgres": target, "duckdb": f"duckdb:{tmp_path}/h.duckdb"}[kind]

    Project(tmp_path / "p", source, url, tables=["public.wide"]).run()
    Project(tmp_path / "q", url, source, tables=["public.wide"], target_name="back").run()

    assert sql(source, "SELECT c0, c1589, c5 FROM back") == [(1, 2, None)]


def test_two_thousand_columns_go_from_file_to_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "in").mkdir()
    table = pa.table({f"c{i}": [i, None] for i in range(2_000)})
    pq.write_table(table, tmp_path / "in" / "wide.parquet")

    Project(tmp_path / "p", f"file:{tmp_path}/in", f"file:{tmp_path}/out", tables=["wide"]).run()

    assert pq.read_table(next((tmp_path / "out").glob("wide/*.parquet"))).equals(table)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("kind", ["file", "postgres", "duckdb", "sqlite"])
def test_empty_and_single_row_tables(rows, kind, source, target, tmp_path):
    sql(source, "CREATE TABLE few (id int, t text)", f"INSERT INTO few SELECT 1, 'x' FROM generate_series(1, {rows})")
    url = {
        "file": f"file:{tmp_path}/lake",
        "postgres": target,
        "duckdb": f"duckdb:{tmp_path}/h.duckdb",
        "sqlite": f"sqlite:{tmp_path}/h.sqlite",
    }[kind]

    Project(tmp_path / "p", source, url, tables=["public.few"]).run()
    Project(tmp_path / "q", url, source, tables=["*"], target_name="back").run()

    assert sql(source, "SELECT * FROM back") == [(1, "x")] * rows


def test_replacing_keeps_views_grants_indexes_and_keys(source, target, tmp_path):
    many_rows(source, 1_000)
    project = Project(tmp_path, source, target, tables=["public.big"], key=["id"])
    project.run()
    sql(
        target,
        "CREATE VIEW shown AS SELECT count(*) AS n FROM big",
        "CREATE INDEX by_t ON big (t)",
        "GRANT SELECT ON big TO PUBLIC",
        "COMMENT ON TABLE big IS 'kept'",
        "ALTER TABLE big ADD CONSTRAINT positive CHECK (id > 0)",
        "CREATE TABLE child (id bigint REFERENCES big (id))",
        "INSERT INTO child VALUES (7)",
    )
    sql(source, "DELETE FROM big WHERE id > 900")

    project.run()

    assert sql(target, "SELECT n FROM shown") == [(900,)]
    assert sql(target, "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_t'") == [(1,)]
    assert sql(target, "SELECT has_table_privilege('public', 'big', 'select')") == [(True,)]
    assert sql(target, "SELECT obj_description('big'::regclass)") == [("kept",)]
    assert sql(target, "SELECT count(*) FROM pg_constraint WHERE conname = 'positive'") == [(1,)]


@pytest.mark.parametrize("kind", ["postgres", "duckdb", "file", "sqlite"])
def test_schema_changes_evolve_or_stop_with_a_clear_message(kind, source, target, tmp_path):
    url = {
        "file": f"file:{tmp_path}/lake",
        "postgres": target,
        "duckdb": f"duckdb:{tmp_path}/h.duckdb",
        "sqlite": f"sqlite:{tmp_path}/h.sqlite",
    }[kind]
    sql(source, "CREATE TABLE t (id int, gone text)", "INSERT INTO t VALUES (1, 'g')")
    project = Project(tmp_path / "p", source, url, tables=["public.t"], mode="append")
    project.run()
    sql(source, "ALTER TABLE t ADD COLUMN fresh int DEFAULT 5", "ALTER TABLE t DROP COLUMN gone")

    result, said = project.attempt(schema_changes="strict")
    assert result.exit_code == 1
    assert any("schema_changes" in line for line in said), said
    project.run()

    Project(tmp_path / "q", url, source, tables=["*"], target_name="back").run()
    assert sorted(sql(source, "SELECT id, gone, fresh FROM back"), key=str) == [(1, "g", None), (1, None, 5)]


@pytest.mark.parametrize("kind", ["postgres", "duckdb", "file"])
def test_a_widened_type_widens_the_target_and_a_narrowed_one_does_not(kind, source, target, tmp_path):
    url = {"file": f"file:{tmp_path}/lake", "postgres": target, "duckdb": f"duckdb:{tmp_path}/h.duckdb"}[kind]
    sql(source, "CREATE TABLE t (id int, n bigint)", "INSERT INTO t VALUES (1, 1)")
    project = Project(tmp_path / "p", source, url, tables=["public.t"], mode="append")
    project.run()
    sql(source, "ALTER TABLE t ALTER COLUMN id TYPE bigint, ALTER COLUMN n TYPE int", "UPDATE t SET id = 5000000000")

    project.run()

    Project(tmp_path / "q", url, source, tables=["public.t"], target_name="back").run()
    assert sql(source, "SELECT id, n FROM back ORDER BY id") == [(1, 1), (5_000_000_000, 1)]


def test_loss_needs_consent_before_anything_moves(source, target, tmp_path):
    sql(source, "CREATE TABLE t (id int, n numeric)", "INSERT INTO t VALUES (1, 1.123456789012345678901)")
    project = Project(tmp_path, source, f"file:{tmp_path}/lake", tables=["public.t"], types={"numeric": "double"})

    result, said = project.attempt()
    assert result.exit_code == 2, said
    assert any("would lose values in 1 column(s): n" in line and "allow_lossy: [n]" in line for line in said), said
    assert not (tmp_path / "lake").exists()

    project.run(allow_lossy=["n"])
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT n FROM read_parquet('{tmp_path}/lake/public.t/*.parquet')").fetchall() == [
            (1.1234567890123457,)
        ]


def test_an_empty_source_may_keep_the_target_or_fail(source, target, tmp_path):
    sql(source, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    project = Project(tmp_path, source, target, tables=["public.t"])
    project.run()
    sql(source, "TRUNCATE t")

    project.run(on_empty="keep")
    assert sql(target, "SELECT count(*) FROM t") == [(1,)]
    result, said = project.attempt(on_empty="fail")
    assert result.exit_code == 1
    assert any("nothing was read from table public.t" in line for line in said), said
    project.run()
    assert sql(target, "SELECT count(*) FROM t") == [(0,)]


def test_queries_columns_and_names_of_a_job(source, tmp_path):
    sql(
        source,
        'CREATE TABLE orders ("orderId" int, email text, amount numeric(8,2), at timestamptz)',
        "INSERT INTO orders VALUES (1, 'ann@example.com', 9.50, '2024-01-01+00'), (2, NULL, 1, NULL)",
    )
    Project(
        tmp_path,
        source,
        f"duckdb:{tmp_path}/h.duckdb",
        tables=["public.orders"],
        queries={"totals": "SELECT count(*) AS n, sum(amount)::numeric(10,2) AS total FROM orders"},
        overrides={"public.orders": {"where": "amount > 1", "columns": {"case": "snake", "mask": {"email": {"keep": 4}}, "exclude": ["at"], "add": {"src": {"value": "shop"}}}}},
    ).run()  # fmt: skip

    with duckdb.connect(str(tmp_path / "h.duckdb")) as connection:
        assert connection.execute("SELECT order_id, email, amount::VARCHAR, src FROM public.orders").fetchall() == [
            (1, "***********.com", "9.50", "shop")
        ]
        assert connection.execute("SELECT n, total::VARCHAR FROM totals").fetchall() == [(2, "10.50")]


def test_five_hundred_tables_in_one_job(source, tmp_path):
    with psycopg.connect(source) as connection:
        for number in range(500):
            connection.execute(f"CREATE TABLE t{number:03d} AS SELECT {number} AS id")

    result = Project(tmp_path, source, f"file:{tmp_path}/lake", tables=["public.*"], workers=2).run()

    assert result.jobs[0].counts.done == 500
    with duckdb.connect() as connection:
        assert connection.execute(
            f"SELECT count(*), sum(id) FROM read_parquet('{tmp_path}/lake/*/*.parquet')"
        ).fetchall() == [(500, 124_750)]


def test_a_misspelt_table_is_named_with_a_suggestion(source, tmp_path):
    sql(source, "CREATE TABLE orders (id int)")

    result, said = Project(tmp_path, source, f"file:{tmp_path}/lake", tables=["public.ordres"]).attempt()

    assert result.exit_code == 1
    assert any(
        "pattern 'public.ordres' of job 'raw' matches none of the 1 tables of 'source'; did you mean 'public.orders'?"
        in s
        for s in said
    ), said


def test_nothing_of_a_secret_shows(postgres_server, tmp_path):
    dbname = postgres_server.create_database()
    postgres_server.create_user("ann", "s3cr3t-w0rd")
    url = postgres_server.dsn(dbname, "ann", "wr0ng-w0rd")
    project = Project(tmp_path, url, f"file:{tmp_path}/lake", tables=["public.*"])
    project.load()

    ran = subprocess.run(
        [sys.executable, "-m", "penstock", "run", "--verbose"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 12, ran.stdout + ran.stderr
    assert "wr0ng" not in ran.stdout + ran.stderr
    assert b"wr0ng" not in (tmp_path / ".penstock" / "journal.db").read_bytes()
    assert penstock is not None


def test_a_resumed_run_holds_its_target_against_other_jobs(source, target, tmp_path):
    """Killed after its plan was complete, a run claims its tables again when it goes on."""
    many_rows(source, 200_000)
    sql(source, "CREATE TABLE small AS SELECT 1 AS id")
    one = Project(tmp_path / "one", source, target, tables=["public.*"], chunk_size="64 KiB", workers=1)
    one.load()
    first = subprocess.Popen([sys.executable, "-m", "penstock", "run"], cwd=tmp_path / "one", start_new_session=True)
    _wait_for(tmp_path / "one", "SELECT count(*) FROM items WHERE kind = 'load' AND state = 'done'", 5)
    _wait_for(tmp_path / "one", "SELECT is_planned FROM job_runs", 1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()

    second = subprocess.Popen([sys.executable, "-m", "penstock", "run"], cwd=tmp_path / "one", start_new_session=True)
    try:
        _wait_for(tmp_path / "one", "SELECT count(*) FROM job_runs", 2)
        _wait_for(tmp_path / "one", "SELECT max(done_here) FROM job_runs", 1)
        other, said = Project(tmp_path / "two", source, target, tables=["public.big"], retry={"attempts": 1}).attempt()
        running = second.poll() is None
    finally:
        second.wait(timeout=300)

    assert second.returncode == 0
    assert not running or other.exit_code == 11, said


def _wait_for(root: Path, query: str, least: int, timeout_s: float = 180) -> None:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"file:{root}/.penstock/journal.db?mode=ro", uri=True)) as connection,
        ):
            found = connection.execute(query).fetchone()
            if found and (found[0] or 0) >= least:
                return
        time.sleep(0.01)
    raise AssertionError(f"never happened: {query}")
