"""Publishing into DuckDB: every mode changes a table in place, exactly, with all that hangs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from penstock.core.errors import (
    Busy,
    CountMismatch,
    DataError,
    Locked,
    Missing,
    PermissionRefused,
    SchemaChanged,
    SpecError,
)
from penstock.core.load import CursorValue, Expected, Mode, SchemaPolicy
from penstock.core.schema import Column
from tests.duckdb.loading import described, load_of, load_whole, opened, put, spec_of, table_of, values_of

URL, MAIN = "duckdb:house.duckdb", "main."
STAGING = "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '_penstock%' AND table_name NOT LIKE '%ledger'"
SCHEMA = pa.schema([("id", pa.int64()), ("code", pa.string()), ("rank", pa.int64()), ("tags", pa.list_(pa.string()))])
MODES = {Mode.REPLACE: 3, Mode.APPEND: 6, Mode.UPSERT: 4, Mode.DELETE_INSERT: 4, Mode.INSERT_ONLY: 4}


def rows(*given: tuple[Any, ...]) -> pa.Table:
    columns = list(zip(*given, strict=True)) if given else [()] * len(SCHEMA)
    return pa.table([pa.array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def run(folder: Path, *statements: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "house.duckdb")) as connection:
        for statement in statements:
            found = connection.execute(statement).fetchall()
        return found


FURNISHED = (
    (
        "CREATE TABLE t (id BIGINT PRIMARY KEY, code VARCHAR UNIQUE, rank BIGINT, tags VARCHAR[],"
        " mine VARCHAR DEFAULT 'kept' CHECK (length(mine) < 20))"
    ),
    "CREATE INDEX by_rank ON t (rank)",
    "CREATE VIEW seen AS SELECT id, code, mine FROM t",
    "COMMENT ON TABLE t IS 'a table'",
    "COMMENT ON COLUMN t.code IS 'a code'",
    "INSERT INTO t VALUES (1, 'a', 1, ['x'], 'one'), (2, 'b', 2, NULL, 'two'), (3, 'c', 3, [], 'three')",
)
FURNITURE = """
SELECT (SELECT list(constraint_text ORDER BY constraint_text) FROM duckdb_constraints() WHERE table_name = 't'),
    (SELECT list(sql) FROM duckdb_indexes() WHERE table_name = 't'), (SELECT sql FROM duckdb_views() WHERE view_name = 'seen'),
    (SELECT comment FROM duckdb_tables() WHERE table_name = 't'),
    (SELECT list((column_name, column_default, comment)) FROM duckdb_columns() WHERE table_name = 't')
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_furnished_table_keeps_all_that_hangs_on_it(tmp_path: Path, mode: Mode) -> None:
    before = run(tmp_path, *FURNISHED, FURNITURE)
    start = 4 if mode is Mode.APPEND else 2
    data = rows(*((start + at, code, 10 + at, ["n"]) for at, code in enumerate("xyz")))
    key = () if mode in (Mode.REPLACE, Mode.APPEND) else ("id",)

    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        published = put(session, "main.t", data, mode, key=key)

    assert "in place" in published.how
    assert published.rows_after == MODES[mode]
    assert run(tmp_path, FURNITURE) == before
    assert run(tmp_path, "SELECT count(*) FROM seen") == [(MODES[mode],)]
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO t (id) SELECT id FROM t LIMIT 1")


def test_an_upsert_keeps_columns_it_does_not_bring_and_swaps_unique_values(tmp_path: Path) -> None:
    run(tmp_path, *FURNISHED)
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        published = put(
            session, "main.t", rows((1, "b", 9, None), (2, "a", 9, []), (4, "d", 9, None)), Mode.UPSERT, key=("id",)
        )

    assert run(tmp_path, "SELECT id, code, rank, mine FROM t ORDER BY id") == [
        (1, "b", 9, "one"),
        (2, "a", 9, "two"),
        (3, "c", 3, "three"),
        (4, "d", 9, "kept"),
    ]
    assert (published.rows_inserted, published.rows_updated, published.rows_deleted) == (1, 2, 0)
    assert "more unique columns" in published.how


def test_an_upsert_of_many_rows_updates_lists_in_place_while_others_read(tmp_path: Path) -> None:
    count = 300_000
    data = pa.table({"id": pa.array(range(count), pa.int64()), "l": pa.array([[1]] * count, pa.list_(pa.int64()))})
    newer = data.set_column(1, "l", pa.array([[2, 3]] * count, pa.list_(pa.int64())))
    with (
        opened(spec_of("duckdb:house.duckdb", tmp_path)) as session,
        opened(spec_of("duckdb:house.duckdb", tmp_path)) as other,
    ):
        put(session, "main.t", data, key=("id",))
        with other.transaction() as looking:  # type: ignore[attr-defined]
            first = looking.execute("SELECT sum(l[1]), count(*) FROM t").fetchall()
            published = put(session, "main.t", newer, Mode.UPSERT, key=("id",))
            again = looking.execute("SELECT sum(l[1]), count(*) FROM t").fetchall()

    assert first == again == [(count, count)]
    assert (published.rows_updated, published.rows_inserted) == (count, 0)
    assert run(tmp_path, "SELECT sum(l[1]), count(*) FROM t") == [(2 * count, count)]


def test_a_table_that_others_refer_to_is_replaced_by_its_differences(tmp_path: Path) -> None:
    run(
        tmp_path,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, code VARCHAR, mine VARCHAR DEFAULT 'new')",
        "INSERT INTO t VALUES (1, 'a', 'old'), (2, 'b', 'old'), (3, 'c', 'old')",
        "CREATE TABLE child (t_id BIGINT REFERENCES t (id))",
        "INSERT INTO child VALUES (1), (2)",
    )
    schema = pa.schema([("id", pa.int64()), ("code", pa.string())])
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        new = pa.table([[1, 2, 5], ["A", "b", "e"]], schema=schema)
        published = put(session, "main.t", new)
        upserted = put(session, "main.t", pa.table([[2], ["B"]], schema=schema), Mode.UPSERT, key=("id",))
        with pytest.raises(DataError, match="foreign key"):
            put(session, "main.t", pa.table([[1], ["A"]], schema=schema))
        with pytest.raises(DataError, match="occur in more than one row"):
            put(session, "main.t", pa.table([[1, 1, 2], ["A", "x", "b"]], schema=schema))

    assert (published.rows_inserted, published.rows_updated, published.rows_deleted, published.rows_after) == (
        1,
        2,
        1,
        3,
    )
    assert upserted.rows_updated == 1
    assert run(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, "A", "new"), (2, "B", "new"), (5, "e", "new")]


def test_a_replaced_table_may_swap_its_unique_values(tmp_path: Path) -> None:
    run(
        tmp_path,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, code BIGINT UNIQUE)",
        "INSERT INTO t SELECT i, i FROM range(300000) r(i)",
    )
    ids = pa.array(range(300_000), pa.int64())
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, "main.t", pa.table({"id": ids, "code": ids[::-1]}))

    assert run(tmp_path, "SELECT count(*), max(id + code), min(id + code) FROM t") == [(300_000, 299_999, 299_999)]


def test_a_replaced_table_with_a_key_changes_only_what_differs_and_holds_the_rows_read(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id BIGINT PRIMARY KEY, code VARCHAR)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    data = pa.table({"id": pa.array([2, 3], pa.int64()), "code": ["B", None]})
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        published = put(session, "main.t", data)
        emptied = put(session, "main.t", data.slice(0, 0))

    assert (published.rows_inserted, published.rows_updated, published.rows_deleted, published.rows_after) == (
        1,
        1,
        1,
        2,
    )
    assert published.how == "delete, update and insert by primary key, in place"
    assert (emptied.rows_deleted, emptied.rows_after) == (2, 0)


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.UPSERT, Mode.INSERT_ONLY])
def test_a_new_table_gets_its_key(tmp_path: Path, mode: Mode) -> None:
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        published = put(session, "dw.t", rows((1, "a", 1, None), (2, "b", 1, None)), mode, key=("id",))
        schema = described(session, "dw.t")

    assert schema.primary_key == ("id",)
    assert not schema.columns[0].nullable
    assert published.how.startswith("new table")
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO dw.t (id) VALUES (2)")


@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.DELETE_INSERT])
def test_a_key_that_may_repeat_becomes_no_primary_key(tmp_path: Path, mode: Mode) -> None:
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, "main.t", rows((1, "a", 1, None)), mode, key=("id",))

        assert described(session, "main.t").primary_key == ()


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (rows((1, "a", 1, None), (1, "b", 1, None)), 'no primary key: values of "id" occur more than once'),
        (rows((None, "a", 1, None)), 'no primary key: "id" has NULLs'),
    ],
)
def test_rows_that_allow_no_key_are_loaded_without_and_say_so(tmp_path: Path, given: pa.Table, note: str) -> None:
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        published = put(session, "main.t", given, key=("id",))
        back = table_of(session, "main.t")

    assert published.notes == (note,)
    assert back.num_rows == given.num_rows


def test_columns_that_may_not_be_null_are_declared_so(tmp_path: Path) -> None:
    columns = [Column("id", pa.int64(), nullable=False), Column("n", pa.int64())]
    load = load_of("main.t", columns)
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        with pytest.raises(DataError, match=r"NOT NULL constraint failed: .*\.id"):
            load_whole(session, load, pa.table({"id": pa.array([None], pa.int64()), "n": pa.array([1], pa.int64())}))
        load_whole(session, load, pa.table({"id": pa.array([1], pa.int64()), "n": pa.array([None], pa.int64())}))

        assert [column.nullable for column in described(session, "main.t").columns] == [False, True]


# ---- schema changes

NARROW = pa.schema([("id", pa.int64()), ("n", pa.int16())])


@pytest.mark.parametrize(
    ("held", "given", "expected"),
    [
        ("SMALLINT", pa.int64(), "BIGINT"),
        ("BIGINT", pa.int16(), "BIGINT"),
        ("UTINYINT", pa.int8(), "SMALLINT"),
        ("BIGINT", pa.float64(), "DOUBLE"),
        ("DOUBLE", pa.int64(), "DOUBLE"),
        ("DECIMAL(5,2)", pa.decimal128(10, 4), "DECIMAL(10,4)"),
        ("DECIMAL(5,2)", pa.decimal128(8, 0), "DECIMAL(10,2)"),
        ("INTEGER", pa.decimal128(5, 2), "DECIMAL(12,2)"),
        ("DATE", pa.timestamp("us"), "TIMESTAMP"),
        ("FLOAT", pa.float64(), "DOUBLE"),
        ("VARCHAR", pa.uuid(), "VARCHAR"),
        ("SMALLINT[]", pa.list_(pa.int64()), "BIGINT[]"),
    ],
    ids=str,
)
def test_a_column_meets_the_load_in_a_type_that_holds_both(
    tmp_path: Path, held: str, given: Any, expected: str
) -> None:
    run(tmp_path, f"CREATE TABLE t (id BIGINT, n {held})", "INSERT INTO t VALUES (1, NULL)")
    schema = pa.schema([("id", pa.int64()), ("n", given)])
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        choice = session.writer().types(load_of("main.t", schema, Mode.APPEND))[1]
        put(session, "main.t", schema.empty_table(), Mode.APPEND)

    assert choice.native == expected
    assert run(tmp_path, "SELECT column_type FROM (DESCRIBE t) WHERE column_name = 'n'") == [(expected,)]


@pytest.mark.parametrize(
    ("held", "given"),
    [("BIGINT", pa.string()), ("VARCHAR", pa.int64()), ("DATE", pa.int64()), ("DECIMAL(38,0)", pa.decimal128(38, 10)),
     ("DECIMAL(5,2)", pa.float64()), ("TIMESTAMP", pa.timestamp("us", "UTC"))],
    ids=str,
)  # fmt: skip
def test_types_that_no_type_holds_together_are_refused(tmp_path: Path, held: str, given: Any) -> None:
    run(tmp_path, f"CREATE TABLE t (id BIGINT, n {held})")
    load = load_of("main.t", pa.schema([("id", pa.int64()), ("n", given)]), Mode.APPEND)
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session, pytest.raises(SchemaChanged, match="'n' is"):
        session.writer().plan(load)


def test_an_integer_that_a_double_would_change_is_refused(tmp_path: Path) -> None:
    big = 2**53 + 1
    run(tmp_path, "CREATE TABLE t (n DOUBLE)", f"CREATE TABLE u AS SELECT {big}::BIGINT AS n")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        with pytest.raises(DataError, match="column n has more digits than a double"):
            put(session, "main.t", pa.table({"n": pa.array([1, big], pa.int64())}), Mode.APPEND)
        with pytest.raises(DataError, match="1 numbers of column 'n' have more digits than a double"):
            put(session, "main.u", pa.table({"n": [0.5]}), Mode.APPEND)
        put(session, "main.t", pa.table({"n": pa.array([2**53], pa.int64())}), Mode.APPEND)

    assert run(tmp_path, "SELECT n FROM t") == [(float(2**53),)]
    assert run(tmp_path, "SELECT n FROM u") == [(big,)]


def test_a_column_under_an_index_is_not_altered_and_says_why(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id BIGINT, n SMALLINT)", "CREATE INDEX i ON t (id)")
    load = load_of("main.t", pa.schema([("id", pa.int64()), ("n", pa.int64())]), Mode.APPEND)
    with (
        opened(spec_of("duckdb:house.duckdb", tmp_path)) as session,
        pytest.raises(SchemaChanged, match="under an index"),
    ):
        session.writer().plan(load)


def test_a_new_column_a_lost_one_and_a_null_adapt_the_table(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id BIGINT NOT NULL, gone BIGINT NOT NULL)", "INSERT INTO t VALUES (1, 1)")
    columns = [Column("id", pa.int64()), Column("ip", pa.string(), logical="inet", native="postgresql:inet")]
    data = pa.table({"id": pa.array([2, None], pa.int64()), "ip": ["10.0.0.1", None]})
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        load = load_of("main.t", columns, Mode.APPEND)
        planned = session.writer().plan(load)
        load_whole(session, load, data)
        ip = described(session, "main.t").column("ip")

    assert run(tmp_path, "SELECT * FROM t ORDER BY id NULLS LAST") == [
        (1, 1, None),
        (2, None, "10.0.0.1"),
        (None, None, None),
    ]
    assert ip is not None
    assert ip.native == "postgresql:inet"
    assert [step for step in planned if step.startswith("ALTER")] == [
        'ALTER TABLE "main"."t" ALTER COLUMN "id" DROP NOT NULL',
        'ALTER TABLE "main"."t" ADD COLUMN "ip" VARCHAR',
        'ALTER TABLE "main"."t" ALTER COLUMN "gone" DROP NOT NULL',
    ]


@pytest.mark.parametrize("change", ["narrowed", "nullability"])
def test_a_strict_policy_refuses_by_name(tmp_path: Path, change: str) -> None:
    run(tmp_path, "CREATE TABLE t (id BIGINT NOT NULL, n BIGINT)")
    columns = [Column("id", pa.int64(), nullable=change == "nullability"), Column("n", pa.int16())]
    if change == "nullability":
        columns[1] = Column("n", pa.int64())
    load = load_of("main.t", columns, Mode.APPEND, policy=SchemaPolicy(**{change: "strict"}))
    with (
        opened(spec_of("duckdb:house.duckdb", tmp_path)) as session,
        pytest.raises(SchemaChanged, match=f"set schema_changes.{change} to evolve"),
    ):
        session.writer().plan(load)


def test_names_are_found_in_any_case_and_kept_as_they_are(tmp_path: Path) -> None:
    run(tmp_path, 'CREATE SCHEMA "Dw"', 'CREATE TABLE "Dw"."Order" ("Id" BIGINT, "select" VARCHAR)')
    data = pa.table({"ID": pa.array([1], pa.int64()), "Select": ["x"]})
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, 'dw."ORDER"', data, Mode.APPEND)
        with pytest.raises(SpecError, match="two columns named 'a' but for the case"):
            session.writer().types(load_of("main.x", pa.schema([("a", pa.int64()), ("A", pa.int64())])))

    assert run(tmp_path, 'SELECT * FROM "Dw"."Order"') == [(1, "x")]


# ---- repeats, leftovers, claims


def test_writing_a_part_again_reads_nothing_and_publishing_again_changes_nothing(tmp_path: Path) -> None:
    load = load_of("main.t", SCHEMA)
    data = rows((1, "a", 1, None))

    def never() -> Any:
        raise AssertionError("the part was read again")
        yield

    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        writer = session.writer()
        writer.prepare(load)
        once = writer.write(load, "000000", iter(data.to_batches()))
        again = writer.write(load, "000000", never())
        published = writer.publish(load, Expected(1, 1))
        for _ in range(2):
            writer.prepare(load)
            assert writer.write(load, "000000", never()).again
            repeated = writer.publish(load, Expected(1, 1))

    assert (once.again, again.again, again.rows, again.size_bytes) == (False, True, once.rows, once.size_bytes)
    assert repeated == type(published)(**{**vars(published), "again": True})
    assert run(tmp_path, "SELECT table_name FROM duckdb_tables() ORDER BY 1") == [("_penstock_ledger",), ("t",)]


def test_prepare_removes_leftovers_of_its_own_job_and_table_only(tmp_path: Path) -> None:
    dead, mine = load_of("main.t", SCHEMA), load_of("main.t", SCHEMA)
    others = [load_of("main.t", SCHEMA, job="other"), load_of("main.u", SCHEMA)]
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        writer = session.writer()
        for load in (dead, *others):
            writer.prepare(load)
            writer.write(load, "000000", iter(rows((1, "a", 1, None)).to_batches()))
        writer.prepare(mine)

        with pytest.raises(Missing, match="was not prepared"):
            writer.write(dead, "000001", iter([]))
        for load in others:
            assert writer.publish(load, Expected(1, 1)).rows_after >= 1
        writer.discard(mine)
        writer.discard(mine)

    left = run(tmp_path, "SELECT table_name FROM duckdb_tables() ORDER BY 1")
    assert left == [("_penstock_ledger",), ("t",), ("u",)]


def test_a_part_that_two_sessions_write_at_once_is_there_once(tmp_path: Path) -> None:
    load = load_of("main.t", SCHEMA)
    data = rows((1, "a", 1, None))
    spec = spec_of("duckdb:house.duckdb", tmp_path)
    with opened(spec) as one, opened(spec) as two:
        one.writer().prepare(load)

        def meanwhile() -> Any:
            yield from data.to_batches()
            two.writer().write(load, "000000", iter(data.to_batches()))

        with pytest.raises(Busy, match="another session has just written this part"):
            one.writer().write(load, "000000", meanwhile())
        assert one.writer().write(load, "000000", iter([])).again
        assert one.writer().publish(load, Expected(1, 1)).rows_after == 1


def test_a_claimed_table_is_held_against_other_jobs_until_the_session_closes(tmp_path: Path) -> None:
    spec = spec_of("duckdb:house.duckdb", tmp_path)
    mine, same, other = (load_of("main.t", SCHEMA, job=job) for job in ("nightly", "nightly", "other"))
    with opened(spec) as one, opened(spec) as two:
        one.writer().claim(mine)
        two.writer().claim(same)
        one.close()
        with opened(spec) as three, pytest.raises(Locked, match=r"main\.t .* is held by job 'nightly'"):
            three.writer().claim(other)
    with opened(spec) as session:
        session.writer().claim(other)


def test_a_reading_connection_takes_no_load(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id BIGINT)")
    with opened(spec_of("duckdb:house.duckdb", tmp_path, read_only=True)) as session:
        assert session.check().notes[-1] == "read-only"
        with pytest.raises(PermissionRefused, match="connection 'house' is read-only"):
            session.writer().prepare(load_of("main.t", SCHEMA))


def test_a_view_is_no_target(tmp_path: Path) -> None:
    run(tmp_path, "CREATE VIEW t AS SELECT 1 AS id")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session, pytest.raises(SpecError, match="is a view"):
        session.writer().types(load_of("main.t", SCHEMA))


def test_a_reread_append_takes_the_watermark_of_any_system(tmp_path: Path) -> None:
    stamps = pa.array([0, 1_000_000, 2_000_000], pa.int64()).cast(pa.timestamp("us", "UTC"))
    data = pa.table({"at": stamps})
    marks = [
        CursorValue("timestamp with time zone", "1970-01-01 00:00:01+00"),
        CursorValue("timestamp[us, tz=UTC]", "1000000"),
        CursorValue("TIMESTAMP WITH TIME ZONE", "1970-01-01 00:00:01+00"),
    ]
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, "main.t", data.slice(0, 2))
        for rows_after, mark in enumerate(marks, 3):
            published = put(session, "main.t", data, Mode.APPEND, cursor="at", reread_to=mark)
            assert (published.rows_inserted, published.rows_after) == (1, rows_after)


def test_two_thousand_columns_load_and_come_back(tmp_path: Path) -> None:
    data = pa.table({f"column {at}": pa.array([at, None], pa.int32()) for at in range(2000)})
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, "main.wide", data)
        back = table_of(session, "main.wide")

    assert back.column_names == data.column_names
    assert [column.to_pylist() for column in back.columns[::500]] == [[at, None] for at in range(0, 2000, 500)]


def test_a_memory_database_lasts_as_long_as_the_process(tmp_path: Path) -> None:
    spec = spec_of("duckdb::memory:publishing", tmp_path)
    with opened(spec) as session:
        put(session, "main.t", rows((1, "a", 1, None)))
    with opened(spec) as session:
        assert values_of(session, "main.t")[0]["code"] == "a"
    assert list(tmp_path.iterdir()) == []


def test_among_equal_cursors_a_value_wins_over_null(tmp_path: Path) -> None:
    data = pa.table({"id": pa.array([1, 1], pa.int64()), "at": pa.array([5, 5], pa.int64()), "v": ["x", None]})
    with opened(spec_of(URL, tmp_path)) as session:
        for mode in (Mode.UPSERT, Mode.INSERT_ONLY):
            put(session, f"{MAIN}{mode.value}", data, mode, key=("id",), cursor="at")

            assert table_of(session, f"{MAIN}{mode.value}")["v"].to_pylist() == ["x"]


def test_rows_without_a_cursor_are_added_as_often_as_the_table_lacks_them(tmp_path: Path) -> None:
    def of(*values: str) -> pa.Table:
        return pa.table({"at": pa.array([None] * len(values), pa.int64()), "v": list(values)})

    mark = CursorValue("BIGINT", "5")
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, f"{MAIN}t", of("old", "old"))
        published = put(
            session, f"{MAIN}t", of("old", "new", "new", "old", "old"), Mode.APPEND, cursor="at", reread_to=mark
        )
        held = sorted(table_of(session, f"{MAIN}t")["v"].to_pylist())

    assert published.rows_inserted == 3
    assert held == ["new", "new", "old", "old", "old"]


def test_a_staging_table_that_lost_rows_is_not_published(tmp_path: Path) -> None:
    data = pa.table({"id": pa.array([1, 2], pa.int64())})
    load = load_of(f"{MAIN}t", data.schema)
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, f"{MAIN}t", data.slice(0, 1))
        session.writer().prepare(load)
        session.writer().write(load, "000000", iter(data.to_batches()))
    staging = run(tmp_path, STAGING)[0][0]
    run(tmp_path, f'DELETE FROM "{staging}" WHERE id = 2')
    with opened(spec_of(URL, tmp_path)) as session:
        with pytest.raises(CountMismatch, match="holds 1 rows, of 2 noted in 1 parts; expected 2 rows in 1 parts"):
            session.writer().publish(load, Expected(1, 2))
        assert table_of(session, f"{MAIN}t").num_rows == 1
