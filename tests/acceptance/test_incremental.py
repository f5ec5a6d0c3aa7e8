"""Incremental loads: no tie lost, none doubled, exact watermarks, and never a full load in silence."""

from __future__ import annotations

from contextlib import closing

import duckdb
import pytest

import penstock
from tests.acceptance.project import Project, sql

pytestmark = pytest.mark.postgres


@pytest.fixture
def source(postgres_server) -> str:
    dsn = postgres_server.dsn(postgres_server.create_database())
    sql(
        dsn,
        "CREATE TABLE events (id int, at timestamptz, note text)",
        "INSERT INTO events VALUES (1, '2024-01-01 00:00:00.000001+00', 'a'), (2, '2024-01-01 00:00:00.000002+00', 'b')",
    )
    return dsn


TARGETS = ["postgres", "duckdb", "parquet", "sqlite"]


@pytest.fixture(params=TARGETS)
def target(request, postgres_server, tmp_path):
    """A target's URL and a function that reads ids with notes back, sorted."""
    if request.param == "postgres":
        dsn = postgres_server.dsn(postgres_server.create_database())
        return dsn, lambda: sql(dsn, "SELECT id, note FROM events ORDER BY id, note")
    if request.param == "duckdb":

        def read_duckdb() -> list[tuple[object, ...]]:
            with duckdb.connect(str(tmp_path / "h.duckdb")) as connection:
                return connection.execute("SELECT id, note FROM public.events ORDER BY id, note").fetchall()

        return f"duckdb:{tmp_path}/h.duckdb", read_duckdb
    if request.param == "sqlite":
        import sqlite3

        def read_sqlite() -> list[tuple[object, ...]]:
            with closing(sqlite3.connect(tmp_path / "h.sqlite")) as connection:
                return connection.execute("SELECT id, note FROM public_events ORDER BY id, note").fetchall()

        return f"sqlite:{tmp_path}/h.sqlite", read_sqlite

    def read_parquet() -> list[tuple[object, ...]]:
        with duckdb.connect() as connection:
            files = f"{tmp_path}/lake/public.events/*.parquet"
            return connection.execute("SELECT id, note FROM read_parquet($1) ORDER BY id, note", [files]).fetchall()

    return f"file:{tmp_path}/lake", read_parquet


def events(root, source: str, target: str, **job) -> Project:
    return Project(root, source, target, tables=["public.events"], **job)


def test_append_adds_each_row_once_with_ties_at_the_watermark(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")

    project.run()
    sql(
        source,
        "INSERT INTO events VALUES (3, '2024-01-01 00:00:00.000002+00', 'tie'), (4, '2024-01-01 00:00:00.000003+00', 'd')",
    )
    project.run()
    project.run()

    assert rows() == [(1, "a"), (2, "b"), (3, "tie"), (4, "d")]


def test_append_keeps_rows_that_are_equal_in_every_column(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")

    project.run()
    sql(source, "INSERT INTO events SELECT * FROM events WHERE id = 2")
    project.run()
    project.run()

    assert rows() == [(1, "a"), (2, "b"), (2, "b")]


def test_append_compares_without_the_load_timestamp(source, target, tmp_path):
    url, rows = target
    added = {"add": {"loaded_at": {"now": "utc"}}}
    project = events(tmp_path / "p", source, url, mode="append", cursor="at", columns=added)

    project.run()
    project.run()

    assert rows() == [(1, "a"), (2, "b")]


def test_upsert_by_cursor_takes_changed_rows(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="upsert", key=["id"], cursor="at")

    project.run()
    sql(
        source,
        "UPDATE events SET note = 'A', at = '2024-02-01' WHERE id = 1",
        "INSERT INTO events VALUES (5, '2024-02-02', 'e')",
    )
    project.run()

    assert rows() == [(1, "A"), (2, "b"), (5, "e")]


def test_lag_reads_rows_again_that_came_late(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", cursor={"column": "at", "lag": "1 day"})

    project.run()
    sql(source, "INSERT INTO events VALUES (9, '2023-12-31 23:00+00', 'late')")
    project.run()
    project.run()

    assert rows() == [(1, "a"), (2, "b"), (9, "late")]


def test_an_empty_source_gives_an_empty_table_and_the_first_rows_come_later(source, target, tmp_path):
    url, rows = target
    sql(source, "TRUNCATE events")
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")

    project.run()
    assert rows() == []
    sql(source, "INSERT INTO events VALUES (1, '2024-01-01', 'a')")
    project.run()

    assert rows() == [(1, "a")]


def test_deleted_newest_rows_do_not_move_the_watermark_back(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")

    project.run()
    sql(source, "DELETE FROM events WHERE id = 2")
    project.run()
    sql(source, "INSERT INTO events VALUES (3, '2024-03-01', 'c')")
    project.run()

    assert rows() == [(1, "a"), (2, "b"), (3, "c")]


def test_null_cursors_are_an_error_unless_a_policy_is_chosen(source, target, tmp_path):
    url, rows = target
    sql(source, "INSERT INTO events VALUES (7, NULL, 'no time')")
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")

    result, said = project.attempt()
    assert result.exit_code == 1
    assert any("1 rows of table public.events have no value in the cursor column 'at'" in line for line in said), said

    project.run(cursor={"column": "at", "nulls": "include"})
    project.run(cursor={"column": "at", "nulls": "include"})
    assert rows() == [(1, "a"), (2, "b"), (7, "no time")]


def test_changed_settings_are_an_error_that_says_how_to_go_on(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")
    project.run()

    result, said = project.attempt(cursor="id")

    assert result.exit_code == 1
    assert any(
        "cursor was 'at' and is 'id'; restore the setting, or load the table anew once with --full-refresh" in s
        for s in said
    ), said
    assert rows() == [(1, "a"), (2, "b")]


def test_a_full_refresh_loads_all_anew_and_goes_on_from_there(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", cursor="at")
    project.run()

    sql(source, "UPDATE events SET note = 'corrected' WHERE id = 1")
    project.run(options=penstock.RunOptions(full_refresh=True))
    assert rows() == [(1, "corrected"), (2, "b")]
    sql(source, "INSERT INTO events VALUES (3, '2024-03-01', 'c')")
    project.run()

    assert rows() == [(1, "corrected"), (2, "b"), (3, "c")]


def test_a_full_refresh_makes_no_primary_key_that_a_later_append_would_break(source, target, tmp_path):
    url, rows = target
    project = events(tmp_path / "p", source, url, mode="append", key=["id"], cursor="at")

    project.run(options=penstock.RunOptions(full_refresh=True))
    sql(source, "INSERT INTO events VALUES (2, '2024-03-01', 'again')")
    project.run()

    assert rows() == [(1, "a"), (2, "again"), (2, "b")]


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("bigint", "9007199254740993", "9007199254740994"),
        ("numeric(30,22)", "0.1000000000000000000001", "0.1000000000000000000002"),
        ("date", "'2024-01-01'", "'2024-01-02'"),
        ("timestamp", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
        ("text", "'a''b'", "'b'"),
        ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
    ],
)
def test_watermarks_of_every_type_keep_full_precision(kind, first, second, source, tmp_path):
    sql(
        source,
        "DROP TABLE events",
        f"CREATE TABLE events (id int, at {kind}, note text)",
        f"INSERT INTO events VALUES (1, {first}, 'a')",
    )
    project = events(tmp_path / "p", source, f"duckdb:{tmp_path}/h.duckdb", mode="append", cursor="at")

    project.run()
    sql(source, f"INSERT INTO events VALUES (2, {second}, 'b')")
    project.run()
    project.run()

    with duckdb.connect(str(tmp_path / "h.duckdb")) as connection:
        assert connection.execute("SELECT id FROM public.events ORDER BY id").fetchall() == [(1,), (2,)]
