"""Types without a server: what recorded rows of the catalog become, how columns are selected, what new tables declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.sqlserver.catalog import columns_of, keys_of, types_of
from penstock.connectors.sqlserver.decode import decoded
from penstock.connectors.sqlserver.mapping import mapped, native, staged, step
from penstock.connectors.sqlserver.reader import fetch_rows
from penstock.connectors.sqlserver.types import NATIVE, Reading, declared_of, parse, template, text_value, to_column
from penstock.core.errors import SpecError
from penstock.core.load import BatchSize, Source
from penstock.core.schema import Column, Fidelity, arrow_schema

TABLE = 981578535
RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "catalog.json").read_text())
US, TEXT = pa.timestamp("us"), pa.string()

# column -> declared type, carrier, meaning, how faithful
EXPECTED: dict[str, tuple[str, pa.DataType, str, Fidelity]] = {
    "id": ("int", pa.int32(), "", Fidelity.LOSSLESS),
    "flag": ("bit", pa.bool_(), "", Fidelity.LOSSLESS),
    "tiny": ("tinyint", pa.uint8(), "", Fidelity.LOSSLESS),
    "big": ("bigint", pa.int64(), "", Fidelity.LOSSLESS),
    "amount": ("decimal(38,10)", pa.decimal128(38, 10), "", Fidelity.LOSSLESS),
    "price": ("money", pa.decimal128(19, 4), "", Fidelity.LOSSLESS),
    "share": ("float", pa.float64(), "", Fidelity.LOSSLESS),
    "ratio": ("real", pa.float32(), "", Fidelity.LOSSLESS),
    "name": ("nvarchar(50) COLLATE SQL_Latin1_General_CP1_CI_AS", TEXT, "", Fidelity.LOSSLESS),
    "code": ("varchar(10) COLLATE French_CI_AS", TEXT, "", Fidelity.LOSSLESS),
    "letter": ("nchar(1) COLLATE SQL_Latin1_General_CP1_CI_AS", TEXT, "", Fidelity.LOSSLESS),
    "notes": ("nvarchar(max) COLLATE SQL_Latin1_General_CP1_CI_AS", TEXT, "", Fidelity.LOSSLESS),
    "picture": ("varbinary(max)", pa.binary(), "", Fidelity.LOSSLESS),
    "hash": ("binary(32)", pa.binary(), "", Fidelity.LOSSLESS),
    "born": ("date", pa.date32(), "", Fidelity.LOSSLESS),
    "at": ("datetime2(7)", TEXT, "datetime2", Fidelity.TEXT),
    "at3": ("datetime2(3)", US, "", Fidelity.LOSSLESS),
    "moment": ("datetimeoffset(7)", TEXT, "datetimeoffset", Fidelity.TEXT),
    "clock": ("time(7)", pa.time64("ns"), "", Fidelity.LOSSLESS),
    "changed": ("datetime", US, "", Fidelity.LOSSLESS),
    "guid": ("uniqueidentifier", pa.uuid(), "", Fidelity.LOSSLESS),
    "version": ("rowversion", pa.binary(), "rowversion", Fidelity.LOSSLESS),
    "place": ("geography", TEXT, "geography", Fidelity.TEXT),
    "node": ("hierarchyid", TEXT, "hierarchyid", Fidelity.TEXT),
    "anything": ("sql_variant", TEXT, "sql_variant", Fidelity.TEXT),
    "document": ("xml", TEXT, "xml", Fidelity.TEXT),
    "phone": ("varchar(20) COLLATE SQL_Latin1_General_CP1_CI_AS", TEXT, "", Fidelity.LOSSLESS),
    "spot": ("udt", pa.binary(), "udt", Fidelity.TEXT),
    "owner": ("nvarchar(128) COLLATE SQL_Latin1_General_CP1_CI_AS", TEXT, "", Fidelity.LOSSLESS),
}


def _recorded(reading: Reading | None = None) -> dict[str, Column]:
    columns = columns_of(RECORDED["columns"], types_of(RECORDED["types"]))[TABLE]
    how = reading or Reading()
    return {one.name: to_column(one.name, one.declared, one.nullable, how) for one in columns if not one.is_hidden}


def test_recorded_columns_become_carriers() -> None:
    found = _recorded()

    told = {
        name: (column.native.removeprefix(NATIVE), column.type, column.logical, column.fidelity)
        for name, column in found.items()
    }
    assert told == EXPECTED
    assert [name for name, column in found.items() if not column.nullable] == ["id", "name", "at", "version"]


def test_hidden_period_columns_are_told_apart() -> None:
    columns = columns_of(RECORDED["columns"], types_of(RECORDED["types"]))[TABLE]

    assert [column.name for column in columns if column.is_hidden] == ["start_of_row"]


def test_an_alias_type_keeps_its_name_and_its_base() -> None:
    columns = {one.name: one for one in columns_of(RECORDED["columns"], types_of(RECORDED["types"]))[TABLE]}

    assert (columns["phone"].declared.alias, columns["phone"].declared.text) == ("Phone number", "varchar(20)")


def test_keys_come_in_the_order_of_the_key() -> None:
    columns = columns_of(RECORDED["columns"], types_of(RECORDED["types"]))

    assert keys_of(RECORDED["keys"], columns) == {TABLE: ("id", "name")}


@pytest.mark.parametrize(
    "column", [column for name, column in _recorded().items() if name != "spot"], ids=lambda one: one.name
)
def test_what_a_column_was_declared_as_is_read_back_from_its_native_type(column: Column) -> None:
    declared = declared_of(column)

    assert declared is not None
    assert NATIVE + declared.full == column.native


def test_fine_times_are_kept_as_the_connection_asks() -> None:
    fine = _recorded(Reading("nanoseconds"))
    cut = _recorded(Reading("microseconds"))

    assert (fine["at"].type, fine["moment"].type) == (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))
    assert fine["at"].fidelity is Fidelity.LOSSLESS
    assert (cut["at"].type, cut["at"].fidelity) == (US, Fidelity.LOSSY)
    assert template(fine["at"]).startswith("DATEDIFF_BIG(NANOSECOND")
    assert "SWITCHOFFSET" in template(fine["moment"])
    assert template(_recorded()["at"]) == "CONVERT(nvarchar(40), {0}, 121)"


def test_an_offset_is_kept_as_text_where_asked() -> None:
    column = _recorded(Reading(offsets="text"))["moment"]

    assert (column.type, column.fidelity) == (TEXT, Fidelity.TEXT)


def test_sql_variant_follows_the_policy() -> None:
    assert "SQL_VARIANT_PROPERTY" in template(_recorded()["anything"])
    assert _recorded(Reading(sql_variant="text"))["anything"].fidelity is Fidelity.LOSSY
    with pytest.raises(SpecError, match="anything"):
        _recorded(Reading(sql_variant="error"))


def test_spatial_types_come_with_their_srid_or_as_wkb() -> None:
    assert "STSrid" in template(_recorded()["place"])
    column = _recorded(Reading(spatial="wkb"))["place"]
    assert (column.type, column.fidelity, template(column)) == (pa.binary(), Fidelity.LOSSY, "{0}.AsBinaryZM()")


def _column(name: str, text: str) -> Column:
    declared = parse(text)
    assert declared is not None
    return to_column(name, declared, True, Reading())


def test_the_driver_reserves_no_more_than_its_share_for_wide_columns() -> None:
    wide = tuple(_column(f"c{at}", "nvarchar(4000)") for at in range(10))
    narrow = (_column("id", "int"),)
    endless = (*narrow, _column("text", "nvarchar(max)"))

    assert fetch_rows(Source(None, columns=wide), BatchSize()) * 10 * 8002 <= 16 * 2**20
    assert fetch_rows(Source(None, columns=narrow), BatchSize(rows=1000)) == 1000
    assert fetch_rows(Source(None, columns=endless), BatchSize()) == 512


def test_a_uniqueidentifier_has_the_bytes_of_its_text() -> None:
    text = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    columns = (Column("guid", pa.uuid()),)
    given = pa.record_batch({"guid": pa.array([text, None], pa.large_string())})

    found = decoded(given, arrow_schema(columns), columns, "cannot read")

    assert found.column(0).storage.to_pylist() == [bytes.fromhex(text.replace("-", "")), None]


def test_integers_of_nanoseconds_become_timestamps_as_they_are() -> None:
    columns = (Column("at", pa.timestamp("ns", "UTC")),)
    given = pa.record_batch({"at": pa.array([1_732_116_123_123_456_700, -100, None], pa.int64())})

    found = decoded(given, arrow_schema(columns), columns, "cannot read")

    assert found.column(0).view(pa.int64()).to_pylist() == [1_732_116_123_123_456_700, -100, None]


# ---- the way back

NEW_TABLES = [
    (pa.bool_(), "bit", Fidelity.LOSSLESS),
    (pa.uint8(), "tinyint", Fidelity.LOSSLESS),
    (pa.int8(), "smallint", Fidelity.WIDENING),
    (pa.uint64(), "decimal(20,0)", Fidelity.WIDENING),
    (pa.decimal128(38, 38), "decimal(38,38)", Fidelity.LOSSLESS),
    (pa.decimal256(60, 10), "nvarchar(100)", Fidelity.TEXT),
    (pa.string(), "nvarchar(max)", Fidelity.LOSSLESS),
    (pa.binary(4), "varbinary(4)", Fidelity.LOSSLESS),
    (pa.timestamp("s"), "datetime2(0)", Fidelity.LOSSLESS),
    (US, "datetime2(6)", Fidelity.LOSSLESS),
    (pa.timestamp("ns"), "datetime2(7)", Fidelity.LOSSY),
    (pa.timestamp("us", "UTC"), "datetimeoffset(6)", Fidelity.LOSSLESS),
    (pa.time64("us"), "time(6)", Fidelity.LOSSLESS),
    (pa.uuid(), "uniqueidentifier", Fidelity.LOSSLESS),
    (pa.list_(pa.int64()), "nvarchar(max)", Fidelity.TEXT),
    (pa.month_day_nano_interval(), "nvarchar(100)", Fidelity.TEXT),
]


@pytest.mark.parametrize(("kind", "text", "fidelity"), NEW_TABLES, ids=lambda one: str(one))
def test_a_carrier_has_its_type_in_a_new_table(kind: pa.DataType, text: str, fidelity: Fidelity) -> None:
    found = mapped(Column("v", kind))

    assert (found.declared.text, found.fidelity) == (text, fidelity)


def test_a_type_without_a_place_is_refused_by_name() -> None:
    union = pa.sparse_union([pa.field("a", pa.int8())])
    with pytest.raises(SpecError, match="'odd'"):
        mapped(Column("odd", union))


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in ("version", "spot", "anything")])
def test_a_column_of_sql_server_gets_its_own_type_again(name: str) -> None:
    column = _recorded()[name]
    found = native(column, has_json=False)

    assert found is not None
    assert found.declared.full == EXPECTED[name][0]


def test_a_rowversion_becomes_bytes_since_nobody_may_write_one() -> None:
    found = native(_recorded()["version"], has_json=False)

    assert found is not None
    assert found.declared.text == "binary(8)"


def test_a_column_that_was_cast_is_no_longer_its_native_type() -> None:
    column = _recorded()["price"]

    assert native(Column("price", pa.float64(), native=column.native), has_json=False) is None


def test_texts_are_staged_at_the_largest_size_that_is_no_stream() -> None:
    assert staged(Column("v", pa.string())).text == "nvarchar(4000)"
    assert staged(_recorded()["code"]).text == "nvarchar(10)"
    assert staged(Column("v", pa.binary())).text == "varbinary(8000)"


@pytest.mark.parametrize(("longest", "size"), [(0, 50), (50, 50), (51, 100), (4000, 4000), (4001, -1)])
def test_new_columns_are_as_wide_as_the_next_step(longest: int, size: int) -> None:
    assert step(longest, 4000) == size


@pytest.mark.parametrize("text", ["int); DROP TABLE x --", "datetime2(7", "no such type", ""])
def test_only_names_of_types_become_part_of_a_statement(text: str) -> None:
    with pytest.raises(SpecError, match="no name of a type"):
        text_value(text)
