"""A publish keeps the table that is there, with all that hangs on it, and readers see the old rows or the new ones."""

from __future__ import annotations

import threading
from dataclasses import replace

import psycopg
import pyarrow as pa
import pytest

from penstock.core.errors import Busy, CountMismatch, DataError, PermissionRefused, Retry, SpecError
from penstock.core.load import CursorValue, Expected, Mode
from tests.postgres.loading import load_of, load_whole, run, session

pytestmark = pytest.mark.postgres

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.int64())])
REPLACING = ["delete", "truncate"]
MODES = list(Mode)


def rows(*values) -> pa.Table:
    columns = [pa.array([row[at] for row in values], field.type) for at, field in enumerate(SCHEMA)]
    return pa.table(columns, schema=SCHEMA)


OLD = [(1, "one", 10), (2, "two", 20), (3, "three", 30)]
NEW = [(2, "TWO", 21), (3, "THREE", 31), (4, "FOUR", 41)]
AFTER = {
    Mode.REPLACE: NEW,
    Mode.UPSERT: [OLD[0], *NEW],
    Mode.INSERT_ONLY: [*OLD, NEW[2]],
    Mode.DELETE_INSERT: [OLD[0], *NEW],
    Mode.APPEND: [OLD[0], OLD[1], NEW[0], OLD[2], NEW[1], NEW[2]],
}


def load(mode=Mode.REPLACE, **more):
    key = ("id",) if mode not in (Mode.REPLACE, Mode.APPEND) else ()
    return load_of("public.t", SCHEMA, mode, **{"key": key, **more})


def held(dsn, table="t"):
    return run(dsn, f'SELECT id, name, at FROM {table} ORDER BY id, name COLLATE "C" DESC, at')


def make_old(dsn, table="CREATE TABLE t (id int8, name text, at int8)"):
    run(dsn, table, "INSERT INTO t (id, name, at) VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', 30)")


# ---- what hangs on the table


@pytest.mark.parametrize("replace_with", REPLACING)
@pytest.mark.parametrize("mode", MODES)
def test_views_grants_comments_policies_and_indexes_stay(dsn, mode, replace_with):
    role = f"reader_{abs(hash((dsn, mode.value, replace_with)))}"
    make_old(dsn)
    run(dsn, "CREATE VIEW shown AS SELECT id, name FROM t", "CREATE INDEX by_name ON t (name)",
        f"CREATE ROLE {role}", f"GRANT SELECT ON t TO {role}", "COMMENT ON TABLE t IS 'kept'",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY", f"CREATE POLICY p ON t TO {role} USING (id > 1)")  # fmt: skip
    before = run(dsn, "SELECT 't'::regclass::oid")
    try:
        with session(dsn) as opened:
            load_whole(opened, load(mode, options={"replace_with": replace_with}), rows(*NEW))

        assert held(dsn) == AFTER[mode]
        assert run(dsn, "SELECT 't'::regclass::oid") == before
        assert run(dsn, "SELECT id FROM shown ORDER BY id") == [(row[0],) for row in AFTER[mode]]
        assert run(dsn, f"SELECT has_table_privilege('{role}', 't', 'SELECT'), obj_description('t'::regclass)") == [
            (True, "kept")
        ]
        assert run(dsn, "SELECT count(*) FROM pg_policies WHERE tablename = 't'") == [(1,)]
        assert run(dsn, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass") == [(True,)]
        assert run(dsn, "SELECT relname FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r'") == [
            ("_penstock_ledger",)
        ]
    finally:
        run(dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.UPSERT, Mode.INSERT_ONLY])
@pytest.mark.parametrize("replace_with", REPLACING)
def test_rows_that_foreign_keys_point_to_stay(dsn, mode, replace_with):
    make_old(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name text, at int8)")
    run(dsn, "CREATE TABLE child (parent int8 REFERENCES t)", "INSERT INTO child VALUES (2), (3)")
    with session(dsn) as opened:
        published = load_whole(opened, load(mode, options={"replace_with": replace_with}), rows(*NEW))

    assert held(dsn) == AFTER[mode]
    if mode is Mode.REPLACE:
        assert (published.rows_inserted, published.rows_updated, published.rows_deleted) == (1, 2, 1)
        assert "foreign keys" in published.how


def test_a_row_that_a_foreign_key_needs_is_not_deleted(dsn):
    make_old(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name text, at int8)")
    run(dsn, "CREATE TABLE child (parent int8 REFERENCES t)", "INSERT INTO child VALUES (1)")
    with session(dsn) as opened, pytest.raises(DataError, match=r"Key \(id\)=\(1\) is still referenced"):
        load_whole(opened, load(), rows(*NEW))

    assert held(dsn) == OLD


def test_a_referenced_table_without_key_cannot_be_replaced(dsn):
    run(dsn, "CREATE TABLE t (other int4 PRIMARY KEY DEFAULT 1, id int8, name text, at int8)",
        "CREATE TABLE child (parent int4 REFERENCES t)")  # fmt: skip
    with session(dsn) as opened, pytest.raises(SpecError, match=r"child_parent_fkey.*name a key"):
        opened.writer().plan(load())


def test_repeated_keys_cannot_replace_a_referenced_table(dsn):
    make_old(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name text, at int8)")
    run(dsn, "CREATE TABLE child (parent int8 REFERENCES t)")
    with session(dsn) as opened, pytest.raises(DataError, match=r"2 rows .* have the key \('4',\)"):
        load_whole(opened, load(), rows(*NEW, (4, "again", 1)))

    assert held(dsn) == OLD


@pytest.mark.parametrize("replace_with", REPLACING)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["ALWAYS", "BY DEFAULT"])
def test_identity_columns_take_the_loaded_values_and_go_on_after_them(dsn, mode, kind, replace_with):
    run(dsn, f"CREATE TABLE t (id int8 GENERATED {kind} AS IDENTITY PRIMARY KEY, name text, at int8)")
    run(dsn, "INSERT INTO t (name, at) VALUES ('one', 10), ('two', 20), ('three', 30)")
    new = NEW if mode is not Mode.APPEND else [(7, "seven", 70)]
    with session(dsn) as opened:
        load_whole(opened, load(mode, options={"replace_with": replace_with}), rows(*new))
    greatest = max(row[0] for row in held(dsn))

    assert held(dsn) == (AFTER[mode] if mode is not Mode.APPEND else [*OLD, *new])
    assert run(dsn, "INSERT INTO t (name) VALUES ('next') RETURNING id") == [(greatest + 1,)]


def test_a_sequence_never_goes_back(dsn):
    run(dsn, "CREATE TABLE t (id bigserial, name text, at int8)", "SELECT setval('t_id_seq', 100)")
    with session(dsn) as opened:
        load_whole(opened, load(), rows(*NEW))

    assert run(dsn, "SELECT nextval('t_id_seq')") == [(101,)]


@pytest.mark.parametrize("mode", MODES)
def test_generated_columns_defaults_and_triggers_do_their_work(dsn, mode):
    table = "CREATE TABLE t (id int8 UNIQUE, name text, at int8, twice int8 GENERATED ALWAYS AS (at * 2) STORED, kept int4 DEFAULT 7)"
    make_old(dsn, table)
    run(dsn, "CREATE TABLE log (id int8)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER noting AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()",
        "UPDATE t SET kept = 1", "TRUNCATE log")  # fmt: skip
    new = NEW if mode is not Mode.APPEND else [(7, "seven", 70)]
    with session(dsn) as opened:
        load_whole(opened, load(mode), rows(*new))

    assert run(dsn, "SELECT DISTINCT twice - at * 2 FROM t") == [(0,)]
    assert run(dsn, "SELECT id FROM log ORDER BY id") == [
        (row[0],) for row in new if mode is not Mode.INSERT_ONLY or row[0] == 4
    ]
    assert {row[0] for row in run(dsn, "SELECT kept FROM t")} == ({7} if mode is Mode.REPLACE else {1, 7})
    if mode is Mode.UPSERT:
        assert run(dsn, "SELECT kept FROM t WHERE id = 2") == [(1,)]


def test_a_loaded_column_that_the_target_generates_is_left_to_it(dsn):
    run(dsn, "CREATE TABLE t (id int8, name text GENERATED ALWAYS AS ('no ' || id) STORED, at int8)")
    with session(dsn) as opened:
        published = load_whole(opened, load(), rows((5, "ignored", 1)))

    assert held(dsn) == [(5, "no 5", 1)]
    assert any("generated by the target" in note and "name" in note for note in published.notes)


@pytest.mark.parametrize("mode", MODES)
def test_a_partitioned_target_takes_every_mode(dsn, mode):
    make_old(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name text, at int8) PARTITION BY RANGE (id);"
                           "CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (3);"
                           "CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (3) TO (100)")  # fmt: skip
    new = NEW if mode is not Mode.APPEND else [(7, "seven", 70)]
    with session(dsn) as opened:
        published = load_whole(opened, load(mode), rows(*new))

    assert held(dsn) == (AFTER[mode] if mode is not Mode.APPEND else [*OLD, *new])
    if mode is Mode.UPSERT:
        assert (published.rows_inserted, published.rows_updated) == (1, 2)


def test_a_trigger_that_drops_rows_is_noticed(dsn):
    make_old(dsn)
    run(dsn, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER refusing BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()")  # fmt: skip
    with session(dsn) as opened, pytest.raises(CountMismatch, match=r"took 2 of 3 rows.*trigger"):
        load_whole(opened, load(), rows(*NEW))

    assert held(dsn) == OLD


def test_row_security_that_would_hide_rows_is_an_error_and_not_a_half_replaced_table(postgres_server, dsn):
    postgres_server.create_user("tenant", "tenant")
    make_old(dsn)
    run(dsn, "GRANT ALL ON SCHEMA public TO tenant", "GRANT ALL ON t TO tenant", "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON t TO tenant USING (id > 1)")  # fmt: skip
    with session(postgres_server.dsn(dsn.rpartition("/")[2], "tenant", "tenant")) as opened:
        with pytest.raises(PermissionRefused, match="row-level security"):
            load_whole(opened, load(), rows(*NEW))
        load_whole(opened, load(Mode.APPEND), rows((9, "nine", 9)))

    assert held(dsn) == [*OLD, (9, "nine", 9)]


@pytest.mark.parametrize("codec", ["native", "portable"])
def test_a_value_that_cannot_be_stored_is_named_with_table_and_column(dsn, codec):
    data = pa.table({"id": [1], "name": ["a\0b"]})
    with session(dsn) as opened, pytest.raises(DataError, match=r"cannot write into table public\.t.*column.*name"):
        load_whole(opened, load_of("public.t", data.schema, options={"codec": codec}), data)


# ---- keys


@pytest.mark.parametrize(
    "unique", ["", ", UNIQUE (id)", ", PRIMARY KEY (id)", ", UNIQUE (name, id)", ", UNIQUE (id) DEFERRABLE"]
)
@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.INSERT_ONLY, Mode.DELETE_INSERT])
def test_keyed_modes_do_the_same_with_and_without_an_index(dsn, mode, unique):
    make_old(dsn, f"CREATE TABLE t (id int8, name text, at int8{unique})")
    with session(dsn) as opened:
        published = load_whole(
            opened,
            load(mode, cursor="at"),
            rows(*NEW, (4, "older", 40)) if mode is not Mode.DELETE_INSERT else rows(*NEW),
        )

    assert held(dsn) == AFTER[mode]
    counts = {Mode.UPSERT: (1, 2, 0), Mode.INSERT_ONLY: (1, 0, 0), Mode.DELETE_INSERT: (3, 0, 2)}[mode]
    assert (published.rows_inserted, published.rows_updated, published.rows_deleted) == counts
    assert (published.rows_before, published.rows_after) == (3, 4)


def test_a_null_in_a_key_equals_a_null(dsn):
    make_old(dsn, "CREATE TABLE t (id int8 UNIQUE, name text, at int8)")
    run(dsn, "INSERT INTO t VALUES (NULL, 'none', 0)")
    with session(dsn) as opened:
        for _ in range(2):
            load_whole(opened, load(Mode.UPSERT), rows((None, "NONE", 1)))

    assert held(dsn) == [*OLD, (None, "NONE", 1)]


def test_a_null_that_the_primary_key_cannot_take_is_counted(dsn):
    make_old(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name text, at int8)")
    with session(dsn) as opened, pytest.raises(DataError, match=r"2 rows .* have no value in 'id'"):
        load_whole(opened, load(Mode.UPSERT), rows((None, "a", 1), (None, "b", 1), (9, "c", 1)))

    assert held(dsn) == OLD


def test_a_key_is_compared_as_the_target_compares(dsn):
    run(dsn, "CREATE EXTENSION citext", "CREATE TABLE t (name citext PRIMARY KEY, id int8, at int8)",
        "INSERT INTO t VALUES ('Ann', 1, 1)")  # fmt: skip
    with session(dsn) as opened:
        load_whole(
            opened, load(Mode.UPSERT, key=("name",), cursor="at"), rows((2, "ANN", 2), (3, "ann", 3), (4, "bob", 1))
        )

    assert run(dsn, "SELECT id, lower(name) FROM t ORDER BY id") == [(3, "ann"), (4, "bob")]


@pytest.mark.parametrize(
    ("mode", "has_key"),
    [
        (Mode.REPLACE, True),
        (Mode.UPSERT, True),
        (Mode.INSERT_ONLY, True),
        (Mode.DELETE_INSERT, False),
        (Mode.APPEND, False),
    ],
)
def test_a_new_table_has_the_key_as_primary_key_where_rows_have_one_each(dsn, mode, has_key):
    with session(dsn) as opened:
        load_whole(opened, load(mode, key=("id",)), rows(*NEW))

    assert held(dsn) == NEW
    assert run(dsn, "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisprimary") == [
        (int(has_key),)
    ]


def test_a_new_table_whose_key_repeats_has_no_primary_key_and_says_so(dsn):
    with session(dsn) as opened:
        published = load_whole(opened, load(key=("id",)), rows(*NEW, NEW[0]))

    assert published.rows_after == 4
    assert any("no primary key: (id)" in note for note in published.notes)


def test_not_null_is_kept_in_a_new_table(dsn):
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
    with session(dsn) as opened:
        load_whole(opened, load_of("public.t", schema), pa.table({"id": [1], "name": [None]}, schema=schema))

    filled = "SELECT attname::text, attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
    assert run(dsn, filled) == [("id", True), ("name", False)]


# ---- rows that are read again


def test_an_append_compares_types_without_equality_as_text(dsn):
    schema = pa.schema([("at", pa.int64()), pa.field("doc", pa.string(), metadata={"penstock.logical": "json"})])
    one = pa.table({"at": [1, 2], "doc": ['{"a" : 1}', None]}, schema=schema)
    two = pa.table({"at": [1, 2, 2, 3], "doc": ['{"a" : 1}', None, '{"b":2}', None]}, schema=schema)
    with session(dsn) as opened:
        load_whole(opened, load_of("public.t", schema, Mode.APPEND), one)
        again = load_of("public.t", schema, Mode.APPEND, cursor="at", reread_to=CursorValue("bigint", "2"))
        published = load_whole(opened, again, two)

    assert published.rows_inserted == 2
    assert run(dsn, "SELECT at, doc::text FROM t ORDER BY at, doc::text") == [
        (1, '{"a" : 1}'),
        (2, '{"b":2}'),
        (2, None),
        (3, None),
    ]


# ---- locks and readers


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.UPSERT])
@pytest.mark.parametrize("replace_with", REPLACING)
def test_polling_readers_never_see_nothing_or_half(dsn, mode, replace_with):
    run(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name text, at int8)",
        "INSERT INTO t SELECT i, 'x', 0 FROM generate_series(1, 3000) AS i")  # fmt: skip
    seen, ended = set(), threading.Event()

    def poll() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not ended.is_set():
                seen.add(connection.execute("SELECT count(*), count(DISTINCT at), min(at) FROM t").fetchone())

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        with session(dsn) as opened:
            for number in range(1, 6):
                data = rows(*[(i, "y", number) for i in range(1, 3001)])
                load_whole(opened, load(mode, options={"replace_with": replace_with}), data)
    finally:
        ended.set()
        reader.join()

    assert {(count, generations) for count, generations, _ in seen} == {(3000, 1)}


def test_a_transaction_that_began_before_sees_its_own_rows_after_a_replace(dsn):
    make_old(dsn)
    with session(dsn) as opened, psycopg.connect(dsn) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 1")
        load_whole(opened, load(), rows(*NEW))

        assert reader.execute("SELECT id, name, at FROM t ORDER BY id").fetchall() == OLD


@pytest.mark.parametrize("replace_with", REPLACING)
def test_a_lock_that_does_not_come_is_busy_and_names_its_holder(dsn, replace_with):
    make_old(dsn)
    target = load(options={"replace_with": replace_with, "lock_timeout_s": 0.2})
    with session(dsn) as opened, psycopg.connect(dsn, application_name="monthly report") as holder:
        holder.execute("LOCK TABLE t IN SHARE MODE")
        with pytest.raises(
            Busy, match=r"lock timeout; held by process \d+ \(monthly report, idle in transaction: LOCK TABLE"
        ) as caught:
            load_whole(opened, target, rows(*NEW))
        holder.rollback()
        published = opened.writer().publish(target, Expected(1, 3))

    assert caught.value.retry is Retry.LATER
    assert published.rows_after == 3
    assert held(dsn) == NEW


# ---- plans


@pytest.mark.parametrize("mode", MODES)
def test_the_plan_is_what_the_server_is_told(dsn, mode, monkeypatch):
    make_old(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, name varchar(9), at int8)")
    target = load(mode)
    with session(dsn) as opened:
        plan = opened.writer().plan(target)
        told = []
        execute = psycopg.Connection.execute
        monkeypatch.setattr(
            psycopg.Connection,
            "execute",
            lambda self, sql, *a, **k: (told.append(str(sql)), execute(self, sql, *a, **k))[1],
        )
        new = rows(*NEW) if mode is not Mode.APPEND else rows((7, "x", 1))
        load_whole(opened, target, new)

    always = [step for step in plan if not step.startswith("-- only if")]
    told = [" ".join(sql.split()) for sql in told]
    assert [step for step in always if " ".join(step.split()) not in told] == []


def test_names_that_break_tools_are_kept(dsn):
    odd = ['Upper "Case"', "select", "dot.ted", "ünïcødé 表", "per%cent $1", "x" * 63, "a'b;--"]
    data = pa.table({name: pa.array([number], pa.int64()) for number, name in enumerate(odd)})
    for name in odd:
        quoted = '"odd schema"."' + name.replace('"', '""') + '"'
        with session(dsn) as opened:
            for mode in (Mode.REPLACE, Mode.REPLACE, Mode.UPSERT):
                load_whole(opened, load_of(quoted, data.schema, mode, key=(odd[0],)), data)
        assert run(dsn, f"TABLE {quoted}") == [tuple(range(len(odd)))]


@pytest.mark.parametrize("where", ["table", "column"])
def test_names_that_the_server_would_cut_are_refused(dsn, where):
    long = "ü" * 32
    table, column = (f"public.{long}", "id") if where == "table" else ("public.t", long)
    with session(dsn) as opened, pytest.raises(SpecError, match=f"{long}.* has 64 bytes"):
        opened.writer().types(load_of(table, pa.schema([(column, pa.int64())])))


def test_1600_columns_are_loaded_and_one_more_is_refused(dsn):
    data = pa.table({f"c{number}": pa.array([number], pa.int16()) for number in range(1600)})
    with session(dsn) as opened:
        for _ in range(2):
            published = load_whole(opened, load_of("public.t", data.schema), data)
        with pytest.raises(SpecError, match="1600 columns"):
            load_whole(opened, load_of("public.u", data.schema.append(pa.field("more", pa.int16()))), data)

    assert published.rows_after == 1


def test_staging_of_the_same_load_id_in_two_schemas_does_not_meet(dsn):
    one = load_of("a.t", SCHEMA)
    other = replace(load_of("b.t", SCHEMA), load_id=one.load_id)
    with session(dsn) as opened:
        for each in (one, other):
            load_whole(opened, each, rows(*NEW))

    assert held(dsn, "a.t") == held(dsn, "b.t") == NEW
