"""Every wire kind survives PostgreSQL -> Arrow -> PostgreSQL, and arrives in Arrow as psycopg reads it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from penstock.connectors.postgres.wire import CopyReader, Field
from penstock.core.errors import DataError, NotSupported
from tests.parts.postgres import PostgresServer
from tests.postgres.copying import INT4, TEXT, Conn, copy_out, one_column, read, write

pytestmark = [pytest.mark.postgres, pytest.mark.native]

NUMERIC_EXTREMES = [
    *("0", "1", "-1", "0.1", "-0.1", "9999", "10000", "-10000", "0.0001", "0.00001", "123.45", "100000000"),
    *("1234567890123456789012345678.1234567891", "-9999999999999999999999999999.9999999999", "0.0000000001"),
]
KINDS = [
    ("boolean", "bool", pa.bool_(), ["true", "false"]),
    ("smallint", "int2", pa.int16(), ["-32768", "0", "32767"]),
    ("integer", "int4", pa.int32(), ["-2147483648", "-1", "2147483647"]),
    ("bigint", "int8", pa.int64(), ["-9223372036854775808", "0", "9223372036854775807"]),
    ("oid", "oid", pa.int64(), ["0", "2147483648", "4294967295"]),
    ("real", "float4", pa.float32(), ["0", "-0", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity", "0.1"]),
    ("double precision", "float8", pa.float64(), ["0", "-0", "5e-324", "1.7976931348623157e308", "NaN", "-Infinity"]),
    ("text", "text", pa.string(), ["", "a", "Grüße, 世界 🚰", "tab\tline\n\\N", "x" * 10_000]),
    ("varchar(20)", "text", pa.string(), ["", "twenty characters 20"]),
    ("char(5)", "text", pa.string(), ["", "abc"]),
    ("name", "text", pa.string(), ["pg_class", ""]),
    ("json", "text", pa.string(), ['{"a": [1, 2.50, null]}', '"ü"', "1"]),
    ("jsonb", "jsonb", pa.string(), ['{"a": [1, 2.50, null]}', '"ü"', "1"]),
    ("xml", "text", pa.string(), ["<a b='c'>d</a>", ""]),
    ("mood", "text", pa.string(), ["sad", "happy"]),
    ("short", "text", pa.string(), ["abc"]),
    ("bytea", "bytea", pa.binary(), ["", "\\x00", "\\x00ff10", "\\xdeadbeef"]),
    ("date", "date", pa.date32(), ["4713-01-01 BC", "0001-12-31 BC", "1969-12-31", "1970-01-01", "2000-01-01"]),
    ("date", "date", pa.date32(), ["5874897-12-31", "9999-12-31", "infinity", "-infinity"]),
    ("time", "time", pa.time64("us"), ["00:00", "23:59:59.999999", "12:34:56.000001"]),
    ("timestamp", "timestamp", pa.timestamp("us"), ["4713-01-01 00:00 BC", "1969-12-31 23:59:59.999999", "2000-01-01"]),
    (
        "timestamp",
        "timestamp",
        pa.timestamp("us"),
        ["294246-12-31 23:59:59.999999", "infinity", "-infinity", "2038-01-19"],
    ),
    (
        "timestamptz",
        "timestamptz",
        pa.timestamp("us", "UTC"),
        ["2024-03-31 02:30:00.000001+02", "0044-03-15 BC", "infinity"],
    ),
    ("uuid", "uuid", pa.uuid(), ["00000000-0000-0000-0000-000000000000", "6b1a4f2e-8f0d-4a61-9d3f-ffffffffffff"]),
    ("numeric(38,10)", "numeric", pa.decimal128(38, 10), NUMERIC_EXTREMES),
    ("numeric(38,0)", "numeric", pa.decimal128(38, 0), ["9" * 38, "-" + "9" * 38, "1" + "0" * 37, "0", "10000"]),
    ("numeric(38,38)", "numeric", pa.decimal128(38, 38), ["0." + "9" * 38, "-0." + "0" * 37 + "1", "0.5"]),
    ("numeric(76,0)", "numeric", pa.decimal256(76, 0), ["9" * 76, "-" + "9" * 76, "1" + "0" * 75, "0", "10000"]),
    ("numeric(60,25)", "numeric", pa.decimal256(60, 25), ["0." + "0" * 24 + "1", "-" + "9" * 35 + "." + "9" * 25, "1"]),
    ("numeric(5,2)", "numeric", pa.decimal128(5, 2), ["999.99", "-999.99", "0.01", "1.5", "12"]),
    ("numeric(18,3)", "numeric", pa.decimal128(18, 3), ["123456789012345.678", "-0.001", "10000.0"]),
    ("int4[]", "int4[]", pa.list_(pa.int32()), ["{}", "{1}", "{NULL}", "{-5,NULL,2147483647}"]),
    ("boolean[]", "bool[]", pa.list_(pa.bool_()), ["{t,f,NULL,t,t,f,f,f,t}", "{}"]),
    ("text[]", "text[]", pa.list_(pa.string()), ["{}", '{"",NULL,"a,b","ü"}', "{NULL,NULL}"]),
    ("numeric(9,3)[]", "numeric[]", pa.list_(pa.decimal128(9, 3)), ["{1.5,NULL,-999999.999}", "{}"]),
    ("uuid[]", "uuid[]", pa.list_(pa.uuid()), ["{6b1a4f2e-8f0d-4a61-9d3f-ffffffffffff,NULL}", "{}"]),
    ("jsonb[]", "jsonb[]", pa.list_(pa.string()), ['{"{\\"a\\": 1}",NULL,"[]"}', "{}"]),
    ("bytea[]", "bytea[]", pa.list_(pa.binary()), ['{"\\\\x00","\\\\x",NULL}', "{}"]),
    ("date[]", "date[]", pa.list_(pa.date32()), ["{2024-02-29,infinity,NULL}", "{}"]),
    ("timestamptz[]", "timestamptz[]", pa.list_(pa.timestamp("us", "UTC")), ["{2024-02-29 12:00+00,-infinity}", "{}"]),
]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """One database for the module: its tests use temporary tables only."""
    postgres_server.start()
    dbname = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(dbname), autocommit=True) as conn:
        conn.execute("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN short AS varchar(3) CHECK (value <> '')")
    yield postgres_server.dsn(dbname)
    postgres_server.drop_database(dbname)


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def texts(conn: Conn, table: str) -> list[tuple[Any, ...]]:
    return conn.execute(f"SELECT a::text FROM {table} ORDER BY i").fetchall()


@pytest.fixture
def values_exist(conn: Conn, sql_type: str) -> None:
    if sql_type == "xml":
        try:
            conn.execute("SELECT '<a/>'::xml")
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this server was built without libxml")


def literals(sql_type: str, values: list[str]) -> str:
    rows = ", ".join(f"({i}, $v${value}$v$::{sql_type})" for i, value in enumerate(values))
    return f"SELECT a FROM (VALUES {rows}) x (i, a) ORDER BY i"


def names(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.usefixtures("values_exist")
@pytest.mark.parametrize(("sql_type", "kind", "carrier", "values"), KINDS, ids=names)
def test_value_read_and_written_again_is_the_same_text(
    conn: Conn, sql_type: str, kind: str, carrier: pa.DataType, values: list[str]
) -> None:
    fields = [Field("i", "int4", pa.int32()), Field("a", kind, carrier)]
    conn.execute(f"CREATE TEMP TABLE t (i int, a {sql_type}); CREATE TEMP TABLE u (LIKE t)")
    with conn.cursor() as cursor:
        cursor.executemany(f"INSERT INTO t VALUES (%s, %s::text::{sql_type})", list(enumerate([None, *values, None])))

    data = read(conn, "TABLE t ORDER BY i", fields)
    written = write(conn, "u", fields, data.to_batches())

    assert written == len(values) + 2
    assert texts(conn, "u") == texts(conn, "t")
    assert data["a"].null_count == 2


@pytest.mark.usefixtures("values_exist")
@pytest.mark.parametrize(("sql_type", "kind", "carrier", "values"), KINDS, ids=names)
def test_value_arrives_as_psycopg_reads_it(
    conn: Conn, sql_type: str, kind: str, carrier: pa.DataType, values: list[str]
) -> None:
    """Values that no Python object can hold are left out here."""
    beyond = ("BC", "infinity", "5874897", "294246")
    query = literals(
        sql_type, [v for v in values if kind[:4] not in ("date", "time") or not any(b in v for b in beyond)]
    )

    got = read(conn, query, [Field("a", kind, carrier)])["a"].to_pylist()

    cast = "::text" if sql_type in ("json", "jsonb") else "::text[]" if sql_type == "jsonb[]" else ""
    with conn.cursor(binary=kind == "float4") as cursor:  # as text psycopg reads the digits, not the value
        expected = [row[0] for row in cursor.execute(f"SELECT a{cast} FROM ({query}) x")]
    assert got == expected or repr(got) == repr(expected)  # NaN is not equal to itself


def test_infinity_and_far_moments_are_the_integers_of_the_contract(conn: Conn) -> None:
    moments = ["infinity", "-infinity", "4713-01-01 00:00 BC", "294246-12-31 23:59:59.999999", "1970-01-01"]
    days = ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "1970-01-01"]
    seconds = conn.execute(f"SELECT extract(epoch FROM a) FROM ({literals('timestamp', moments[2:])}) x").fetchall()
    since = conn.execute(f"SELECT a - date '1970-01-01' FROM ({literals('date', days[2:])}) x").fetchall()

    got_us = read(conn, literals("timestamp", moments), [Field("a", "timestamp", pa.timestamp("us"))])["a"]
    got_days = read(conn, literals("date", days), [Field("a", "date", pa.date32())])["a"]

    top, top_day = 2**63 - 1, 2**31 - 1
    assert got_us.cast(pa.int64()).to_pylist() == [top, -top, *(int(row[0] * 10**6) for row in seconds)]
    assert got_days.cast(pa.int32()).to_pylist() == [top_day, -top_day, *(row[0] for row in since)]


def test_timestamp_beyond_the_carrier_is_an_error_with_its_place(conn: Conn) -> None:
    query = literals("timestamp", ["2000-01-01", "294276-12-31 23:59:59.999999"])

    with pytest.raises(
        DataError, match=r'^column "a", row 2: timestamp is 9223371331199999999 microseconds after 2000'
    ):
        read(conn, query, [Field("a", "timestamp", pa.timestamp("us"))])

    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_time_at_the_end_of_the_day_is_read_as_an_error_and_can_be_written(conn: Conn) -> None:
    field = Field("a", "time", pa.time64("us"))
    conn.execute("CREATE TEMP TABLE t (a time)")

    with pytest.raises(DataError) as caught:
        read(conn, literals("time", ["23:00", "24:00"]), [field])
    write(conn, "t", [field], [pa.record_batch({"a": pa.array([86_400_000_000], pa.int64()).view(field.type)})])

    cause = "time is 86400000000 microseconds after midnight; a day of the carrier has 86400000000"
    assert str(caught.value) == f'column "a", row 2: {cause} (read the column as text)'
    assert conn.execute("SELECT a::text FROM t").fetchall() == [("24:00:00",)]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numeric_that_is_no_number_is_an_error_or_null_as_the_field_says(conn: Conn, value: str) -> None:
    query = literals("numeric", ["1.5", value, "2"])
    type_ = pa.decimal128(5, 2)

    nulls = read(conn, query, [Field("a", "numeric", type_, nan="null")])["a"].to_pylist()

    assert nulls == [Decimal("1.50"), None, Decimal("2.00")]
    with pytest.raises(DataError) as caught:
        read(conn, query, [Field("a", "numeric", type_)])
    assert str(caught.value) == 'column "a", row 2: numeric value is NaN or infinite, which decimal(5, 2) cannot hold'


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("1.005", "numeric value has more than 2 digits after the point"),
        ("0.00001", "numeric value has more than 2 digits after the point"),
        ("1000", "numeric value does not fit decimal(5, 2)"),
        ("1e100", "numeric value does not fit decimal(5, 2)"),
    ],
)
def test_numeric_that_would_be_rounded_or_cut_is_an_error(conn: Conn, value: str, cause: str) -> None:
    with pytest.raises(DataError) as caught:
        read(conn, literals("numeric", [value]), [Field("a", "numeric", pa.decimal128(5, 2))])
    assert str(caught.value) == f'column "a", row 1: {cause}'


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("{{1,2},{3,4}}", "array has 2 dimensions; a list has one (read the column as text)"),
        ("[0:1]={1,2}", "array starts at index 0; a list starts at 1 (read the column as text)"),
    ],
)
def test_array_that_is_no_list_is_an_error(conn: Conn, value: str, cause: str) -> None:
    with pytest.raises(DataError) as caught:
        read(conn, literals("int[]", ["{1}", value]), [Field("a", "int4[]", pa.list_(pa.int32()))])
    assert str(caught.value) == f'column "a", row 2: {cause}'


def test_array_of_another_element_type_is_an_error_when_the_field_names_one(conn: Conn) -> None:
    field = Field("a", "int4[]", pa.list_(pa.int32()), element_oid=700)

    with pytest.raises(DataError, match=r"array has elements of type 23; 700 expected$"):
        read(conn, "SELECT '{1}'::int[]", [field])


@pytest.mark.parametrize("sql_type", ["varchar(9)", "name", "mood", "short", "json"])
def test_array_is_written_with_the_element_type_of_the_catalog(conn: Conn, sql_type: str) -> None:
    conn.execute(f"CREATE TEMP TABLE t (a {sql_type}[])")
    found = conn.execute(
        "SELECT typelem::int FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = 't'::regclass AND attnum = 1"
    ).fetchone()
    value = {"mood": "sad", "json": "[]"}.get(sql_type, "abc")
    field = Field("a", "text[]", pa.list_(pa.string()), element_oid=found[0] if found else 0)

    write(conn, "t", [field], [one_column([[value, None], [], None], field.type)])

    assert conn.execute("SELECT a::text FROM t").fetchall() == [(f"{{{value},NULL}}",), ("{}",), (None,)]


def test_null_in_a_column_declared_not_null_is_an_error(conn: Conn) -> None:
    with pytest.raises(DataError) as caught:
        read(conn, "SELECT NULL::int", [Field("a", "int4", pa.int32(), nullable=False)])
    assert str(caught.value) == 'column "a", row 1: NULL in a column declared not null'


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 65])
def test_any_number_of_rows_goes_through(conn: Conn, rows: int) -> None:
    conn.execute("CREATE TEMP TABLE t (a int)")
    query = f"SELECT nullif(i % 3, 0) FROM generate_series(1, {rows}) i"

    data = read(conn, query, [INT4])
    written = write(conn, "t", [INT4], data.to_batches())

    assert written == rows
    assert data["a"].to_pylist() == [i % 3 or None for i in range(1, rows + 1)]


def test_batches_are_cut_by_rows_and_bytes_alone(conn: Conn) -> None:
    fields = [Field("i", "int4", pa.int32()), TEXT]
    query = "SELECT i, repeat('x', i % 100) FROM generate_series(0, 9999) i"
    rows = [batch.num_rows for batch in CopyReader(conn, copy_out(query), fields, 300, 2**20)]
    # A row of this query has 4 bytes of int4, 4 of an offset and its text: 100 rows are 5750 bytes.
    sized = [batch.num_rows for batch in CopyReader(conn, copy_out(query), fields, 65_536, 57_500)]

    assert rows == [300] * 33 + [100]
    assert sized == [1000] * 10


def test_reading_again_gives_equal_batches(conn: Conn) -> None:
    query = "SELECT i, md5(i::text) FROM generate_series(1, 50000) i"
    fields = [Field("i", "int4", pa.int32()), TEXT]

    first, second = (list(CopyReader(conn, copy_out(query), fields, batch_bytes=100_000)) for _ in range(2))

    assert first == second
    assert len(first) > 10


def test_row_of_1600_columns_goes_through(conn: Conn) -> None:
    fields = [Field(f"c{i}", "int4", pa.int32()) for i in range(1600)]
    conn.execute(f"CREATE TEMP TABLE t ({', '.join(f'c{i} int' for i in range(1600))}); CREATE TEMP TABLE u (LIKE t)")
    conn.execute(
        f"INSERT INTO t SELECT {', '.join(f'nullif(i, {n % 5})' for n in range(1600))} FROM generate_series(1, 9) i"
    )

    data = read(conn, "TABLE t", fields)
    write(conn, "u", fields, data.to_batches())

    assert data["c3"].to_pylist() == [1, 2, None, 4, 5, 6, 7, 8, 9]
    assert conn.execute("SELECT count(*) FROM (TABLE t EXCEPT TABLE u) x").fetchone() == (0,)


def test_value_of_50_mb_goes_through_between_small_ones(conn: Conn) -> None:
    conn.execute("CREATE TEMP TABLE t (a text)")
    query = "SELECT CASE i WHEN 2 THEN repeat('0123456789', 5000000) ELSE 'small' END FROM generate_series(1, 3) i"

    batches = list(CopyReader(conn, copy_out(query), [TEXT]))
    write(conn, "t", [TEXT], batches)

    assert [batch.num_rows for batch in batches] == [2, 1]
    assert (
        conn.execute("SELECT length(a), md5(a) FROM t ORDER BY 1 DESC LIMIT 1").fetchone()
        == conn.execute("SELECT 50000000, md5(repeat('0123456789', 5000000))").fetchone()
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field("a", "int4", pa.int64()), 'column "a": int4 is read as int32, not int64'),
        (Field("a", "interval", pa.string()), 'column "a": interval does not travel as string'),
        (Field("a", "int4[]", pa.int32()), 'column "a": int4[] does not travel as int32'),
        (Field("a", "numeric", pa.float64()), 'column "a": numeric does not travel as double'),
        (Field("a", "numeric", pa.decimal128(5, -2)), 'column "a": numeric does not travel as decimal128(5, -2)'),
    ],
    ids=lambda v: v.wire if isinstance(v, Field) else "",
)
def test_field_with_a_type_that_is_not_its_carrier_is_refused_before_reading(
    conn: Conn, field: Field, message: str
) -> None:
    with pytest.raises(NotSupported) as caught:
        CopyReader(conn, copy_out("SELECT 1"), [field])
    assert str(caught.value) == message
