"""The catalog tells names, shapes and sizes of everything the user may read, in a fixed number of questions."""

from __future__ import annotations

import psycopg
import pytest

from penstock.core.errors import SpecError
from penstock.core.load import CursorValue, Source, Window
from penstock.core.names import TableName
from penstock.core.schema import TypePolicy
from tests.parts.postgres import PostgresServer
from tests.postgres.loading import described, run, session, source_of

pytestmark = pytest.mark.postgres


def name(text: str) -> TableName:
    return TableName.parse(text)


def test_all_kinds_are_listed_with_sizes_and_estimates_but_nothing_of_the_system(dsn):
    run(dsn, "CREATE TABLE plain AS SELECT i FROM generate_series(1, 5000) AS i", "ANALYZE plain", "CREATE TABLE fresh (i int4)",
        "CREATE VIEW shown AS TABLE plain", "CREATE MATERIALIZED VIEW kept AS TABLE plain",
        "CREATE TABLE parts (i int4) PARTITION BY RANGE (i)", "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (3000)",
        "CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (3000) TO (9000)", "INSERT INTO parts TABLE plain", "ANALYZE parts",
        "CREATE EXTENSION postgres_fdw", "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw", "CREATE FOREIGN TABLE away (i int4) SERVER far",
        "CREATE TABLE _penstock_ledger (i int4)", "CREATE SCHEMA other", "CREATE TABLE other.plain (i int4)")  # fmt: skip
    with session(dsn) as opened:
        found = {str(info.name): info for info in opened.catalog().tables()}

    assert list(found) == [
        "other.plain",
        "public.away",
        "public.fresh",
        "public.kept",
        "public.parts",
        "public.plain",
        "public.shown",
    ]
    kinds = {label: info.kind for label, info in found.items()}
    assert kinds["public.parts"] == "partitioned table"
    assert kinds["public.kept"] == "materialized view"
    assert kinds["public.away"] == "foreign table"
    assert found["public.plain"].rows_estimate == 5000
    assert found["public.fresh"].rows_estimate is None
    assert found["public.parts"].rows_estimate == 5000
    assert found["public.parts"].size_bytes > 100_000
    assert found["public.shown"].size_bytes is None


def test_tables_that_the_user_may_not_read_are_not_listed(postgres_server: PostgresServer, dsn):
    postgres_server.create_user("catalog_reader", "secret")
    run(dsn, "CREATE TABLE open_one (i int4)", "CREATE TABLE some_columns (i int4, j int4)", "CREATE TABLE closed (i int4)",
        "GRANT SELECT ON open_one TO catalog_reader", "GRANT SELECT (i) ON some_columns TO catalog_reader")  # fmt: skip
    with session(postgres_server.dsn(dsn.rpartition("/")[2], "catalog_reader", "secret")) as opened:
        assert [str(info.name) for info in opened.catalog().tables()] == ["public.open_one", "public.some_columns"]


def test_500_tables_take_as_many_questions_as_one(dsn, monkeypatch):
    run(
        dsn,
        "DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE format('CREATE TABLE t%s (id int8 PRIMARY KEY, v numeric(10,2), w text[])', i); END LOOP; END $$",
    )
    asked: list[str] = []
    execute = psycopg.Connection.execute
    monkeypatch.setattr(
        psycopg.Connection,
        "execute",
        lambda self, sql, *a, **k: (asked.append(str(sql)), execute(self, sql, *a, **k))[1],
    )
    with session(dsn) as opened:
        counts = []
        for tables in ([name("public.t1")], [info.name for info in opened.catalog().tables()]):
            asked.clear()
            found = opened.catalog().describe(tables, TypePolicy())
            counts.append(len(asked))
            assert len(found) == len(tables)

    assert counts[1] <= counts[0] <= 5


def test_keys_comments_and_nullability_are_told(dsn):
    run(dsn, "CREATE TABLE t (b int4, a int4, note text NOT NULL, g int4 GENERATED ALWAYS AS (a + b) STORED, PRIMARY KEY (a, b))",
        "COMMENT ON TABLE t IS 'what it is'")  # fmt: skip
    with session(dsn) as opened:
        found = described(opened, name("public.t"))

    assert found.primary_key == ("a", "b")
    assert found.comment == "what it is"
    assert [(column.name, column.nullable) for column in found.columns] == [
        ("b", False),
        ("a", False),
        ("note", False),
        ("g", True),
    ]


def test_a_name_without_schema_follows_the_search_path_and_one_of_another_database_is_refused(dsn):
    run(dsn, "CREATE SCHEMA hidden", "CREATE TABLE hidden.t (i int4)", "CREATE TABLE u (i int4)")
    with session(dsn) as opened:
        catalog = opened.catalog()

        assert set(catalog.describe([name("t"), name("u"), name(f"{dsn.rpartition('/')[2]}.hidden.t")], TypePolicy())) == {
            name("u"), name(f"{dsn.rpartition('/')[2]}.hidden.t")}  # fmt: skip
        with pytest.raises(SpecError, match="another database"):
            catalog.describe([name("elsewhere.public.u")], TypePolicy())


def test_a_type_has_one_name_whatever_the_search_path(dsn):
    run(dsn, "CREATE TYPE mood AS ENUM ('sad')", "CREATE TABLE t (m mood)")
    natives = []
    for path in ("public", "pg_catalog"):
        with session(dsn) as opened:
            opened.any.execute(f"SET search_path = {path}")
            natives.append(described(opened, name("public.t")).columns[0].native)
            assert opened.any.execute("SHOW search_path").fetchone() == (path,)

    assert natives == ["postgresql:public.mood"] * 2


def test_a_query_is_described_with_modifiers_and_not_run(dsn):
    run(dsn, "CREATE SEQUENCE s", "CREATE TABLE t (n numeric(12,3), v varchar(7), at timestamp(3))")
    with session(dsn) as opened:
        found = opened.catalog().describe_query(
            "SELECT n, v, at, nextval('s') AS ran FROM t, generate_series(1, 3) ; ", TypePolicy()
        )

    assert [column.native.partition(":")[2] for column in found.columns] == [
        "numeric(12,3)", "character varying(7)", "timestamp(3) without time zone", "bigint"]  # fmt: skip
    assert run(dsn, "SELECT is_called FROM s") == [(False,)]


# ---- cursors


@pytest.mark.parametrize(
    ("kind", "values", "highest", "lag", "lagged"),
    [
        ("int8", ["9", "10", "-5"], "10", "3", "7"),
        ("numeric", ["9.5", "10.25", "NULL"], "10.25", "0.5", "9.75"),
        (
            "numeric(38,10)",
            ["1234567890123456789012345678.0000000001"],
            "1234567890123456789012345678.0000000001",
            "1",
            "1234567890123456789012345677.0000000001",
        ),
        ("date", ["2024-03-01"], "2024-03-01", "2 days", "2024-02-28"),
        (
            "timestamp",
            ["2024-03-01 00:00:00.000001"],
            "2024-03-01 00:00:00.000001",
            "1 hour",
            "2024-02-29 23:00:00.000001",
        ),
        (
            "timestamptz",
            ["2024-03-01 00:00:00.5+05"],
            "2024-02-29 19:00:00.5+00",
            "10 minutes",
            "2024-02-29 18:50:00.5+00",
        ),
        ("text", ["b", "a10", "a9"], "b", None, None),
        ("uuid", ["00000000-0000-0000-0000-00000000000f"], "00000000-0000-0000-0000-00000000000f", None, None),
    ],
)
def test_a_cursor_is_exact_and_its_window_closed(dsn, kind, values, highest, lag, lagged):
    run(dsn, f"CREATE TABLE t (c {kind})", *[f"INSERT INTO t VALUES ({v if v == 'NULL' else repr(v)})" for v in values])
    with session(dsn) as opened:
        source = source_of(opened, "public.t")
        windowed = Source(source.table, columns=source.columns, window=Window("c"))
        high = opened.reader().high(windowed)
        assert high is not None
        assert high.text == highest
        assert opened.reader().count(Source(source.table, columns=source.columns, window=Window("c", high, high))) == 1
        assert opened.reader().null_cursors(windowed) == values.count("NULL")
        if lag:
            assert opened.reader().lagged(windowed, high, lag) == CursorValue(high.type, lagged)
        else:
            with pytest.raises(SpecError, match="does not fit the cursor column 'c'"):
                opened.reader().lagged(windowed, high, "1")


def test_the_type_of_a_cursor_value_cannot_smuggle_sql(dsn):
    run(dsn, "CREATE TABLE t (c int8)")
    with session(dsn) as opened:
        source = source_of(opened, "public.t")
        bad = CursorValue("int8; DROP TABLE t", "1")
        with pytest.raises(SpecError, match="is no name of a type"):
            opened.reader().count(Source(source.table, columns=source.columns, window=Window("c", bad)))
