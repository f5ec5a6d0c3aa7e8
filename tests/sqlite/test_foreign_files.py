"""Files of other programs: what a column really holds decides how it is read, and nothing is read wrong in silence."""

from __future__ import annotations

import datetime as dt
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import DataError, SourceChanged, SpecError
from penstock.core.load import BatchSize, Chunk, Source
from penstock.core.names import TableName
from penstock.core.schema import Column, Fidelity, TypePolicy
from tests.duckdb.loading import described, opened, query_of, read, source_of, spec_of, table_of

URL = "sqlite:rows.db"
_FIRST = dt.datetime.fromisoformat("2024-01-01 00:00:00")
MANY = 3000  # more than the driver looks at to guess a type


def run(folder: Path, *statements: str, rows: Any = ()) -> list[tuple[Any, ...]]:
    """Statements by Python's own SQLite, while no session of ours is open; `rows` are bound to the last one."""
    connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
    try:
        for statement in statements[:-1]:
            connection.execute(statement)
        last = statements[-1]
        if rows:
            connection.execute("BEGIN")
            connection.executemany(last, rows)
            connection.execute("COMMIT")
            return []
        return connection.execute(last).fetchall()
    finally:
        connection.close()


def one_column(folder: Path, declared: str, values: list[Any]) -> tuple[Column, list[Any]]:
    """How a column with these values is described and read; the values come after many NULLs, and before many."""
    run(folder, f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
    spaced = [*values[:1], *[None] * MANY, *values[1:]]
    run(folder, "INSERT INTO t (v) VALUES (?)", rows=[(value,) for value in spaced])
    with opened(spec_of(URL, folder)) as session:
        column = described(session, "t").columns[1]
        found = table_of(session, "t")["v"].to_pylist()
    assert found[1 : MANY + 1] == [None] * MANY
    return column, [*found[:1], *found[MANY + 1 :]]


@pytest.mark.parametrize(
    ("declared", "values", "kind", "expected"),
    [
        ("INTEGER", [2**63 - 1, -(2**63)], pa.int64(), None),
        ("UNSIGNED BIG INT", [1, 2], pa.int64(), None),
        ("REAL", [1, 0.1], pa.float64(), [1.0, 0.1]),
        ("DOUBLE PRECISION", [float("inf"), 5e-324], pa.float64(), None),
        ("TEXT", ["x", ""], pa.string(), None),
        ("VARCHAR(10)", [5, "longer than ten characters"], pa.string(), ["5", "longer than ten characters"]),
        ("BLOB", [b"", b"\0\xff"], pa.binary(), None),
        ("", [1, 2], pa.int64(), None),
        ("", ["a", "b"], pa.string(), None),
        ("", [b"a"], pa.binary(), None),
        ("BOOLEAN", [0, 1], pa.bool_(), [False, True]),
        ("BOOLEAN", [0, 2], pa.int64(), None),
        ("BOOL", ["yes"], pa.string(), None),
        ("DATE", ["2024-02-29", "0001-01-01"], pa.date32(), [dt.date(2024, 2, 29), dt.date(1, 1, 1)]),
        ("DATE", ["2024-02-29", "2023-02-29"], pa.string(), None),
        ("DATE", [19782], pa.int64(), None),
        ("DATE", ["-4713-11-24"], pa.string(), None),
        ("DATETIME", ["2024-01-01 00:00:00", "2024-01-01 00:00:00.5"], pa.timestamp("us"),
         [_FIRST, _FIRST.replace(microsecond=500_000)]),
        ("TIMESTAMP", ["2024-01-01 00:00:00", "2024-01-01T00:00:00"], pa.string(), None),
        ("TIMESTAMP", ["2024-01-01 00:00:00.1234567"], pa.string(), None),
        ("TIMESTAMP", ["2024-01-01 00:00:00Z"], pa.string(), None),
        ("TIMESTAMP", [1704067200.25], pa.float64(), None),
        ("DECIMAL(10,2)", [12, 12.34, -0.01], pa.decimal128(10, 2), [Decimal("12.00"), Decimal("12.34"), Decimal("-0.01")]),
        ("NUMERIC(5)", [12, -99999], pa.decimal128(5, 0), [Decimal(12), Decimal(-99999)]),
        ("DECIMAL(10,2)", [12.345, 1.0], pa.float64(), None),
        ("DECIMAL(5,2)", [123456], pa.int64(), None),
        ("NUMERIC", [1, 0.5], pa.float64(), [1.0, 0.5]),
        ("POINT", [7], pa.int64(), None),
    ],
)  # fmt: skip
def test_a_column_is_read_as_what_it_holds(
    tmp_path: Path, declared: str, values: list[Any], kind: pa.DataType, expected: list[Any] | None
) -> None:
    column, found = one_column(tmp_path, declared, values)

    assert (column.type, column.fidelity) == (kind, Fidelity.LOSSLESS)
    assert column.native == f"sqlite:{declared}"
    assert found == (values if expected is None else expected)


@pytest.mark.parametrize(
    ("declared", "values", "expected", "note"),
    [
        ("INTEGER", [1, "a"], ["1", "a"], "holds 1 integers, 1 texts: read as text"),
        ("INTEGER", [2**53 + 1, 0.1], ["9007199254740993", "0.1"], "holds 1 integers, 1 reals: read as text"),
        ("", [0.1 + 0.2, "x", -(2**63)], ["0.30000000000000004", "x", "-9223372036854775808"],
         "holds 1 integers, 1 reals, 1 texts: read as text"),
        ("REAL", [1.5, "n/a"], ["1.5", "n/a"], "holds 1 reals, 1 texts: read as text"),
        ("DATE", ["2024-01-01", 5], ["2024-01-01", "5"], "holds 1 integers, 1 texts: read as text"),
    ],
)  # fmt: skip
def test_mixed_values_are_read_as_exact_text_and_say_so(
    tmp_path: Path, declared: str, values: list[Any], expected: list[str], note: str
) -> None:
    column, found = one_column(tmp_path, declared, values)

    assert (column.type, column.fidelity, column.note) == (pa.string(), Fidelity.TEXT, note)
    assert found == expected


def test_every_real_among_texts_comes_back_as_the_same_real(tmp_path: Path) -> None:
    reals = [1 / 3, 1e22, 123456789.123456789, 5e-324, 1.7976931348623157e308, -0.1, 1e-7, 100.0]
    _, found = one_column(tmp_path, "", ["text", *reals])

    assert [float(text) for text in found[1:]] == reals


def test_blobs_among_texts_are_bytes_and_lossy(tmp_path: Path) -> None:
    column, found = one_column(tmp_path, "TEXT", ["a", b"\xff"])

    assert (column.type, column.fidelity) == (pa.binary(), Fidelity.LOSSY)
    assert column.note == "holds 1 texts, 1 blobs: read as bytes, their kinds are lost"
    assert found == [b"a", b"\xff"]


def test_text_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (v TEXT)", "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))")
    with (
        opened(spec_of(URL, tmp_path)) as session,
        pytest.raises(DataError, match="column 'v' of table t holds text that is not UTF-8"),
    ):
        table_of(session, "t")


@pytest.mark.parametrize(
    ("declared", "first", "then"),
    [
        ("INTEGER", 1, "text"),
        ("INTEGER", 1, 1.5),
        ("INTEGER", 1, b"blob"),
        ("REAL", 1.5, "text"),
        ("TEXT", "text", b"blob"),
        ("", "text", b"blob"),
        ("", b"blob", "text"),
        ("", b"blob", 5),
        ("", 1.5, 2**53 + 1),
        ("BOOLEAN", 1, 2),
        ("DATE", "2024-01-01", "yesterday"),
        ("DATETIME", "2024-01-01 00:00:00", 5),
        ("DECIMAL(10,2)", 1.25, 1.255),
        ("DECIMAL(10,2)", 1.25, "n/a"),
    ],
)
@pytest.mark.parametrize("before", [1, MANY])
def test_a_value_of_another_kind_that_came_after_the_description_is_refused(
    tmp_path: Path, declared: str, first: Any, then: Any, before: int
) -> None:
    run(tmp_path, f"CREATE TABLE t (v {declared})")
    run(tmp_path, "INSERT INTO t VALUES (?)", rows=[(first,)] * before)
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "t")
    run(tmp_path, "INSERT INTO t VALUES (?)", rows=[(then,)])

    with opened(spec_of(URL, tmp_path)) as session, pytest.raises(DataError, match=r"table t\b.*'v'"):
        read(session, source)


def test_a_strict_table_is_not_looked_at(tmp_path: Path) -> None:
    run(
        tmp_path,
        "CREATE TABLE t (a INT, b REAL, c TEXT, d BLOB, e ANY) STRICT",
        "INSERT INTO t VALUES (1, 2, 'x', x'00', 'y')",
    )
    with opened(spec_of(URL, tmp_path)) as session:
        columns = described(session, "t").columns

    assert [column.type for column in columns] == [pa.int64(), pa.float64(), pa.string(), pa.binary(), pa.string()]


def test_keys_and_not_null_are_described_as_sqlite_means_them(tmp_path: Path) -> None:
    run(
        tmp_path,
        "CREATE TABLE alias (id INTEGER PRIMARY KEY, n INT NOT NULL)",
        "CREATE TABLE plain (b TEXT, a INT, PRIMARY KEY (a, b))",
        "CREATE TABLE clustered (a TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE generated (a INT, twice INT GENERATED ALWAYS AS (a * 2))",
        "INSERT INTO generated VALUES (2)",
    )
    with opened(spec_of(URL, tmp_path)) as session:
        schemas = [described(session, name) for name in ("alias", "plain", "clustered", "generated")]
        generated = table_of(session, "generated").to_pylist()

    assert [schema.primary_key for schema in schemas] == [("id",), ("a", "b"), ("a",), ()]
    assert [[column.nullable for column in schema.columns] for schema in schemas[:3]] == [
        [False, False],
        [True, True],
        [False],
    ]
    assert generated == [{"a": 2, "twice": 4}]


def test_views_queries_and_virtual_tables_are_read_by_their_values(tmp_path: Path) -> None:
    run(
        tmp_path,
        "CREATE TABLE t (d DATE, n INTEGER)",
        "INSERT INTO t VALUES ('2024-01-01', 1), (NULL, 2)",
        "CREATE VIEW v AS SELECT d, n + 0.5 AS half, 'x' || n AS name FROM t",
        "CREATE VIRTUAL TABLE words USING fts5(word)",
        "INSERT INTO words VALUES ('water')",
    )
    with opened(spec_of(URL, tmp_path)) as session:
        infos = [(str(info.name), info.kind) for info in session.catalog().tables()]
        view = [(column.name, column.type) for column in described(session, "v").columns]
        query = query_of(session, "SELECT d, max(n) AS most FROM t GROUP BY d ORDER BY most DESC -- newest first")
        rows = read(session, query).to_pylist()
        words = table_of(session, "words").to_pylist()
        with pytest.raises(SpecError, match="more than one column named 'n'"):
            session.catalog().describe_query("SELECT n, n FROM t", TypePolicy())

    assert infos == [("t", "table"), ("v", "view"), ("words", "virtual table")]
    assert view == [("d", pa.date32()), ("half", pa.float64()), ("name", pa.string())]
    assert rows == [{"d": None, "most": 2}, {"d": dt.date(2024, 1, 1), "most": 1}]
    assert words == [{"word": "water"}]


def test_a_broken_view_is_named_and_harms_no_other_table(tmp_path: Path) -> None:
    run(
        tmp_path,
        "CREATE TABLE t (n INT)",
        "CREATE TABLE gone (n INT)",
        "CREATE VIEW v AS SELECT n FROM gone",
        "DROP TABLE gone",
    )
    with opened(spec_of(URL, tmp_path)) as session:
        assert described(session, "t").columns[0].name == "n"
        with pytest.raises(DataError, match='view "v" refers to a table or column that is gone'):
            described(session, "v")


# ---- splitting


def test_chunks_cover_every_row_once_where_ids_have_gaps(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (v TEXT)")
    run(
        tmp_path,
        "INSERT INTO t (rowid, v) VALUES (?, ?)",
        rows=[(at if at < 500 else at * 10**9, f"row {at}") for at in range(-100, 2000)],
    )
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "t")
        chunks = session.reader().split(source, 4000)
        sizes = [read(session, source, [chunk]).num_rows for chunk in chunks]
        found = read(session, source, chunks)["v"].to_pylist()

    assert found == [f"row {at}" for at in range(-100, 2000)]
    assert len(chunks) > 6
    assert max(sizes) <= 2 * min(sizes[:-1])


@pytest.mark.parametrize(
    ("ddl", "count"),
    [
        ("(id INTEGER PRIMARY KEY, v TEXT)", 5),
        ("(rowid TEXT, _rowid_ TEXT, v TEXT)", 5),
        ("(rowid TEXT, _rowid_ TEXT, oid TEXT, v TEXT)", 1),
        ("(v TEXT PRIMARY KEY) WITHOUT ROWID", 1),
    ],
)
def test_the_row_id_is_found_under_any_name(tmp_path: Path, ddl: str, count: int) -> None:
    run(tmp_path, f"CREATE TABLE t {ddl}")
    run(tmp_path, "INSERT INTO t (v) VALUES (?)", rows=[(f"row {at:04d}",) for at in range(999)])
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "t")
        chunks = session.reader().split(source, 3500)
        found = read(session, source, chunks)["v"].to_pylist()

    assert found == [f"row {at:04d}" for at in range(999)]
    assert (len(chunks) >= count) if count > 1 else (len(chunks) == 1)


def test_rows_added_after_the_split_belong_to_the_last_chunk_and_numbers_anew_are_refused(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (v TEXT)")
    run(tmp_path, "INSERT INTO t VALUES (?)", rows=[(f"row {at}",) for at in range(1000)])
    with opened(spec_of(URL, tmp_path)) as session:
        source = source_of(session, "t")
        chunks = session.reader().split(source, 3000)
    run(tmp_path, "INSERT INTO t VALUES ('late')")
    with opened(spec_of(URL, tmp_path)) as session:
        assert read(session, source, chunks)["v"].to_pylist()[-1] == "late"
    run(tmp_path, "DELETE FROM t WHERE rowid < 500", "VACUUM")

    with opened(spec_of(URL, tmp_path)) as session, pytest.raises(SourceChanged, match="VACUUM numbered all rows anew"):
        read(session, source, chunks)


def test_an_index_does_not_change_the_order_of_rows(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (v INT)", "CREATE INDEX i ON t (v)")
    run(tmp_path, "INSERT INTO t VALUES (?)", rows=[(at * 7919 % 1000,) for at in range(1000)])
    with opened(spec_of(URL, tmp_path)) as session:
        found = read(session, source_of(session, "t", where="v < 500"))["v"].to_pylist()

    assert found == [value for value in (at * 7919 % 1000 for at in range(1000)) if value < 500]


def test_batches_keep_their_size_with_rows_of_any_width(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (v TEXT)")
    run(tmp_path, "INSERT INTO t VALUES (?)", rows=[("x" * (at * 300),) for at in range(400)])
    with opened(spec_of(URL, tmp_path)) as session:
        batches = list(
            session.reader().read(source_of(session, "t"), Chunk(0), BatchSize(rows=100, size_bytes=500_000))
        )

    assert sum(batch.num_rows for batch in batches) == 400
    assert all(batch.num_rows <= 100 for batch in batches)
    assert all(batch.nbytes <= 500_000 for batch in batches)


def test_two_thousand_columns_are_read(tmp_path: Path) -> None:
    names = [f"c{at}" for at in range(2000)]
    run(tmp_path, f"CREATE TABLE t ({', '.join(names)})", f"INSERT INTO t VALUES ({', '.join(map(str, range(2000)))})")
    with opened(spec_of(URL, tmp_path)) as session:
        row = table_of(session, "t").to_pylist()

    assert row == [dict(zip(names, range(2000), strict=True))]


def test_a_name_with_a_schema_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "CREATE TABLE t (v INT)")
    with opened(spec_of(URL, tmp_path)) as session:
        assert list(session.catalog().describe([TableName(("main", "t"))], TypePolicy())) == [TableName(("main", "t"))]
        with pytest.raises(SpecError, match=r"table public\.t has a schema"):
            session.reader().count(Source(TableName(("public", "t"))))
