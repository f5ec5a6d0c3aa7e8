"""Arrow values as plain ones: nothing rounded, nothing out of range, cursors there and back."""

from __future__ import annotations

import decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import DataError, SpecError
from penstock.core.load import CursorValue
from penstock.core.schema import TIMESTAMP_INFINITY
from penstock.testing.values import cursor_scalar, cursor_value, lagged, plain_values, row_codes

US = pa.timestamp("us")
UTC = pa.timestamp("us", "UTC")
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([TIMESTAMP_INFINITY, None], US), [TIMESTAMP_INFINITY, None]),
        (pa.array([2**31 - 1], pa.int32()).cast(pa.date32()), [2**31 - 1]),
        (pa.array([float("nan"), -0.0, 0.0, None]), ["NaN", "-0.0", 0.0, None]),
        (pa.array([[1, None], None, []], pa.list_(pa.int64())), [(1, None), None, ()]),
        (pa.array(["a", "a", None]).dictionary_encode(), ["a", "a", None]),
        (pa.array([{"x": 1}, None], pa.struct([("x", pa.int8())])), [(1,), None]),
        (pa.array([b"0" * 16, None], pa.uuid()), [b"0" * 16, None]),
        (pa.array([decimal.Decimal("1.50")], pa.decimal256(70, 2)), [decimal.Decimal("1.5")]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_become_plain_ones(values: pa.Array, expected: list[Any]) -> None:
    assert plain_values(values) == expected


def test_equal_rows_have_equal_codes_and_null_equals_null() -> None:
    codes = row_codes(pa.table({"a": [1, None, 1, None, 1], "b": ["x", "y", "x", "y", None]}))

    assert codes == [0, 1, 0, 1, 2]


@given(INT64, st.sampled_from([US, UTC, pa.timestamp("ns"), pa.timestamp("s"), pa.int64()]))
def test_a_cursor_value_comes_back_exactly(ticks: int, kind: pa.DataType) -> None:
    scalar = pa.scalar(ticks, pa.int64()).cast(kind)

    assert cursor_scalar(cursor_value(scalar), kind) == scalar


@pytest.mark.parametrize(
    ("text", "kind", "ticks"),
    [
        ("1970-01-01 00:00:01.000002+00", UTC, 1_000_002),
        ("1970-01-01 01:00:01.000002+01", UTC, 1_000_002),
        ("1970-01-01 00:00:01", UTC, 1_000_000),
        ("1969-12-31 23:59:59.5", US, -500_000),
        ("infinity", UTC, TIMESTAMP_INFINITY),
    ],
)
def test_text_of_other_systems_is_understood(text: str, kind: pa.DataType, ticks: int) -> None:
    assert cursor_scalar(CursorValue("any", text), kind).value == ticks


def test_text_that_is_no_value_is_refused() -> None:
    with pytest.raises(DataError, match=r"^'x' of type 'text' is no int64; the cursor column changed its type"):
        cursor_scalar(CursorValue("text", "x"), pa.int64())


@pytest.mark.parametrize(
    ("text", "kind", "lag", "expected"),
    [
        ("2024-03-01 00:05:00", US, "10 minutes", "2024-02-29 23:55:00.000000"),
        ("2024-03-01 00:00:00", UTC, "1.5 s", "2024-02-29 23:59:58.500000Z"),
        ("2024-03-01", pa.date32(), "2 days", "2024-02-28"),
        ("2024-03-01", pa.date32(), "1 hour", "2024-02-29"),
        ("9007199254740993", pa.int64(), "1", "9007199254740992"),
        ("1.50", pa.decimal128(20, 2), "0.25", "1.25"),
    ],
)
def test_a_lag_is_taken_off_exactly(text: str, kind: pa.DataType, lag: str, expected: str) -> None:
    assert lagged(CursorValue("any", text), kind, lag).text == expected


@pytest.mark.parametrize(("kind", "lag"), [(pa.int64(), "1 day"), (US, "5"), (pa.int64(), "soon"), (pa.string(), "1")])
def test_a_lag_that_does_not_fit_is_refused(kind: pa.DataType, lag: str) -> None:
    with pytest.raises(SpecError, match="lag"):
        lagged(CursorValue("any", "1"), kind, lag)
