"""Every type of PostgreSQL comes through unchanged: read two ways, written two ways, and passed through untouched."""

from __future__ import annotations

import pytest

from penstock.core.errors import DataError, SpecError
from penstock.core.load import Chunk, Expected
from penstock.core.schema import Fidelity, TypePolicy
from tests.parts.postgres import PostgresServer
from tests.postgres.loading import (
    ALL_TYPES,
    load_of,
    load_whole,
    make_all_types,
    read,
    run,
    session,
    source_of,
    texts,
)

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def every(postgres_server: PostgresServer):
    """URL of a database with the all-types table things.every."""
    postgres_server.start()
    name = postgres_server.create_database()
    make_all_types(postgres_server.dsn(name))
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.mark.native
def test_the_compiled_and_the_portable_reader_give_equal_batches(every):
    with session(every) as opened:
        native = read(opened, source_of(opened, "things.every", codec="native"))
        portable = read(opened, source_of(opened, "things.every", codec="portable"))

    assert native.schema.equals(portable.schema, check_metadata=True)
    assert native.num_rows > 4
    different = [name for name in native.column_names if not native[name].equals(portable[name])]
    assert [name for name in different if list(ALL_TYPES)[int(name[1:])] not in ("float4", "float8")] == []
    for name in different:  # NaN does not equal itself
        assert str(native[name].to_pylist()) == str(portable[name].to_pylist())


@pytest.mark.parametrize("read_with", ["native", "portable"])
@pytest.mark.parametrize("write_with", ["native", "portable"])
def test_a_table_of_every_type_comes_back_equal_as_text(every, read_with, write_with):
    target = f"copied.{read_with}_{write_with}"
    with session(every) as opened:
        source = source_of(opened, "things.every", codec=read_with)
        load = load_of(target, source, options={"codec": write_with})
        load_whole(opened, load, read(opened, source))
        copied = source_of(opened, target)

    assert texts(every, target) == texts(every, "things.every")
    assert [column.native for column in copied.columns] == [column.native for column in source.columns]


@pytest.mark.parametrize("write_with", ["native", "portable"])
def test_a_table_of_every_type_is_replaced_in_place_equal_as_text(every, write_with):
    target = f"copied.again_{write_with}"
    with session(every) as opened:
        source = source_of(opened, "things.every")
        rows = read(opened, source)
        for _ in range(2):
            load_whole(opened, load_of(target, source, options={"codec": write_with}), rows)

    assert texts(every, target) == texts(every, "things.every")


def test_types_are_told_lossless_where_the_target_restores_them(every):
    with session(every) as opened:
        source = source_of(opened, "things.every")
        choices = opened.writer().types(load_of("copied.told", source))

    assert {choice.fidelity for choice in choices} == {Fidelity.LOSSLESS}
    assert [choice.native for choice in choices] == [column.native for column in source.columns]


def test_types_that_the_target_lacks_come_as_text_and_say_so(every, postgres_dsn):
    with session(every) as opened, session(postgres_dsn) as other:
        source = source_of(opened, "things.every")
        load = load_of("public.copied", source)
        choices = {choice.column.native: choice for choice in other.writer().types(load)}
        load_whole(other, load, read(opened, source))

    mood = choices["postgresql:things.mood"]
    assert (mood.native, mood.fidelity) == ("postgresql:text", Fidelity.TEXT)
    assert "does not exist" in mood.note
    assert texts(postgres_dsn, "public.copied") == texts(every, "things.every")


@pytest.mark.native
def test_streams_pass_untouched_where_every_type_has_a_form_that_travels(every):
    local = ("money", "regclass", "things.pair", "things.mood[]", "xml")
    kept = ["id", *(f"c{n}" for n, kind in enumerate(ALL_TYPES) if kind not in local)]
    run(every, f"CREATE TABLE things.travels AS SELECT {', '.join(kept)} FROM things.every")
    with session(every) as opened:
        source = source_of(opened, "things.travels")
        load = load_of("copied.raw", source)
        reader, writer = opened.reader(), opened.writer()
        assert writer.raw_format(load) == reader.raw_format(source) != ""
        writer.prepare(load)
        written = writer.write_raw(load, "000000", reader.raw(source, Chunk(0)))
        writer.write(load, "000001", iter(read(opened, source).to_batches()))
        published = writer.publish(load, Expected(2, 2 * written.rows))
        again = writer.write_raw(load, "000000", reader.raw(source, Chunk(0)))

    assert published.rows_after == 2 * written.rows
    assert (again.rows, again.again) == (written.rows, True)
    copies = texts(every, "copied.raw")
    assert [row for number, row in enumerate(copies) if number % 2] == texts(every, "things.travels")
    assert set(copies) == set(texts(every, "things.travels"))


@pytest.mark.parametrize("kind", ["money", "regclass", "things.pair", "things.mood[]", "xml"])
def test_streams_with_values_of_one_database_do_not_pass_untouched(every, kind):
    column = f"c{list(ALL_TYPES).index(kind)}"
    run(every, "DROP VIEW IF EXISTS things.local", f"CREATE VIEW things.local AS SELECT id, {column} FROM things.every")
    with session(every) as opened:
        source = source_of(opened, "things.local")

        assert opened.reader().raw_format(source) == ""
        assert opened.writer().raw_format(load_of("copied.local", source)) == ""


@pytest.mark.native
def test_enums_pass_untouched_only_with_the_same_labels(every, postgres_dsn):
    run(postgres_dsn, "CREATE SCHEMA things", "CREATE TYPE things.mood AS ENUM ('sad', 'other')")
    column = f"c{list(ALL_TYPES).index('things.mood')}"
    run(every, f"CREATE TABLE IF NOT EXISTS things.moods AS SELECT id, {column} FROM things.every")
    with session(every) as opened, session(postgres_dsn) as other:
        source = source_of(opened, "things.moods")

        assert opened.writer().raw_format(load_of("x.moods", source)) == opened.reader().raw_format(source)
        assert other.writer().raw_format(load_of("x.moods", source)) != opened.reader().raw_format(source)


@pytest.mark.parametrize("codec", ["native", "portable"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'{{1,2},{3,4}}'::int[]", "dimension"),
        ("'[2:3]={1,2}'::int[]", "lower bound|begin|start"),
        ("'24:00'::time", "24:00|midnight"),
        ("'NaN'::numeric(10,2)", "NaN"),
    ],
)
def test_a_value_that_no_carrier_holds_is_an_error_that_names_the_column(every, codec, value, message):
    run(every, "DROP TABLE IF EXISTS things.odd", f"CREATE TABLE things.odd AS SELECT {value} AS weird")
    with session(every) as opened, pytest.raises(DataError, match=f"weird|{message}") as caught:
        read(opened, source_of(opened, "things.odd", codec=codec))

    assert "things.odd" in str(caught.value)


@pytest.mark.parametrize("codec", ["native", "portable"])
def test_nan_becomes_null_where_the_policy_says_so(every, codec):
    run(every, "DROP TABLE IF EXISTS things.nans",
        "CREATE TABLE things.nans AS SELECT x::numeric(10,2) AS n FROM unnest('{NaN,1.5}'::numeric[]) AS x")  # fmt: skip
    with session(every) as opened:
        rows = read(opened, source_of(opened, "things.nans", TypePolicy(nan="null"), codec=codec))

    assert [None if value is None else str(value) for value in rows["n"].to_pylist()] == [None, "1.50"]


@pytest.mark.parametrize("codec", ["native", "portable"])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [("text", ["1.5", "12345678901234567890.1"]), ("double", [1.5, 12345678901234567000.0]), ("decimal(30,4)", None)],
)
def test_unconstrained_numeric_follows_the_policy(every, codec, policy, expected):
    run(every, "DROP TABLE IF EXISTS things.free",
        "CREATE TABLE things.free AS SELECT x AS n FROM unnest('{1.5,12345678901234567890.1}'::numeric[]) AS x")  # fmt: skip
    with session(every) as opened:
        source = source_of(opened, "things.free", TypePolicy(numeric=policy), codec=codec)
        values = read(opened, source)["n"].to_pylist()

    assert values == expected if expected else [str(v) for v in values] == ["1.5000", "12345678901234567890.1000"]
    assert (source.columns[0].fidelity is Fidelity.LOSSY) == (policy == "double")


@pytest.mark.parametrize("codec", ["native", "portable"])
def test_a_decimal_policy_never_rounds(every, codec):
    run(every, "DROP TABLE IF EXISTS things.fine", "CREATE TABLE things.fine AS SELECT 1.23456::numeric AS n")
    with session(every) as opened, pytest.raises(DataError, match=r"things\.fine.*n"):
        read(opened, source_of(opened, "things.fine", TypePolicy(numeric="decimal(10,2)"), codec=codec))


def test_the_policy_error_forbids_unconstrained_numeric_by_name(every):
    with session(every) as opened, pytest.raises(SpecError, match=r"things\.every.*numeric without precision"):
        source_of(opened, "things.every", TypePolicy(numeric="error"))


@pytest.mark.parametrize("codec", ["native", "portable"])
def test_arrays_as_text_keep_every_shape(every, codec):
    run(every, "DROP TABLE IF EXISTS things.shapes",
        "CREATE TABLE things.shapes AS SELECT x FROM (VALUES ('{{1,2},{3,4}}'::int[]), ('[2:3]={1,2}')) AS v (x)")  # fmt: skip
    with session(every) as opened:
        source = source_of(opened, "things.shapes", TypePolicy(arrays="text"), codec=codec)
        load_whole(opened, load_of("copied.shapes", source), read(opened, source))

    assert run(every, "TABLE copied.shapes") == run(every, "TABLE things.shapes")
    assert [row[0] for row in run(every, "SELECT x::text FROM copied.shapes")] == ["{{1,2},{3,4}}", "[2:3]={1,2}"]
