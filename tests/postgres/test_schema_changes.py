"""Source and target that differ: adapted where the policy says so, refused by name where it does not, never by half."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.core.errors import DataError, SchemaChanged
from penstock.core.load import Mode, SchemaPolicy
from penstock.core.schema import Column, Fidelity
from tests.postgres.loading import load_of, load_whole, run, session

pytestmark = pytest.mark.postgres


def columns_of(dsn, table="t"):
    return run(
        dsn,
        f"SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )


def put(dsn, data, mode=Mode.APPEND, native=None, **more):
    """Load `data` into public.t; `native` names types of columns as a source of the same system declares them."""
    load = load_of("public.t", data.schema, mode, **more)
    columns = tuple(
        Column(c.name, c.type, c.nullable, c.logical, f"postgresql:{(native or {})[c.name]}")
        if c.name in (native or {})
        else c
        for c in load.columns
    )
    from dataclasses import replace

    with session(dsn) as opened:
        load = replace(load, columns=columns)
        return load_whole(opened, load, data), opened.writer().types(load)


@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.REPLACE])
def test_a_new_column_is_added_and_an_old_one_kept(dsn, mode):
    run(dsn, "CREATE TABLE t (id int8, old text DEFAULT 'd')", "INSERT INTO t VALUES (1, 'x')")
    published, _ = put(dsn, pa.table({"id": [2], "new": [1.5]}), mode)

    assert columns_of(dsn) == [("id", "bigint", False), ("old", "text", False), ("new", "double precision", False)]
    kept = [(1, "x", None)] if mode is Mode.APPEND else []
    assert run(dsn, "SELECT * FROM t ORDER BY id") == [*kept, (2, "d", 1.5)]
    assert any('ADD COLUMN "new"' in note for note in published.notes)


def test_a_column_that_is_needed_but_not_loaded_is_an_error(dsn):
    run(dsn, "CREATE TABLE t (id int8, must text NOT NULL)")

    with pytest.raises(SchemaChanged, match=r"'must' of table public\.t is NOT NULL without a default"):
        put(dsn, pa.table({"id": [2]}))


@pytest.mark.parametrize(
    ("held", "value", "loaded", "becomes"),
    [
        ("int2", "1", pa.array([2**40], pa.int64()), "bigint"),
        ("int4", "1", pa.array([2**64 - 1], pa.uint64()), "numeric(20,0)"),
        ("varchar(3)", "'abc'", pa.array(["longer"]), "text"),
        ("real", "1.5", pa.array([0.1], pa.float64()), "double precision"),
        ("date", "'2020-01-01'", pa.array([1], pa.timestamp("us")), "timestamp without time zone"),
        ("int4[]", "'{1}'", pa.array([[2**40]], pa.list_(pa.int64())), "bigint[]"),
    ],
)
def test_a_wider_value_widens_the_column_and_keeps_what_is_there(dsn, held, value, loaded, becomes):
    run(dsn, f"CREATE TABLE t (v {held})", f"INSERT INTO t VALUES ({value})")
    before = run(dsn, "TABLE t")
    published, (choice,) = put(dsn, pa.table({"v": loaded}))

    assert columns_of(dsn) == [("v", becomes, False)]
    assert published.rows_after == 2
    assert len(run(dsn, "TABLE t")) == 2
    assert before
    assert choice.native == f"postgresql:{becomes}"
    assert any("TYPE" in note for note in published.notes)


def test_a_narrower_value_leaves_the_column_as_it_is(dsn):
    run(dsn, "CREATE TABLE t (v int8, n numeric(20,4), s text)")
    data = pa.table({"v": pa.array([1], pa.int16()), "n": pa.array([2], pa.int32()), "s": ["x"]})
    _, choices = put(dsn, data, native={"s": "character varying(5)"})

    assert [kind for _, kind, _ in columns_of(dsn)] == ["bigint", "numeric(20,4)", "text"]
    assert [choice.fidelity for choice in choices] == [Fidelity.WIDENING] * 3


@pytest.mark.parametrize(
    ("held", "loaded", "expected"),
    [
        ("uuid", pa.array(["6f9619ff-8b86-d011-b42d-00c04fc964ff"]), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("int4", pa.array(["42"]), "42"),
        ("inet", pa.array(["10.0.0.1/8"]), "10.0.0.1/8"),
        ("jsonb", pa.array(['{"a":1}']), '{"a": 1}'),
        ("numeric(10,2)", pa.array(["1.5"]), "1.50"),
        ("timestamptz", pa.array([0], pa.timestamp("us")), "1970-01-01 00:00:00+00"),
        ("text", pa.array([1.5]), "1.5"),
        ("text", pa.array([[1, None]], pa.list_(pa.int32())), "{1,NULL}"),
        ("jsonb", pa.array([{"a": [1, None]}]), '{"a": [1, null]}'),
    ],
)
def test_a_target_type_of_the_users_own_choice_is_kept(dsn, held, loaded, expected):
    run(dsn, f"CREATE TABLE t (v {held})")
    put(dsn, pa.table({"v": loaded}))

    assert run(dsn, "SET timezone = 'UTC'", "SELECT v::text FROM t") == [(expected,)]
    assert len(columns_of(dsn)) == 1


def test_text_that_the_target_cannot_read_is_an_error_and_changes_nothing(dsn):
    run(dsn, "CREATE TABLE t (v int4)", "INSERT INTO t VALUES (1)")

    with pytest.raises(
        DataError, match=r'cannot publish table public\.t .*invalid input syntax for type integer: "no"'
    ):
        put(dsn, pa.table({"v": ["2", "no"]}))
    assert run(dsn, "TABLE t") == [(1,)]


def test_types_that_do_not_convert_are_refused_with_both_names(dsn):
    run(dsn, "CREATE TABLE t (v bytea)")

    with pytest.raises(SchemaChanged, match=r"column 'v' of table public\.t is bytea, and the load brings bigint"):
        put(dsn, pa.table({"v": [1]}))


def test_values_that_would_change_are_told_lossy(dsn):
    run(dsn, "CREATE TABLE t (v float8)")
    with session(dsn) as opened:
        (choice,) = opened.writer().types(load_of("public.t", pa.schema([("v", pa.int64())])))

    assert (choice.native, choice.fidelity) == ("postgresql:double precision", Fidelity.LOSSY)


def test_a_column_that_a_view_uses_is_not_widened_and_the_view_is_named(dsn):
    run(dsn, "CREATE TABLE t (v int4)", "CREATE VIEW shown AS SELECT v + 1 AS w FROM t")

    with pytest.raises(SchemaChanged, match=r"cannot become bigint while shown uses it"):
        put(dsn, pa.table({"v": [1]}))


def test_not_null_goes_only_when_a_null_comes(dsn):
    run(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, v text NOT NULL)")

    put(dsn, pa.table({"id": [1], "v": ["x"]}))
    assert columns_of(dsn)[1] == ("v", "text", True)
    published, _ = put(dsn, pa.table({"id": [2], "v": pa.array([None], pa.string())}))

    assert columns_of(dsn) == [("id", "bigint", True), ("v", "text", False)]
    assert "column 'v' may be NULL now" in published.notes


@pytest.mark.parametrize("policy", ["strict", "ask"])
@pytest.mark.parametrize(
    ("change", "data"),
    [
        ("new_column", {"id": pa.array([1]), "v": pa.array([1], pa.int32()), "more": pa.array([1])}),
        ("dropped_column", {"id": pa.array([1])}),
        ("widened", {"id": pa.array([1]), "v": pa.array([1])}),
        ("narrowed", {"id": pa.array([1]), "v": pa.array([1], pa.int16())}),
        ("nullability", {"id": pa.array([1]), "v": pa.array([1], pa.int32())}),
    ],
)
def test_a_policy_that_forbids_a_change_names_it_before_anything_happens(dsn, change, data, policy):
    null = " NOT NULL" if change == "nullability" else ""
    run(dsn, f"CREATE TABLE t (id int8, v int4{null})")
    before = columns_of(dsn)
    load = load_of("public.t", pa.table(data).schema, Mode.APPEND, policy=SchemaPolicy(**{change: policy}))

    with session(dsn) as opened:
        with pytest.raises(SchemaChanged, match=rf"schema_changes\.{change} is {policy}"):
            opened.writer().plan(load)
        with pytest.raises(SchemaChanged, match=rf"schema_changes\.{change} is {policy}"):
            opened.writer().prepare(load)

    assert columns_of(dsn) == before
    assert run(dsn, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_penstock%'") == [(0,)]


@pytest.mark.parametrize("policy", ["strict", "ask"])
def test_a_strict_policy_takes_what_fits_and_what_the_target_fills_itself(dsn, policy):
    run(
        dsn,
        "CREATE TABLE t (sk int8 GENERATED ALWAYS AS IDENTITY, id int8, at timestamptz DEFAULT now(), twice int8 GENERATED ALWAYS AS (id * 2) STORED)",
    )
    strict = SchemaPolicy(*[policy] * 5)
    published, _ = put(dsn, pa.table({"id": [5]}), policy=strict)

    assert published.rows_after == 1
    assert run(dsn, "SELECT sk, id, twice, at IS NOT NULL FROM t") == [(1, 5, 10, True)]


def test_a_domain_keeps_its_checks(dsn):
    run(dsn, "CREATE DOMAIN positive AS int4 CHECK (value > 0)", "CREATE TABLE t (v positive)")

    put(dsn, pa.table({"v": pa.array([5], pa.int32())}))
    with pytest.raises(DataError, match="positive_check"):
        put(dsn, pa.table({"v": pa.array([-5], pa.int32())}))

    assert run(dsn, "TABLE t") == [(5,)]


def test_a_native_type_that_is_no_type_is_never_put_into_a_statement(dsn):
    run(dsn, "CREATE TABLE victim (id int4)")
    _, (choice,) = put(dsn, pa.table({"v": ["x"]}), Mode.REPLACE, {"v": "text); DROP TABLE victim; --"})

    assert choice.native == "postgresql:text"
    assert run(dsn, "SELECT to_regclass('victim') IS NOT NULL") == [(True,)]
