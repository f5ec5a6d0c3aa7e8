"""Types: what DuckDB holds comes out exactly or says how, and what goes in comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from penstock.core.errors import DataError, NotSupported
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY, Column, Fidelity, TypePolicy
from penstock.testing.values import plain_values
from tests.duckdb.loading import described, load_of, load_whole, opened, put, read, source_of, spec_of, table_of

# Declared type -> values as SQL literals; the values of every type are compared as DuckDB's own text.
EVERY_TYPE = {
    "BOOLEAN": ["true", "false"],
    "TINYINT": ["-128", "127"],
    "SMALLINT": ["-32768", "32767"],
    "INTEGER": ["-2147483648", "2147483647"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"],
    "HUGEINT": ["-99999999999999999999999999999999999999", "99999999999999999999999999999999999999"],
    "UTINYINT": ["0", "255"],
    "USMALLINT": ["0", "65535"],
    "UINTEGER": ["0", "4294967295"],
    "UBIGINT": ["0", "18446744073709551615"],
    "UHUGEINT": ["0", "99999999999999999999999999999999999999"],
    "BIGNUM": ["'-123456789012345678901234567890123456789012345'"],
    "FLOAT": ["'nan'", "'-inf'", "3.4028235e38", "0.1"],
    "DOUBLE": ["'nan'", "'inf'", "5e-324", "0.1", "-0.0"],
    "DECIMAL(4,1)": ["-999.9", "0.1"],
    "DECIMAL(38,10)": ["9999999999999999999999999999.9999999999"],
    "VARCHAR": ["''", "'é🚰'", "'NULL'"],
    "BLOB": ["''", r"'\x00\xFF'"],
    "BIT": ["'101'"],
    "DATE": ["'0044-03-15 (BC)'", "'infinity'", "'-infinity'", "'9999-12-31'", "'12345-01-01'"],
    "TIME": ["'00:00:00'", "'23:59:59.999999'", "'24:00:00'"],
    "TIMETZ": ["'01:02:03.5+05:30'", "'00:00:00-15:59:59'"],
    "TIMESTAMP": ["'0044-03-15 (BC) 01:02:03'", "'infinity'", "'-infinity'", "'2020-01-01 00:00:00.000001'"],
    "TIMESTAMP_S": ["'2020-01-01 00:00:01'", "'infinity'"],
    "TIMESTAMP_MS": ["'2020-01-01 00:00:00.001'", "'-infinity'"],
    "TIMESTAMP_NS": ["'2020-01-01 00:00:00.123456789'"],
    "TIMESTAMPTZ": ["'2020-01-01 00:00:00.000001+05:45'", "'infinity'"],
    "INTERVAL": ["'1 year 2 months -3 days 04:05:06.789'", "'-178956970 years -8 months -2147483648 days'"],
    "UUID": ["'6ba7b810-9dad-11d1-80b4-00c04fd430c8'"],
    "JSON": ["""'{"a" :1, "a":[1,  2]}'""", "'null'"],
    "ENUM('sad', 'so \"happy\"')": ["'sad'", "'so \"happy\"'"],
    "INTEGER[]": ["[]", "[1, NULL, 3]"],
    "INTEGER[3]": ["[1, 2, 3]"],
    "UUID[]": ["['6ba7b810-9dad-11d1-80b4-00c04fd430c8', NULL]"],
    "INTERVAL[]": ["['1 day', '-00:00:00.000001']"],
    'STRUCT(a INTEGER, "b c" DECIMAL(10,2)[])': ["{'a': 1, 'b c': [1.50, NULL]}", "{'a': NULL, 'b c': NULL}"],
    "MAP(VARCHAR, TIMESTAMP WITH TIME ZONE)": ["MAP {'k': '2020-01-01 00:00:00+00'}", "MAP {}"],
    "STRUCT(e ENUM('x'), t TIMETZ)[]": ["[{'e': 'x', 't': '01:02:03+04'}, NULL]"],
}


@pytest.fixture
def every(tmp_path: Path) -> Path:
    """A file with a table `every`: a column of each type, its values in rows of their own, then NULLs."""
    names = [f"c{number}" for number in range(len(EVERY_TYPE))]
    rows = max(len(values) for values in EVERY_TYPE.values()) + 1
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, EVERY_TYPE, strict=True))
        connection.execute(f"CREATE TABLE every (id INTEGER, {columns})")
        for row in range(rows):
            values = [
                f"CAST({given[row]} AS {kind})" if row < len(given) else "NULL" for kind, given in EVERY_TYPE.items()
            ]
            connection.execute(f"INSERT INTO every VALUES ({row}, {', '.join(values)})")
    return tmp_path


def texts(folder: Path, table: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "house.duckdb")) as connection:
        names = [row[0] for row in connection.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()]
        listed = ", ".join(f'CAST("{name}" AS VARCHAR)' for name in names)
        return connection.execute(f"SELECT {listed} FROM {table} ORDER BY id").fetchall()


def kinds(folder: Path, table: str) -> list[str]:
    with duckdb.connect(str(folder / "house.duckdb")) as connection:
        return [row[0] for row in connection.execute(f"SELECT column_type FROM (DESCRIBE {table})").fetchall()]


def test_a_table_of_every_type_comes_back_with_its_types_and_values(every: Path) -> None:
    with opened(spec_of("duckdb:house.duckdb", every)) as session:
        source = source_of(session, "main.every")
        rows = read(session, source)
        load_whole(session, load_of("main.copied", source.columns), rows)

    assert kinds(every, "copied") == kinds(every, "every")
    assert texts(every, "copied") == texts(every, "every")


def test_a_table_of_every_type_is_replaced_in_place_with_its_values(every: Path) -> None:
    with opened(spec_of("duckdb:house.duckdb", every)) as session:
        source = source_of(session, "main.every")
        for _ in range(2):
            published = load_whole(session, load_of("main.copied", source.columns), read(session, source))

    assert "in place" in published.how
    assert texts(every, "copied") == texts(every, "every")


def test_integers_of_more_than_38_digits_come_as_text_and_say_so(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, fits HUGEINT, h HUGEINT, u UHUGEINT)")
        connection.execute(
            "INSERT INTO t VALUES (1, 5, 170141183460469231731687303715884105727, 340282366920938463463374607431768211455)"
        )
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        columns = described(session, "main.t").columns
        source = source_of(session, "main.t")
        load_whole(session, load_of("main.copied", columns), read(session, source))

    assert [(column.type, column.logical, column.fidelity) for column in columns[1:]] == [
        (pa.decimal128(38, 0), "", Fidelity.LOSSLESS),
        (pa.string(), "numeric", Fidelity.TEXT),
        (pa.string(), "numeric", Fidelity.TEXT),
    ]
    assert "38 digits" in columns[2].note
    assert texts(tmp_path, "copied") == texts(tmp_path, "t")
    assert kinds(tmp_path, "copied") == kinds(tmp_path, "t")


def test_an_integer_that_grew_beyond_38_digits_is_refused_not_cut(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1::UHUGEINT AS u")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        source = source_of(session, "main.t")
        with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
            connection.execute("INSERT INTO t VALUES (340282366920938463463374607431768211455)")

        with pytest.raises(DataError, match="cannot read table"):
            read(session, source)


def test_a_union_comes_as_text_and_says_so(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT union_value(n := 1)::UNION(n INTEGER, s VARCHAR) AS u")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        column = described(session, "main.t").columns[0]
        values = table_of(session, "main.t")["u"].to_pylist()

    assert (column.type, column.fidelity) == (pa.string(), Fidelity.TEXT)
    assert "DuckDB's own text" in column.note
    assert values == ["1"]


def test_lists_come_as_text_where_the_policy_says_so(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT [1, NULL] AS l, 5 AS n")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        columns = described(session, "main.t", TypePolicy(arrays="text")).columns

    assert [column.type for column in columns] == [pa.string(), pa.int32()]


@pytest.mark.parametrize(
    ("text", "months", "days", "micros"),
    [
        ("1 year 2 mons -3 days +04:05:06.789", 14, -3, 14_706_789_000),
        ("-1 years -2 mons +3 days -04:05:06.789", -14, 3, -14_706_789_000),
        ("-1 days +02:03:00", 0, -1, 7_380_000_000),
        ("-00:00:00.000001", 0, 0, -1),
        ("00:00:00", 0, 0, 0),
        ("2147483647 days", 0, 2**31 - 1, 0),
        ("-178956970 years -8 mons", -(2**31), 0, 0),
        ("2562047788:00:54.775807", 0, 0, 2**63 - 1),
        ("1 mon -2562047788:00:54.775808", 1, 0, -(2**63)),
        ("1 mon 3 days 99999999:59:59.1", 1, 3, 359_999_999_999_100_000),
        ("99999999:59:59.1", 0, 0, 359_999_999_999_100_000),
    ],
)
def test_interval_text_of_postgresql_keeps_months_days_and_microseconds(
    tmp_path: Path, text: str, months: int, days: int, micros: int
) -> None:
    data = pa.table({"id": pa.array([1], pa.int64()), "i": [text]})
    columns = [Column("id", pa.int64()), Column("i", pa.string(), logical="interval", native="postgresql:interval")]
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        load_whole(session, load_of("main.t", columns), data)
        written = table_of(session, "main.t")["i"].to_pylist()[0]
        again = described(session, "main.t").columns[1]
        load_whole(session, load_of("main.u", [columns[0], again]), table_of(session, "main.t"))

    whole = f"CAST(to_months({months}) + to_days({days}) + to_microseconds(CAST('{micros}' AS BIGINT)) AS VARCHAR)"
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        for table in ("t", "u"):
            assert connection.execute(f"SELECT CAST(i AS VARCHAR), {whole} FROM {table}").fetchall() == [
                (written, written)
            ]
    assert (again.logical, again.native) == ("interval", "postgresql:interval")


def test_text_that_is_no_interval_is_refused_with_its_value(tmp_path: Path) -> None:
    columns = [Column("i", pa.string(), logical="interval")]
    with (
        opened(spec_of("duckdb:house.duckdb", tmp_path)) as session,
        pytest.raises(DataError, match=r"cannot write part 000000 of table main\.t .*'soon'"),
    ):
        load_whole(session, load_of("main.t", columns), pa.table({"i": ["soon"]}))


def test_an_interval_with_nanoseconds_is_refused_not_cut(tmp_path: Path) -> None:
    data = pa.table({"i": pa.array([(1, 2, 1001)], pa.month_day_nano_interval())})
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session, pytest.raises(DataError, match="nanoseconds"):
        put(session, "main.t", data)


def test_infinity_is_the_greatest_integer_on_both_ways(tmp_path: Path) -> None:
    stamps = pa.array([TIMESTAMP_INFINITY, -TIMESTAMP_INFINITY], pa.int64()).cast(pa.timestamp("us"))
    days = pa.array([DATE_INFINITY, -DATE_INFINITY], pa.int32()).cast(pa.date32())
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, "main.t", pa.table({"t": stamps, "d": days}))
        back = table_of(session, "main.t")

    assert sorted(plain_values(back["t"])) == [-TIMESTAMP_INFINITY, TIMESTAMP_INFINITY]
    assert sorted(plain_values(back["d"])) == [-DATE_INFINITY, DATE_INFINITY]
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        assert connection.execute("SELECT t::VARCHAR, d::VARCHAR FROM t ORDER BY 1").fetchall() == [
            ("-infinity", "-infinity"),
            ("infinity", "infinity"),
        ]


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(), pa.binary(4), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ns", "UTC"),
        pa.timestamp("us", "Europe/Berlin"), pa.decimal256(60, 10), pa.float16(), pa.date64(), pa.time32("ms"),
        pa.month_day_nano_interval(),
    ],
    ids=str,
)  # fmt: skip
def test_carriers_that_duckdb_has_in_another_type_are_restored(tmp_path: Path, kind: pa.DataType) -> None:
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        put(session, "main.t", pa.schema([("v", kind)]).empty_table())
        column = described(session, "main.t").columns[0]

    assert column.type == kind


def test_a_carrier_that_duckdb_cannot_hold_is_refused_before_anything_runs(tmp_path: Path) -> None:
    union = pa.dense_union([pa.field("a", pa.int64()), pa.field("b", pa.string())])
    load = load_of("main.t", [Column("u", union)])
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session, pytest.raises(NotSupported, match="column 'u'"):
        session.writer().types(load)
    assert not (tmp_path / "house.duckdb").exists()


def test_the_origin_of_a_column_survives_a_rename_and_dies_with_a_change_of_type(tmp_path: Path) -> None:
    columns = [Column("a", pa.string(), logical="inet", native="postgresql:inet")]
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        load_whole(session, load_of("main.t", columns), pa.table({"a": ["10.0.0.1"]}))
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("ALTER TABLE t RENAME TO renamed")
        connection.execute("ALTER TABLE renamed RENAME a TO b")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        renamed = described(session, "main.renamed").columns[0]
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("ALTER TABLE renamed ALTER b TYPE BLOB USING encode(b)")
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        changed = described(session, "main.renamed").columns[0]

    assert (renamed.logical, renamed.native) == ("inet", "postgresql:inet")
    assert (changed.logical, changed.native) == ("", "duckdb:BLOB")


@pytest.mark.parametrize("comment", ["a note", "{not json", '{"penstock": 5}', '{"penstock": {"type": 7}}', "[]"])
def test_comments_of_others_are_no_memory_and_are_left_alone(tmp_path: Path, comment: str) -> None:
    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        connection.execute("CREATE TABLE t (a VARCHAR)")
        connection.execute(f"COMMENT ON COLUMN t.a IS '{comment}'")
    columns = [Column("a", pa.string(), logical="inet", native="postgresql:inet")]
    with opened(spec_of("duckdb:house.duckdb", tmp_path)) as session:
        assert described(session, "main.t").columns[0] == Column("a", pa.string(), True, "", "duckdb:VARCHAR")
        load_whole(session, load_of("main.t", columns), pa.table({"a": ["10.0.0.1"]}))

    with duckdb.connect(str(tmp_path / "house.duckdb")) as connection:
        kept = connection.execute("SELECT comment FROM duckdb_columns() WHERE table_name = 't'").fetchall()
        assert kept == [(comment,)]
