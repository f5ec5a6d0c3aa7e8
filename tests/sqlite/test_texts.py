"""Values that SQLite keeps as text come back bit for bit, whatever they are, and sort as they should."""

from __future__ import annotations

import decimal
import uuid

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.sqlite.nested import from_json, to_json
from penstock.connectors.sqlite.texts import from_text, to_text
from penstock.core.errors import DataError
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY

quick = settings(max_examples=12, deadline=None)  # each with many values
_TICKS = st.integers(-TIMESTAMP_INFINITY, TIMESTAMP_INFINITY) | st.sampled_from(
    [
        0,
        TIMESTAMP_INFINITY,
        -TIMESTAMP_INFINITY,
        253_402_300_799_999_999,
        253_402_300_800_000_000,
        -62_135_596_800_000_001,
    ]
)
_DAYS = st.integers(-DATE_INFINITY, DATE_INFINITY) | st.sampled_from([0, -719_162, -719_163, 2_932_896, 2_932_897])
_STAMPS = st.sampled_from([pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")])


def _back_and_forth(array: pa.Array) -> None:
    text = to_text(array)
    assert text.type == pa.string()
    assert from_text(text, array.type, "v").equals(array)
    assert from_text(text.slice(1), array.type, "v").equals(array.slice(1))


@quick
@given(_STAMPS, st.lists(st.none() | _TICKS, min_size=20))
def test_every_timestamp_comes_back(kind: pa.DataType, ticks: list[int | None]) -> None:
    _back_and_forth(pa.array(ticks, pa.int64()).view(kind))


@quick
@given(st.lists(st.none() | _DAYS, min_size=20))
def test_every_date_comes_back(days: list[int | None]) -> None:
    _back_and_forth(pa.array(days, pa.int32()).view(pa.date32()))


@quick
@given(st.lists(st.none() | st.integers(0, 86_400_000_000), min_size=20))
def test_every_time_comes_back(ticks: list[int | None]) -> None:
    _back_and_forth(pa.array(ticks, pa.int64()).view(pa.time64("us")))


@quick
@given(st.lists(st.none() | st.uuids(), min_size=20))
def test_every_uuid_comes_back_in_its_usual_form(ids: list[uuid.UUID | None]) -> None:
    stored = pa.array([each.bytes if each else None for each in ids], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), stored)

    assert to_text(array).to_pylist() == [str(each) if each else None for each in ids]
    _back_and_forth(array)


@quick
@given(st.integers(1, 38), st.data())
def test_every_decimal_comes_back_in_plain_digits(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    digits = data.draw(st.lists(st.none() | st.integers(-(10**precision) + 1, 10**precision - 1), min_size=20))
    with decimal.localcontext(prec=80):
        numbers = [None if each is None else decimal.Decimal(each).scaleb(-scale) for each in digits]
    array = pa.array(numbers, pa.decimal128(precision, scale))

    _back_and_forth(array)
    assert not any("E" in text for text in to_text(array).to_pylist() if text)


@quick
@given(st.lists(st.integers(-62_135_596_800_000_000, TIMESTAMP_INFINITY), min_size=20))
def test_text_from_year_1_on_sorts_like_time(ticks: list[int]) -> None:
    texts = to_text(pa.array(ticks, pa.int64()).view(pa.timestamp("us"))).to_pylist()

    assert sorted(texts) == [text for _, text in sorted(zip(ticks, texts, strict=True))]


@pytest.mark.parametrize(
    ("ticks", "text"),
    [
        (0, "1970-01-01 00:00:00.000000"),
        (253_402_300_800_000_000, "Y000000010000-01-01 00:00:00.000000"),
        (-62_135_596_800_000_001, "-000000000000-12-31 23:59:59.999999"),
        (TIMESTAMP_INFINITY, "infinity"),
        (-TIMESTAMP_INFINITY, "-infinity"),
    ],
)
def test_moments_are_written_as_documented(ticks: int, text: str) -> None:
    assert to_text(pa.array([ticks], pa.int64()).view(pa.timestamp("us"))).to_pylist() == [text]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2023-02-29", pa.date32()),
        ("2024-01-01 00:00:00", pa.date32()),
        ("2024-01-01 24:00:00", pa.timestamp("us")),
        ("2024-01-01 00:00:00.1234567", pa.timestamp("us")),
        ("2024-01-01 00:00:00", pa.timestamp("us", "UTC")),
        ("2024-01-01 00:00:00+00:00", pa.timestamp("us")),
        ("Y0010000-13-01", pa.date32()),
        ("24:00:01", pa.time64("us")),
        ("12:60:00", pa.time64("us")),
        ("12:00:00.1234567", pa.time64("us")),
        ("not-a-uuid", pa.uuid()),
        ("1.234", pa.decimal128(5, 2)),
    ],
)
def test_text_that_is_no_such_value_is_refused_by_name(text: str, kind: pa.DataType) -> None:
    with pytest.raises(DataError, match="column 'v' holds text that is no"):
        from_text(pa.array([text, None]), kind, "v")


_LEAVES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"])),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.binary(): st.binary(),
    pa.date32(): st.dates(),
    pa.decimal128(18, 4): st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: decimal.Decimal(n).scaleb(-4)),
    pa.timestamp("us"): st.datetimes(),
}


@quick
@given(st.sampled_from(list(_LEAVES)), st.data())
def test_lists_structs_and_maps_come_back_from_json(leaf: pa.DataType, data: st.DataObject) -> None:
    value = st.none() | _LEAVES[leaf]
    lists = data.draw(st.lists(st.none() | st.lists(value, max_size=3), min_size=3, max_size=8))
    structs = [None if each is None else {"a": each, "b": {"c": each[0] if each else None}} for each in lists]
    maps = [None if each is None else [(f"k{at}", item) for at, item in enumerate(each)] for each in lists]
    kinds = (
        (lists, pa.list_(leaf)),
        (structs, pa.struct([("a", pa.list_(leaf)), ("b", pa.struct([("c", leaf)]))])),
        (maps, pa.map_(pa.string(), leaf)),
    )
    for values, kind in kinds:
        array = pa.array(values, kind)
        assert from_json(to_json(array, "v"), kind, "v").equals(array)
        assert from_json(to_json(array.slice(1), "v"), kind, "v").equals(array.slice(1))


@pytest.mark.parametrize("text", ["{", "[1.5]", "5", '["x"]', '{"a":1}'])
def test_json_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="column 'v' holds"):
        from_json(pa.array([text]), pa.list_(pa.int64()), "v")


def test_json_that_others_wrote_with_spaces_is_read() -> None:
    found = from_json(pa.array(["[1,  null, 3 ]", '["\\u00e9"]'][:1]), pa.list_(pa.int64()), "v")
    texts = from_json(pa.array(['["\\u00e9"]']), pa.list_(pa.string()), "v")

    assert (found.to_pylist(), texts.to_pylist()) == ([[1, None, 3]], [["é"]])


def test_nan_inside_a_list_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="column 'v' has NaN or infinity inside"):
        to_json(pa.array([[1.0, float("nan")]]), "v")
