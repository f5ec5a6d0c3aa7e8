"""The compiled decoder and its twin on bytes alone: equal on what servers send, and neither falls over what they do not."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.mysql import codec
from penstock.connectors.mysql.protocol import FieldInfo
from penstock.core.errors import DataError, SourceChanged
from penstock.core.load import BatchSize

pytestmark = pytest.mark.native

EOF = b"\xfe\x00\x00\x02\x00"
MAX = 2**24 - 1
# Numbers of the protocol's types.
TINY, SHORT, LONG, FLOAT, DOUBLE, TIMESTAMP, LONGLONG, DATE, TIME, DATETIME, BIT, DECIMAL, BLOB, TEXT = (
    1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 16, 246, 252, 253,
)  # fmt: skip


def lenenc(data: bytes) -> bytes:
    size = len(data)
    if size < 251:
        return bytes([size]) + data
    return (b"\xfc" + struct.pack("<H", size) if size < 2**16 else b"\xfd" + struct.pack("<I", size)[:3]) + data


def packets(payloads: list[bytes], first: int = 7) -> bytes:
    """Payloads with their headers, cut into pieces of 16 MiB as the protocol does."""
    out, number = bytearray(), first
    for payload in payloads:
        for start in range(0, len(payload) + 1, MAX):
            piece = payload[start : start + MAX]
            out += struct.pack("<I", len(piece))[:3] + bytes([number % 256]) + piece
            number += 1
            if len(piece) < MAX:
                break
    return bytes(out)


def row(values: list[bytes | None]) -> bytes:
    nulls = bytearray((len(values) + 9) // 8)
    for at, value in enumerate(values):
        if value is None:
            nulls[(at + 2) // 8] |= 1 << ((at + 2) % 8)
    return b"\0" + bytes(nulls) + b"".join(value for value in values if value is not None)


# Arrow type, protocol type, flags; how its values look on the wire is in VALUES.
COLUMNS: list[tuple[pa.DataType, int, int]] = [
    (pa.int8(), TINY, 0), (pa.uint8(), TINY, 32), (pa.bool_(), TINY, 0), (pa.int16(), SHORT, 0), (pa.uint32(), LONG, 32),
    (pa.int64(), LONGLONG, 0), (pa.uint64(), LONGLONG, 32), (pa.float32(), FLOAT, 0), (pa.float64(), DOUBLE, 0),
    (pa.decimal128(20, 3), DECIMAL, 0), (pa.decimal256(65, 30), DECIMAL, 0), (pa.string(), TEXT, 0), (pa.binary(), BLOB, 0),
    (pa.binary(3), TEXT, 0), (pa.uuid(), TEXT, 0), (pa.date32(), DATE, 0), (pa.timestamp("us"), DATETIME, 0),
    (pa.timestamp("us", "UTC"), TIMESTAMP, 0), (pa.duration("us"), TIME, 0), (pa.time64("us"), TIME, 0), (pa.uint64(), BIT, 32),
    (pa.decimal128(38, 0), LONGLONG, 0),
]  # fmt: skip
_digits = st.integers(-(10**17) + 1, 10**17 - 1).map(lambda n: f"{n // 1000}.{abs(n) % 1000:03d}".encode())
_moment = st.tuples(
    st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999),
).map(lambda m: b"\x0b" + struct.pack("<HBBBBBI", *m))  # fmt: skip
_clock = st.tuples(st.integers(0, 1), st.integers(0, 34), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999)).map(
    lambda c: b"\x0c" + struct.pack("<BIBBBI", *c)
)  # fmt: skip
VALUES = {
    TINY: st.binary(min_size=1, max_size=1), SHORT: st.binary(min_size=2, max_size=2), LONG: st.binary(min_size=4, max_size=4),
    LONGLONG: st.binary(min_size=8, max_size=8), FLOAT: st.floats(width=32, allow_nan=False).map(lambda v: struct.pack("<f", v)),
    DOUBLE: st.floats(allow_nan=False).map(lambda v: struct.pack("<d", v)), DECIMAL: _digits.map(lenenc),
    TEXT: st.text(max_size=300).map(lambda t: lenenc(t.encode())) | st.just(b"\x03abc") | st.uuids().map(lambda u: lenenc(str(u).encode())),
    BLOB: st.binary(max_size=300).map(lenenc), DATE: st.just(b"\0") | _moment.map(lambda m: b"\x04" + m[1:5]),
    DATETIME: _moment, TIMESTAMP: _moment.map(lambda m: b"\x07" + m[1:8]), TIME: _clock | st.just(b"\0"),
    BIT: st.binary(min_size=1, max_size=8).map(lenenc),
}  # fmt: skip


def fields() -> list[FieldInfo]:
    return [FieldInfo(f"c{at}", wire, flags, 0, 0, 0) for at, (_, wire, flags) in enumerate(COLUMNS)]


SCHEMA = pa.schema([(f"c{at}", kind) for at, (kind, _, _) in enumerate(COLUMNS)])


def decode(data: bytes, schema: pa.Schema, infos: list[FieldInfo], is_native: bool, **more: Any) -> Any:
    """Batches and the server's error, or what was wrong; `data` comes in pieces."""
    size = more.get("size", BatchSize())
    rows = codec.Rows("t", schema, infos, more.get("null_zero", False), is_native)

    def pieces() -> Iterator[bytes]:
        step = more.get("step", 50)
        for start in range(0, len(data), step):
            yield data[start : start + step]
        raise EOFError

    decoder = rows.decoder(size, 7)
    try:
        found = list(codec.batches(rows, decoder, pieces()))
    except DataError as error:
        return str(error)
    except (EOFError, RuntimeError):
        return "ended"
    return found, decoder.refused


_rows = st.lists(st.tuples(*(st.none() | VALUES[wire] for _, wire, _ in COLUMNS)).map(list), max_size=6)


@settings(max_examples=80, deadline=None)
@given(_rows, st.booleans())
def test_both_decoders_say_the_same_of_any_row(given_rows: list[list[bytes | None]], null_zero: bool) -> None:
    data = packets([*(row(values) for values in given_rows), EOF])
    size = BatchSize(rows=4)
    found = [decode(data, SCHEMA, fields(), native, size=size, null_zero=null_zero) for native in (True, False)]

    assert found[0] == found[1]


@settings(max_examples=150, deadline=None)
@given(_rows, st.integers(0, 2**32), st.integers(1, 4))
def test_bytes_that_no_server_sends_are_refused_or_read_alike(
    given_rows: list[list[bytes | None]], seed: int, times: int
) -> None:
    data = bytearray(packets([*(row(values) for values in given_rows), EOF]))
    chance = random.Random(seed)
    for _ in range(times):
        at = chance.randrange(len(data))
        if chance.random() < 0.3:
            del data[at : at + chance.randrange(1, 9)]
        elif data:
            data[at % len(data)] = chance.randrange(256)
        data = data or bytearray(b"\0")
    found = [decode(bytes(data), SCHEMA, fields(), native) for native in (True, False)]

    kinds = [str if isinstance(each, str) else tuple for each in found]
    assert kinds[0] is kinds[1]


@pytest.mark.parametrize("is_native", [True, False])
def test_a_row_of_more_than_16_mib_is_put_together(is_native: bool) -> None:
    values = [b"x" * 10, b"y" * (2 * MAX - 17), b"z" * MAX, b""]
    schema, info = pa.schema([("v", pa.binary())]), [FieldInfo("v", BLOB, 0, 0, 0, 63)]
    head = [lenenc(v) if len(v) < 2**24 else b"\xfe" + struct.pack("<Q", len(v)) + v for v in values]
    data = packets([*(row([each]) for each in head), EOF])

    batches, refused = decode(data, schema, info, is_native, step=2**20)

    assert pa.Table.from_batches(batches)["v"].to_pylist() == values
    assert refused == b""


@pytest.mark.parametrize("is_native", [True, False])
def test_an_error_in_the_middle_comes_after_the_rows_before_it(is_native: bool) -> None:
    schema, info = pa.schema([("v", pa.int8())]), [FieldInfo("v", TINY, 0, 0, 0, 63)]
    error = b"\xff" + struct.pack("<H", 1317) + b"#70100gone"
    data = packets([row([b"\x01"]), row([b"\x02"]), error])

    batches, refused = decode(data, schema, info, is_native, size=BatchSize(rows=1))

    assert [batch.num_rows for batch in batches] == [1, 1]
    assert refused == error


@pytest.mark.parametrize("is_native", [True, False])
def test_a_type_that_does_not_go_into_its_carrier_is_told_by_the_column(is_native: bool) -> None:
    with pytest.raises(SourceChanged, match="'v' comes as type 253"):
        decode(b"", pa.schema([("v", pa.int8())]), [FieldInfo("v", TEXT, 0, 0, 0, 45)], is_native)
