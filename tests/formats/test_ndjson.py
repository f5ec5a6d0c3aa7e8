"""NDJSON as it comes: digits kept, lacking fields NULL, broken lines named, ranges that meet at line breaks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors._formats.port import Request
from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.core.schema import Column
from tests.formats.memory import Kept, MemoryBlob, columns_of, decode, encode

NDJSON = FormatSettings(format="ndjson")


def _read(data: bytes, columns: tuple[Column, ...], kept: Kept | None = None) -> list[dict[str, Any]]:
    return list(decode(MemoryBlob("f.ndjson", data), columns, NDJSON, kept=kept).to_pylist())


def test_numbers_keep_their_digits() -> None:
    columns = (Column("d", pa.decimal128(38, 4)), Column("i", pa.int64()), Column("u", pa.uint64()))
    data = b'{"d":12345678901234567890.1234,"i":9223372036854775807,"u":18446744073709551615}\n{"d":"1.5"}\n'

    assert _read(data, columns) == [
        {"d": Decimal("12345678901234567890.1234"), "i": 2**63 - 1, "u": 2**64 - 1},
        {"d": Decimal("1.5000"), "i": None, "u": None},
    ]


def test_lines_are_read_as_people_write_them() -> None:
    columns = (Column("a", pa.int64()), Column("b", pa.string()))
    data = b'\xef\xbb\xbf{"b": "x\\n\\u00e9", "c": [1], "a": 1}\r\n\n  \n{"a": null}\n{}\n{"b": ""}'

    assert _read(data, columns) == [
        {"a": 1, "b": "x\né"},
        {"a": None, "b": None},
        {"a": None, "b": None},
        {"a": None, "b": ""},
    ]


def test_lines_that_do_not_fit_are_refused_with_their_number() -> None:
    kept = Kept()
    columns = (Column("a", pa.int64()), Column("d", pa.date32()))
    good = b'{"a":1,"d":"2024-01-01"}\n'
    data = good * 3 + b'{"a":"x"}\nnot json\n\n{"a":2,"d":"2024-02-30"}\n{"a":1,"a":2}\n' + good

    assert len(_read(data, columns, kept)) == 4
    found = sorted((row.row, row.column, row.value) for row in kept.rows)
    assert found == [(4, "a", ""), (5, "", ""), (7, "d", '"2024-02-30"'), (8, "a", "")]
    assert [row.text for row in sorted(kept.rows, key=lambda row: row.row)][1] == "not json"


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    kept = Kept()

    assert _read(b'{"a":"\xff"}\n{"a":"b"}\n', (Column("a", pa.string()),), kept) == [{"a": "b"}]
    assert [row.row for row in kept.rows] == [1]


def test_a_missing_value_where_none_may_be_is_refused() -> None:
    kept = Kept()

    assert _read(b'{"b":1}\n{"a":1}\n', (Column("a", pa.int64(), False),), kept) == [{"a": 1}]
    assert [(row.row, row.column) for row in kept.rows] == [(1, "a")]


@pytest.mark.parametrize("size_bytes", [1, 50, 1000, 10**6])
def test_byte_ranges_cover_every_row_exactly_once(size_bytes: int) -> None:
    batch = pa.record_batch({"a": pa.array(range(200)), "b": pa.array(["é\n" * (at % 9) for at in range(200)])})
    columns = columns_of(batch.schema)
    blob = encode([batch], columns, NDJSON)

    spans = format_named("ndjson").spans(blob, NDJSON, size_bytes)
    rows = [row for span in spans for row in decode(blob, columns, NDJSON, span=span).to_pylist()]

    assert rows == batch.to_pylist()
    assert len(spans) > 1 or size_bytes > blob.size_bytes


def test_a_refused_line_in_a_range_keeps_its_number_in_the_file() -> None:
    data = b'{"a":1}\n' * 100 + b"broken\n" + b'{"a":1}\n' * 100
    blob = MemoryBlob("f.ndjson", data)
    kept = Kept()

    for span in format_named("ndjson").spans(blob, NDJSON, 100):
        decode(blob, (Column("a", pa.int64()),), NDJSON, kept=kept, span=span)

    assert [row.row for row in kept.rows] == [101]


def test_a_compressed_file_is_not_cut() -> None:
    settings = FormatSettings(format="ndjson", compression="zstd")
    batch = pa.record_batch({"a": pa.array(range(100_000))})
    blob = encode([batch], columns_of(batch.schema), settings)

    assert len(format_named("ndjson").spans(blob, settings, 1000)) == 1
    assert decode(blob, columns_of(batch.schema), settings).num_rows == 100_000


def test_rows_are_counted_without_reading_a_column() -> None:
    blob = MemoryBlob("f.ndjson", b'{"a":1}\n\n{}\n')

    batches = format_named("ndjson").read(blob, Request((), (), NDJSON, Kept()))

    assert [(batch.num_rows, batch.num_columns) for batch in batches] == [(2, 0)]
