"""Sessions, loads and an all-types table for the tests of the PostgreSQL connector."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa

from penstock.connectors.postgres.connector import connector
from penstock.connectors.postgres.session import PostgresSession
from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Published, Source
from penstock.core.names import TableName
from penstock.core.schema import Column, TableSchema, TypePolicy, arrow_schema
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec

EXACT, BATCH = TypePolicy(), BatchSize()
_numbers = itertools.count(1)

# Each type with values at its edges; "::text" tells whether they survived.
ALL_TYPES: Mapping[str, Sequence[str]] = {
    "bool": ["true", "false"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "float4": ["NaN", "-Infinity", "1.1754944e-38", "0.1"],
    "float8": ["NaN", "Infinity", "5e-324", "0.1", "-0"],
    "numeric(18,4)": ["-99999999999999.9999", "0.0001", "0"],
    "numeric(38,10)": ["9999999999999999999999999999.9999999999"],
    "numeric(60,20)": ["-1234567890123456789012345678901234567890.00000000000000000001"],
    "numeric(100,50)": ["1e49", "0.00000000000000000000000000000000000000000000000001"],
    "numeric(5,-2)": ["1234500"],
    "numeric(3,5)": ["0.00123"],
    "numeric": ["1.123456789012345678901234567890", "1e200", "NaN", "-Infinity", "0.10"],
    "text": ["", "é🚰\n\t\\N", "NULL"],
    "varchar(20)": ["", "twenty characters ok"],
    "char(4)": ["ab", "abcd"],
    "name": ["a name"],
    "json": ['{"b" :1, "a":[1,  2], "b":2}', '"x"'],
    "jsonb": ['{"b": 1, "a": [1.50, null]}', "null"],
    "xml": ['<?xml version="1.0"?><a>é</a>', "text only"],
    "bytea": ["\\x", "\\x00ff5c"],
    "date": ["4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "2000-01-01"],
    "time": ["00:00", "23:59:59.999999"],
    "time(0)": ["12:00:01"],
    "timetz": ["23:59:59.999999-15:59", "00:00+02:30"],
    "timestamp": ["4713-01-01 00:00 BC", "294246-12-31 23:59:59", "infinity", "1969-12-31 23:59:59.999999"],
    "timestamptz": ["4713-01-02 00:00+00 BC", "-infinity", "2024-02-29 12:00:00.000001+05:45"],
    "timestamp(3)": ["2020-01-01 00:00:00.123"],
    "interval": ["1 year 2 mons -3 days 04:05:06.789", "-178000000 years", "0"],
    "interval day to second(2)": ["3 days 04:05:06.78"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "inet": ["10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(5)": ["10101"],
    "varbit": ["", "101"],
    "money": ["$-92,233.50"],
    "point": ["(1.5,-2)"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(1,2),3>"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "tstzrange": ["[2020-01-01 00:00:00+00,infinity)"],
    "int8multirange": ["{[1,3),[5,9)}"],
    "tsvector": ["'fat':2 'rat':3"],
    "tsquery": ["'fat' & 'rat'"],
    "pg_lsn": ["16/B374D848"],
    "jsonpath": ['$."a"[*]'],
    '"char"': ["x"],
    "regclass": ["pg_class"],
    "int2vector": ["1 2 3"],
    "int4[]": ["{}", "{1,NULL,3}"],
    "text[]": ["{}", '{"",NULL,"NULL","a\\"b","c,d","{e}"}'],
    "varchar(5)[]": ["{abc,NULL}"],
    "numeric(10,2)[]": ["{1.50,NULL}"],
    "numeric[]": ["{1.1234567890123,NULL}"],
    "timestamptz[]": ['{"2020-01-01 00:00:00+00",infinity}'],
    "date[]": ["{-infinity,2020-01-01}"],
    "uuid[]": ["{00000000-0000-0000-0000-000000000001}"],
    "bool[]": ["{t,f,NULL}"],
    "bytea[]": ['{"\\\\x00ff"}'],
    "jsonb[]": ['{"{\\"a\\": 1}",NULL}'],
    "inet[]": ["{10.0.0.1,NULL}"],
    "things.mood": ["sad", "so happy"],
    "things.mood[]": ["{sad,NULL}"],
    "things.positive": ["5"],
    "things.cents": ["12.34"],
    "things.email": ["A@b.c"],
    "things.pair": ['(1,"x y")'],
    "things.citext": ["MiXed"],
    "things.hstore": ['"a"=>"1", "b"=>NULL'],
}
TYPES_DDL = """
CREATE SCHEMA things;
CREATE EXTENSION citext SCHEMA things;
CREATE EXTENSION hstore SCHEMA things;
CREATE TYPE things.mood AS ENUM ('sad', 'so happy');
CREATE DOMAIN things.positive AS int4 CHECK (value > 0);
CREATE DOMAIN things.cents AS numeric(10,2);
CREATE DOMAIN things.email AS text CHECK (value LIKE '%@%');
CREATE TYPE things.pair AS (a int4, b text);
"""


@contextmanager
def session(dsn: str, **options: Any) -> Iterator[PostgresSession]:
    password = options.pop("password", None)
    spec = ConnectionSpec("shop", dsn, options, Secret(password) if password else None)
    opened = connector.open(spec)
    try:
        yield opened
    finally:
        opened.close()


def run(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in autocommit as superuser; the rows of the last."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def make_all_types(dsn: str, table: str = "things.every") -> None:
    """A table with a column of every type: each value in a row of its own, a row of NULLs, and one of first values."""
    names = [f"c{number}" for number in range(len(ALL_TYPES))]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, ALL_TYPES, strict=True))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET lc_monetary = 'C'; SET timezone = 'UTC'; SET xmloption = content")
        connection.execute(TYPES_DDL)
        connection.execute(f"CREATE TABLE {table} (id int8 PRIMARY KEY, {columns})")  # type: ignore[call-overload]
        has_xml = _has_xml(connection)
        rows = max(len(values) for values in ALL_TYPES.values())
        for row in range(rows + 1):
            values = [
                values[row] if row < len(values) and (has_xml or kind != "xml") else None
                for kind, values in ALL_TYPES.items()
            ]
            marks = ", ".join(f"%s::{kind.replace('%', '%%')}" for kind in ALL_TYPES)
            connection.execute(f"INSERT INTO {table} VALUES (%s, {marks})", [row, *values])  # type: ignore[call-overload]


def _has_xml(connection: psycopg.Connection[Any]) -> bool:
    """Some builds of the server know the type xml, but no value of it."""
    try:
        connection.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def texts(dsn: str, table: str) -> list[tuple[Any, ...]]:
    """Every row with every column as text, by id."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'; SET extra_float_digits = 3; SET search_path = ''")
        names = [
            row[0]
            for row in connection.execute(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                " AND NOT attisdropped ORDER BY attnum",
                [table],
            )
        ]
        listed = ", ".join(f"{name}::text" for name in names)
        return connection.execute(f"SELECT {listed} FROM {table} ORDER BY id").fetchall()  # type: ignore[call-overload]


def described(opened: PostgresSession, table: TableName, policy: TypePolicy = EXACT) -> TableSchema:
    return opened.catalog().describe([table], policy)[table]


def source_of(opened: PostgresSession, name: str, policy: TypePolicy = EXACT, **options: Any) -> Source:
    table = TableName.parse(name)
    return Source(table, columns=described(opened, table, policy).columns, policy=policy, options=options)


def read(
    opened: PostgresSession, source: Source, chunks: Sequence[Chunk] = (Chunk(0),), batch: BatchSize = BATCH
) -> pa.Table:
    """All batches of the chunks."""
    batches = [each for chunk in chunks for each in opened.reader().read(source, chunk, batch)]
    return pa.Table.from_batches(batches, arrow_schema(source.columns))


def load_of(name: str, schema: pa.Schema | Source, mode: Mode = Mode.REPLACE, **more: Any) -> Load:
    columns = schema.columns if isinstance(schema, Source) else tuple(Column.from_field(field) for field in schema)
    facts = {"load_id": f"load-{next(_numbers)}", "job": "nightly", **more}
    return Load(table=TableName.parse(name), columns=columns, mode=mode, **facts)


def load_whole(opened: PostgresSession, load: Load, *parts: pa.Table) -> Published:
    """Prepare, write each part, publish."""
    writer = opened.writer()
    writer.prepare(load)
    for number, part in enumerate(parts):
        writer.write(load, f"{number:06d}", iter(part.to_batches()))
    return writer.publish(load, Expected(len(parts), sum(part.num_rows for part in parts)))
