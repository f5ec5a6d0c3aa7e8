"""Column expressions: what is read, what arrives, and exact values."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import DataError, SpecError
from penstock.core.schema import Column
from penstock.core.secret import Secret
from penstock.core.spec import ColumnsSpec, Mask
from penstock.jobs.copy.case_styles import restyle, restyle_all
from penstock.jobs.copy.casts import cast, parse_type
from penstock.jobs.copy.compiled import as_text, hash_columns
from penstock.jobs.copy.expressions import RunFacts, bind, compile_batches

RUN = RunFacts("2026-11-20T16:00:00.000001+00:00", "load-1")
COLUMNS = (
    Column("orderId", pa.int64(), nullable=False),
    Column("email", pa.string()),
    Column("note", pa.string()),
)


def apply(spec: ColumnsSpec, batch: pa.RecordBatch, columns: tuple[Column, ...] = COLUMNS) -> dict[str, list[object]]:
    bound = bind(spec, columns, "table orders")
    return compile_batches(bound, RUN)(batch.select([column.name for column in bound.read])).to_pydict()


def orders() -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"orderId": [1, 2], "email": ["ann@example.com", None], "note": ["x", "y"]},
        schema=pa.schema([column.to_field() for column in COLUMNS]),
    )


def test_no_expressions_pass_the_very_batch():
    bound = bind(ColumnsSpec(), COLUMNS, "table orders")
    batch = orders()

    assert bound.identity
    assert compile_batches(bound, RUN)(batch) is batch


def test_excluded_columns_are_not_even_read():
    bound = bind(ColumnsSpec(exclude=("note",)), COLUMNS, "table orders")

    assert [column.name for column in bound.read] == ["orderId", "email"]


def test_rename_wins_over_case():
    out = apply(ColumnsSpec(case="snake", rename={"email": "eMail"}), orders())

    assert list(out) == ["order_id", "eMail", "note"]


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(SpecError) as caught:
        bind(ColumnsSpec(rename={"email": "note"}), COLUMNS, "table orders")

    assert str(caught.value) == "table orders would have two columns 'note'; rename one of them under columns.rename"


def test_a_misspelt_column_is_an_error_with_a_suggestion():
    with pytest.raises(SpecError) as caught:
        bind(ColumnsSpec(exclude=("emial",)), COLUMNS, "table orders")

    assert (
        str(caught.value)
        == "columns.exclude of table orders names 'emial', which the source lacks; did you mean 'email'?"
    )


def test_masks_hide_values_and_keep_nulls():
    out = apply(ColumnsSpec(mask={"email": Mask("keep", keep=4)}), orders())

    assert out["email"] == ["***********.com", None]


def test_a_value_no_longer_than_what_may_show_is_hidden_whole():
    out = apply(ColumnsSpec(mask={"note": Mask("keep", keep=4)}), orders())

    assert out["note"] == ["*", "*"]


def test_mask_hash_is_salted_and_stable():
    salt = Secret("pepper")
    out = apply(ColumnsSpec(mask={"email": Mask("hash")}, salt=salt), orders())

    assert out["email"] == [hashlib.sha256(b"pepper15:ann@example.com").hexdigest(), None]


def test_mask_constant_and_null():
    out = apply(ColumnsSpec(mask={"email": Mask("constant", value="hidden"), "note": Mask("null")}), orders())

    assert out["email"] == ["hidden", None]
    assert out["note"] == [None, None]


def test_added_columns_hold_constant_moment_and_load():
    added = {"source": {"value": "shop"}, "loaded_at": {"now": "utc"}, "load": {"run": "id"}, "none": {"value": None}}
    out = apply(ColumnsSpec(add=added), orders())

    assert out["source"] == ["shop", "shop"]
    assert out["loaded_at"] == [dt.datetime(2026, 11, 20, 16, 0, 0, 1, tzinfo=dt.UTC)] * 2
    assert out["load"] == ["load-1", "load-1"]
    assert out["none"] == [None, None]


def test_only_moment_and_load_are_volatile():
    bound = bind(ColumnsSpec(add={"s": {"value": 1}, "at": {"now": "utc"}, "l": {"run": "id"}}), COLUMNS, "t")

    assert bound.volatile == ("at", "l")


@given(st.lists(st.tuples(st.text(max_size=4) | st.none(), st.text(max_size=4) | st.none()), max_size=30))
def test_hashed_ids_are_equal_only_for_equal_parts(pairs):
    left, right = ([pair[i] for pair in pairs] for i in (0, 1))
    hashes = hash_columns([pa.array(left, pa.string()), pa.array(right, pa.string())], "").to_pylist()

    assert len({*zip(pairs, hashes, strict=True)}) == len(set(pairs))
    assert len(set(hashes)) == len(set(pairs))


@given(st.lists(st.uuids() | st.none(), max_size=20), st.integers(0, 5))
def test_uuid_text_is_what_python_prints(values, offset):
    storage = pa.array([None if v is None else v.bytes for v in values], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), storage)[offset:]

    assert as_text(array).to_pylist() == [None if v is None else str(v) for v in values[offset:]]


def test_binary_is_hashed_by_its_digits():
    assert as_text(pa.array([b"\x00\xff", None])).to_pylist() == ["00ff", None]


@pytest.mark.parametrize(
    ("name", "snake", "camel", "pascal"),
    [
        ("HTTPServerId", "http_server_id", "httpServerId", "HttpServerId"),
        ("order_id", "order_id", "orderId", "OrderId"),
        ("Customer Name (x)", "customer_name_x", "customerNameX", "CustomerNameX"),
        ("änderung", "änderung", "änderung", "Änderung"),
        ("id2", "id2", "id2", "Id2"),
        ("***", "***", "***", "***"),
    ],
)
def test_case_styles(name, snake, camel, pascal):
    assert [restyle(name, style) for style in ("snake", "camel", "pascal")] == [snake, camel, pascal]


def test_case_styles_that_collide_are_refused():
    with pytest.raises(SpecError, match="gives columns 'aB' and 'a_b' one name, 'a_b'"):
        restyle_all(["aB", "a_b"], "snake")


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        (pa.array([123, None]), "decimal(5,2)", ["123.00", None]),
        (pa.array([True, None]), "text", ["true", None]),
        (pa.array(["1.25"]), "decimal(10,2)", ["1.25"]),
        (pa.array([2**63 - 1]), "decimal(19,0)", [str(2**63 - 1)]),
        (
            pa.array([dt.datetime(2020, 1, 1, 1, 2, 3, 4, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
            "text",
            ["2020-01-01 01:02:03.000004+00"],
        ),
        (pa.array([uuid.UUID(int=5).bytes], pa.binary(16)).cast(pa.binary(16)), "text", None),
    ],
)
def test_casts_are_exact(values, target, expected):
    if expected is None:
        values, expected = pa.ExtensionArray.from_storage(pa.uuid(), values), [str(uuid.UUID(int=5))]

    out = cast(values, Column("c", values.type), parse_type(target)[0]).to_pylist()

    assert [None if v is None else str(v) for v in out] == expected


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (pa.array([12345]), "decimal(5,2)"),
        (pa.array([70000]), "int16"),
        (pa.array([1.5]), "bigint"),
        (pa.array(["x"]), "decimal(10,2)"),
        (pa.array(["2020-13-01"]), "date"),
    ],
)
def test_a_cast_that_would_change_a_value_fails_naming_the_column(values, target):
    with pytest.raises(DataError, match="cannot cast column 'amount' from"):
        cast(values, Column("amount", values.type), parse_type(target)[0])


def test_an_unknown_cast_names_the_known_ones():
    with pytest.raises(SpecError, match="cannot cast to 'varchar2': no such type; use bigint, binary, bool"):
        parse_type("varchar2")


def test_cast_and_mask_on_one_column_are_refused():
    with pytest.raises(SpecError, match="has both a cast and a mask for 'email'"):
        bind(ColumnsSpec(cast={"email": "text"}, mask={"email": Mask("hash")}), COLUMNS, "table orders")


def test_a_hash_over_a_column_that_is_not_copied_is_refused():
    with pytest.raises(SpecError, match=r"columns.add.hash of table orders names 'note', which is not copied"):
        bind(ColumnsSpec(exclude=("note",), add={"h": {"hash": ["orderId", "note"]}}), COLUMNS, "table orders")
