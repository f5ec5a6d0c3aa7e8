"""Arrays of every type with edges and NULLs, for round trips."""

from __future__ import annotations

import random
import uuid
from decimal import Decimal

import pyarrow as pa

from penstock.core.schema import Column

_RANDOM = random.Random(7)
STRUCT = pa.struct([("a", pa.int32()), ("t", pa.timestamp("us")), ("d", pa.decimal128(10, 2)), ("s", pa.string())])
TEXTS = [
    "", " ", "a", "NULL", "\\N", "007", "1e5", '"', '""', "\\", ",", ";", "\n", "\r\n", "\t", " lead", "trail ", "é", "🚰",
    "\x01", "\u2028", "\ufeff", "x" * 3000, "true", "-", "'", None,
]  # fmt: skip


def raw(kind: pa.DataType, bits: int, count: int = 200) -> pa.Array:
    """Any bit patterns of a time type, its two infinities among them."""
    top = 2 ** (bits - 1)
    values = [0, -1, 1, top - 1, 1 - top, None, *(_RANDOM.randrange(1 - top, top) for _ in range(count))]
    return pa.array(values, pa.int64() if bits == 64 else pa.int32()).view(kind)


def _decimals(precision: int, scale: int) -> list[Decimal | None]:
    most = Decimal((0, (9,) * precision, -scale))
    return [Decimal(0), most, most.copy_negate(), Decimal((0, (1,), -scale)), Decimal((1, (1,), -scale)), None]


SAMPLES: dict[str, tuple[pa.Array, str]] = {
    **{f"int{bits}": (pa.array([0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), None], getattr(pa, f"int{bits}")()), "")
       for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (pa.array([0, 2**bits - 1, None], getattr(pa, f"uint{bits}")()), "") for bits in (8, 16, 32, 64)},
    "float16": (pa.array([0.0, 1.5, 65504.0, float("inf"), None], pa.float16()), ""),
    "float32": (pa.array([0.1, 3.4028234663852886e38, 1e-45, float("-inf"), None], pa.float32()), ""),
    "float64": (pa.array([0.1, 5e-324, 1.7976931348623157e308, 1e22, float("inf"), float("-inf"), None]), ""),
    "decimal(38,10)": (pa.array(_decimals(38, 10), pa.decimal128(38, 10)), ""),
    "decimal(38,38)": (pa.array(_decimals(38, 38), pa.decimal128(38, 38)), ""),
    "decimal(5,0)": (pa.array(_decimals(5, 0), pa.decimal128(5, 0)), ""),
    "decimal256(76,30)": (pa.array(_decimals(76, 30), pa.decimal256(76, 30)), ""),
    "decimal32": (pa.array([Decimal("1.25"), None], pa.decimal32(5, 2)), ""),
    "decimal64": (pa.array([Decimal("1.25"), None], pa.decimal64(12, 2)), ""),
    "decimal(10,-2)": (pa.array([Decimal("1200"), Decimal("0"), None], pa.decimal128(10, -2)), ""),
    "bool": (pa.array([True, False, None]), ""),
    "string": (pa.array(TEXTS), ""),
    "large_string": (pa.array(TEXTS, pa.large_string()), ""),
    "string_view": (pa.array(TEXTS, pa.string_view()), ""),
    "json": (pa.array(['{"a": [1, 2.50]}', "null", None]), "json"),
    "binary": (pa.array([b"", b"\0", b"\xff\xfe", bytes(range(256)), None]), ""),
    "large_binary": (pa.array([b"", b"x", None], pa.large_binary()), ""),
    "fixed_size_binary": (pa.array([b"abcd", b"\0\0\0\0", None], pa.binary(4)), ""),
    "uuid": (pa.array([uuid.UUID(int=n).bytes for n in (0, 2**128 - 1)] + [None], pa.uuid()), ""),
    "uuid bytes": (pa.array([uuid.UUID(int=5).bytes, None], pa.binary(16)), "uuid"),
    "date32": (raw(pa.date32(), 32), ""),
    "date64": (pa.array([0, 86_400_000 * 20_000, None], pa.int64()).view(pa.date64()), ""),
    **{f"timestamp[{unit}]": (raw(pa.timestamp(unit), 64), "") for unit in ("ms", "us", "ns")},
    "timestamp[s]": (pa.array([0, -1, 253_402_300_800, -62_135_596_801, None], pa.int64()).view(pa.timestamp("s")), ""),
    **{f"timestamp[us, {zone}]": (raw(pa.timestamp("us", zone), 64), "") for zone in ("UTC", "Europe/Berlin")},
    "time32[s]": (pa.array([0, 86_399, None], pa.int32()).view(pa.time32("s")), ""),
    "time32[ms]": (pa.array([0, 86_399_999, None], pa.int32()).view(pa.time32("ms")), ""),
    "time64[us]": (pa.array([0, 1, 86_400_000_000, None], pa.int64()).view(pa.time64("us")), ""),
    "time64[ns]": (pa.array([0, 86_399_999_999_999, None], pa.int64()).view(pa.time64("ns")), ""),
    **{f"duration[{unit}]": (raw(pa.duration(unit), 64), "") for unit in ("s", "ms", "us", "ns")},
    "interval": (pa.array([(1, -2, 3), (-(2**31), 2**31 - 1, -(2**63)), (0, 0, 2**63 - 1), None],
                          pa.month_day_nano_interval()), "interval"),
    "dictionary": (pa.array(["a", "b", None, "a"]).dictionary_encode(), ""),
    "dictionary of int": (pa.array([5, None, 5], pa.int64()).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.int64())), ""),
    "list<int64>": (pa.array([[1, None], [], None, [2**63 - 1]], pa.list_(pa.int64())), ""),
    "list<string>": (pa.array([["a", None, 'b"c', "d,e", "\n"], [], None], pa.list_(pa.string())), ""),
    "list<decimal>": (pa.array([[Decimal("-0.01"), None], [], None], pa.list_(pa.decimal128(10, 2))), ""),
    "list<timestamp[s]>": (pa.array([[0, None], None], pa.list_(pa.timestamp("s"))), ""),
    "list<list<int8>>": (pa.array([[[1], None, []], None], pa.list_(pa.list_(pa.int8()))), ""),
    "large_list": (pa.array([[1], None], pa.large_list(pa.int64())), ""),
    "fixed_size_list": (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), ""),
    "struct": (pa.array([{"a": 1, "t": 5, "d": Decimal("1.10"), "s": "x,\n"}, None, {"a": None, "t": None, "d": None, "s": None}],
                        STRUCT), ""),
    "list<struct>": (pa.array([[{"a": 1, "t": 5, "d": None, "s": ""}], [None], None], pa.list_(STRUCT)), ""),
    "map": (pa.array([[("k", 1), ("l", None)], [], None], pa.map_(pa.string(), pa.int64())), ""),
    "null": (pa.nulls(3), ""),
}  # fmt: skip


def sample(name: str) -> tuple[Column, pa.RecordBatch]:
    """A column and a batch of an id and the column's values."""
    values, logical = SAMPLES[name]
    column = Column("v", values.type, logical=logical, native=f"test:{name}")
    fields = [pa.field("id", pa.int64(), False), column.to_field()]
    return column, pa.RecordBatch.from_arrays([pa.array(range(len(values))), values], schema=pa.schema(fields))
