"""Values as text: exact for all bit patterns, in forms that people and other programs read."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors._formats.calendar import TICKS_PER_S, date_texts, parse_timestamps, timestamp_texts
from penstock.connectors._formats.parse import misfits, parse
from penstock.connectors._formats.settings import Dialect
from penstock.connectors._formats.texts import to_text
from penstock.core.errors import DataError
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY, Column

# The first call of a Polars function is slow, and each example makes few.
_FEW = settings(max_examples=12, deadline=None)
_INT64 = st.integers(-(2**63), 2**63 - 1)


def _texts(values: list[int], kind: pa.DataType) -> list[str]:
    bits = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    return list(to_text(pa.array(values, bits).view(kind)).to_pylist())


def _read(text: str, kind: pa.DataType, dialect: Dialect | None = None) -> object:
    texts = pa.array([text])
    found = parse(texts, Column("c", kind), dialect or Dialect())
    return "refused" if misfits(texts, found) is not None else found[0].as_py()


@pytest.mark.parametrize("unit", TICKS_PER_S)
@_FEW
@given(values=st.lists(_INT64, min_size=1, max_size=20))
def test_every_timestamp_of_64_bits_comes_back(unit: str, values: list[int]) -> None:
    texts = timestamp_texts(pl.Series(values, dtype=pl.Int64), unit, "Z", TIMESTAMP_INFINITY)

    assert parse_timestamps(texts, unit, True, TIMESTAMP_INFINITY).to_list() == values


@_FEW
@given(st.dates())
def test_dates_are_those_of_the_gregorian_calendar(day: dt.date) -> None:
    days = (day - dt.date(1970, 1, 1)).days

    assert date_texts(pl.Series([days]), DATE_INFINITY)[0] == day.isoformat()


def test_years_that_python_lacks_are_written_as_postgresql_writes_them() -> None:
    ends = [TIMESTAMP_INFINITY, -TIMESTAMP_INFINITY, -62_135_596_800_000_001, 253_402_300_800_000_000]

    assert _texts(ends, pa.timestamp("us", "UTC")) == [
        "infinity",
        "-infinity",
        "0001-12-31T23:59:59.999999Z BC",
        "10000-01-01T00:00:00.000000Z",
    ]
    assert _texts([DATE_INFINITY, -DATE_INFINITY, -735_160], pa.date32()) == ["infinity", "-infinity", "0044-03-15 BC"]


def test_texts_of_other_types_say_all_their_digits() -> None:
    def text(value: pa.Array, logical: str = "") -> str:
        return str(to_text(value, logical)[0].as_py())

    assert text(pa.array([Decimal("0.0000000001")], pa.decimal128(38, 10))) == "0.0000000001"
    assert text(pa.array([Decimal("-1.5")], pa.decimal128(38, 2))) == "-1.50"
    assert text(pa.array([float("nan")])) == "NaN"
    assert text(pa.array([float("-inf")])) == "-Infinity"
    assert text(pa.array([86_400_000_000], pa.int64()).view(pa.time64("us"))) == "24:00:00.000000"
    assert text(pa.array([-1500], pa.duration("ms"))) == "PT-1.500S"
    assert text(pa.array([b"\x12" * 16], pa.uuid())) == "12121212-1212-1212-1212-121212121212"
    assert text(pa.array([b"\x12" * 16], pa.binary(16)), "uuid") == "12121212-1212-1212-1212-121212121212"
    assert text(pa.array([(14, -3, 1)], pa.month_day_nano_interval())) == "P14M-3DT0.000000001S"
    assert text(pa.array([[1, None]])) == "[1,null]"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("007", pa.int64(), 7),
        ("0x10", pa.int64(), "refused"),
        ("1.0", pa.int64(), "refused"),
        ("300", pa.int8(), "refused"),
        ("", pa.int64(), "refused"),
        ("1e999", pa.float64(), "refused"),
        ("-Infinity", pa.float64(), float("-inf")),
        ("1.005", pa.decimal128(10, 2), "refused"),
        ("1e3", pa.decimal128(10, 2), Decimal("1000.00")),
        ("Yes", pa.bool_(), True),
        ("2", pa.bool_(), "refused"),
        ("2024-02-30", pa.date32(), "refused"),
        ("2024-02-29", pa.date32(), dt.date(2024, 2, 29)),
        ("2024-01-01T24:00:00", pa.timestamp("us"), "refused"),
        ("2024-01-01T00:00:00Z", pa.timestamp("us"), "refused"),
        ("2024-01-01 00:00:00", pa.timestamp("us", "UTC"), "refused"),
        ("2024-01-01 01:00:00.5+01", pa.timestamp("us", "UTC"), dt.datetime(2024, 1, 1, 0, 0, 0, 500_000, dt.UTC)),
        ("2024-01-01T00:00:00.1234567", pa.timestamp("us"), "refused"),
        ("12:30", pa.time64("us"), dt.time(12, 30)),
        ("24:00:01", pa.time64("us"), "refused"),
        ("!!", pa.binary(), "refused"),
        ("YQ==", pa.binary(), b"a"),
        ("YQ==", pa.binary(2), "refused"),
        ("zz121212-1212-1212-1212-121212121212", pa.uuid(), "refused"),
        ("[1, 2]", pa.list_(pa.int64()), [1, 2]),
        ('[1, "x"]', pa.list_(pa.int64()), "refused"),
        ("[1] [2]", pa.list_(pa.int64()), "refused"),
        ("P1M", pa.month_day_nano_interval(), "refused"),
    ],
)
def test_a_text_is_the_value_or_refused(text: str, kind: pa.DataType, value: object) -> None:
    assert _read(text, kind) == value


def test_own_formats_of_dates_are_read_and_written() -> None:
    dialect = Dialect(date_format="%d.%m.%Y", timestamp_format="%d.%m.%Y %H:%M:%S%.f")
    moment = pa.array([1_735_639_200_250_000], pa.timestamp("us"))

    assert _read("31.12.2024", pa.date32(), dialect) == dt.date(2024, 12, 31)
    assert _read("2024-12-31", pa.date32(), dialect) == "refused"
    assert to_text(moment, "", dialect).to_pylist() == ["31.12.2024 10:00:00.250"]
    assert _read("31.12.2024 10:00:00.250", pa.timestamp("us"), dialect) == moment[0].as_py()


def test_an_own_format_that_loses_something_is_refused() -> None:
    dialect = Dialect(timestamp_format="%d.%m.%Y %H:%M:%S")

    with pytest.raises(DataError, match="reading it back gives another"):
        to_text(pa.array([1], pa.timestamp("us")), "", dialect)
    with pytest.raises(DataError, match="reading it back gives another"):
        to_text(pa.array([TIMESTAMP_INFINITY], pa.int64()).view(pa.timestamp("us")), "", dialect)


def test_a_decimal_comma_is_not_a_mark_between_thousands() -> None:
    dialect = Dialect(delimiter=";", decimal_comma=True)

    assert _read("1234,5", pa.decimal128(10, 2), dialect) == Decimal("1234.50")
    assert _read("1.234,5", pa.decimal128(10, 2), dialect) == "refused"
