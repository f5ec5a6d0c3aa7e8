"""The codec alone, on bytes: encoding and decoding are inverse, and no bytes do harm."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.types.numeric import DecimalBinaryDumper, NumericBinaryLoader

from penstock.connectors.postgres._fields import Field, arrow_schema
from penstock.connectors.postgres.copy_decode import decoder, record_batch
from penstock.connectors.postgres.copy_encode import encoder, load
from penstock.connectors.postgres.wire import CARRIERS

_wire = pytest.importorskip("penstock.connectors.postgres._wire", exc_type=ImportError)

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
# Building Arrow arrays takes its time on a busy machine; that is no finding.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
FIELDS = [
    *(Field(kind, kind, carrier) for kind, carrier in CARRIERS.items()),
    Field("numeric", "numeric", pa.decimal128(20, 3), nan="null"),
    Field("wide", "numeric", pa.decimal256(50, 9)),
    *(Field(f"{kind}[]", f"{kind}[]", pa.list_(carrier)) for kind, carrier in CARRIERS.items()),
    Field("numeric[]", "numeric[]", pa.list_(pa.decimal128(9, 2))),
]


def message(*values: bytes | None) -> bytes:
    """A row as the server sends it."""
    fields = (struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values)
    return struct.pack("!h", len(values)) + b"".join(fields)


def encode(fields: Sequence[Field], batch: pa.RecordBatch) -> list[bytes]:
    """The messages of a batch: the header, then one a row."""
    encoding = encoder(fields)
    found = [encoding.encode()]
    for row in range(batch.num_rows):
        arrays = load(encoding, fields, batch.slice(row, 1))
        found.append(encoding.encode())
        del arrays
    return found


def decode(fields: Sequence[Field], messages: Sequence[bytes]) -> pa.RecordBatch:
    decoding = decoder(fields, 2**20, 2**30)
    for each in messages:
        decoding.feed(each)
    batch = record_batch(arrow_schema(fields), decoding.take())
    batch.validate(full=True)
    return batch


def refusal(fields: Sequence[Field], messages: Sequence[bytes]) -> tuple[int, int, str]:
    with pytest.raises(_wire.WireError) as caught:
        decode(fields, messages)
    found: tuple[int, int, str] = caught.value.args
    return found


def values_of(type_: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a carrier as pyarrow takes them; dates and moments as their integers."""
    if pa.types.is_list(type_):
        return st.lists(st.none() | values_of(type_.value_type), max_size=4)
    if pa.types.is_decimal(type_):
        most = 10**type_.precision - 1
        return st.integers(-most, most).map(lambda n: Decimal(n).scaleb(-type_.scale, Context(prec=80)))
    if isinstance(type_, pa.UuidType):
        return st.binary(min_size=16, max_size=16)
    if pa.types.is_time(type_):
        return st.integers(0, 86_400_000_000 - 1)
    if pa.types.is_timestamp(type_):
        return st.integers(-(2**63) + 946_684_800_000_001, 2**63 - 1) | st.just(-(2**63) + 1)
    if pa.types.is_date(type_):
        return st.integers(-(2**31) + 10_958, 2**31 - 1) | st.just(-(2**31) + 1)
    if pa.types.is_integer(type_):
        bits = 32 if type_ == pa.int64() else type_.bit_width - 1
        return st.integers(0 if bits == 32 else -(2**bits), 2**bits - 1)
    if pa.types.is_floating(type_):
        return st.floats(width=type_.bit_width, allow_nan=False)
    if pa.types.is_boolean(type_):
        return st.booleans()
    return (
        st.binary(max_size=40) if pa.types.is_binary(type_) else st.text(max_size=20).map(lambda t: t.replace("\0", ""))
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Field], pa.RecordBatch]:
    fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=6, unique_by=lambda f: f.name))
    rows = draw(st.integers(0, 12))
    columns = []
    for field in fields:
        values = draw(st.lists(st.none() | values_of(field.type), min_size=rows, max_size=rows))
        built = pa.list_(pa.binary(16)) if field.wire == "uuid[]" else field.type  # pyarrow builds no list of uuid
        columns.append(pa.array(values, built).cast(field.type))
    return fields, pa.RecordBatch.from_arrays(columns, schema=arrow_schema(fields))


@PATIENT
@given(batches())
def test_decoding_what_was_encoded_gives_the_batch_again(case: tuple[list[Field], pa.RecordBatch]) -> None:
    fields, batch = case
    assert decode(fields, [*encode(fields, batch), TRAILER]) == batch


@st.composite
def mutations(draw: st.DrawFn) -> tuple[list[Field], list[bytes]]:
    """Valid messages with a few bytes changed, cut out or put in, or a message repeated or lost."""
    fields, batch = draw(batches())
    messages = [*encode(fields, batch), TRAILER]
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(messages) - 1))
        start = draw(st.integers(0, len(messages[i])))
        new = draw(
            st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\x80\0\0\0"])
        )
        cut = draw(st.sampled_from([0, len(new), 4]))
        messages[i] = messages[i][:start] + new + messages[i][start + cut :]
    return fields, [messages[0], *draw(st.permutations(messages[1:]))]


@settings(PATIENT, max_examples=300)
@given(mutations())
def test_damaged_rows_give_an_error_or_valid_arrow_data(case: tuple[list[Field], list[bytes]]) -> None:
    fields, messages = case
    assert_error_or_data(fields, messages)


@PATIENT
@given(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4), st.lists(st.binary(max_size=80), max_size=4))
def test_random_bytes_give_an_error_or_valid_arrow_data(fields: list[Field], messages: list[bytes]) -> None:
    named = [Field(f"c{i}", f.wire, f.type, nan=f.nan) for i, f in enumerate(fields)]
    assert_error_or_data(named, [HEADER, *messages])


def assert_error_or_data(fields: list[Field], messages: list[bytes]) -> None:
    """`decode` checks what it returns."""
    error: tuple[int, int, str] | None = None
    try:
        decode(fields, messages)
    except _wire.WireError as refused:
        error = refused.args
    if error:
        column, row, cause = error
        assert -1 <= column < len(fields)
        assert 1 <= row <= len(messages)
        assert cause


def by_cause(value: object) -> str:
    return value if isinstance(value, str) else ""


# ---- numeric


@st.composite
def decimals(draw: st.DrawFn) -> tuple[int, int, Decimal]:
    precision = draw(st.integers(1, 76))
    scale = draw(st.integers(0, precision))
    digits = draw(st.integers(0, precision))
    unscaled = draw(st.integers(-(10**digits) + 1, 10**digits - 1))
    if draw(st.booleans()):
        unscaled -= unscaled % 10**4 if unscaled > 0 else 0
    with localcontext(prec=80):
        return precision, scale, Decimal(unscaled).scaleb(-scale)


@settings(PATIENT, max_examples=500)
@given(decimals())
def test_numeric_of_any_size_is_what_psycopg_reads_and_writes(case: tuple[int, int, Decimal]) -> None:
    precision, scale, value = case
    field = Field("a", "numeric", (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale))
    batch = pa.record_batch({"a": pa.array([value], field.type)})

    encoded = encode([field], batch)
    theirs = DecimalBinaryDumper(Decimal, None).dump(value)
    read_by_psycopg = NumericBinaryLoader(1700, Transformer(None)).load(encoded[1][6:])

    assert decode([field], encoded) == batch
    assert decode([field], [HEADER, message(bytes(theirs or b""))]) == batch
    assert str(read_by_psycopg) == str(value) or read_by_psycopg == value == 0
    # Neither the first nor the last group is zero, as in a numeric that PostgreSQL made.
    assert encoded[1][14:16] != b"\0\0"
    assert len(encoded[1]) == 14 or encoded[1][-2:] != b"\0\0"


@pytest.mark.parametrize(
    ("groups", "weight", "expected"),
    [
        ([0, 0, 12], 2, "12"),
        ([12, 0, 0], 0, "12"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5000], 11, "0.5"),
        ([], 30_000, "0"),
        ([0], 32_767, "0"),
        ([9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9900], 8, "9" * 36 + ".99"),
    ],
)
def test_numeric_with_zeros_that_postgresql_leaves_out_has_its_value(
    groups: list[int], weight: int, expected: str
) -> None:
    wire = struct.pack(f"!hhHh{len(groups)}H", len(groups), weight, 0, 2, *groups)

    for type_ in (pa.decimal128(38, 2), pa.decimal256(60, 2)):
        batch = decode([Field("a", "numeric", type_)], [HEADER, message(wire)])
        assert batch["a"][0].as_py() == Decimal(expected)


@pytest.mark.parametrize(
    ("wire", "cause"),
    [
        (b"", "numeric has 0 bytes; at least 8 are needed"),
        (struct.pack("!hhHh", 1, 0, 0, 0), "numeric has 8 bytes for 1 groups of digits"),
        (struct.pack("!hhHh", -1, 0, 0, 0), "numeric has 8 bytes for -1 groups of digits"),
        (struct.pack("!hhHh", 0, 0, 0x1234, 0), "numeric has the unknown sign 0x1234"),
        (struct.pack("!hhHhH", 1, 0, 0, 0, 10_000), "numeric has the group 10000; a group is at most 9999"),
        (struct.pack("!hhHhH", 1, 32767, 0, 0, 1), "numeric value does not fit decimal(38, 2)"),
        (struct.pack("!hhHhH", 1, 9, 0, 0, 1000), "numeric value does not fit decimal(38, 2)"),
        (struct.pack("!hhHhH", 1, -1, 0, 3, 10), "numeric value has more than 2 digits after the point"),
    ],
    ids=by_cause,
)
def test_invalid_numeric_is_an_error(wire: bytes, cause: str) -> None:
    for precision, type_ in ((38, pa.decimal128(38, 2)), (39, pa.decimal256(39, 2))):
        field = Field("a", "numeric", type_)
        expected = cause.replace("(38,", f"({precision},")
        assert refusal([field], [HEADER, message(wire)]) == (0, 1, expected)


# ---- the stream


INT2 = Field("a", "int2", pa.int16())
ROW = message(b"\0\1")


@pytest.mark.parametrize(
    ("messages", "column", "row", "cause"),
    [
        ([b""], -1, 1, "stream does not start with the signature of binary COPY"),
        ([HEADER[:-1]], -1, 1, "stream does not start with the signature of binary COPY"),
        ([b"X" + HEADER], -1, 1, "stream does not start with the signature of binary COPY"),
        ([HEADER[:11] + b"\0\1\0\0" + bytes(4)], -1, 1, "stream has the unknown flags 0x00010000"),
        ([HEADER[:15] + b"\0\0\0\5abc"], -1, 1, "header extension of 5 bytes is cut off"),
        ([HEADER, ROW, b"\0"], -1, 2, "row has a single byte"),
        ([HEADER, message(b"\0\1", None)], -1, 1, "row has 2 fields; 1 expected"),
        ([HEADER, message()], -1, 1, "row has 0 fields; 1 expected"),
        ([HEADER, b"\xff\xfe"], -1, 1, "row has -2 fields; 1 expected"),
        ([HEADER, b"\0\1"], 0, 1, "row ends before this field"),
        ([HEADER, b"\0\1\0\0\0\3ab"], 0, 1, "field has the length 3; 2 bytes of the row are left"),
        ([HEADER, b"\0\1\xff\xff\xff\xfe"], 0, 1, "field has the length -2; 0 bytes of the row are left"),
        ([HEADER, message(b"abc")], 0, 1, "value has 3 bytes; int2 has 2"),
        ([HEADER, ROW + b"x"], -1, 1, "row has 1 bytes after its last field"),
        ([HEADER, ROW, TRAILER + b"x"], -1, 2, "data after the trailer"),
        ([HEADER, ROW, TRAILER, ROW], -1, 2, "data after the trailer"),
        ([HEADER, TRAILER, TRAILER], -1, 1, "data after the trailer"),
    ],
)
def test_invalid_stream_is_an_error_with_its_place(messages: list[bytes], column: int, row: int, cause: str) -> None:
    assert refusal([INT2], messages) == (column, row, cause)


@pytest.mark.parametrize("messages", [[HEADER + ROW], [HEADER, ROW, TRAILER], [HEADER[:15] + b"\0\0\0\1x" + ROW]])
def test_header_may_stand_alone_or_before_the_first_row(messages: list[bytes]) -> None:
    assert decode([INT2], messages)["a"].to_pylist() == [1]


def test_decoder_that_failed_stays_failed() -> None:
    decoding = decoder([INT2], 10, 10)
    decoding.feed(HEADER)
    for _ in range(2):
        with pytest.raises(ValueError, match="single byte"):
            decoding.feed(b"x")
    with pytest.raises(ValueError, match="single byte"):
        decoding.take()


def array(dimensions: list[tuple[int, int]], *items: bytes | None, flags: int = 0, oid: int = 21) -> bytes:
    head = struct.pack("!iiI", len(dimensions), flags, oid)
    sizes = b"".join(struct.pack("!ii", size, lower) for size, lower in dimensions)
    return head + sizes + message(*items)[2:]


@pytest.mark.parametrize(
    ("wire", "cause"),
    [
        (b"", "array has 0 bytes; at least 12 are needed"),
        (array([(1, 1)]), "array ends after 0 of 1 elements"),
        (array([(2**31 - 1, 1)], b"\0\1"), "array ends after 1 of 2147483647 elements"),
        (array([(-1, 1)]), "array dimension has size -1"),
        (array([(1, 1)] * 7, b"\0\1"), "array has 7 dimensions and flags 0"),
        (array([(1, 1)], b"\0\1", flags=2), "array has 1 dimensions and flags 2"),
        (array([(1, 1)], b"\0\1", b"\0\2"), "array has 6 bytes after its last element"),
        (array([(1, 1)], b"\0"), "value has 1 bytes; int2 has 2"),
        (array([(1, 1)]) + b"\0\0\0\x09", "array element 1 has the length 9; 0 bytes are left"),
        (array([(1, 1)] * 2)[:20], "array ends within its header"),
    ],
    ids=by_cause,
)
def test_invalid_array_is_an_error(wire: bytes, cause: str) -> None:
    field = Field("a", "int2[]", pa.list_(pa.int16()))
    assert refusal([field], [HEADER, message(wire)]) == (0, 1, cause)


@pytest.mark.parametrize("dimensions", [[], [(0, 1)], [(0, 5)], [(3, 1), (0, 1)]])
def test_array_without_elements_is_an_empty_list_whatever_its_dimensions(dimensions: list[tuple[int, int]]) -> None:
    field = Field("a", "int2[]", pa.list_(pa.int16()))
    assert decode([field], [HEADER, message(array(dimensions))])["a"].to_pylist() == [[]]


@pytest.mark.parametrize(
    "text", [b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\xff", b"12345678\xc3"]
)
def test_bytes_that_are_not_utf8_are_an_error(text: bytes) -> None:
    fields = [Field("a", "text", pa.string()), Field("b", "text[]", pa.list_(pa.string()))]
    good = message(b"fine \xc3\xbc", array([(2, 1)], b"x", None, oid=25))

    assert refusal(fields, [HEADER, good, message(text, None)]) == (0, 2, "text is not valid UTF-8")
    damaged = message(None, array([(2, 1)], b"x", text, oid=25))
    assert refusal(fields, [HEADER, good, good, damaged]) == (1, 3, "text is not valid UTF-8")


@PATIENT
@given(st.binary(max_size=30))
def test_text_is_accepted_exactly_when_python_decodes_it(text: bytes) -> None:
    try:
        expected = text.decode()
    except UnicodeDecodeError:
        assert refusal([Field("a", "text", pa.string())], [HEADER, message(text)])[2] == "text is not valid UTF-8"
    else:
        assert decode([Field("a", "text", pa.string())], [HEADER, message(text)])["a"].to_pylist() == [expected]
