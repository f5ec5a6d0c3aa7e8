"""How a COPY ends when something goes wrong: the server's own error, nothing half loaded, a connection one can use."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from penstock.connectors.postgres import _copy, wire
from penstock.connectors.postgres.wire import CopyReader, CopyWriter
from penstock.core.errors import DataError, NotSupported, Stopped
from tests.parts.postgres import PostgresServer
from tests.postgres.copying import (
    DOZING,
    ENDLESS,
    INT4,
    INT8,
    SLEEPING,
    TEXT,
    Conn,
    after,
    copy_in,
    copy_out,
    count,
    drop,
    eventually,
    is_asleep,
    numbers,
    read,
    terminate,
    write,
    write_all,
)

pytestmark = [pytest.mark.postgres, pytest.mark.native]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's server may take long to answer a cancel request; its connection would be closed meanwhile."""
    monkeypatch.setattr(_copy, "CANCEL_S", 120.0)


@pytest.fixture
def conn(postgres_dsn: str) -> Iterator[Conn]:
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (a int8); CREATE TABLE picky (a int8 CHECK (a <> 500000))")
        yield conn


@pytest.fixture
def other(postgres_dsn: str, conn: Conn) -> Iterator[Conn]:
    """A second connection to the same database, inside transactions."""
    with psycopg.connect(postgres_dsn) as other:
        yield other


def test_server_error_in_the_middle_of_reading_is_raised_with_its_sqlstate(conn: Conn) -> None:
    query = "SELECT 1 / (50000 - i) FROM generate_series(1, 60000) i"

    with pytest.raises(psycopg.errors.DivisionByZero):
        read(conn, query, [INT4], batch_rows=1000)

    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_backend_terminated_in_the_middle_of_reading_is_its_error(conn: Conn, other: Conn) -> None:
    batches = iter(CopyReader(other, DOZING, [TEXT], batch_rows=1))
    next(batches)
    eventually(lambda: is_asleep(other, conn))
    terminate(other, conn)

    with pytest.raises(psycopg.errors.AdminShutdown):
        drop(batches)
    assert other.closed


def test_statement_timeout_in_the_middle_of_reading_is_its_error(conn: Conn) -> None:
    conn.execute("SET statement_timeout = '300ms'")

    with pytest.raises(psycopg.errors.QueryCanceled):
        drop(CopyReader(conn, ENDLESS, [INT8]))

    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_lost_connection_is_never_a_normal_end(conn: Conn, postgres_dsn: str) -> None:
    with cut_off_after(conn.info.port, 300_000) as port, psycopg.connect(postgres_dsn, port=port) as victim:
        with pytest.raises(psycopg.OperationalError) as caught:
            drop(CopyReader(victim, ENDLESS, [INT8], batch_rows=1000))
        assert caught.value.sqlstate is None
        assert victim.closed


@contextlib.contextmanager
def cut_off_after(port: int, size_bytes: int) -> Iterator[int]:
    """A relay that breaks the connection after `size_bytes` from the server; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def relay() -> None:
        near, _ = listener.accept()
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=forward, args=(near, far, 10**9))
            back.start()
            forward(far, near, size_bytes)
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    thread = threading.Thread(target=relay)
    thread.start()
    with listener:
        yield int(listener.getsockname()[1])
        thread.join()


def forward(from_: socket.socket, to: socket.socket, left: int) -> None:
    with contextlib.suppress(OSError):
        while left > 0 and (data := from_.recv(65_536)):
            to.sendall(data[:left])
            left -= len(data)


def test_stop_ends_reading_and_leaves_the_connection_usable(conn: Conn) -> None:
    with pytest.raises(Stopped):
        drop(CopyReader(conn, ENDLESS, [INT8], stop=after(0.3)))
    assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("sql", [SLEEPING, copy_out("TABLE t")])
def test_stop_ends_a_wait_for_the_first_row_or_for_a_lock(conn: Conn, other: Conn, sql: str) -> None:
    other.execute("LOCK TABLE t")

    with pytest.raises(Stopped):
        list(CopyReader(conn, sql, [INT8], stop=after(0.3)))

    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_cancel_from_another_thread_is_the_servers_error(conn: Conn) -> None:
    threading.Timer(0.3, conn.cancel_safe).start()

    with pytest.raises(psycopg.errors.QueryCanceled):
        drop(CopyReader(conn, ENDLESS, [INT8]))

    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_connection_closed_between_batches_is_an_error(other: Conn) -> None:
    batches = iter(CopyReader(other, ENDLESS, [INT8]))
    next(batches)
    other.close()

    with pytest.raises(psycopg.OperationalError, match=r"^the connection is closed$"):
        next(batches)


def test_signal_ends_reading(conn: Conn) -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        list(CopyReader(conn, SLEEPING, [TEXT]))

    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_closing_the_iterator_early_cancels_the_copy(conn: Conn, other: Conn) -> None:
    for connection in (conn, other):
        batches = iter(CopyReader(connection, ENDLESS, [INT8]))
        next(batches)
        batches.close()  # type: ignore[attr-defined]

    assert conn.info.transaction_status == TransactionStatus.IDLE
    assert other.info.transaction_status == TransactionStatus.INERROR
    other.rollback()
    assert count(other) == 0


def test_reading_stands_in_the_transaction_psycopg_would_have_begun(other: Conn) -> None:
    other.read_only = True

    read(other, "SELECT 1", [INT4])

    assert other.info.transaction_status == TransactionStatus.INTRANS
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        other.execute("INSERT INTO t VALUES (1)")


def test_notices_during_a_copy_reach_psycopgs_handler(conn: Conn) -> None:
    conn.execute(
        "CREATE FUNCTION noisy(i int8) RETURNS int8 LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE NOTICE 'row %', i; RETURN i; END $$"
    )
    seen: list[str | None] = []
    conn.add_notice_handler(lambda notice: seen.append(notice.message_primary))

    data = read(conn, "SELECT noisy(i) FROM generate_series(1, 3000) i", [INT8])

    assert data.num_rows == 3000
    assert seen == [f"row {i}" for i in range(1, 3001)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY t TO STDOUT", "statement starts no COPY_OUT in binary format"),
        ("COPY t FROM STDIN (FORMAT binary)", "statement starts no COPY_OUT in binary format"),
        ("SELECT 1", "statement starts no COPY_OUT in binary format"),
        (copy_out("SELECT 1::int8, 2"), "COPY has 2 columns; 1 are described"),
    ],
)
def test_statement_that_is_not_the_copy_described_is_refused(conn: Conn, sql: str, message: str) -> None:
    with pytest.raises(NotSupported) as caught:
        list(CopyReader(conn, sql, [INT8]))

    assert str(caught.value) == message
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_text_that_is_not_utf8_is_an_error_with_its_row(conn: Conn) -> None:
    query = "SELECT CASE i WHEN 500 THEN '\\xc3'::bytea ELSE 'ü'::bytea END FROM generate_series(1, 700) i"

    with pytest.raises(DataError) as caught:
        read(conn, query, [TEXT], batch_rows=300)

    assert str(caught.value) == 'column "a", row 500: text is not valid UTF-8'


def test_client_encoding_other_than_utf8_is_refused(conn: Conn) -> None:
    conn.execute("SET client_encoding = 'LATIN1'")
    with pytest.raises(NotSupported, match=r"^client encoding is iso8859-1; binary COPY needs UTF8$"):
        list(CopyReader(conn, copy_out("SELECT 1"), [INT4]))


def test_reader_is_iterated_once(conn: Conn) -> None:
    reader = CopyReader(conn, copy_out("SELECT 1"), [INT4])
    list(reader)
    with pytest.raises(RuntimeError, match="once"):
        list(reader)


def python(code: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    all_ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run([sys.executable, "-c", code, *args], env=all_, capture_output=True, text=True, check=False)


def test_codec_works_with_psycopgs_pure_python_implementation(conn: Conn, postgres_dsn: str) -> None:
    code = (
        "import sys, psycopg, pyarrow as pa\n"
        "from penstock.connectors.postgres import wire\n"
        "assert psycopg.pq.__impl__ == 'python', psycopg.pq.__impl__\n"
        "field = wire.Field('a', 'int8', pa.int64())\n"
        "with psycopg.connect(sys.argv[1]) as conn:\n"
        "    sql = 'COPY (SELECT i FROM generate_series(1::int8, 1000) i) TO STDOUT (FORMAT binary)'\n"
        "    batches = list(wire.CopyReader(conn, sql, [field]))\n"
        "    with wire.CopyWriter(conn, 'COPY t FROM STDIN (FORMAT binary)', [field]) as writer:\n"
        "        writer.write(batches[0])\n"
        "        writer.finish()\n"
    )
    done = python(code, postgres_dsn, PSYCOPG_IMPL="python")
    if "libpq library not found" in done.stderr:
        pytest.skip("no libpq of the system")

    assert done.stderr == ""
    assert count(conn) == 1000


def test_reason_is_given_where_the_codec_was_not_built() -> None:
    code = (
        "import sys\n"
        "sys.modules['penstock.connectors.postgres._wire'] = None\n"
        "from penstock.connectors.postgres import wire\n"
        "print(wire.available(), wire.why_not())\n"
    )
    assert python(code).stdout.startswith(
        "False the compiled module is missing (no C compiler when penstock was installed?): "
    )


@pytest.fixture
def tls_dsn(own_postgres: PostgresServer, postgres_dsn: str) -> Iterator[str]:
    """The test's database over TLS, with a certificate made for the occasion."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    key, certificate = own_postgres.folder / "server.key", own_postgres.folder / "server.crt"
    names = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run(made, check=True, capture_output=True)
    owner = own_postgres.folder.stat()
    os.chown(key, owner.st_uid, owner.st_gid)
    key.chmod(0o600)
    settings = {"ssl": "on", "ssl_key_file": str(key), "ssl_cert_file": str(certificate)}
    try:
        for name, value in settings.items():
            own_postgres.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    except psycopg.errors.InvalidParameterValue:
        pytest.skip("this server was built without TLS")
    own_postgres.restart()
    yield f"{postgres_dsn}?sslmode=require"
    for name in settings:
        own_postgres.execute(f"ALTER SYSTEM RESET {name}")
    own_postgres.restart()


def test_constraint_that_fails_is_seen_before_all_is_sent_over_tls(tls_dsn: str) -> None:
    with psycopg.connect(tls_dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE picky (a int8 CHECK (a <> 500000))")
        writer = CopyWriter(conn, copy_in("picky"), [INT8])

        with pytest.raises(psycopg.errors.CheckViolation):
            write_all(writer, (numbers(start) for start in range(0, 20_000_000, 10_000)))

        assert 400_000 < writer.rows < 10_000_000


def test_codec_works_over_tls(tls_dsn: str) -> None:
    with psycopg.connect(tls_dsn) as conn, psycopg.connect(tls_dsn) as into:
        assert conn.pgconn.ssl_in_use
        conn.execute("CREATE TABLE s AS SELECT repeat(md5(i::text), i % 2000) AS a FROM generate_series(1, 3000) i")
        conn.execute("CREATE TABLE t (LIKE s); CREATE TABLE u (LIKE s)")
        conn.commit()

        data = read(conn, "TABLE s", [TEXT])
        write(conn, "t", [TEXT], data.to_batches())
        pumped = wire.pump(conn, copy_out("TABLE s"), into, copy_in("u"))
        into.commit()

        assert data.num_rows == pumped.rows == 3000
        for copied in ("t", "u"):
            assert count(conn, f"(TABLE s EXCEPT ALL TABLE {copied}) x") == 0
