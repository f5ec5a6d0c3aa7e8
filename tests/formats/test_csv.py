"""CSV as it comes: quotes, line ends, encodings, ragged rows, empty files; what does not fit is named."""

from __future__ import annotations

import gzip
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.core.errors import DataError
from penstock.core.schema import Column
from tests.formats.memory import Kept, MemoryBlob, columns_of, csv, decode, encode

TWO = (Column("a", pa.int64()), Column("b", pa.string()))


def _read(
    data: bytes, columns: tuple[Column, ...] = TWO, kept: Kept | None = None, **dialect: Any
) -> list[tuple[Any, ...]]:
    table = decode(MemoryBlob("f.csv", data), columns, csv(**dialect), kept=kept)
    return list(zip(*table.to_pydict().values(), strict=True))


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,x\n", [(1, "x")]),
        (b"a,b\r\n1,x\r\n2,y", [(1, "x"), (2, "y")]),
        (b"\xef\xbb\xbfa,b\n1,x\n", [(1, "x")]),
        (b'"a","b"\n"1","x,""y""\nz"\n', [(1, 'x,"y"\nz')]),
        (b'a,b\n1,""\n2,\n', [(1, ""), (2, None)]),
        (b"b,c,a\nx,unread,1\n", [(1, "x")]),
        (b"a,b\n1,x\n\n\n2,y\n\n", [(1, "x"), (2, "y")]),
        (b"", []),
        (b"a,b", []),
        (b"a,b\n", []),
        (b"a\n1\n", [(1, None)]),
    ],
)
def test_csv_is_read_as_people_write_it(data: bytes, rows: list[tuple[Any, ...]]) -> None:
    columns = tuple(column for column in TWO if column.name == "a" or b"b" in data)

    assert _read(data, columns) == [row[: len(columns)] for row in rows]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
def test_other_encodings_are_read(encoding: str) -> None:
    data = "a,b\n1,é\n".encode(encoding)

    assert _read(data, encoding=encoding) == [(1, "é")]


def test_a_gzipped_file_is_read() -> None:
    blob = MemoryBlob("f.csv.gz", gzip.compress(b"a,b\n1,x\n") + gzip.compress(b"2,y\n"))

    assert decode(blob, TWO, csv()).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_damaged_gzip_file_is_named() -> None:
    whole = gzip.compress(b"a,b\n" + b"1,x\n" * 100_000)

    with pytest.raises(DataError, match=r"f\.csv\.gz cannot be decompressed"):
        decode(MemoryBlob("f.csv.gz", whole[: len(whole) // 2]), TWO, csv())


def test_a_row_longer_than_a_block_is_read() -> None:
    long = "x" * 20_000_000
    rows = _read(f"a,b\n1,x\n2,{long}\n3,y\n".encode())

    assert [(a, len(b)) for a, b in rows] == [(1, 1), (2, 20_000_000), (3, 1)]


def test_values_that_do_not_fit_are_refused_with_row_column_and_value() -> None:
    kept = Kept()
    data = b'a,b\n1,x\nten,y\n"3\n",z\n4,\xff\n5,v\n'

    assert _read(data, kept=kept) == [(1, "x"), (5, "v")]
    assert [(row.row, row.column, row.value, row.reason) for row in kept.rows] == [
        (2, "a", "ten", "is no int64"),
        (3, "a", "3\n", "is no int64"),
        (4, "b", "\\xff", "is no string"),
    ]


def test_ragged_rows_are_refused_and_leave_the_numbers_of_others_alone() -> None:
    kept = Kept()
    data = b"a,b\n1,x\n2\n3,y,z\nfour,v\n"

    assert _read(data, kept=kept) == [(1, "x")]
    found = [(row.row, row.reason, row.text) for row in kept.rows]
    assert found[:2] == [(2, "has 1 values, not 2", "2"), (3, "has 3 values, not 2", "3,y,z")]
    assert (kept.rows[2].row, kept.rows[2].value) == (4, "four")


def test_a_missing_value_where_none_may_be_is_refused() -> None:
    kept = Kept()

    assert _read(b"a,b\n,x\n1,y\n", (Column("a", pa.int64(), False), TWO[1]), kept) == [(1, "y")]
    assert [(row.row, row.column, row.reason) for row in kept.rows] == [
        (1, "a", "is missing, which the column does not allow")
    ]


def test_a_header_with_a_name_twice_is_named() -> None:
    with pytest.raises(DataError, match=r"the header of f\.csv has the name 'a' twice"):
        _read(b"a,a\n1,2\n")


def test_without_header_columns_go_by_their_place() -> None:
    blob = MemoryBlob("f.csv", b"1,x\n2,y\n")
    settings = csv(header=False)

    assert [c.name for c in format_named("csv").columns([blob], settings)[0]] == ["column_1", "column_2"]
    assert decode(blob, TWO, settings).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_column_of_nothing_but_null_keeps_its_rows() -> None:
    columns = (Column("only", pa.string()),)
    batch = pa.record_batch({"only": pa.array([None, "", None], pa.string())})

    assert decode(encode([batch], columns, csv()), columns, csv()).column("only").to_pylist() == [None, "", None]


def test_quotes_stand_only_where_a_value_needs_them() -> None:
    batch = pa.record_batch({"n": pa.array([1, None]), "t": pa.array(["plain", 'a "b", c'])})

    assert encode([batch], columns_of(batch.schema), csv()).data == b'n,t\n1,plain\n,"a ""b"", c"\n'


def test_a_character_the_encoding_lacks_is_named() -> None:
    batch = pa.record_batch({"t": pa.array(["🚰"])})

    with pytest.raises(DataError, match="character '🚰' does not exist in encoding 'latin-1'"):
        encode([batch], columns_of(batch.schema), csv(encoding="latin-1"))


def test_a_line_break_is_refused_where_values_may_hold_none() -> None:
    batch = pa.record_batch({"t": pa.array(["a\nb"])})

    with pytest.raises(DataError, match="column 't': a value holds a line break"):
        encode([batch], columns_of(batch.schema), csv(newlines_in_values=False))


@pytest.mark.parametrize("size_bytes", [1, 10, 100, 1000, 10**6])
def test_byte_ranges_cover_every_row_exactly_once(size_bytes: int) -> None:
    batch = pa.record_batch({"a": pa.array(range(300)), "b": pa.array(["é" * (at % 9) for at in range(300)])})
    settings = csv(newlines_in_values=False)
    blob = encode([batch], TWO, settings)

    spans = format_named("csv").spans(blob, settings, size_bytes)
    rows = [row for span in spans for row in decode(blob, TWO, settings, span=span).to_pylist()]

    assert rows == batch.to_pylist()
    assert len(spans) > 1 or size_bytes > blob.size_bytes


def test_a_file_whose_values_may_hold_line_breaks_is_not_cut() -> None:
    blob = MemoryBlob("f.csv", b"a,b\n" + b'1,"x\ny"\n' * 1000)

    assert len(format_named("csv").spans(blob, csv(), 100)) == 1
    assert len(format_named("csv").spans(blob, csv(newlines_in_values=False, encoding="utf-16"), 100)) == 1


def test_the_encoder_knows_whether_its_file_may_be_cut() -> None:
    sink: list[bytes] = []

    class _List:
        def write(self, data: Any, /) -> int:
            sink.append(bytes(data))
            return len(sink[-1])

    for value, cuttable in (("ab", True), ("a\nb", False), ("a\rb", False)):
        batch = pa.record_batch({"t": pa.array([value])})
        encoder = format_named("csv").encoder(_List(), columns_of(batch.schema), FormatSettings(format="csv"))
        encoder.write(batch)
        assert encoder.is_cuttable is cuttable
