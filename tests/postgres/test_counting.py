"""What is published was counted: by the server's word for each part, or by a scan where that word is not enough."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.connectors._sql.ledger import staging_name
from penstock.core.errors import CountMismatch
from penstock.core.load import Expected, Mode
from tests.postgres.loading import load_of, load_whole, run, session, source_of

pytestmark = pytest.mark.postgres

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
ROWS = pa.table([[1, 2, 3], ["a", "b", None]], schema=SCHEMA)


def staged(opened, load):
    """Prepare and write one part; the quoted name of staging."""
    opened.writer().prepare(load)
    opened.writer().write(load, "000000", iter(ROWS.to_batches()))
    return f'public."{staging_name(load.load_id, str(load.table))}"'


def publish(opened, load):
    return opened.writer().publish(load, Expected(1, 3))


def scans(dsn, table):
    run(dsn, "SELECT pg_stat_clear_snapshot()")
    return run(dsn, f"SELECT pg_stat_get_numscans('{table}'::regclass)")[0][0]


def test_a_new_table_is_published_without_reading_it(dsn):
    with session(dsn) as opened:
        load = load_of("public.t", SCHEMA)
        staged(opened, load)
        published = publish(opened, load)

    assert (published.counted_by, published.rows_staged, published.rows_after) == ("acknowledged", 3, 3)
    assert scans(dsn, "t") == 0


def test_a_scan_is_made_where_it_is_asked_for(dsn):
    with session(dsn, count_by="scan") as opened:
        load = load_of("public.t", SCHEMA)
        staged(opened, load)
        published = publish(opened, load)

    assert (published.counted_by, published.rows_after) == ("scan", 3)


def test_a_scan_sees_a_row_that_another_program_took_from_staging(dsn):
    with session(dsn, count_by="scan") as opened:
        load = load_of("public.t", SCHEMA)
        run(dsn, f"DELETE FROM {staged(opened, load)} WHERE id = 2")
        with pytest.raises(CountMismatch, match="holds 2 rows, of 3 noted"):
            publish(opened, load)

    assert run(dsn, "SELECT to_regclass('public.t')") == [(None,)]


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
def test_a_row_taken_from_staging_is_missed_when_rows_go_into_a_table_that_was_there(dsn, mode):
    run(dsn, "CREATE TABLE t (id int8, name text)", "INSERT INTO t VALUES (9, 'old')")
    with session(dsn) as opened:
        load = load_of("public.t", SCHEMA, mode)
        run(dsn, f"DELETE FROM {staged(opened, load)} WHERE id = 2")
        with pytest.raises(CountMismatch, match="took 2 of 3 rows"):
            publish(opened, load)

    assert run(dsn, "SELECT id FROM t") == [(9,)]


@pytest.mark.parametrize("emptied", ["TRUNCATE {0}", "CREATE TABLE x (LIKE {0}); DROP TABLE {0}"])
def test_staging_that_was_emptied_or_dropped_is_noticed(dsn, emptied):
    with session(dsn) as opened:
        load = load_of("public.t", SCHEMA)
        run(dsn, emptied.format(staged(opened, load)))
        opened.writer().prepare(load)  # makes staging anew where it is gone, as a resumed run does
        with pytest.raises(CountMismatch, match="holds 0 rows, of 3 noted"):
            publish(opened, load)


def test_staging_that_an_administrator_rewrote_is_counted_again(dsn):
    with session(dsn) as opened:
        load = load_of("public.t", SCHEMA)
        run(dsn, f"VACUUM FULL {staged(opened, load)}")
        published = publish(opened, load)

    assert (published.counted_by, published.rows_after) == ("scan", 3)


def test_a_ledger_without_the_column_for_staging_gets_it(dsn):
    with session(dsn) as opened:
        load_whole(opened, load_of("public.t", SCHEMA), ROWS)
        run(dsn, "ALTER TABLE _penstock_ledger DROP COLUMN staging")
        published = load_whole(opened, load_of("public.t", SCHEMA), ROWS)

    assert published.counted_by == "acknowledged"


def test_a_large_table_is_not_read_because_rows_were_appended(dsn):
    run(dsn, "CREATE TABLE t (id int8, name text)", "ALTER TABLE t ALTER name SET STORAGE PLAIN",
        "INSERT INTO t SELECT n, repeat('x', 7000) FROM generate_series(1, 9000) AS n")  # fmt: skip
    before = scans(dsn, "t")
    with session(dsn) as opened:
        published = load_whole(opened, load_of("public.t", SCHEMA, Mode.APPEND), ROWS)

    assert (published.rows_before, published.rows_inserted, published.rows_after) == (None, 3, None)
    assert scans(dsn, "t") == before
    with session(dsn, count_by="scan") as opened:
        published = load_whole(opened, load_of("public.t", SCHEMA, Mode.APPEND), ROWS)
    assert (published.rows_before, published.rows_after) == (9003, 9006)


def test_a_replaced_table_whose_trigger_removes_rows_is_counted(dsn):
    run(dsn, "CREATE TABLE t (id int8, name text)",
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN DELETE FROM t WHERE id = 2; RETURN NULL; END $$",
        "CREATE TRIGGER forgets AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION forget()")  # fmt: skip
    with session(dsn) as opened:
        published = load_whole(opened, load_of("public.t", SCHEMA), ROWS)

    assert (published.rows_inserted, published.rows_after) == (3, 2)


def test_counting_a_source_leaves_the_settings_of_its_transaction_alone(dsn):
    run(dsn, "CREATE TABLE t AS SELECT generate_series(1, 10) AS id")
    with session(dsn) as opened:
        opened.hold_snapshot()
        assert opened.reader().count(source_of(opened, "public.t")) == 10
        setting = opened.reading.execute("SELECT current_setting('min_parallel_table_scan_size')").fetchone()

    assert setting == run(dsn, "SELECT current_setting('min_parallel_table_scan_size')")[0]
