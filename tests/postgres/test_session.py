"""Sessions: connected safely, told apart when refused, cancelled from outside, broken in the middle and tried again."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from penstock.connectors.postgres.connector import connector
from penstock.connectors.postgres.conninfo import is_local, parameters
from penstock.connectors.postgres.session import PostgresSession
from penstock.core.errors import (
    ConnectionLost,
    CredentialsRefused,
    DataError,
    Missing,
    NotSupported,
    PermissionRefused,
    Retry,
    SnapshotLost,
    SpecError,
    TimedOut,
    Unavailable,
)
from penstock.core.load import BatchSize, Chunk, Expected, Mode, Source
from penstock.core.names import TableName
from penstock.core.schema import TypePolicy
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from tests.parts.postgres import PostgresServer, free_port
from tests.postgres.copying import eventually
from tests.postgres.loading import load_of, load_whole, read, run, session, source_of

ROWS = pa.table({"id": pa.array(range(1000), pa.int64())})
postgres = pytest.mark.postgres


# ---- addresses


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://u@localhost/d", "prefer"),
        ("postgresql://u@127.0.0.1:1/d", "prefer"),
        ("postgresql://u@[::1]/d", "prefer"),
        ("postgresql:///d?host=/run/postgresql", "prefer"),
        ("postgresql:///d", "prefer"),
        ("postgresql://u@db7/d", "verify-full"),
        ("postgresql://u@localhost,db7/d", "verify-full"),
        ("postgres://u@10.0.0.1/d", "verify-full"),
        ("postgresql://u@db7/d?sslmode=require", "require"),
    ],
)
def test_tls_is_verified_unless_the_server_is_on_this_machine(url, mode):
    found = parameters(ConnectionSpec("shop", url))

    assert found["sslmode"] == mode
    assert ("sslrootcert" in found) == (
        mode == "verify-full" and not Path("~/.postgresql/root.crt").expanduser().exists()
    )


def test_options_of_the_connection_win_over_its_url():
    spec = ConnectionSpec(
        "shop",
        "postgresql://u@db7/d?sslmode=require&codec=portable",
        {"sslmode": "verify-ca", "sslrootcert": "ca.pem"},
        base_dir="/etc/penstock",
    )
    found = parameters(spec)

    assert (found["sslmode"], found["sslrootcert"]) == ("verify-ca", "/etc/penstock/ca.pem")
    assert "codec" not in found
    assert not is_local(found)


@pytest.mark.parametrize("url", ["postgresql://u@h/d?nonsense=1", "postgresql://u@[::1/d"])
def test_a_url_that_libpq_does_not_know_is_refused_without_its_password(url):
    with pytest.raises(SpecError, match=r"url of connection 'shop' is not understood") as caught:
        parameters(ConnectionSpec("shop", url.replace("u@", "u:s3cr3t@")))

    assert "s3cr3t" not in str(caught.value)


# ---- refusals


@postgres
def test_a_wrong_password_is_told_apart(postgres_server: PostgresServer, dsn):
    postgres_server.create_user("password_user", "right")
    url = postgres_server.dsn(dsn.rpartition("/")[2], "password_user")

    with session(url, password="right") as opened:
        assert opened.check().user == "password_user"
    with (
        pytest.raises(
            CredentialsRefused,
            match=r"cannot connect to 127\.0\.0\.1:\d+ of connection 'shop'.*check user and password",
        ) as caught,
        session(url, password="wr0ng"),
    ):
        pass
    assert "wr0ng" not in str(caught.value)
    assert caught.value.exit_code == 12


@postgres
def test_nobody_there_is_unavailable_with_the_address_to_check(dsn):
    port = free_port()
    with pytest.raises(
        Unavailable, match=rf"check that 127\.0\.0\.1:{port} is reachable, or raise connect_timeout_s"
    ) as caught:
        connector.open(ConnectionSpec("shop", f"postgresql://u@127.0.0.1:{port}/d"))

    assert caught.value.retry is Retry.LATER


@postgres
def test_a_database_that_is_not_there_is_an_error_of_the_project(postgres_server: PostgresServer, dsn):
    with pytest.raises(SpecError, match='database "nope" does not exist'):
        connector.open(ConnectionSpec("shop", postgres_server.dsn("nope")))


@postgres
def test_what_fails_is_named_with_the_cause_and_what_to_do(postgres_server: PostgresServer, dsn):
    postgres_server.create_user("stranger", "stranger")
    run(dsn, "CREATE TABLE orders (id int8)")
    columns = [("gone", Missing, r"cannot read table public\.gone of connection 'shop': relation \"public\.gone\" does not exist"),
               ("orders", PermissionRefused, r"permission denied for table orders; grant the permission")]  # fmt: skip
    with session(dsn) as owner:
        source = source_of(owner, "public.orders")
    with session(postgres_server.dsn(dsn.rpartition("/")[2], "stranger", "stranger")) as opened:
        for name, error, message in columns:
            with pytest.raises(error, match=message):
                read(opened, Source(TableName(("public", name)), columns=source.columns))
        with pytest.raises(PermissionRefused, match=r"cannot prepare the load of table public\.mine"):
            opened.writer().prepare(load_of("public.mine", ROWS.schema))
        with pytest.raises(SpecError, match="syntax error"):
            opened.catalog().describe_query("selekt 1", TypePolicy())
        with pytest.raises(SpecError, match="more than one column named 'a'"):
            opened.catalog().describe_query("select 1 as a, 2 as a", TypePolicy())


@postgres
def test_an_option_with_an_unknown_value_is_refused_with_the_known_ones(dsn):
    run(dsn, "CREATE TABLE t (id int8)")
    with session(dsn) as opened, pytest.raises(SpecError, match="write one of auto, native, portable"):
        read(opened, source_of(opened, "public.t", codec="quick"))


@postgres
def test_the_session_shows_its_job_and_sets_no_limit_on_waiting(dsn):
    run(dsn, "ALTER DATABASE " + dsn.rpartition("/")[2] + " SET idle_in_transaction_session_timeout = '100ms'")
    try:
        with session(dsn) as opened:
            opened.hold_snapshot()
            opened.writer().prepare(load_of("public.t", ROWS.schema, job="nightly"))
            time.sleep(0.3)
            names = run(
                dsn, "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'penstock%' ORDER BY 1"
            )

            assert names == [("penstock",), ("penstock nightly",)]
            assert opened.reader().count(Source(None, "SELECT 1")) == 1
    finally:
        run(dsn, "ALTER DATABASE " + dsn.rpartition("/")[2] + " RESET ALL")


# ---- time


@postgres
def test_a_statement_beyond_its_time_is_timed_out(dsn):
    with (
        session(dsn, statement_timeout_s=2) as opened,
        pytest.raises(TimedOut, match="statement timeout; raise statement_timeout_s"),
    ):
        opened.reader().count(Source(None, "SELECT pg_sleep(1000000)"))


@contextmanager
def cancelling(opened: PostgresSession) -> Iterator[None]:
    """Cancel the session from another thread, after a while, and again as the engine does."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(0.2):
            opened.cancel()

    other = threading.Thread(target=repeat)
    other.start()
    try:
        yield
    finally:
        ended.set()
        other.join()


@postgres
@pytest.mark.parametrize("codec", ["native", "portable"])
def test_cancel_ends_a_read_that_waits_for_the_server(dsn, codec):
    with session(dsn) as opened:
        slow = Source(
            None, "SELECT i, pg_sleep(0.01)::text AS s FROM generate_series(1, 200000) AS i", options={"codec": codec}
        )
        slow = Source(
            None,
            slow.query,
            opened.catalog().describe_query(slow.query, TypePolicy()).columns,
            options={"codec": codec},
        )
        with cancelling(opened), pytest.raises(TimedOut, match="the call was cancelled"):
            read(opened, slow, batch=BatchSize(10))

        assert opened.reader().count(Source(None, "SELECT 1")) == 1


@postgres
def test_cancel_ends_a_publish_that_waits_for_a_lock_and_changes_nothing(dsn):
    run(dsn, "CREATE TABLE t (id int8)", "INSERT INTO t VALUES (-1)")
    load = load_of("public.t", ROWS.schema)
    with session(dsn) as opened, psycopg.connect(dsn) as holder:
        opened.writer().prepare(load)
        opened.writer().write(load, "0", iter(ROWS.to_batches()))
        holder.execute("LOCK TABLE t")
        with cancelling(opened), pytest.raises(TimedOut):
            opened.writer().publish(load, Expected(1, 1000))
        holder.rollback()

        assert run(dsn, "SELECT count(*) FROM t") == [(1,)]
        assert opened.writer().publish(load, Expected(1, 1000)).rows_after == 1000


# ---- lines that break


def _terminate(dsn: str, name: str = "penstock%") -> None:
    run(
        dsn,
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '{name}' AND datname = current_database()",
    )


@postgres
@pytest.mark.parametrize("codec", ["native", "portable"])
def test_a_backend_that_dies_in_mid_read_is_a_lost_connection_and_the_next_read_is_whole(dsn, codec):
    run(dsn, "CREATE TABLE t AS SELECT i::int8 AS id, repeat('x', 500) AS v FROM generate_series(1, 100000) AS i")
    with session(dsn) as opened:
        source = source_of(opened, "public.t", codec=codec)
        batches = opened.reader().read(source, Chunk(0), BatchSize(100, 50_000))
        next(batches)
        _terminate(dsn)
        with pytest.raises(ConnectionLost) as caught:
            for _ in batches:
                pass

    assert caught.value.retry is Retry.RECONNECT
    with session(dsn) as opened:
        assert read(opened, source).num_rows == 100_000


@postgres
def test_a_backend_that_dies_in_mid_write_leaves_nothing_and_the_part_comes_again(dsn):
    load = load_of("public.t", ROWS.schema)

    def dying():
        yield from ROWS.to_batches(100)
        _terminate(dsn)
        yield from ROWS.to_batches(100)

    with session(dsn) as opened:
        opened.writer().prepare(load)
        with pytest.raises(ConnectionLost):
            opened.writer().write(load, "000000", dying())
    with session(dsn) as opened:
        written = opened.writer().write(load, "000000", iter(ROWS.to_batches()))
        published = opened.writer().publish(load, Expected(1, 1000))

    assert (written.rows, written.again) == (1000, False)
    assert published.rows_after == 1000


@postgres
@pytest.mark.native
def test_a_source_that_dies_while_it_is_passed_through_leaves_nothing(dsn):
    run(
        dsn,
        "CREATE TABLE nap AS SELECT 1000000 AS before_the_last",
        "CREATE VIEW s AS SELECT i::int8 AS id, repeat('x', 500) AS v FROM generate_series(1, 200000) AS i"
        " WHERE i < 200000 OR pg_sleep((SELECT before_the_last FROM nap)) IS NOT NULL",
    )

    def kill_the_sleeper() -> None:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'source%' AND wait_event = 'PgSleep'"
        eventually(lambda: run(dsn, asleep))
        _terminate(dsn, "source%")

    with session(dsn, application_name="source") as source_side, session(dsn) as target_side:
        source = source_of(source_side, "public.s")
        load = load_of("public.t", source)
        target_side.writer().prepare(load)
        raw = source_side.reader().raw(source, Chunk(0))
        killer = threading.Thread(target=kill_the_sleeper)
        killer.start()
        with pytest.raises(ConnectionLost, match=r"cannot copy table public\.s into table public\.t"):
            target_side.writer().write_raw(load, "000000", raw)
        killer.join()
    run(dsn, "UPDATE nap SET before_the_last = 0")
    with session(dsn) as opened:
        written = opened.writer().write_raw(load, "000000", opened.reader().raw(source, Chunk(0)))
        published = opened.writer().publish(load, Expected(1, 200_000))

    assert written.rows == 200_000
    assert published.rows_after == 200_000


@postgres
def test_a_snapshot_whose_holder_is_gone_is_lost(dsn):
    with session(dsn) as leader:
        token = leader.hold_snapshot()

    def uses_it() -> None:
        with session(dsn) as opened:
            opened.use_snapshot(token)

    with pytest.raises(SnapshotLost, match=f"snapshot {token} of connection 'shop' is gone"):
        eventually(uses_it)  # the server needs a moment to notice that the leader has gone


@postgres
def test_an_error_within_a_snapshot_does_not_end_it(dsn):
    run(dsn, "CREATE TABLE t (id int8)", "INSERT INTO t VALUES (1), (0)")
    with session(dsn) as opened:
        token = opened.hold_snapshot()
        source = source_of(opened, "public.t")
        run(dsn, "DELETE FROM t")
        with pytest.raises(DataError, match="division by zero"):
            read(opened, Source(source.table, columns=source.columns, where="1 / id > 0"))
        with pytest.raises(Missing):
            opened.catalog().describe_query("TABLE nowhere", TypePolicy())

        assert opened.hold_snapshot() == token
        assert read(opened, source).num_rows == 2


@postgres
@pytest.mark.native
def test_a_reader_closed_early_frees_its_connection(dsn):
    run(dsn, "CREATE TABLE t AS SELECT i::int8 AS id, repeat('x', 500) AS v FROM generate_series(1, 100000) AS i")
    with session(dsn) as opened:
        source = source_of(opened, "public.t")
        for codec in ("native", "portable"):
            batches = opened.reader().read(source_of(opened, "public.t", codec=codec), Chunk(0), BatchSize(100))
            next(batches)
            batches.close()

            assert opened.reader().count(source) == 100_000


# ---- other servers


@postgres
def test_a_hot_standby_is_read_in_a_shared_snapshot_and_refuses_loads(postgres_server: PostgresServer, dsn):
    standby, port = Path(tempfile.mkdtemp(prefix="penstock-standby-")), free_port()
    run(dsn, "CREATE TABLE t AS SELECT i::int8 AS id FROM generate_series(1, 20000) AS i")
    data = Path(run(dsn, "SELECT current_setting('data_directory')")[0][0])
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host replication all 127.0.0.1/32 trust\n")
    run(dsn, "SELECT pg_reload_conf()")
    programs = Path(f"/proc/{(data / 'postmaster.pid').read_text().split()[0]}/exe").resolve().parent
    owner = [] if data.owner() == getpass.getuser() else ["runuser", "-u", data.owner(), "--"]
    shutil.chown(standby, data.owner())

    def call(program: str, *arguments: str) -> None:
        subprocess.run([*owner, programs / program, "-D", standby, *arguments], check=True, stdout=subprocess.DEVNULL)

    call("pg_basebackup", "-h", "127.0.0.1", "-p", str(postgres_server.port), "-U", "postgres", "-R", "-c", "fast")
    call("pg_ctl", "-w", "-l", f"{standby}/log", "-o", f"-p {port} -c unix_socket_directories=''", "start")
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/{dsn.rpartition('/')[2]}"
        with session(url) as leader, session(url) as other:
            assert "hot standby: reading only" in leader.check().notes
            token = leader.hold_snapshot()
            other.use_snapshot(token)
            source = source_of(other, "public.t")
            chunks = leader.reader().split(source, 100_000)
            assert len(chunks) > 3
            assert read(other, source, chunks).num_rows == 20_000
            with pytest.raises(PermissionRefused, match=r"recovery|read-only"):
                leader.writer().prepare(load_of("public.u", ROWS.schema))
    finally:
        call("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(standby)


def accepts(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False


@postgres
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
def test_a_pooler_that_lends_sessions_for_transactions_is_refused(
    postgres_server: PostgresServer, dsn, tmp_path, pool_mode
):
    port, name = free_port(), dsn.rpartition("/")[2]
    (tmp_path / "users").write_text('"postgres" ""\n')
    (tmp_path / "ini").write_text(
        f"[databases]\n{name} = host=127.0.0.1 port={postgres_server.port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = trust\nauth_file = {tmp_path}/users\npool_mode = {pool_mode}\nunix_socket_dir =\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    tmp_path.chmod(0o777)
    with subprocess.Popen(["pgbouncer", "-u", "nobody", tmp_path / "ini"], stderr=subprocess.DEVNULL) as pooler:
        try:
            spec = ConnectionSpec("shop", f"postgresql://postgres@127.0.0.1:{port}/{name}", password=Secret("unused"))
            eventually(lambda: accepts(spec.url))
            if pool_mode == "session":
                with session(spec.url) as opened:
                    load_whole(opened, load_of("public.t", ROWS.schema, Mode.REPLACE), ROWS)
                    assert read(opened, source_of(opened, "public.t")).num_rows == 1000
            else:
                with pytest.raises(NotSupported, match=r"pooler.*pool_mode = session"):
                    connector.open(spec)
        finally:
            pooler.terminate()
