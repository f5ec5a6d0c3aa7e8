"""Types: each is read exactly by both codecs, comes back as what it was, and what cannot be held is refused by name."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import DataError
from penstock.core.load import BatchSize
from penstock.core.schema import Column, Fidelity
from tests.mysql.loading import (
    connection,
    described,
    load_of,
    load_whole,
    opened,
    put,
    query_of,
    read,
    rows,
    source_of,
    table_of,
)
from tests.parts.mariadb import MariadbServer
from tests.parts.postgres import PostgresServer
from tests.postgres.loading import session as postgres_session

pytestmark = pytest.mark.mariadb

CODECS = ["native", "portable"]
_POINT = bytes.fromhex("0101000000000000000000f03f0000000000000040")

# Declared type, an extreme and an ordinary value as SQL, and what reading gives.
KINDS: list[tuple[str, tuple[str, str], tuple[Any, Any]]] = [
    ("TINYINT", ("-128", "0"), (-128, 0)),
    ("TINYINT UNSIGNED", ("255", "0"), (255, 0)),
    ("SMALLINT", ("-32768", "1"), (-32768, 1)),
    ("SMALLINT UNSIGNED", ("65535", "1"), (65535, 1)),
    ("MEDIUMINT", ("-8388608", "8388607"), (-8388608, 8388607)),
    ("MEDIUMINT UNSIGNED", ("16777215", "0"), (16777215, 0)),
    ("INT", ("-2147483648", "2147483647"), (-2147483648, 2147483647)),
    ("INT UNSIGNED", ("4294967295", "0"), (4294967295, 0)),
    ("BIGINT", ("-9223372036854775808", "9223372036854775807"), (-(2**63), 2**63 - 1)),
    ("BIGINT UNSIGNED", ("18446744073709551615", "0"), (2**64 - 1, 0)),
    ("FLOAT", ("3.4028234e38", "0.1"), (3.4028234663852886e38, 0.10000000149011612)),
    ("DOUBLE", ("1.7976931348623157e308", "0.1"), (1.7976931348623157e308, 0.1)),
    ("DECIMAL(10,2)", ("-99999999.99", "0.10"), (Decimal("-99999999.99"), Decimal("0.10"))),
    ("DECIMAL(38,0)", ("9" * 38, "-1"), (Decimal("9" * 38), Decimal(-1))),
    ("DECIMAL(65,30)", (f"-{'9' * 35}.{'9' * 30}", "0.5"), (Decimal(f"-{'9' * 35}.{'9' * 30}"), Decimal("0.5"))),
    ("BIT(1)", ("1", "0"), (True, False)),
    ("BIT(64)", ("18446744073709551615", "5"), (2**64 - 1, 5)),
    ("YEAR", ("2155", "0"), (2155, 0)),
    ("DATE", ("'9999-12-31'", "'0001-01-01'"), (dt.date(9999, 12, 31), dt.date(1, 1, 1))),
    ("DATETIME", ("'9999-12-31 23:59:59'", "'2020-02-29'"), (dt.datetime(9999, 12, 31, 23, 59, 59), dt.datetime(2020, 2, 29))),
    ("DATETIME(6)", ("'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.5'"),
     (dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(1969, 12, 31, 23, 59, 59, 500000))),
    ("TIMESTAMP(3) NULL", ("'2038-01-19 03:14:07.999'", "'1970-01-01 00:00:01'"),
     (dt.datetime(2038, 1, 19, 3, 14, 7, 999000, dt.UTC), dt.datetime(1970, 1, 1, 0, 0, 1, 0, dt.UTC))),
    ("TIME(6)", ("'-838:59:59.000001'", "'12:30:00'"),
     (-dt.timedelta(hours=838, minutes=59, seconds=59, microseconds=1), dt.timedelta(hours=12, minutes=30))),
    ("CHAR(5) CHARACTER SET latin1", ("'é'", "''"), ("é", "")),
    ("VARCHAR(20) CHARACTER SET cp1251", ("'Привет'", "'a '"), ("Привет", "a ")),
    ("TEXT CHARACTER SET utf8mb4", ("'🚰'", "'a\\tb\\n\\0\\\\'"), ("🚰", "a\tb\n\0\\")),
    ("VARBINARY(20)", ("x'00FF5C'", "''"), (b"\0\xff\\", b"")),
    ("LONGBLOB", ("REPEAT(x'00', 70000)", "x'0a'"), (b"\0" * 70000, b"\n")),
    ("BINARY(4)", ("'abcd'", "'a'"), (b"abcd", b"a\0\0\0")),
    ("ENUM('x','y z')", ("'y z'", "'x'"), ("y z", "x")),
    ("SET('a','b')", ("'a,b'", "''"), ("a,b", "")),
    ("JSON", ("'{\"a\": 1.50, \"é\": []}'", "'[]'"), ('{"a": 1.50, "é": []}', "[]")),
    ("UUID", ("'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "'00000000-0000-0000-0000-000000000000'"),
     (uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"), uuid.UUID(int=0))),
    ("INET6", ("'2001:db8::ff00:42:8329'", "'::'"), ("2001:db8::ff00:42:8329", "::")),
    ("POINT", ("ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(0 0)')"), (_POINT, _POINT[:5] + b"\0" * 16)),
    ("GEOMETRY", ("ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('POINT(0 0)')"),
     (_POINT[:4] + b"\x20" + (4326).to_bytes(4, "little") + _POINT[5:], _POINT[:5] + b"\0" * 16)),
]  # fmt: skip


@pytest.fixture
def kinds(mariadb_server: MariadbServer, database: str) -> str:
    """Table `kinds` with a column of every type and three rows: extremes, NULLs, ordinary values."""
    columns = ", ".join(f"c{at} {kind}" for at, (kind, _, _) in enumerate(KINDS))
    mariadb_server.execute(
        "SET sql_mode = '', time_zone = '+00:00'",
        f"CREATE TABLE kinds (id INT PRIMARY KEY, {columns})",
        f"INSERT INTO kinds VALUES (1, {', '.join(values[0] for _, values, _ in KINDS)})",
        f"INSERT INTO kinds VALUES (2, {', '.join('NULL' for _ in KINDS)})",
        f"INSERT INTO kinds VALUES (3, {', '.join(values[1] for _, values, _ in KINDS)})",
        database=database,
    )
    return "kinds"


@pytest.mark.parametrize("codec", CODECS)
def test_every_type_is_read_exactly(url: str, kinds: str, codec: str) -> None:
    with opened(connection(url, codec=codec)) as session:
        first, nothing, third = rows(session, kinds)

    for at, (kind, _, (extreme, ordinary)) in enumerate(KINDS):
        assert first[f"c{at}"] == extreme, kind
        assert nothing[f"c{at}"] is None, kind
        assert third[f"c{at}"] == ordinary, kind


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("local_infile", ["always", "never"])
def test_every_type_comes_back_as_what_it_was(
    mariadb_server: MariadbServer, url: str, database: str, kinds: str, codec: str, local_infile: str
) -> None:
    with opened(connection(url, codec=codec, local_infile=local_infile)) as session:
        source = source_of(session, kinds)
        data = read(session, source)
        choices = session.writer().types(load_of("back", source.columns))
        load_whole(session, load_of("back", source.columns), data)
        back = source_of(session, "back")
        assert read(session, back).equals(data)

    assert [column.native for column in back.columns] == [column.native for column in source.columns]
    assert {choice.fidelity for choice in choices} == {Fidelity.LOSSLESS}
    held = "SELECT COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{}'"
    declared = [mariadb_server.execute(held.format(database, table)) for table in ("kinds", "back")]
    assert declared[0] == declared[1]


@pytest.mark.parametrize("codec", CODECS)
def test_every_type_goes_into_a_table_that_is_there(url: str, kinds: str, codec: str) -> None:
    with opened(connection(url, codec=codec)) as session:
        source = source_of(session, kinds)
        data = read(session, source)
        load_whole(session, load_of("back", source.columns), data)
        load_whole(session, load_of("back", source.columns), data.slice(0, 2), data.slice(2))

        assert table_of(session, "back").sort_by("id").equals(data.sort_by("id"))


def test_both_codecs_give_the_same_batches(url: str, kinds: str) -> None:
    found = []
    for codec in CODECS:
        with opened(connection(url, codec=codec)) as session:
            query = query_of(session, f"SELECT k.* FROM {kinds} AS k CROSS JOIN seq_1_to_100 AS s ORDER BY s.seq, k.id")
            sizes = (BatchSize(rows=7), BatchSize(size_bytes=100_000))
            found.append([list(session.reader().read(query, _whole(), size)) for size in sizes])

    assert len(found[0][0]) == 43
    assert found[0] == found[1]


def _whole() -> Any:
    from penstock.core.load import Chunk

    return Chunk(0)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", ["'0000-00-00'", "'2020-02-00'"])
def test_a_date_that_does_not_exist_is_an_error_or_null_as_asked(
    mariadb_server: MariadbServer, url: str, database: str, codec: str, value: str
) -> None:
    mariadb_server.execute(
        "SET sql_mode = ''",
        "CREATE TABLE odd (id INT, born DATE NOT NULL, seen DATETIME NOT NULL)",
        f"INSERT INTO odd VALUES (1, '2020-01-01', '2020-01-01'), (2, '2020-01-01', {value})",
        database=database,
    )
    with opened(connection(url, codec=codec)) as session, pytest.raises(DataError, match="'seen' of row 2") as caught:
        table_of(session, "odd")
    with opened(connection(url, codec=codec, zero_dates="as_null")) as session:
        columns = described(session, "odd").columns
        found = rows(session, "odd")

    assert "zero_dates" in caught.value.hint
    assert [column.nullable for column in columns] == [True, True, True]
    assert columns[2].note
    assert [row["seen"] for row in found] == [dt.datetime(2020, 1, 1), None]


@pytest.mark.parametrize("codec", CODECS)
def test_tinyint1_is_a_boolean_where_asked(mariadb_server: MariadbServer, url: str, database: str, codec: str) -> None:
    mariadb_server.execute("CREATE TABLE flags (id INT, flag TINYINT(1))", "INSERT INTO flags VALUES (1, 1), (2, NULL), (3, 0)", database=database)  # fmt: skip
    with opened(connection(url, codec=codec, tinyint1="boolean")) as session:
        assert [row["flag"] for row in rows(session, "flags")] == [True, None, False]
        mariadb_server.execute("INSERT INTO flags VALUES (4, 2)", database=database)
        with pytest.raises(DataError, match="'flag' of row 4"):
            table_of(session, "flags")


@pytest.mark.parametrize("codec", CODECS)
def test_time_is_a_time_of_day_where_asked(mariadb_server: MariadbServer, url: str, database: str, codec: str) -> None:
    mariadb_server.execute("CREATE TABLE hours (id INT, at TIME(3))", "INSERT INTO hours VALUES (1, '23:59:59.999')", database=database)  # fmt: skip
    with opened(connection(url, codec=codec, time="clock")) as session:
        assert rows(session, "hours")[0]["at"] == dt.time(23, 59, 59, 999000)
        mariadb_server.execute("INSERT INTO hours VALUES (2, '24:00:00')", database=database)
        with pytest.raises(DataError, match="'at' of row 2"):
            table_of(session, "hours")


REFUSED = {
    "NaN": pa.array([1.0, float("nan")]),
    "infinity": pa.array([1.0, float("inf")], pa.float32()),
    "year 10000": pa.array([0, 253_402_300_800_000_000], pa.timestamp("us")),
    "year -1": pa.array([-720_000], pa.int32()).cast(pa.date32()),
    "a long time": pa.array([839 * 3_600_000_000], pa.duration("us")),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("local_infile", ["always", "never"])
def test_what_mysql_cannot_hold_is_refused_by_name(url: str, what: str, local_infile: str) -> None:
    with opened(connection(url, local_infile=local_infile)) as session:
        with pytest.raises(DataError, match="bad"):
            put(session, "refused", pa.table({"bad": REFUSED[what]}))

        assert session.catalog().tables() == []


def test_values_of_a_narrower_column_are_refused_and_nothing_is_kept(
    mariadb_server: MariadbServer, url: str, database: str
) -> None:
    mariadb_server.execute("CREATE TABLE narrow (id BIGINT, kind ENUM('a','b') NOT NULL)", database=database)
    data = pa.table({"id": pa.array([1, 2], pa.int64()), "kind": ["a", "c"]})
    with opened(connection(url)) as session, pytest.raises(DataError, match="kind"):
        put(session, "narrow", data)

    assert mariadb_server.execute("SELECT * FROM narrow", database=database) == []


FOREIGN = pa.table(
    {
        "id": pa.array([1, 2], pa.int32()),
        "flag": pa.array([True, None]),
        "moment": pa.array([1_732_116_123_123_456, None], pa.timestamp("us", "UTC")),
        "hour": pa.array([86_399_999_999, None], pa.time64("us")),
        "who": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef", None], pa.binary(16))),
        "text": ["a ", None],
        "price": pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)),
        "doc": pa.array(['{"a": 1.0}', None]),
    }
)


def test_columns_of_postgresql_come_back_from_mariadb(postgres_server: PostgresServer, url: str) -> None:
    postgres_server.start()
    dsn = postgres_server.dsn(postgres_server.create_database())
    columns = [
        Column.from_field(field) if field.name != "doc" else Column("doc", pa.string(), logical="json")
        for field in FOREIGN.schema
    ]
    with postgres_session(dsn) as shop, opened(connection(url)) as house:
        load_whole(shop, load_of("public.things", columns), FOREIGN)
        source = source_of(shop, "public.things")
        load_whole(house, load_of("things", source.columns), read(shop, source))
        there = source_of(house, "things")
        load_whole(shop, load_of("public.back", there.columns), read(house, there))
        back = source_of(shop, "public.back")

        assert [(c.type, c.logical, c.native) for c in back.columns] == [
            (c.type, c.logical, c.native) for c in source.columns
        ]
        assert read(shop, back).equals(read(shop, source))
