"""Publishing into tables that are there: what hangs on them stays, and every statement does what its mode says."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from penstock.core.errors import DataError, NotSupported, SchemaChanged, SpecError
from penstock.core.load import Expected, Mode, SchemaPolicy
from tests.mysql.loading import connection, load_of, load_whole, numbered, opened, put, rows
from tests.parts.mariadb import MariadbServer

pytestmark = pytest.mark.mariadb


def _pairs(**texts: str) -> pa.Table:
    return pa.table({"id": pa.array([int(at[1:]) for at in texts], pa.int64()), "name": list(texts.values())})


def test_replace_keeps_grants_views_triggers_comments_and_indexes(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20) COMMENT 'mine', INDEX (name))",
        "CREATE TABLE log (id BIGINT)",
        "CREATE VIEW v AS SELECT name FROM t",
        "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW INSERT INTO log VALUES (NEW.id)",
        "CREATE OR REPLACE USER keeper",
        f"GRANT SELECT ON `{database}`.t TO keeper",
        "INSERT INTO t VALUES (1, 'old')",
        database=database,
    )
    before = mariadb_server.execute("SHOW CREATE TABLE t", database=database)
    with opened(connection(url)) as session:
        published = put(session, "t", _pairs(_1="a", _2="b"))

    assert (published.rows_inserted, published.rows_deleted, published.rows_after) == (2, 1, 2)
    assert mariadb_server.execute("SHOW CREATE TABLE t", database=database) == before
    assert mariadb_server.execute("SELECT name FROM v ORDER BY 1", database=database) == [("a",), ("b",)]
    assert mariadb_server.execute("SELECT COUNT(*) FROM log", database=database) == [(3,)]
    assert f"GRANT SELECT ON `{database}`.`t`" in mariadb_server.execute("SHOW GRANTS FOR keeper")[1][0]


def test_a_table_that_foreign_keys_point_to_is_replaced_by_key(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20))",
        "CREATE TABLE child (t_id BIGINT, FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE CASCADE)",
        "INSERT INTO t VALUES (1, 'old'), (2, 'gone')",
        "INSERT INTO child VALUES (1)",
        database=database,
    )
    with opened(connection(url)) as session:
        published = put(session, "t", _pairs(_1="new", _3="more"))
        with pytest.raises(DataError, match="must be unique"):
            put(session, "t", pa.table({"id": pa.array([1, 1], pa.int64()), "name": ["a", "b"]}))

        assert [row["name"] for row in rows(session, "t")] == ["new", "more"]
    assert (published.rows_updated, published.rows_inserted, published.rows_deleted) == (1, 1, 1)
    assert mariadb_server.execute("SELECT * FROM child", database=database) == [(1,)]


def test_auto_increment_goes_on_behind_the_loaded_rows_and_zero_is_kept(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute("CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(20))", database=database)
    with opened(connection(url)) as session:
        put(session, "t", numbered(3))
    mariadb_server.execute("INSERT INTO t (text) VALUES ('mine')", database=database)

    assert mariadb_server.execute("SELECT id FROM t ORDER BY id", database=database) == [(0,), (1,), (2,), (3,)]


def test_generated_and_unloaded_columns_are_left_to_the_target(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20), twice BIGINT AS (id * 2) STORED, kept INT DEFAULT 7,"
        " secret INT INVISIBLE, needed INT NOT NULL)",
        "INSERT INTO t (id, name, kept, needed) VALUES (1, 'old', 8, 9)",
        database=database,
    )
    data = _pairs(_1="new", _2="more").append_column("twice", pa.array([0, 0], pa.int64()))
    with opened(connection(url)) as session:
        published = put(session, "t", data, Mode.UPSERT, key=("id",))
        found = rows(session, "t")

    assert [(row["name"], row["twice"], row["kept"], row["needed"]) for row in found] == [
        ("new", 2, 8, 9),
        ("more", 4, 7, None),
    ]
    assert any("twice" in note for note in published.notes)


@pytest.mark.parametrize("definition", ["UNIQUE (id), UNIQUE (name)", "UNIQUE (name)", "INDEX (id)", "INDEX (name)"])
@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.INSERT_ONLY, Mode.DELETE_INSERT])
def test_keyed_modes_do_the_same_whatever_indexes_there_are(
    mariadb_server: MariadbServer, url: str, database: str, definition: str, mode: Mode
) -> None:
    """Also when two rows swap a value that must be unique."""
    mariadb_server.execute(
        f"CREATE TABLE t (id BIGINT NULL, name VARCHAR(20), kept INT DEFAULT 0, {definition})",
        "INSERT INTO t VALUES (1, 'a', 11), (2, 'b', 12), (NULL, 'n', 13)",
        database=database,
    )
    data = pa.table({"id": pa.array([1, 2, None, 3], pa.int64()), "name": ["b", "a", "m", "c"]})
    if mode is Mode.INSERT_ONLY:
        data = data.slice(3)
    with opened(connection(url)) as session:
        published = put(session, "t", data, mode, key=("id",))
        found = sorted((row["id"] or 0, row["name"], row["kept"]) for row in rows(session, "t"))

    expected = {
        Mode.UPSERT: [(0, "m", 13), (1, "b", 11), (2, "a", 12), (3, "c", 0)],
        Mode.INSERT_ONLY: [(0, "n", 13), (1, "a", 11), (2, "b", 12), (3, "c", 0)],
        Mode.DELETE_INSERT: [(0, "m", 0), (1, "b", 0), (2, "a", 0), (3, "c", 0)],
    }
    assert found == expected[mode]
    assert published.rows_after == 4


def test_repeated_keys_give_way_to_the_greatest_cursor(url: str) -> None:
    old = pa.table({"id": pa.array([1], pa.int64()), "name": ["old"], "at": pa.array([1], pa.int64())})
    new = pa.table(
        {
            "id": pa.array([1, 1, 2], pa.int64()),
            "name": ["late", "early", "x"],
            "at": pa.array([3, 2, None], pa.int64()),
        }
    )
    with opened(connection(url)) as session:
        put(session, "t", old, key=("id",))
        published = put(session, "t", new, Mode.UPSERT, key=("id",), cursor="at")

        assert [row["name"] for row in rows(session, "t")] == ["late", "x"]
        assert [info.name.table for info in session.catalog().tables()] == ["t"]
    assert published.notes == ("1 rows of the load gave way to another row of the same key",)


def test_a_text_key_of_a_new_table_tells_case_and_spaces_apart(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    data = pa.table({"id": ["a", "A", "a ", ""], "n": pa.array(range(4), pa.int64())})
    with opened(connection(url)) as session:
        put(session, "t", data, key=("id",))
        long = data.slice(0, 1).set_column(0, "id", pa.array(["x" * 300]))
        with pytest.raises(DataError, match="id"):
            put(session, "t", long, Mode.UPSERT, key=("id",))
        published = put(session, "wide", long, key=("id",))
        put(session, "t", data.slice(1, 1), Mode.UPSERT, key=("id",))

    found = mariadb_server.execute("SHOW INDEX FROM t", database=database)
    assert [(row[2], row[4]) for row in found] == [("PRIMARY", "id")]
    assert published.notes == ("no primary key: (id) is longer than an index of MySQL",)
    assert mariadb_server.execute("SELECT COUNT(*) FROM t", database=database) == [(4,)]


def test_a_column_that_is_widened_keeps_its_default_comment_and_collation(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute(
        "CREATE TABLE t (id SMALLINT NOT NULL DEFAULT 5 COMMENT 'it''s NOT NULL, mine',"
        " name VARCHAR(3) CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL DEFAULT 'x')",
        database=database,
    )
    data = pa.table({"id": pa.array([2**40], pa.int64()), "name": ["Zürich"]})
    with opened(connection(url)) as session:
        put(session, "t", data, Mode.APPEND)

        assert rows(session, "t") == [{"id": 2**40, "name": "Zürich"}]
    made = mariadb_server.execute("SHOW CREATE TABLE t", database=database)[0][1]
    assert "`id` bigint NOT NULL DEFAULT 5 COMMENT 'it''s NOT NULL, mine'" in made.replace("bigint(20)", "bigint")
    assert "`name` longtext CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL" in made


def test_a_null_loosens_the_target_only_when_it_comes_and_may(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute("CREATE TABLE t (id BIGINT NOT NULL, text VARCHAR(20) NOT NULL)", database=database)
    without = pa.table({"id": pa.array([2], pa.int64()), "text": pa.array([None], pa.string())})
    nullable = "SELECT IS_NULLABLE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't' ORDER BY 1"
    with opened(connection(url)) as session:
        put(session, "t", numbered(1), Mode.APPEND)
        assert mariadb_server.execute(nullable, database=database) == [("NO",), ("NO",)]
        with pytest.raises(SchemaChanged, match="nullability is strict"):
            put(session, "t", without, Mode.APPEND, policy=SchemaPolicy(nullability="strict"))
        put(session, "t", without, Mode.APPEND)

    assert mariadb_server.execute(nullable, database=database) == [("NO",), ("YES",)]


@pytest.mark.parametrize(
    ("made", "error", "said"),
    [
        ("CREATE TABLE t (id BIGINT) ENGINE = MyISAM", NotSupported, "no transactions"),
        ("CREATE VIEW t AS SELECT 1 AS id", NotSupported, "takes no load"),
        ("CREATE TABLE t (id DATE, text TEXT)", SchemaChanged, "does not convert"),
    ],
)
def test_a_target_that_takes_no_load_is_refused_before_anything_is_made(
    mariadb_server: MariadbServer, url: str, database: str, made: str, error: type[Exception], said: str
) -> None:
    mariadb_server.execute(made, database=database)
    with opened(connection(url)) as session, pytest.raises(error, match=said):
        put(session, "t", numbered(1))

    assert mariadb_server.execute("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND"
                                  " TABLE_NAME LIKE '\\_penstock%'", database=database) == [(0,)]  # fmt: skip


def test_names_that_mysql_does_not_tell_apart_are_refused(url: str) -> None:
    data = pa.table({"id": pa.array([1], pa.int64()), "ID": pa.array([2], pa.int64())})
    with opened(connection(url)) as session, pytest.raises(SpecError, match="but for the case"):
        put(session, "t", data)


@pytest.mark.parametrize("renamed", [True, False])
def test_a_crash_around_the_rename_of_a_new_table_is_told_by_the_names(
    mariadb_server: MariadbServer, url: str, database: str, renamed: bool
) -> None:
    """The intent is in the ledger, the mark is not: the table that was to be renamed is gone, or still there."""
    load, data = load_of("t", numbered(5).schema, key=("id",)), numbered(5)
    with opened(connection(url)) as session:
        first = load_whole(session, load, data)
    ledger = "_penstock_ledger"
    mariadb_server.execute(f"UPDATE {ledger} SET published = NULL WHERE part = ''", database=database)
    if not renamed:
        kept = json.loads(
            mariadb_server.execute(f"SELECT intent FROM {ledger} WHERE part = ''", database=database)[0][0]
        )
        mariadb_server.execute(f"RENAME TABLE t TO `{kept['renamed'][1]}`", database=database)

    with opened(connection(url)) as session:
        writer = session.writer()
        writer.prepare(load)
        again = [
            writer.write(load, "000000", iter(data.to_batches())).again,
            writer.publish(load, Expected(1, 5)).again,
        ]
        last = writer.publish(load, Expected(1, 5))

        assert len(rows(session, "t")) == 5
        assert [info.name.table for info in session.catalog().tables()] == ["t"]
    assert again == [True, False]
    assert (last.again, last.rows_after, last.how) == (True, 5, first.how)
