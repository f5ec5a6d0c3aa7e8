"""Values at the edges of every carrier, with the NULLs between them."""

from __future__ import annotations

import decimal
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY, Column

_S = 1_000_000
_YEAR_1 = -62_135_596_800 * _S
_YEAR_9999_END = 253_402_300_799 * _S + 999_999
_MOMENTS = [0, -1, 1, -1_500_000, _YEAR_1, _YEAR_9999_END, 1_732_116_123_123_456]
_BEYOND = [_YEAR_9999_END + 1, _YEAR_1 - 1, 6_000_000_000_000 * _S, -200_000_000_000 * _S]
_TEXTS = [
    "", " ", "a", "NULL", "\\N", "null", "''", '"', "\\", "\n", "\r\n", "\t", "a,b;c|d", "é", "e\u0301", "🚰", "\u2028",
    "-0", "00012", "1e5", "true", "x" * 1_000_000,
]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One column and the values it must bring through."""

    name: str
    column: Column
    values: pa.Array

    @property
    def table(self) -> pa.Table:
        """An `id` and the values, a NULL first, between and last."""
        spaced = pa.array([None, *(at for value in range(len(self.values)) for at in (value, None))], pa.int64())
        values = self.values.take(spaced)
        fields = [pa.field("id", pa.int64()), self.column.to_field()]
        return pa.table([pa.array(range(len(values)), pa.int64()), values], schema=pa.schema(fields))


def _sample(name: str, kind: pa.DataType, values: list[Any], logical: str = "") -> Sample:
    array = pa.array(values, kind.storage_type).cast(kind) if isinstance(kind, pa.UuidType) else pa.array(values, kind)
    return Sample(name, Column("v", kind, logical=logical), array)


def _ticks(name: str, kind: pa.DataType, ticks: list[int]) -> Sample:
    base = pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()
    return Sample(name, Column("v", kind), pa.array(ticks, base).cast(kind))


def _integers() -> list[Sample]:
    samples = []
    for bits in (8, 16, 32, 64):
        top = 2 ** (bits - 1)
        samples.append(_sample(f"int{bits}", getattr(pa, f"int{bits}")(), [0, 1, -1, -top, top - 1]))
        samples.append(_sample(f"uint{bits}", getattr(pa, f"uint{bits}")(), [0, 1, 2 * top - 1]))
    return samples


def _decimals() -> list[Sample]:
    def numbers(precision: int, scale: int) -> list[decimal.Decimal]:
        most = decimal.Decimal((0, (9,) * precision, -scale))
        least = decimal.Decimal((0, (1,), -scale))
        return [decimal.Decimal(0), most, most.copy_negate(), least, least.copy_negate()]

    sizes = [(38, 0), (38, 10), (38, 38), (18, 4), (5, 2), (1, 0)]
    found = [_sample(f"decimal({p},{s})", pa.decimal128(p, s), numbers(p, s)) for p, s in sizes]
    return [*found, _sample("decimal256(60,10)", pa.decimal256(60, 10), numbers(60, 10))]


def _floats() -> list[Sample]:
    most = {32: 3.4028234663852886e38, 64: 1.7976931348623157e308}
    least = {32: 1.401298464324817e-45, 64: 5e-324}
    return [
        _sample(
            f"float{bits}",
            getattr(pa, f"float{bits}")(),
            [0.0, 1.5, -1.5, most[bits], -most[bits], least[bits], float("nan"), float("inf"), float("-inf")],
        )
        for bits in (32, 64)
    ]


def _times() -> list[Sample]:
    days = [0, -1, 1, -719_162, 2_932_896, 2_932_897, -719_163, 20_000]
    end = 86_400 * _S - 1
    return [
        _ticks("date32", pa.date32(), days),
        _ticks("date32 infinity", pa.date32(), [DATE_INFINITY, -DATE_INFINITY]),
        _ticks("timestamp[us]", pa.timestamp("us"), _MOMENTS),
        _ticks("timestamp[us] beyond the calendar", pa.timestamp("us"), _BEYOND),
        _ticks("timestamp[us] infinity", pa.timestamp("us"), [TIMESTAMP_INFINITY, -TIMESTAMP_INFINITY]),
        _ticks("timestamp[us, UTC]", pa.timestamp("us", "UTC"), _MOMENTS),
        _ticks("timestamp[us, UTC] beyond the calendar", pa.timestamp("us", "UTC"), _BEYOND),
        _ticks("timestamp[us, UTC] infinity", pa.timestamp("us", "UTC"), [TIMESTAMP_INFINITY, -TIMESTAMP_INFINITY]),
        _ticks("timestamp[s]", pa.timestamp("s"), [0, -1, 1_732_116_123]),
        _ticks("timestamp[ms]", pa.timestamp("ms"), [0, -1, 1_732_116_123_123]),
        _ticks("timestamp[ns]", pa.timestamp("ns"), [0, -1, 1_732_116_123_123_456_789]),
        _ticks("time64[us]", pa.time64("us"), [0, 1, 43_200 * _S, end]),
        _sample(
            "interval",
            pa.month_day_nano_interval(),
            [(0, 0, 0), (1, 0, 0), (0, -2, 0), (-13, 45, -3_000_000_000), (0, 0, 1000)],
        ),
    ]


def _others() -> list[Sample]:
    ids = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")]
    documents = [
        "null",
        "1",
        '"text"',
        "[]",
        '{"a": [1, 2.50, null, {"é": "🚰"}], "b": ""}',
        "12345678901234567890.125",
    ]
    return [
        _sample("bool", pa.bool_(), [True, False]),
        _sample("string", pa.string(), _TEXTS),
        _sample("large_string", pa.large_string(), _TEXTS),
        _sample("binary", pa.binary(), [b"", b"\0", b"\xff\xfe", b"\\x00", b"a" * 300_000, bytes(range(256))]),
        _sample("large_binary", pa.large_binary(), [b"", b"\0\xff"]),
        _sample("fixed_size_binary", pa.binary(4), [b"\0\0\0\0", b"abcd"]),
        _sample("uuid", pa.uuid(), [each.bytes for each in ids]),
        _sample("json", pa.string(), documents, "json"),
        _sample("list<int64>", pa.list_(pa.int64()), [[], [1], [1, None, 3], [2**63 - 1]]),
        _sample("list<string>", pa.list_(pa.string()), [[], [""], ["a", None, 'b"c', "d,e", "{f}", "NULL"]]),
        _sample("list<decimal>", pa.list_(pa.decimal128(10, 2)), [[], [decimal.Decimal("-0.01"), None]]),
    ]


SAMPLES = (*_integers(), *_decimals(), *_floats(), *_times(), *_others())

# Names that have broken tools; a system may refuse one, but must not change it silently.
ODD_NAMES = (
    "Upper Case", "select", 'qu"ote', "apo'strophe", "dot.ted", "ünïcødé 表", "semi;colon", "per%cent", "bra[cket]s", "q?ry",
    "back`tick", "dollar$", "a" * 63, "-- comment", "trailing ", "1leading", "new\nline", "null", "{brace}", "_under",
)  # fmt: skip
