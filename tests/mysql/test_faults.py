"""Faults: connections that break, servers that die and processes that are killed cost no row and bring none twice."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pymysql
import pytest

from penstock.core.errors import Busy, ConnectionLost, DiskFull, NotSupported, Retry, SpecError, TimedOut, Unavailable
from penstock.core.load import BatchSize, Chunk, Expected, Mode
from penstock.core.ports import Session
from tests.duckdb.killing import WHOLE, child, fill, finish, go_on, killed_while_publishing, versions, wait_for
from tests.duckdb.small_disk import small_disk
from tests.mysql.loading import (
    connection,
    load_of,
    load_whole,
    numbered,
    opened,
    put,
    query_of,
    rows,
    source_of,
    table_of,
)
from tests.parts.mariadb import FAST, MariadbServer

pytestmark = pytest.mark.mariadb

HERE = Path.cwd()


def _kill_all(server: MariadbServer, database: str) -> None:
    for (number,) in server.execute(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{database}'"):
        try:
            server.execute(f"KILL {number}")
        except pymysql.MySQLError as error:
            if error.args[0] != 1094:  # it went by itself
                raise


@pytest.mark.parametrize("local_infile", ["always", "never"])
def test_a_connection_killed_in_the_middle_of_a_part_leaves_nothing(
    mariadb_server: MariadbServer, url: str, database: str, local_infile: str
) -> None:
    data = numbered(2000)
    load = load_of("t", data.schema)

    def broken() -> Iterator[pa.RecordBatch]:
        yield from data.slice(0, 1000).to_batches()
        _kill_all(mariadb_server, database)
        for _ in range(200):
            yield from data.slice(1000).to_batches()

    with opened(connection(url, local_infile=local_infile)) as session:
        session.writer().prepare(load)
        with pytest.raises(ConnectionLost) as caught:
            session.writer().write(load, "000000", broken())
    assert caught.value.retry is Retry.RECONNECT
    with opened(connection(url)) as session:
        assert load_whole(session, load, data).rows_after == 2000


def test_a_connection_killed_in_the_middle_of_reading_is_lost_and_the_next_session_reads(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute("CREATE TABLE big (id INT PRIMARY KEY, text TEXT)", "INSERT INTO big SELECT seq, REPEAT('x', 1000) FROM seq_1_to_20000", database=database)  # fmt: skip
    with opened(connection(url)) as session:
        batches = session.reader().read(source_of(session, "big"), Chunk(0), BatchSize(rows=10))
        next(batches)
        _kill_all(mariadb_server, database)
        with pytest.raises(ConnectionLost):
            list(batches)
    with opened(connection(url)) as session:
        assert table_of(session, "big").num_rows == 20_000


def test_a_server_that_dies_keeps_the_parts_that_were_written(own_mariadb: MariadbServer, url: str) -> None:
    load = load_of("t", numbered(1).schema, key=("id",))
    with opened(connection(url)) as session:
        session.writer().prepare(load)
        session.writer().write(load, "000000", iter(numbered(500).to_batches()))
        own_mariadb.stop("immediate")
        with pytest.raises(ConnectionLost):
            session.writer().write(load, "000001", iter(numbered(500, 500).to_batches()))
    with pytest.raises(Unavailable):
        put_nothing(url)
    own_mariadb.start()
    with opened(connection(url)) as session:
        writer = session.writer()
        writer.prepare(load)
        again = [writer.write(load, f"{at:06d}", iter(numbered(500, 500 * at).to_batches())).again for at in range(2)]
        writer.publish(load, Expected(2, 1000))

        assert again == [True, False]
        assert [row["id"] for row in rows(session, "t")] == list(range(1000))


def put_nothing(url: str) -> None:
    with opened(connection(url)) as session:
        session.check()


def test_a_load_killed_between_write_and_publish_goes_on_where_it_was(url: str) -> None:
    fill(url, HERE)
    with child(url, HERE, "killed", Mode.REPLACE) as started:
        for word in ("prepared", "written", "written"):
            wait_for(started, word)

    assert versions(url, HERE) == {1: WHOLE}
    done = finish(url, HERE, "killed", Mode.REPLACE)

    assert done[:2] == [True, True]
    assert done[-1] is False
    assert versions(url, HERE) == {2: WHOLE}


@pytest.mark.parametrize(("mode", "delay_s"), [(Mode.REPLACE, 0.2), (Mode.UPSERT, 0.5), (Mode.DELETE_INSERT, 1.0)])
def test_a_load_killed_while_it_publishes_shows_all_or_nothing(url: str, mode: Mode, delay_s: float) -> None:
    fill(url, HERE)
    killed_while_publishing(url, HERE, "killed", mode, delay_s)

    # The server may still be at work for the process that is gone; the next publish waits for its turn.
    done = finish(url, HERE, "killed", mode)

    assert done[:4] == [True] * 4
    assert versions(url, HERE) == {2: WHOLE}


def test_a_load_killed_after_its_publish_is_not_published_twice(url: str) -> None:
    with child(url, HERE, "killed", Mode.REPLACE) as started:
        wait_for(started, "prepared")
        go_on(started)
        wait_for(started, "published")

    assert finish(url, HERE, "killed", Mode.REPLACE) == [True] * 5
    assert versions(url, HERE) == {2: WHOLE}


def test_a_lock_that_does_not_come_is_busy_and_the_table_as_it_was(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    with opened(connection(url)) as session:
        put(session, "t", numbered(3))
    with mariadb_server.connect(database, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM t FOR UPDATE")
        with opened(connection(url, lock_timeout_s=1)) as session, pytest.raises(Busy) as caught:
            put(session, "t", numbered(5))
        other.rollback()

    assert caught.value.retry is Retry.LATER
    with opened(connection(url)) as session:
        assert len(rows(session, "t")) == 3


def test_cancel_ends_a_statement_of_the_server(url: str) -> None:
    with opened(connection(url)) as session:
        _cancelled(session)
        assert session.check().server


def _cancelled(session: Session) -> None:
    source = query_of(session, "SELECT SLEEP(60) AS a")
    ended = threading.Event()

    def cancel() -> None:
        while not ended.wait(0.1):
            session.cancel()

    other = threading.Thread(target=cancel)
    other.start()
    try:
        with pytest.raises(TimedOut, match="was cancelled"):
            list(session.reader().read(source, Chunk(0), BatchSize()))
    finally:
        ended.set()
        other.join()


def test_a_server_without_local_infile_is_loaded_by_insert_and_check_says_so(
    own_mariadb: MariadbServer, url: str
) -> None:
    own_mariadb.execute("SET GLOBAL local_infile = 0")
    try:
        with opened(connection(url)) as session:
            assert any("local_infile is off" in note for note in session.check().notes)
            assert put(session, "t", numbered(3000)).rows_after == 3000
        with (
            opened(connection(url, local_infile="always")) as session,
            pytest.raises(NotSupported, match="local_infile"),
        ):
            put(session, "t", numbered(3))
    finally:
        own_mariadb.execute("SET GLOBAL local_infile = 1")


def test_tls_that_is_asked_for_is_never_given_up(own_mariadb: MariadbServer, url: str) -> None:
    """The tests' server offers none: a password must not go out."""
    with pytest.raises(SpecError, match="TLS is asked for") as caught:
        put_nothing(url + "?ssl_mode=required")

    assert "ssl_mode" in caught.value.hint
    with opened(connection(url + "?ssl_mode=preferred")) as session:
        assert session.check().server
    with pytest.raises(SpecError, match="not known: sslmode"):
        put_nothing(url + "?sslmode=disabled")


def test_a_file_that_a_server_asks_for_is_not_read(mariadb_server: MariadbServer, url: str, database: str) -> None:
    """A server may answer any statement with such a request; here a statement makes it do so."""
    mariadb_server.execute("CREATE TABLE t (line TEXT)", database=database)
    steal = f"LOAD DATA LOCAL INFILE '{__file__}' INTO TABLE t"
    with opened(connection(url)) as session:
        bare = session.connect()  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="LOAD_LOCAL"):
            bare.run(steal)
        bare.close()

    assert mariadb_server.execute("SELECT * FROM t", database=database) == []


def test_a_full_disk_is_told_and_leaves_the_tables_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pa.table({"id": pa.array(range(30_000), pa.int64()), "text": ["x" * 5000] * 30_000})
    with small_disk(130) as folder:
        folder.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        server = MariadbServer({**FAST, "innodb-log-file-size": "16M"})
        monkeypatch.undo()
        try:
            url = server.url(server.create_database())
            with opened(connection(url)) as session:
                put(session, "t", numbered(10))
                with pytest.raises(DiskFull) as caught:
                    put(session, "t", data, Mode.APPEND)
            with opened(connection(url)) as session:
                assert len(rows(session, "t")) == 10
                assert put(session, "t", numbered(20)).rows_after == 20
        finally:
            server.remove()

    assert caught.value.retry is Retry.NEVER
