"""Values on their way into bulk copy: nothing rounded in silence, what cannot be held is refused by column."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.sqlserver.encode import encoded, longest
from penstock.connectors.sqlserver.stored import Stored
from penstock.connectors.sqlserver.types import Declared
from penstock.core.errors import DataError
from penstock.core.schema import Column, Fidelity


def _encoded(array: pa.Array) -> pa.Array:
    column = Column("v", array.type)
    return encoded(array, Stored(column, Declared("int"), Declared("int"), Fidelity.LOSSLESS))


def _ticks(kind: pa.DataType, *ticks: int | None) -> pa.Array:
    base = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    return pa.array(ticks, base).cast(kind)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1.5, float("nan")]),
        pa.array([float("-inf")], pa.float32()),
        _ticks(pa.date32(), 2_932_897),
        _ticks(pa.date32(), -719_163),
        _ticks(pa.timestamp("us"), 253_402_300_800_000_000),
        _ticks(pa.timestamp("s", "UTC"), -62_135_596_801),
        _ticks(pa.timestamp("us"), 2**63 - 1),
    ],
    ids=str,
)
def test_what_no_type_of_the_server_holds_is_refused_by_column(array: pa.Array) -> None:
    with pytest.raises(DataError, match="'v'"):
        _encoded(array)


def test_the_first_and_the_last_moment_pass() -> None:
    ends = _ticks(pa.timestamp("us"), -62_135_596_800_000_000, 253_402_300_799_999_999, None)

    assert _encoded(ends).equals(ends)


def test_nanoseconds_are_cut_to_hundreds_towards_the_past() -> None:
    found = _encoded(_ticks(pa.timestamp("ns"), 0, -1, 199, -199, 1_732_116_123_123_456_789, None))

    assert found.view(pa.int64()).to_pylist() == [0, -100, 100, -200, 1_732_116_123_123_456_700, None]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([2**64 - 1, None], pa.uint64()), pa.array([Decimal(2**64 - 1), None], pa.decimal128(20, 0))),
        (pa.array([-128], pa.int8()), pa.array([-128], pa.int16())),
        (pa.array([65_535], pa.uint16()), pa.array([65_535], pa.int32())),
        (pa.array(["a", None, "a"]).dictionary_encode(), pa.array(["a", None, "a"])),
        (pa.array([Decimal("12")], pa.decimal256(40, 2)), pa.array(["12.00"])),
        (pa.array([Decimal("12.5")], pa.decimal256(10, 2)), pa.array([Decimal("12.5")], pa.decimal128(10, 2))),
        (pa.array([[1, None], None, []], pa.list_(pa.int64())), pa.array(["[1,null]", None, "[]"])),
        (pa.array([5, None], pa.duration("us")), pa.array([5, None], pa.int64())),
        (pa.nulls(2, pa.null()), pa.nulls(2, pa.string())),
    ],
    ids=lambda one: str(one.type),
)
def test_carriers_become_what_bulk_copy_takes(array: pa.Array, expected: pa.Array) -> None:
    found = _encoded(array)

    assert found.type == expected.type
    assert found.equals(expected)


def test_a_uuid_goes_as_the_bytes_of_its_text() -> None:
    value = bytes.fromhex("6f9619ff8b86d011b42d00c04fc964ff")

    assert _encoded(pa.array([value, None], pa.binary(16)).cast(pa.uuid())).to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("values", "units"), [(["", "abc"], 3), (["é" * 3], 6), (["🚰"], 2), ([None], 0), ([], 0), (["表" * 10, "a"], 20)]
)
def test_lengths_are_never_told_too_short(values: list[Any], units: int) -> None:
    found = longest(pa.array(values, pa.string()))

    assert found == units
    assert found >= max((len(value.encode("utf-16-le")) // 2 for value in values if value), default=0)
