"""The SQL that is made without a server: names quoted, values bound, every row exactly once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.sqlserver.catalog import Typed
from penstock.connectors.sqlserver.changes import Measured, adapt, becomes, shaped
from penstock.connectors.sqlserver.merge import Merge, steps
from penstock.connectors.sqlserver.relation import Target, TargetColumn
from penstock.connectors.sqlserver.select import select
from penstock.connectors.sqlserver.server import Server
from penstock.connectors.sqlserver.split import Index, Shape, key_of
from penstock.connectors.sqlserver.staging import definition
from penstock.connectors.sqlserver.stored import stored_columns
from penstock.connectors.sqlserver.types import Declared, parse
from penstock.core.errors import SchemaChanged, SpecError
from penstock.core.load import CursorValue, Load, Mode, SchemaPolicy, Source, Window
from penstock.core.names import TableName
from penstock.core.schema import Column

EVIL = 'x"]; DROP TABLE y; --'
QUOTED = '"x""]; DROP TABLE y; --"'
WHERE = TableName(("dbo", EVIL))
STAGING = TableName(("dbo", "_penstock_s"))
SERVER = Server("16.0.1", 2, "Developer", "shop", "app", "dbo", 160, True, False, "Latin1_General_CI_AS")
COLUMNS = (Column("id", pa.int64()), Column(EVIL, pa.string()), Column("at", pa.timestamp("us")))


def _load(mode: Mode = Mode.UPSERT, **more: Any) -> Load:
    key = ("id",) if mode in (Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY) else ()
    facts = {"columns": COLUMNS, "key": key, "cursor": "at", **more}
    return Load("l1", "job", WHERE, mode=mode, **facts)


def _held(name: str, text: str, number: int = 1, **more: Any) -> TargetColumn:
    facts = {"nullable": True, "is_identity": False, "is_generated": False, "has_default": False, **more}
    return TargetColumn(number, name, parse(text) or Declared("int"), **facts)


def _target(*more: TargetColumn, **facts: Any) -> Target:
    held = (_held("id", "bigint"), _held(EVIL, "nvarchar(50)"), _held("at", "datetime2(6)"), *more)
    return Target(WHERE, held, **{"primary_key": (), "unique_keys": (), "referenced_by": (), **facts})


def _statements(load: Load, target: Target | None) -> list[str]:
    stored = tuple(stored_columns(load, WHERE, target, SERVER))
    if target is None:
        return [str(step) for step in becomes(load, WHERE, STAGING, stored, None)]
    return [str(step) for step in steps(Merge(load, target, STAGING, stored), "delete")[1]]


@pytest.mark.parametrize("mode", list(Mode))
def test_names_are_quoted_in_every_statement_of_every_mode(mode: Mode) -> None:
    load = _load(mode)
    for target in (None, _target()):
        for statement in _statements(load, target):
            assert EVIL not in statement.replace(QUOTED, "").replace("-- ? = " + repr(EVIL), "")


def test_staging_is_a_heap_whose_rows_carry_their_attempt() -> None:
    sql = definition(STAGING, stored_columns(_load(), WHERE, None, SERVER))

    assert sql == (
        f'CREATE TABLE "dbo"."_penstock_s" ("id" bigint NULL, {QUOTED} nvarchar(4000) NULL, "at" datetime2(6) NULL,'
        ' "_penstock_attempt" int NOT NULL)'
    )


def test_keys_are_compared_exactly_and_null_equals_null() -> None:
    text = Merge(
        _load(key=(EVIL,)), _target(), STAGING, tuple(stored_columns(_load(), WHERE, _target(), SERVER))
    ).alike()

    assert f"t.{QUOTED} = s.{QUOTED} AND" in text
    assert "COLLATE Latin1_General_100_BIN2" in text
    assert f"DATALENGTH(t.{QUOTED}) = DATALENGTH(s.{QUOTED})" in text
    assert f"OR t.{QUOTED} IS NULL AND s.{QUOTED} IS NULL" in text


def test_what_the_server_fills_itself_is_never_written() -> None:
    target = _target(_held("total", "int", 4, is_generated=True), _held("version", "rowversion", 5, is_generated=True))
    load = _load(columns=(*COLUMNS, Column("total", pa.int32()), Column("version", pa.binary())))

    written = [text for text in _statements(load, target) if text.startswith(("INSERT", "UPDATE"))]

    assert len(written) == 2
    for statement in written:
        assert '"total"' not in statement
        assert '"version"' not in statement


def test_an_identity_is_inserted_with_its_values_and_never_updated() -> None:
    target = _target()
    held = tuple(replace(column, is_identity=column.name == "id") for column in target.columns)
    found = _statements(_load(key=(EVIL,)), replace(target, columns=held))

    assert [text.rpartition(" ")[2] for text in found if text.startswith("SET IDENTITY_INSERT")] == ["ON", "OFF"]
    assert 'UPDATE t SET "at" = s."at"' in "\n".join(found)


def test_an_append_names_its_columns() -> None:
    assert f'INSERT INTO "dbo".{QUOTED} ("id", {QUOTED}, "at")' in "\n".join(_statements(_load(Mode.APPEND), _target()))


def test_an_append_that_rereads_binds_the_mark() -> None:
    load = _load(Mode.APPEND, reread_to=CursorValue("datetime2(6)", "2024-01-01T00:00:00.000001"))
    stored = tuple(stored_columns(load, WHERE, _target(), SERVER))
    found = steps(Merge(load, _target(), STAGING, stored), "delete")[1]

    assert [step.sql.count("?") for step in found] == [2, 1]
    assert all(step.values == ("2024-01-01T00:00:00.000001",) * step.sql.count("?") for step in found)


def test_a_table_that_others_refer_to_is_replaced_in_place_or_not_at_all() -> None:
    load = _load(Mode.REPLACE)
    with pytest.raises(SpecError, match="foreign keys point to it"):
        _statements(load, _target(referenced_by=("fk (child)",)))

    found = _statements(load, _target(referenced_by=("fk (child)",), primary_key=("id",)))

    assert [text.partition(" ")[0] for text in found] == ["UPDATE", "INSERT", "DELETE"]


def test_staging_refuses_null_where_the_source_has_none() -> None:
    columns = (Column("id", pa.int64(), nullable=False), Column("at", pa.timestamp("us")))
    sql = definition(STAGING, stored_columns(_load(columns=columns), WHERE, None, SERVER))

    assert '"id" bigint NOT NULL, "at" datetime2(6) NULL' in sql


def test_a_key_that_may_be_null_in_staging_is_filled_in_a_new_table() -> None:
    load, measured = _load(), Measured({EVIL: 60}, has_true_key=True, repeats_key=False)
    stored = tuple(stored_columns(load, WHERE, None, SERVER))

    found = [step.sql for step in becomes(load, WHERE, STAGING, stored, measured)]
    without_key = [
        step.sql for step in becomes(replace(load, key=(), mode=Mode.APPEND), WHERE, STAGING, stored, measured)
    ]

    assert found[0] == f'CREATE TABLE "dbo".{QUOTED} ("id" bigint NOT NULL, {QUOTED} nvarchar(100), "at" datetime2(6))'
    assert [sql.partition(" TABLE ")[0].partition(" ?")[0] for sql in without_key] == [
        "ALTER",
        "ALTER",
        "EXEC sp_rename",
    ]


# ---- changes of tables


def test_a_missing_filled_column_is_an_error_and_a_missing_nullable_one_is_not() -> None:
    load = _load()
    stored = stored_columns(load, WHERE, _target(), SERVER)

    assert adapt(load, _target(_held("more", "int", 4)), stored, None) == []
    with pytest.raises(SchemaChanged, match="NOT NULL without a default"):
        adapt(load, _target(_held("more", "int", 4, nullable=False)), stored, None)


def test_a_column_grows_with_its_values_only_where_the_policy_lets_it() -> None:
    load, measured = _load(), Measured({EVIL: 60})
    stored = stored_columns(load, WHERE, _target(), SERVER)

    assert [step.sql for step in adapt(load, _target(), stored, measured)] == [
        f'ALTER TABLE "dbo".{QUOTED} ALTER COLUMN {QUOTED} nvarchar(100)'
    ]
    strict = _load(policy=SchemaPolicy(widened="strict"))
    with pytest.raises(SchemaChanged, match="a value has 60"):
        adapt(strict, _target(), stored, measured)


def test_a_new_column_follows_the_policy() -> None:
    load = _load(columns=(*COLUMNS, Column("new", pa.int32())))
    stored = stored_columns(load, WHERE, _target(), SERVER)

    assert [step.sql for step in adapt(load, _target(), stored, None)] == [
        f'ALTER TABLE "dbo".{QUOTED} ADD "new" int NULL'
    ]
    with pytest.raises(SchemaChanged, match="new_column is strict"):
        adapt(replace(load, policy=SchemaPolicy(new_column="strict")), _target(), stored, None)


@pytest.mark.parametrize(
    ("kind", "word"), [("rowstore", "PRIMARY KEY CLUSTERED"), ("heap", "PRIMARY KEY NONCLUSTERED")]
)
def test_a_new_table_is_of_the_kind_that_is_asked_for(kind: str, word: str) -> None:
    load = _load()
    stored = stored_columns(load, WHERE, None, SERVER)
    true_key = Measured({}, has_true_key=True)

    assert [word in str(step) for step in shaped(load, WHERE, stored, kind, true_key)] == [True]
    assert "CLUSTERED COLUMNSTORE" in str(shaped(load, WHERE, stored, "columnstore", true_key)[0])
    assert shaped(load, WHERE, stored, "rowstore", Measured({})) == []


# ---- reading


def test_windows_and_bounds_bind_their_values() -> None:
    low, high = CursorValue("datetime", "2024-01-01T00:00:00.003"), CursorValue("datetime", "2024-02-01T00:00:00.007")
    source = Source(TableName(("dbo", EVIL)), where="1 = 1 -- mine", window=Window(EVIL, low, high, nulls=True))

    found = select(source, {"key": "id", "type": "bigint", "low": "5", "high": None}, ["1"])

    assert found.values == ("5", low.text, high.text)
    assert found.sql.count("?") == 3
    assert f"src.{QUOTED} >= CONVERT(datetime, ?, 126)" in found.sql
    assert f"OR src.{QUOTED} IS NULL)" in found.sql
    assert found.sql.endswith("(1 = 1 -- mine\n)")


def test_a_rowversion_is_compared_as_bytes() -> None:
    source = Source(TableName(("t",)), window=Window("v", CursorValue("rowversion", "0x00000000000007D1")))

    assert 'src."v" >= CONVERT(binary(8), ?, 1)' in select(source, {}, ["1"]).sql


@pytest.mark.parametrize("kind", ["int) OR 1=1 --", "x"])
def test_bounds_of_a_journal_cannot_smuggle_sql_in(kind: str) -> None:
    with pytest.raises(SpecError):
        select(Source(TableName(("t",))), {"key": "id", "type": kind, "low": "1", "high": None}, ["1"])


def _shape(*indexes: Index, **more: Any) -> Shape:
    columns = (
        Typed(1, "id", Declared("bigint"), False, False),
        Typed(2, "guid", Declared("uniqueidentifier"), True, False),
        Typed(3, "text", Declared("nvarchar", -1), True, False),
        Typed(4, "flag", Declared("bit"), True, False),
    )
    facts: dict[str, Any] = {"is_heap": False, "function": "", "partition_column": 0, "partitions": (), "size_bytes": 1}
    return Shape(7, columns, indexes, **{**facts, **more})


def test_the_clustered_index_is_cut_before_any_other() -> None:
    alone, clustered = Index(1, False, True), Index(2, True, False)

    assert [key.name for key in (key_of(_shape(alone, clustered)), key_of(_shape(alone))) if key] == ["guid", "id"]


def test_what_has_no_order_or_only_two_values_is_no_key() -> None:
    assert key_of(_shape(Index(3, True, True))) is None
    assert key_of(_shape(Index(4, True, False))) is None
    assert key_of(_shape(Index(1, False, False))) is None


@pytest.mark.parametrize(
    ("version", "engine", "name", "has_json"),
    [("13.0.1601.5", 2, "SQL Server 2016", False), ("17.0.1000.7", 3, "SQL Server 2025", True),
     ("12.0.2000.8", 5, "Azure SQL Database", True), ("12.0.2000.8", 8, "Azure SQL Managed Instance", False),
     ("12.0.2000.8", 12, "Fabric SQL database", True)],
)  # fmt: skip
def test_versions_differ_where_the_table_says(version: str, engine: int, name: str, has_json: bool) -> None:
    server = replace(SERVER, version=version, engine_edition=engine)

    assert server.is_supported
    assert server.name.startswith(name)
    assert server.has_json_type is has_json


def test_releases_before_2016_are_not_supported() -> None:
    assert not replace(SERVER, version="12.0.2000.8").is_supported
