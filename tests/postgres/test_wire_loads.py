"""Loading through the codec: what is cast, what is refused, and that nothing is half loaded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from penstock.connectors.postgres import _copy, wire
from penstock.connectors.postgres.wire import CopyWriter, Field
from penstock.core.errors import CountMismatch, DataError, NotSupported, Stopped
from tests.postgres.copying import (
    DOZING,
    ENDLESS,
    INT8,
    NUMBERS,
    TEXT,
    Conn,
    after,
    copy_in,
    copy_out,
    count,
    is_asleep,
    numbers,
    one_column,
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


def names(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(
    ("column", "wire", "sql_type", "expected"),
    [
        (pa.array(["b", None, "b"]).dictionary_encode(), "text", "text", ["b", None, "b"]),
        (pa.array(["x", "long enough for a view"], pa.string_view()), "text", "text", ["x", "long enough for a view"]),
        (pa.array(["x", None], pa.large_string()), "text", "text", ["x", None]),
        (pa.array([b"ab"], pa.binary(2)), "bytea", "bytea", [b"ab"]),
        (pa.array([1, 200], pa.uint8()), "int2", "int2", [1, 200]),
        (pa.array([2**64 - 1], pa.uint64()), "numeric", "numeric", [Decimal(2**64 - 1)]),
        (pa.array([Decimal("1.5")], pa.decimal256(50, 2)), "numeric", "numeric", [Decimal("1.50")]),
        (pa.array([10**9], pa.timestamp("ns")), "timestamp", "text", ["1970-01-01 00:00:01"]),
        (pa.array([3600], pa.time32("s")), "time", "text", ["01:00:00"]),
        (pa.array([b"\0" * 15 + b"\1"], pa.binary(16)), "uuid", "text", ["00000000-0000-0000-0000-000000000001"]),
        (pa.array(["[1]"], pa.json_()), "jsonb", "text", ["[1]"]),
        (pa.array([[1, None]], pa.large_list(pa.int64())), "int4[]", "int[]", [[1, None]]),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "int4[]", "int[]", [[1, 2]]),
        (pa.nulls(2), "int4", "int", [None, None]),
    ],
    ids=names,
)
def test_other_arrow_types_are_cast_on_writing(
    conn: Conn, column: pa.Array, wire: str, sql_type: str, expected: list[Any]
) -> None:
    stored = wire if sql_type == "text" else sql_type
    conn.execute(f"CREATE TEMP TABLE t (a {stored})")
    field = Field("a", wire, pa.list_(pa.int32()) if wire.endswith("[]") else column.type)

    write(conn, "t", [field], [pa.record_batch({"a": column})])

    assert [row[0] for row in conn.execute(f"SELECT a::{sql_type} FROM t")] == expected


@pytest.mark.parametrize(
    ("wire", "type_", "values", "cause"),
    [
        ("int2", pa.int32(), [1, 40_000], "Integer value 40000 not in range: -32768 to 32767 (int2)"),
        ("oid", pa.int64(), [1, -1], "value -1 is not an oid (0 to 4294967295)"),
        ("text", pa.string(), ["a", "b\0c"], "text contains a zero byte, which PostgreSQL cannot store"),
        (
            "text[]",
            pa.list_(pa.string()),
            [["a"], ["b", "\0"]],
            "text contains a zero byte, which PostgreSQL cannot store",
        ),
        ("time", pa.time64("us"), [0, 86_400_000_001], "time is 86400000001 microseconds after midnight"),
        ("date", pa.date32(), [0, -(2**31)], "date is -2147483648 days from 1970-01-01, which PostgreSQL cannot store"),
        (
            "timestamp",
            pa.timestamp("us"),
            [0, -(2**63)],
            "timestamp is -9223372036854775808 microseconds from 1970-01-01, which PostgreSQL cannot store",
        ),
    ],
    ids=names,
)
def test_value_that_postgresql_cannot_hold_is_refused_with_its_place(
    conn: Conn, wire: str, type_: pa.DataType, values: list[Any], cause: str
) -> None:
    conn.execute(f"CREATE TEMP TABLE t (a {wire})")
    field = Field("a", wire, type_)
    storage = {"time": pa.int64(), "date": pa.int32(), "timestamp": pa.int64()}.get(wire)
    column = pa.array(values, storage).view(type_) if storage else pa.array(values, type_)

    with CopyWriter(conn, copy_in("t"), [field]) as writer:
        writer.write(pa.record_batch({"a": column.slice(0, 1)}))
        with pytest.raises(DataError) as caught:
            writer.write(pa.record_batch({"a": column}))

    assert str(caught.value) == f'column "a", row 3: {cause}'
    assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_slices_are_written_as_what_they_show(conn: Conn) -> None:
    conn.execute("CREATE TEMP TABLE t (b bool, n numeric(9,2), s text, l int[])")
    batch = pa.record_batch(
        {
            "b": pa.array([True, None, False, True] * 5),
            "n": pa.array([Decimal("1.25"), None, Decimal("-3"), Decimal(0)] * 5, pa.decimal128(9, 2)),
            "s": pa.array(["one", None, "", "four"] * 5),
            "l": pa.array([[1, None], None, [], [2, 3]] * 5, pa.list_(pa.int32())),
        }
    )
    fields = [
        Field("b", "bool", pa.bool_()),
        Field("n", "numeric", pa.decimal128(9, 2)),
        Field("s", "text", pa.string()),
        Field("l", "int4[]", pa.list_(pa.int32())),
    ]

    write(conn, "t", fields, [batch.slice(3, 6), batch.slice(0, 0), batch.slice(9, 11).slice(1, 3)])

    expected = [*batch.slice(3, 6).to_pylist(), *batch.slice(10, 3).to_pylist()]
    assert [dict(zip("bnsl", row, strict=True)) for row in conn.execute("TABLE t")] == expected


def test_zero_byte_under_a_null_is_no_text(conn: Conn) -> None:
    conn.execute("CREATE TEMP TABLE t (a text)")
    offsets, data = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\0x")
    column = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\2"), offsets, data])

    write(conn, "t", [TEXT], [pa.record_batch({"a": column})])

    assert conn.execute("TABLE t").fetchall() == [(None,), ("x",)]


# ---- writing


def test_constraint_that_fails_is_seen_before_all_is_sent(conn: Conn) -> None:
    writer = CopyWriter(conn, copy_in("picky"), [INT8])

    with pytest.raises(psycopg.errors.CheckViolation):
        write_all(writer, (numbers(start) for start in range(0, 20_000_000, 10_000)))

    assert 400_000 < writer.rows < 10_000_000
    assert count(conn, "picky") == 0


def test_backend_terminated_in_the_middle_of_writing_is_its_error(conn: Conn, other: Conn) -> None:
    writer = CopyWriter(other, copy_in("t"), [INT8])
    writer.write(numbers(0))
    terminate(other, conn)

    with pytest.raises(psycopg.errors.AdminShutdown):
        write_all(writer, map(numbers, range(10_000)))

    assert other.closed
    assert count(conn) == 0


def test_abort_and_an_error_inside_with_keep_nothing(conn: Conn) -> None:
    with contextlib.suppress(ZeroDivisionError), CopyWriter(conn, copy_in("t"), [INT8]) as writer:
        writer.write(numbers(0))
        raise ZeroDivisionError
    writer = CopyWriter(conn, copy_in("t"), [INT8])
    writer.write(numbers(0))
    writer.abort()
    writer.abort()

    assert count(conn) == 0
    with pytest.raises(RuntimeError, match="ended"):
        writer.write(numbers(0))


def test_stop_ends_writing_even_when_the_server_takes_nothing(conn: Conn, other: Conn) -> None:
    conn.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1000000); RETURN new; END $$;"
        "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()

    writer = CopyWriter(other, copy_in("t"), [INT8], stop=stop.is_set)
    with pytest.raises(Stopped):
        write_all(writer, (numbers(i, 100_000) for i in range(100)))

    other.rollback()
    assert count(conn) == 0


def test_rows_that_the_server_left_out_are_a_mismatch(conn: Conn) -> None:
    with CopyWriter(conn, "COPY t FROM STDIN (FORMAT binary) WHERE a > 5", [INT8]) as writer:
        writer.write(numbers(1, 10))
        with pytest.raises(CountMismatch) as caught:
            writer.finish()
    assert str(caught.value) == "the target counted 5 rows in COPY; 10 went through"


def test_batch_with_other_columns_is_refused(conn: Conn) -> None:
    with CopyWriter(conn, copy_in("t"), [INT8]) as writer, pytest.raises(DataError) as caught:
        writer.write(one_column([1], pa.int64(), name="b"))
    assert str(caught.value) == "batch has the columns ['b']; ['a'] expected"


def test_finish_without_a_row_loads_nothing(conn: Conn) -> None:
    assert write(conn, "t", [INT8], []) == 0
    assert count(conn) == 0


# ---- pump


def test_pump_moves_every_row_and_tells_progress(conn: Conn, other: Conn) -> None:
    conn.execute("CREATE TABLE s AS SELECT i, repeat('x', i % 300) AS x FROM generate_series(1, 50000) i")
    conn.execute("CREATE TABLE u (LIKE s)")
    progress: list[tuple[int, int]] = []

    pumped = wire.pump(conn, "COPY s TO STDOUT (FORMAT binary)", other, copy_in("u"), lambda *p: progress.append(p))
    other.commit()

    assert pumped.rows == 50_000
    assert progress[-1] == (50_000, pumped.size_bytes)
    assert conn.execute("SELECT count(*) FROM (TABLE s EXCEPT ALL TABLE u) x").fetchone() == (0,)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_pump_moves_few_rows_and_rows_larger_than_its_buffers(conn: Conn, other: Conn, rows: int) -> None:
    conn.execute("CREATE TABLE u (i int, x text)")
    query = f"SELECT i, repeat(i::text, 20000000) FROM generate_series(1, {rows}) i"

    pumped = wire.pump(conn, copy_out(query), other, copy_in("u"))
    other.commit()

    assert pumped.rows == rows
    found = conn.execute("SELECT i, length(x), md5(x) FROM u ORDER BY i").fetchall()
    assert found == conn.execute(f"SELECT i, length(x), md5(x) FROM ({query}) q (i, x)").fetchall()


def test_pump_whose_source_fails_keeps_nothing_and_both_connections(conn: Conn, other: Conn) -> None:
    query = "SELECT i / (200000 - i) FROM generate_series(1::int8, 300000) i"

    with pytest.raises(psycopg.errors.DivisionByZero):
        wire.pump(other, copy_out(query), conn, copy_in("t"))

    other.rollback()
    assert count(conn) == count(other) == 0


def test_pump_whose_target_refuses_a_row_cancels_its_source_and_raises_its_error(conn: Conn, other: Conn) -> None:
    conn.execute("CREATE TABLE sums (a int8 CHECK (a <> 20000))")

    with pytest.raises(psycopg.errors.CheckViolation):
        wire.pump(other, copy_out(f"SELECT a.i + b.i + c.i FROM {NUMBERS}"), conn, copy_in("sums"))

    other.rollback()
    assert count(conn, "sums") == count(other) == 0


@pytest.mark.parametrize("side", ["source", "target"])
def test_pump_with_a_terminated_backend_raises_its_error_and_keeps_nothing(
    conn: Conn, other: Conn, postgres_dsn: str, side: str
) -> None:
    with psycopg.connect(postgres_dsn) as third:
        victim = third if side == "source" else other
        out, table = (DOZING, "texts") if side == "source" else (ENDLESS, "t")
        conn.execute("CREATE TABLE texts (a text)")

        def on_progress(rows: int, _size_bytes: int) -> None:
            if rows and (side == "target" or is_asleep(victim, conn)):
                terminate(victim, conn)

        with pytest.raises(psycopg.errors.AdminShutdown):
            wire.pump(third, out, other, copy_in(table), on_progress)
        assert victim.closed
        assert third.closed != other.closed
    assert count(conn) == count(conn, "texts") == 0


def test_stop_ends_a_pump(conn: Conn, other: Conn) -> None:
    with pytest.raises(Stopped):
        wire.pump(conn, ENDLESS, other, copy_in("t"), stop=after(0.5))

    other.rollback()
    assert count(conn) == count(other) == 0


def test_pump_between_different_numbers_of_columns_is_refused(conn: Conn, other: Conn) -> None:
    with pytest.raises(NotSupported, match=r"^COPY has 1 columns; 2 are described$"):
        wire.pump(other, copy_out("SELECT 1, 2"), conn, copy_in("t"))
    other.rollback()
    assert count(conn) == count(other) == 0
