"""PostgreSQL through another system and back: equal value by value, type by type."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

import penstock

pytestmark = pytest.mark.postgres

PREPARE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE DOMAIN positive AS numeric(10,2) CHECK (VALUE > 0);
CREATE DOMAIN code AS varchar(4);
CREATE TABLE every_type (
    id bigint PRIMARY KEY,
    b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8,
    n numeric, n_18_4 numeric(18,4), n_38_10 numeric(38,10), n_50_5 numeric(50,5), n_neg numeric(5,-2),
    t text, v varchar(20), c char(6), "name" name, ch "char",
    by bytea, d date, ti time, ti0 time(0), tz timetz, ts timestamp, ts3 timestamp(3), tstz timestamptz,
    iv interval, u uuid, j json, jb jsonb, x xml,
    m mood, dom positive, cd code,
    ip inet, net cidr, mac macaddr, r int4range, nr numrange, tr tstzrange, mr int4multirange,
    p point, bx box, bt bit(5), vb varbit(9), tv tsvector, lsn pg_lsn,
    ia int4[], ta text[], na numeric(10,2)[], tsa timestamptz[], ua uuid[], ma mood[], ba bool[]
)
"""
ROWS = [
    (
        "(1, true, 32767, 2147483647, 9223372036854775807, 4294967295, 3.4e38, 1.7976931348623157e308,"
        " 12345678901234567890123456789.123456789012345678901234567890, 99999999999999.9999,"
        " 9999999999999999999999999999.9999999999, 123456789012345678901234567890123456789012345.12345, 12300,"
        " 'plain', 'varchar', 'ab', 'a_name', 'x',"
        r" '\x00ff10', '2024-02-29', '23:59:59.999999', '12:00', '23:59:59.5+05:30', '2024-02-29 23:59:59.999999',"
        " '2024-01-01 00:00:00.123', '2024-06-30 23:59:59.000001+02',"
        " '1 year -2 mons 3 days -04:05:06.789012', '00112233-4455-6677-8899-aabbccddeeff', '{\"a\" : 1}', '{\"a\": [1, null]}',"
        " '<a>1</a>', 'ok', 0.01, 'abcd', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '[1,5)', '(1.5,)',"
        " '[2024-01-01 00:00+00,)', '{[1,3),[5,9)}', '(1,2)', '(1,1),(0,0)', B'10101', B'101', 'a fat cat', '16/B374D848',"
        ' \'{1,NULL,3}\', \'{"a,b",NULL,"","q\\"q"}\', \'{1.50,NULL}\', \'{"2024-01-01 00:00+00"}\','
        " '{00112233-4455-6677-8899-aabbccddeeff}', '{sad,ok}', '{t,f,NULL}')"
    ),
    "(2)",
    (
        "(3, false, -32768, -2147483648, -9223372036854775808, 0, 'NaN', '-Infinity',"
        " 'NaN', -99999999999999.9999, -0.0000000001, -0.00001, -100,"
        " '', '', '', '', '', '', '0044-03-15 BC', '00:00', '00:00', '00:00+00', '0044-03-15 01:02:03 BC', '1969-12-31 23:59:59.999',"
        " '0044-03-15 01:02:03+00 BC', '-178000000 years', '00000000-0000-0000-0000-000000000000', 'null', 'null', '',"
        " 'sad', 99999999.99, '', '::1', '::/0', 'ff:ff:ff:ff:ff:ff', 'empty', 'empty', '(,)', '{}', '(-1e300,1e-300)',"
        " '(0,0),(0,0)', B'00000', B'', '', '0/0', '{}', '{}', '{}', '{}', '{}', '{}', '{}')"
    ),
    (
        "(4, true, 0, 0, 0, 1, '-0', '-0', '-Infinity', 0, 0, 0, 0, E'tab\\there\\nline \\\\ back', 'ünïcödé 💧', 'ß', 'n', 'y',"
        " '', 'infinity', '12:34:56.789', '01:02:03', '12:00:00-15:59', 'infinity', '-infinity', '-infinity',"
        " '999 days 23:00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[1,2]', '\"text\"', '<x/>', 'it''s \"fine\"', 1.00, 'ab',"
        " '192.168.0.1', '192.168.0.0/16', '00:00:00:00:00:00', '[,5)', '[1,2]', '[-infinity,infinity]', '{[,)}', '(Infinity,NaN)',"
        " '(1e10,1e10),(0,0)', B'11111', B'111111111', '''a''', 'FFFFFFFF/FFFFFFFF',"
        " '{2147483647}', '{NULL}', '{-99999999.99}', '{infinity}', '{NULL}', '{}', '{NULL}')"
    ),
    (
        "(5, NULL, 1, 1, 1, 1, 1e-37, 5e-324, 'Infinity', 1, 1, 1, 100, repeat('long text ', 30000), 'v', 'c', 'n', 'z',"
        " decode(repeat('00', 20000), 'hex'), '5874897-12-31', '12:00', '12:00', '12:00+14', '9999-12-31 23:59:59.999999',"
        " '10000-01-01', '200000-01-01 00:00+00', '1 mon')"
    ),
]


def make(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(PREPARE)
        for row in ROWS:
            connection.execute(f"INSERT INTO every_type VALUES {row}")
        connection.execute("CREATE TABLE empty (LIKE every_type)")


def copy(state_dir: Path, source: str, target: str, *tables: str) -> None:
    """Copy, and fail with every reason there is."""
    said: list[str] = []
    within = penstock.OneOff(state_dir=state_dir)
    settings = {"tables": list(tables), "retry": {"attempts": 1}}
    outcome = penstock.copy(source, target, settings, within=within, on_event=lambda event: said.append(str(event)))
    errors = [line for line in said if "rror" in line or "ailed" in line]
    assert outcome.exit_code == 0, "\n".join([str(outcome.jobs[0].error), outcome.jobs[0].reason, *errors])


def contents(dsn: str, table: str = "every_type") -> tuple[list[tuple[str, str]], list[tuple[object, ...]]]:
    """Column names with declared types, and every value as the server's own text, by id."""
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [table],
        ).fetchall()
        listed = ", ".join(f'"{name}"::text' for name, _ in columns)
        return columns, connection.execute(f"SELECT {listed} FROM {table} ORDER BY id").fetchall()  # type: ignore[call-overload]


def differences(before: tuple, after: tuple) -> list[str]:
    (columns, rows), (columns_after, rows_after) = before, after
    assert len(rows_after) == len(rows)
    out = [f"{a} became {b}" for a, b in zip(columns, columns_after, strict=True) if a != b]
    for row, row_after in zip(rows, rows_after, strict=True):
        out += [
            f"id {row[0]} {name}: {value!r:.80} became {value_after!r:.80}"
            for (name, _), value, value_after in zip(columns, row, row_after, strict=True)
            if value != value_after
        ]
    return out


@pytest.mark.parametrize("between", ["file", "duckdb", "arrow", "sqlite", "csv", "ndjson"])
def test_there_and_back_again_is_equal_value_by_value(between, postgres_server, tmp_path):
    source, target = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make(source)
    with psycopg.connect(source) as connection:
        if between == "sqlite":  # which has no NaN, and says so, and no negative zero
            connection.execute("UPDATE every_type SET f4 = 1.5 WHERE f4 = 'NaN'")
            connection.execute("UPDATE every_type SET f4 = 0, f8 = 0 WHERE f4 = 0")
    with psycopg.connect(target) as connection:
        connection.execute(PREPARE.partition("CREATE TABLE")[0])
    url, there = _between(between, tmp_path)

    copy(tmp_path, source, url, "public.every_type", "public.empty")
    copy(tmp_path, url, target, *there)

    name = there[0].replace(".", "_") if between == "sqlite" else "every_type"
    assert differences(contents(source), contents(target, name)) == []
    assert contents(target, name.replace("every_type", "empty"))[1] == []


def _between(kind: str, tmp_path: Path) -> tuple[str, list[str]]:
    if kind == "duckdb":
        return f"duckdb:{tmp_path}/house.duckdb", ["public.every_type", "public.empty"]
    if kind == "sqlite":
        return f"sqlite:{tmp_path}/house.sqlite", ["public_every_type", "public_empty"]
    options = {"file": "", "arrow": "?format=arrow", "csv": "?format=csv", "ndjson": "?format=ndjson"}
    return f"file:{tmp_path}/lake{options[kind]}", ["public.every_type", "public.empty"]


def test_postgres_to_postgres_passes_through_untouched(postgres_server, tmp_path):
    source, target = (postgres_server.dsn(postgres_server.create_database()) for _ in range(2))
    make(source)
    with psycopg.connect(target) as connection:
        connection.execute(PREPARE.partition("CREATE TABLE")[0])

    copy(tmp_path, source, target, "public.every_type")

    assert differences(contents(source), contents(target)) == []
