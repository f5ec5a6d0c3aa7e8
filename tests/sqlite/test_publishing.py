"""Publishing into SQLite: every mode changes a table in place, exactly, with all that hangs on it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import CountMismatch, DataError, Locked, Missing, NotSupported, SchemaChanged, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Expected, Mode, SchemaPolicy, Window
from penstock.core.schema import Column, Fidelity
from penstock.testing.values import plain_values
from tests.duckdb.loading import described, load_of, load_whole, opened, put, source_of, spec_of, table_of, values_of
from tests.sqlite.test_foreign_files import run

URL, MAIN = "sqlite:rows.db", ""
STAGING = """
SELECT name FROM sqlite_schema
WHERE type = 'table' AND name LIKE '_penstock%' AND name NOT IN ('_penstock_ledger', '_penstock_columns')
"""
SCHEMA = pa.schema([("id", pa.int64()), ("code", pa.string()), ("rank", pa.int64()), ("cents", pa.decimal128(12, 2))])
MODES = {Mode.REPLACE: 3, Mode.APPEND: 6, Mode.UPSERT: 4, Mode.DELETE_INSERT: 4, Mode.INSERT_ONLY: 4}


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    text = pa.array([None if value is None else str(value) for value in values], pa.string())
    return text.cast(kind)


def rows(*given: tuple[Any, ...]) -> pa.Table:
    columns = list(zip(*given, strict=True))
    return pa.table([_array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


FURNISHED = (
    """CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT UNIQUE COLLATE NOCASE, "rank" INT, cents DECIMAL(12,2),
        mine TEXT DEFAULT 'kept' CHECK (length(mine) < 20), twice INT GENERATED ALWAYS AS ("rank" * 2))""",
    'CREATE INDEX by_rank ON t ("rank")',
    "CREATE VIEW seen AS SELECT id, code, mine FROM t",
    "CREATE TABLE child (t_id INT REFERENCES t (id) ON DELETE CASCADE)",
    "CREATE TABLE log (what TEXT)",
    "CREATE TRIGGER on_delete AFTER DELETE ON t BEGIN INSERT INTO log VALUES ('gone ' || old.id); END",
    "INSERT INTO t VALUES (1, 'a', 1, 0.1, 'one'), (2, 'b', 2, NULL, 'two'), (3, 'c', 3, 5, 'three')",
    "INSERT INTO child VALUES (1), (2), (3)",
)
FURNITURE = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '_penstock%' AND tbl_name NOT LIKE '_penstock%'"


@pytest.mark.parametrize("mode", MODES)
def test_a_furnished_table_keeps_all_that_hangs_on_it(tmp_path: Path, mode: Mode) -> None:
    run(tmp_path, *FURNISHED)
    before = run(tmp_path, FURNITURE)
    start = 4 if mode is Mode.APPEND else 2
    data = rows(*((start + at, code, 10 + at, 7) for at, code in enumerate("xyz")))
    key = () if mode in (Mode.REPLACE, Mode.APPEND) else ("id",)

    with opened(spec_of(URL, tmp_path)) as session:
        published = put(session, "t", data, mode, key=key)
        cents = described(session, "t").column("cents")

    assert "in place" in published.how
    assert published.rows_after == MODES[mode]
    assert run(tmp_path, FURNITURE) == before
    assert run(tmp_path, "SELECT count(*) FROM seen") == [(MODES[mode],)]
    assert run(tmp_path, "SELECT count(*) FROM child") == [(3,)]  # a load cascades into no other table
    assert cents is not None
    assert cents.type == pa.decimal128(12, 2)
    deleted = {Mode.REPLACE: 3, Mode.DELETE_INSERT: 2, Mode.UPSERT: 2}.get(mode, 0)
    assert run(tmp_path, "SELECT count(*) FROM log") == [(deleted,)]
    assert run(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_an_upsert_keeps_columns_it_does_not_bring_and_swaps_unique_values(tmp_path: Path) -> None:
    run(tmp_path, *FURNISHED)
    with opened(spec_of(URL, tmp_path)) as session:
        published = put(session, "t", rows((1, "b", 9, 1), (2, "a", 9, 2), (4, "d", 9, 3)), Mode.UPSERT, key=("id",))

    assert run(tmp_path, 'SELECT id, code, "rank", mine, twice FROM t ORDER BY id') == [
        (1, "b", 9, "one", 18),
        (2, "a", 9, "two", 18),
        (3, "c", 3, "three", 6),
        (4, "d", 9, "kept", 18),
    ]
    assert (published.rows_inserted, published.rows_updated, published.rows_deleted) == (1, 2, 0)
    assert "more unique columns" in published.how


def test_an_upsert_of_a_plain_table_updates_rows_where_they_are(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (code TEXT, id INT)", "INSERT INTO t VALUES ('a', 1), ('b', NULL), ('c', 1)")
    schema = pa.schema([("id", pa.int64()), ("code", pa.string())])
    with opened(spec_of(URL, tmp_path)) as session:
        data = pa.table([[1, None, 2], ["A", "B", "D"]], schema=schema)
        published = put(session, "t", data, Mode.UPSERT, key=("id",))

    assert run(tmp_path, "SELECT rowid, code, id FROM t") == [(1, "A", 1), (2, "B", None), (3, "A", 1), (4, "D", 2)]
    assert (published.rows_updated, published.rows_inserted) == (3, 1)


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.DELETE_INSERT])
def test_a_keyed_load_into_a_large_table_without_index_takes_no_quadratic_time(tmp_path: Path, mode: Mode) -> None:
    count = 60_000
    data = pa.table({"id": pa.array(range(count), pa.int64()), "v": pa.array(["x"] * count)})
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", data)
        published = put(session, "t", data.slice(10), mode, key=("id",))

    assert published.rows_after == count


@pytest.mark.parametrize(
    ("kind", "key", "ddl"),
    [
        (pa.int64(), ("id",), 'CREATE TABLE "t" ("id" INTEGER PRIMARY KEY, "code" TEXT)'),
        (pa.string(), ("id",), 'CREATE TABLE "t" ("id" TEXT, "code" TEXT, PRIMARY KEY ("id"))'),
        (pa.int64(), ("id", "code"), 'CREATE TABLE "t" ("id" INTEGER, "code" TEXT, PRIMARY KEY ("id", "code"))'),
    ],
)
@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.UPSERT, Mode.INSERT_ONLY])
def test_a_new_table_gets_its_key(
    tmp_path: Path, kind: pa.DataType, key: tuple[str, ...], ddl: str, mode: Mode
) -> None:
    data = pa.table({"id": pa.array(["3", "1"]).cast(kind), "code": ["c", "a"]})
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", data, mode, key=key)
        schema = described(session, "t")
        back = table_of(session, "t")

    assert schema.primary_key == key
    assert run(tmp_path, "SELECT sql FROM sqlite_schema WHERE name = 't'") == [(ddl,)]
    assert back["code"].to_pylist() == ["a", "c"]


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (rows((1, "a", 1, 1), (1, "b", 1, 1)), 'no primary key: values of "id" occur more than once'),
        (rows((None, "a", 1, 1)), 'no primary key: "id" has NULLs'),
    ],
)
def test_rows_that_allow_no_key_are_loaded_without_and_say_so(tmp_path: Path, given: pa.Table, note: str) -> None:
    with opened(spec_of(URL, tmp_path)) as session:
        published = put(session, "t", given, key=("id",))

    assert published.notes == (note,)
    assert published.rows_after == given.num_rows


@pytest.mark.parametrize(
    ("kind", "values", "winner"),
    [
        (pa.decimal128(38, 2), ["9.50", "10.25", "-100.00", None], "10.25"),
        (pa.uint64(), ["9", "18446744073709551615", "1", None], "18446744073709551615"),
        (pa.decimal128(5, 0), ["-9", "-10", "-100", None], "-9"),
    ],
    ids=str,
)
def test_the_greatest_number_wins_also_where_it_is_kept_as_text(
    tmp_path: Path, kind: pa.DataType, values: list[str | None], winner: str
) -> None:
    data = pa.table({"id": pa.array([1] * 4, pa.int64()), "c": pa.array(values).cast(kind)})
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", data, Mode.UPSERT, key=("id",), cursor="c")
        high = session.reader().high(source_of(session, "t", window=Window("c")))

    assert run(tmp_path, "SELECT c FROM t") == [(winner,)]
    assert high == CursorValue(
        "DECIMAL_TEXT(20,0)" if kind == pa.uint64() else f"DECIMAL_TEXT({kind.precision},{kind.scale})", winner
    )


# ---- types


def test_declared_names_carry_the_meaning_and_change_no_value(tmp_path: Path) -> None:
    kinds = {
        "INTEGER": pa.int16(), "BOOLEAN": pa.bool_(), "REAL": pa.float32(), "TEXT": pa.string(), "BLOB": pa.binary(),
        "DECIMAL_TEXT(18,4)": pa.decimal128(18, 4), "DECIMAL_TEXT(20,0)": pa.uint64(), "DATE_TEXT": pa.date32(),
        "TIME_TEXT": pa.time64("us"), "TIMESTAMP_TEXT": pa.timestamp("us"), "TIMESTAMPTZ_TEXT": pa.timestamp("us", "UTC"),
        "UUID_TEXT": pa.uuid(), "JSON_TEXT": pa.list_(pa.int64()), "DURATION_TEXT": pa.month_day_nano_interval(),
    }  # fmt: skip
    schema = pa.schema([(f"c{at}", kind) for at, kind in enumerate(kinds.values())])
    with opened(spec_of(URL, tmp_path)) as session:
        choices = session.writer().types(load_of("t", schema))
        put(session, "t", schema.empty_table())
        remembered = [column.type for column in described(session, "t").columns]
    run(tmp_path, "DROP TABLE _penstock_columns")
    with opened(spec_of(URL, tmp_path)) as session:
        by_name = [column.type for column in described(session, "t").columns]

    assert [choice.native for choice in choices] == list(kinds)
    assert remembered == list(kinds.values())
    assert by_name[5:12] == [
        pa.decimal128(18, 4), pa.decimal128(20, 0), pa.date32(), pa.time64("us"), pa.timestamp("us"),
        pa.timestamp("us", "UTC"), pa.uuid(),
    ]  # fmt: skip
    affinities = run(
        tmp_path, "SELECT typeof(c5) FROM (SELECT * FROM t UNION ALL SELECT " + ", ".join(["'1.50'"] * 14) + ")"
    )
    assert affinities == [("text",)]


def test_what_others_wrote_into_the_memory_counts_for_nothing(tmp_path: Path) -> None:
    columns = [Column("a", pa.string(), logical="inet", native="postgresql:inet")]
    with opened(spec_of(URL, tmp_path)) as session:
        load_whole(session, load_of("t", columns), pa.table({"a": ["10.0.0.1"]}))
        assert described(session, "t").columns[0].native == "postgresql:inet"
    run(tmp_path, "UPDATE _penstock_columns SET carrier = 'nonsense'")
    with opened(spec_of(URL, tmp_path)) as session:
        assert described(session, "t").columns[0].native == "sqlite:TEXT"
    run(tmp_path, "DROP TABLE t", "CREATE TABLE t (a INT)")
    with opened(spec_of(URL, tmp_path)) as session:
        assert described(session, "t").columns[0] == Column("a", pa.int64(), True, "", "sqlite:INT")


def test_a_nan_is_an_error_or_becomes_null_as_asked(tmp_path: Path) -> None:
    data = pa.table({"f": [1.5, float("nan"), float("inf")]})
    with opened(spec_of(URL, tmp_path)) as session:
        with pytest.raises(DataError, match="column 'f' has NaN in 1 rows, which SQLite cannot hold; set nan"):
            put(session, "t", data)
        put(session, "t", data, options={"nan": "null"})
        back = table_of(session, "t")["f"].to_pylist()

    assert back == [1.5, None, float("inf")]


def test_a_carrier_that_sqlite_cannot_hold_is_refused_before_anything_runs(tmp_path: Path) -> None:
    union = pa.dense_union([pa.field("a", pa.int64())])
    with opened(spec_of(URL, tmp_path)) as session, pytest.raises(NotSupported, match="column 'u'"):
        session.writer().types(load_of("t", [Column("u", union)]))
    assert list(tmp_path.iterdir()) == []


def test_types_of_another_sqlite_file_are_declared_as_they_were(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (a VARCHAR(20), b DECIMAL(10,2), c DATE, d BOOLEAN, e NVARCHAR, f, g DECIMAL(30,2))")
    run(tmp_path, "INSERT INTO t VALUES ('x', 12.30, '2024-01-01', 1, '5', 7, 1)")
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "t")
        load_whole(session, load_of("copied", source.columns), table_of(session, "t"))
        back = described(session, "copied").columns

    declared = run(tmp_path, "SELECT group_concat(type, '; ') FROM pragma_table_info('copied')")
    assert declared == [("VARCHAR(20); DECIMAL(10,2); DATE; BOOLEAN; NVARCHAR; ; DECIMAL_TEXT(30,2)",)]
    assert [column.type for column in back] == [column.type for column in source.columns]
    assert run(tmp_path, "SELECT a, b, c, d, e, f FROM copied") == run(tmp_path, "SELECT a, b, c, d, e, f FROM t")


# ---- schema changes


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (pa.int16(), pa.int64(), pa.int64()),
        (pa.int64(), pa.int16(), pa.int64()),
        (pa.int32(), pa.float64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.decimal128(5, 2), pa.decimal128(10, 4), pa.decimal128(10, 4)),
        (pa.decimal128(5, 2), pa.decimal128(8, 0), pa.decimal128(10, 2)),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC"), pa.timestamp("ns", "UTC")),
        (pa.time32("s"), pa.time64("us"), pa.time64("us")),
    ],
    ids=str,
)
def test_a_column_meets_the_load_in_a_carrier_that_holds_both(
    tmp_path: Path, first: pa.DataType, then: pa.DataType, expected: pa.DataType
) -> None:
    old = pa.table({"id": pa.array([1], pa.int64()), "v": _numbers([1], first)})
    new = pa.table({"id": pa.array([1, 2], pa.int64()), "v": _numbers([1, 2], then)})
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", old)
        put(session, "t", new, Mode.APPEND)
        found = table_of(session, "t")
        # Equal values are recognised although they came in different types.
        high = session.reader().high(source_of(session, "t", window=Window("id")))
        again = put(session, "t", old, Mode.APPEND, cursor="id", reread_to=high)
        held = put(session, "t", new, Mode.INSERT_ONLY, key=("v",))

    assert found["v"].type == expected
    assert plain_values(found["v"]) == [*plain_values(old["v"].cast(expected)), *plain_values(new["v"].cast(expected))]
    assert (again.rows_inserted, held.rows_inserted) == (0, 0)


def _numbers(values: list[int], kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind):
        return _array(values, kind)
    return pa.array(values, pa.int32() if kind.bit_width <= 32 else pa.int64()).cast(kind)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("INTEGER", pa.string()),
        ("TEXT", pa.int64()),
        ("TEXT", pa.decimal128(5, 2)),
        ("DECIMAL(10,2)", pa.string()),
        ("DECIMAL(10,2)", pa.decimal128(20, 2)),
        ("DATE_TEXT", pa.timestamp("us", "UTC")),
        ("DATE", pa.int64()),
        ("DATE_TEXT", pa.timestamp("us")),
        ("DECIMAL_TEXT(5,2)", pa.decimal128(10, 2)),
    ],
    ids=str,
)
def test_a_column_that_would_change_values_is_refused(tmp_path: Path, declared: str, kind: pa.DataType) -> None:
    run(tmp_path, f"CREATE TABLE t (v {declared})", "INSERT INTO t VALUES (NULL)")
    load = load_of("t", pa.schema([("v", kind)]), Mode.APPEND)
    with (
        opened(spec_of(URL, tmp_path)) as session,
        pytest.raises(SchemaChanged, match="table t does not fit: column 'v' is"),
    ):
        session.writer().plan(load)


def test_an_integer_that_a_double_would_change_is_refused(tmp_path: Path) -> None:
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", pa.table({"n": pa.array([2**53 + 1], pa.int64())}))
        with pytest.raises(DataError, match="1 numbers of column 'n' have more digits than a double"):
            put(session, "t", pa.table({"n": [0.5]}), Mode.APPEND)
        put(session, "u", pa.table({"n": [0.5]}))
        with pytest.raises(DataError, match="column 'n' has integers of more digits than a double"):
            put(session, "u", pa.table({"n": pa.array([2**53 + 1], pa.int64())}), Mode.APPEND)


def test_a_new_column_a_lost_one_and_a_null_adapt_the_table(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (id INT NOT NULL, gone INT NOT NULL)", "INSERT INTO t VALUES (1, 1)")
    columns = [Column("id", pa.int64()), Column("ip", pa.string(), logical="inet", native="postgresql:inet")]
    data = pa.table({"id": pa.array([2, None], pa.int64()), "ip": ["10.0.0.1", None]})
    with opened(spec_of(URL, tmp_path)) as session:
        load = load_of("t", columns, Mode.APPEND)
        planned = session.writer().plan(load)
        load_whole(session, load, data)
        ip = described(session, "t").column("ip")

    assert run(tmp_path, "SELECT * FROM t") == [(1, 1, None), (2, None, "10.0.0.1"), (None, None, None)]
    assert ip is not None
    assert ip.native == "postgresql:inet"
    assert [step for step in planned if step.startswith("ALTER")] == [
        'ALTER TABLE "t" ALTER COLUMN "id" DROP NOT NULL',
        'ALTER TABLE "t" ADD COLUMN "ip" TEXT',
        'ALTER TABLE "t" ALTER COLUMN "gone" DROP NOT NULL',
    ]


@pytest.mark.parametrize("change", ["narrowed", "nullability"])
def test_a_strict_policy_refuses_by_name(tmp_path: Path, change: str) -> None:
    first = [Column("id", pa.int64(), nullable=False), Column("n", pa.int64())]
    then = [Column("id", pa.int64(), nullable=change == "nullability"), Column("n", pa.int16())]
    then = then if change == "narrowed" else [then[0], first[1]]
    with opened(spec_of(URL, tmp_path)) as session:
        load_whole(session, load_of("t", first), pa.table({"id": [1], "n": [1]}))
        load = load_of("t", then, Mode.APPEND, policy=SchemaPolicy(**{change: "strict"}))
        with pytest.raises(SchemaChanged, match=f"set schema_changes.{change} to evolve"):
            session.writer().plan(load)


def test_names_are_found_in_any_case_and_kept_as_they_are(tmp_path: Path) -> None:
    run(tmp_path, 'CREATE TABLE "Order" ("Id" INT, "select" TEXT)')
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, '"ORDER"', pa.table({"ID": [1], "Select": ["x"]}), Mode.APPEND)
        with pytest.raises(SpecError, match="two columns named 'a' but for the case"):
            session.writer().types(load_of("x", pa.schema([("a", pa.int64()), ("A", pa.int64())])))
        put(session, "umlauts", pa.table({"ä": [1], "Ä": [2]}))

    assert run(tmp_path, 'SELECT * FROM "Order"') == [(1, "x")]
    assert run(tmp_path, "SELECT * FROM umlauts") == [(1, 2)]


def test_limits_of_columns_and_kinds_of_targets_are_told(tmp_path: Path) -> None:
    run(tmp_path, "CREATE VIEW v AS SELECT 1 AS id")
    wide = pa.schema([(f"c{at}", pa.int64()) for at in range(2001)])
    with opened(spec_of(URL, tmp_path)) as session:
        for load, message in (
            (load_of("v", SCHEMA), "target v is a view"),
            (load_of("dw.t", SCHEMA), r"table dw\.t has a schema"),
            (load_of("t", wide), "would get 2001 columns; SQLite takes 2000"),
            (load_of("t", SCHEMA, Mode.UPSERT), "needs a key"),
            (
                load_of("t", [Column("id", pa.string(), logical="numeric")], cursor="id"),
                "does not sort like its values",
            ),
        ):
            with pytest.raises(SpecError, match=message):
                session.writer().plan(load)
        put(session, "t", wide.remove(2000).empty_table())
        assert len(described(session, "t").columns) == 2000


# ---- repeats, leftovers, claims


def test_writing_a_part_again_reads_nothing_and_publishing_again_changes_nothing(tmp_path: Path) -> None:
    load = load_of("t", SCHEMA)
    data = rows((1, "a", 1, 1))

    def never() -> Any:
        raise AssertionError("the part was read again")
        yield

    with opened(spec_of(URL, tmp_path)) as session:
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
    names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1"
    assert run(tmp_path, names) == [("_penstock_columns",), ("_penstock_ledger",), ("t",)]
    assert run(tmp_path, 'SELECT DISTINCT "table" FROM _penstock_columns') == [("t",)]


def test_prepare_removes_leftovers_of_its_own_job_and_table_only(tmp_path: Path) -> None:
    dead, mine = load_of("t", SCHEMA), load_of("t", SCHEMA)
    others = [load_of("t", SCHEMA, job="other"), load_of("u", SCHEMA)]
    with opened(spec_of(URL, tmp_path)) as session:
        writer = session.writer()
        for load in (dead, *others):
            writer.prepare(load)
            writer.write(load, "000000", iter(rows((1, "a", 1, 1)).to_batches()))
        writer.prepare(mine)

        with pytest.raises(Missing, match="was not prepared"):
            writer.write(dead, "000001", iter([]))
        for load in others:
            assert writer.publish(load, Expected(1, 1)).rows_after >= 1
        writer.discard(mine)
        writer.discard(mine)

    left = run(tmp_path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
    assert left == [("_penstock_columns",), ("_penstock_ledger",), ("t",), ("u",)]


def test_a_claimed_table_is_held_against_other_jobs_until_the_session_closes(tmp_path: Path) -> None:
    spec = spec_of(URL, tmp_path)
    mine, same, other = (load_of("t", SCHEMA, job=job) for job in ("nightly", "nightly", "other"))
    with opened(spec) as one, opened(spec) as two:
        one.writer().claim(mine)
        two.writer().claim(same)
        one.close()
        with opened(spec) as three, pytest.raises(Locked, match="table t is held by job 'nightly'"):
            three.writer().claim(other)
    with opened(spec) as session:
        session.writer().claim(other)
    assert list(tmp_path.iterdir()) == []


def test_a_large_replace_moves_all_rows_in_slices(tmp_path: Path) -> None:
    count = 450_000
    data = pa.table({"id": pa.array(range(count), pa.int64())})
    with opened(spec_of(URL, tmp_path)) as session:
        for _ in range(2):
            published = put(session, "t", data)

    assert (published.rows_inserted, published.rows_deleted, published.rows_after) == (count, count, count)
    assert run(tmp_path, "SELECT count(DISTINCT id) FROM t") == [(count,)]


def test_reading_and_writing_one_file_at_once_works(tmp_path: Path) -> None:
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", rows(*((at, f"c{at}", at, at) for at in range(5000))))
        source = source_of(session, "t")
        load = load_of("u", source.columns)
        writer, reader = session.writer(), session.reader()
        writer.prepare(load)
        writer.write(load, "000000", reader.read(source, Chunk(0), BatchSize(rows=500)))
        writer.publish(load, Expected(1, 5000))

        assert values_of(session, "u") == values_of(session, "t")
        assert all(choice.fidelity is Fidelity.LOSSLESS for choice in writer.types(load))


def test_a_file_made_by_a_load_lets_readers_and_the_writer_pass_each_other(tmp_path: Path) -> None:
    with opened(spec_of(URL, tmp_path)) as session:
        put(session, "t", rows((1, "a", 1, 1)))
    made = run(tmp_path, "PRAGMA journal_mode")
    sqlite3.connect(tmp_path / "old.db").execute("CREATE TABLE t (id INT)").connection.close()
    with opened(spec_of("sqlite:old.db", tmp_path)) as session:
        put(session, "t", pa.table({"id": [1]}))
        kept = session.check().notes[-1]

    assert (made, kept) == ([("wal",)], "journal mode delete")


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
