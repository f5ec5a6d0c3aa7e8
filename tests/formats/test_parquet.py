"""Parquet as other programs see it, and what is left unread."""

from __future__ import annotations

import io
import os
import uuid
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.connectors._formats.port import Ends, Request
from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.core.errors import DataError
from penstock.core.load import BatchSize
from penstock.core.schema import Column
from tests.formats.memory import Kept, MemoryBlob, columns_of, decode, encode

PARQUET = FormatSettings()


def _file(blob: MemoryBlob) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(blob.data))


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16)])
def test_uuids_are_uuids_for_other_programs(kind: pa.DataType, tmp_path: object) -> None:
    value = uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")
    column = Column("u", kind, logical="uuid")
    batch = pa.RecordBatch.from_arrays([pa.array([value.bytes], kind)], schema=pa.schema([column.to_field()]))

    blob = encode([batch], (column,), PARQUET)
    path = f"{tmp_path}/u.parquet"
    with open(path, "wb") as file:
        file.write(blob.data)

    assert "UUID" in str(_file(blob).schema)
    assert duckdb.sql(f"select u from '{path}'").fetchall() == [(value,)]
    assert decode(blob, (column,), PARQUET).schema.field("u").type == kind


def test_row_groups_have_the_rows_asked_for() -> None:
    batch = pa.record_batch({"n": pa.array(range(2500)), "t": ["x" * 100] * 2500})
    columns = columns_of(batch.schema)
    batches = [batch.slice(at, 70) for at in range(0, 2500, 70)]

    by_rows = _file(encode(batches, columns, FormatSettings(row_group_rows=1000))).metadata
    by_bytes = _file(encode(batches, columns, FormatSettings(row_group_bytes=50_000))).metadata

    assert [by_rows.row_group(at).num_rows for at in range(by_rows.num_row_groups)] == [1000, 1000, 500]
    assert by_bytes.num_row_groups > 4


def test_the_codec_is_the_one_asked_for() -> None:
    batch = pa.record_batch({"n": pa.array(range(100))})
    for codec, name in (
        ("zstd", "ZSTD"),
        ("snappy", "SNAPPY"),
        ("gzip", "GZIP"),
        ("lz4", "LZ4"),
        ("none", "UNCOMPRESSED"),
    ):
        blob = encode([batch], columns_of(batch.schema), FormatSettings(compression=codec))

        assert _file(blob).metadata.row_group(0).column(0).compression == name


def test_nothing_in_the_file_tells_when_or_where_it_was_written() -> None:
    batch = pa.record_batch({"n": pa.array(range(10))})
    metadata = _file(encode([batch], columns_of(batch.schema), PARQUET)).metadata

    assert metadata.created_by.startswith("parquet-cpp-arrow version")
    assert set(metadata.metadata) == {b"ARROW:schema", b"penstock.format"}


def test_polars_and_duckdb_read_the_common_types(tmp_path: object) -> None:
    batch = pa.record_batch(
        {
            "n": pa.array([1, None]),
            "t": ["a", None],
            "moment": pa.array([0, None], pa.timestamp("us", "UTC")),
            "l": [[1], None],
        }
    )
    path = f"{tmp_path}/f.parquet"
    with open(path, "wb") as file:
        file.write(encode([batch], columns_of(batch.schema), PARQUET).data)

    assert pl.read_parquet(path).to_dicts() == batch.to_pylist()
    assert duckdb.sql(f"select sum(n), max(t), sum(epoch_us(moment)), sum(l[1]) from '{path}'").fetchall() == [
        (1, "a", 0, 1)
    ]


def test_files_of_other_programs_come_in_plain_types() -> None:
    table = pa.table(
        {
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "l": pa.array(["a", None], pa.large_string()),
            "v": pa.array([b"a", None], pa.binary_view()),
            "n": pa.array([["a"], None], pa.large_list(pa.large_string())),
            "j": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', None])),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    blob = MemoryBlob("f.parquet", sink.getvalue())

    [columns] = format_named("parquet").columns([blob], PARQUET)

    assert [(column.name, str(column.type), column.logical) for column in columns] == [
        ("d", "string", ""),
        ("l", "string", ""),
        ("v", "binary", ""),
        ("n", "list<element: string>", ""),
        ("j", "string", "json"),
    ]
    assert decode(blob, columns, PARQUET).column("n").to_pylist() == [["a"], None]


def _damaged_but_for_group(number: int) -> tuple[MemoryBlob, pa.RecordBatch]:
    """A file in which the pages of all row groups but one are broken."""
    batch = pa.record_batch({"n": pa.array(range(300)), "t": [f"text {at}" for at in range(300)]})
    blob = encode([batch], columns_of(batch.schema), FormatSettings(row_group_rows=100))
    data = bytearray(blob.data)
    metadata = _file(blob).metadata
    for group in range(metadata.num_row_groups):
        for at in range(metadata.num_columns) if group != number else ():
            chunk = metadata.row_group(group).column(at)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    return MemoryBlob("f.parquet", bytes(data)), batch


@pytest.mark.parametrize(("low", "high", "rows"), [(100, 199, 100), (150, 160, 100), (None, -1, 0), (300, None, 0)])
def test_row_groups_outside_a_window_are_not_read(low: int | None, high: int | None, rows: int) -> None:
    blob, batch = _damaged_but_for_group(1)
    columns = columns_of(batch.schema)
    request = Request(columns, columns, PARQUET, Kept(), ends=Ends("n", pa.int64(), low, high, False))

    found = list(format_named("parquet").read(blob, request))

    assert sum(each.num_rows for each in found) == rows
    wide = Request(columns, columns, PARQUET, Kept(), ends=Ends("n", pa.int64(), 99, 160, False))
    with pytest.raises(DataError, match=r"f\.parquet cannot be read: "):
        list(format_named("parquet").read(blob, wide))


def test_columns_that_are_not_wanted_are_not_read() -> None:
    batch = pa.record_batch({"good": pa.array(range(100)), "bad": pa.array(range(100))})
    blob = encode([batch], columns_of(batch.schema), PARQUET)
    chunk = _file(blob).metadata.row_group(0).column(1)
    data = bytearray(blob.data)
    data[chunk.data_page_offset : chunk.data_page_offset + chunk.total_compressed_size] = (
        b"\xff" * chunk.total_compressed_size
    )

    back = decode(MemoryBlob("f.parquet", bytes(data)), (Column("good", pa.int64()),), PARQUET)

    assert back.column("good").to_pylist() == list(range(100))


@pytest.mark.parametrize("format_name", ["parquet", "arrow"])
@pytest.mark.parametrize("data", [b"", b"PAR1", b"not a data file at all", b"PAR1" + b"\0" * 100])
def test_a_file_that_is_not_whole_is_named(format_name: str, data: bytes) -> None:
    blob = MemoryBlob(f"f.{format_name}", data)

    with pytest.raises(DataError, match=rf"f\.{format_name} is not a whole"):
        format_named(format_name).columns([blob], FormatSettings(format=format_name))


def test_wide_rows_make_small_batches() -> None:
    batch = pa.record_batch({"t": ["x" * 10_000 + str(at) for at in range(500)]})
    columns = columns_of(batch.schema)
    blob = encode([batch], columns, PARQUET)
    request = Request(columns, columns, PARQUET, Kept(), BatchSize(rows=500, size_bytes=100_000))

    sizes = [(each.num_rows, each.nbytes) for each in format_named("parquet").read(blob, request)]

    assert max(size for _, size in sizes) <= 110_000
    assert sum(rows for rows, _ in sizes) == 500


def test_text_that_repeats_gets_a_dictionary_and_other_columns_none() -> None:
    rows = 20_000
    batch = pa.record_batch(
        {
            "state": [("open", "closed", None)[n % 3] for n in range(rows)],
            "token": [f"{n * 7919:032x}" for n in range(rows)],
            "n": pa.array([n % 5 for n in range(rows)]),
        }
    )
    group = _file(encode([batch], columns_of(batch.schema), PARQUET)).metadata.row_group(0)

    assert [group.column(at).has_dictionary_page for at in range(3)] == [True, False, False]


def test_decimals_of_up_to_18_digits_are_integers_for_other_programs_and_decimals_again_when_read(
    tmp_path: object,
) -> None:
    values = [Decimal("-99999999999999.9999"), None, Decimal("0.0001")]
    batch = pa.record_batch({"d": pa.array(values, pa.decimal128(18, 4))})
    columns = columns_of(batch.schema)
    blob = encode([batch], columns, PARQUET)
    path = f"{tmp_path}/d.parquet"
    with open(path, "wb") as file:
        file.write(blob.data)

    assert _file(blob).metadata.row_group(0).column(0).physical_type == "INT64"
    assert decode(blob, columns, PARQUET).column("d").to_pylist() == values
    assert duckdb.sql(f"select d from '{path}'").fetchall() == [(value,) for value in values]
    assert pl.read_parquet(path)["d"].to_list() == values


def test_bytes_follow_from_rows_however_they_are_cut_into_batches() -> None:
    batch = pa.record_batch(
        {
            "t": [None if n % 7 == 0 else f"text {n % 900}" for n in range(30_000)],
            "l": [[str(n), None] if n % 3 else None for n in range(30_000)],
        }
    )
    columns, settings = columns_of(batch.schema), FormatSettings(row_group_rows=9_999)
    cuts = [[batch.slice(at, size) for at in range(0, 30_000, size)] for size in (30_000, 9_999, 4_321)]

    assert len({encode(batches, columns, settings).data for batches in cuts}) == 1


class FileBlob(MemoryBlob):
    """Bytes that are read from a file, as those of a folder are."""

    def open(self) -> pa.NativeFile:
        return pa.OSFile(self.name)


def test_reading_holds_one_row_group_at_a_time(tmp_path: Path) -> None:
    """However many groups a file has: what is allocated in between does not grow with their number."""

    def most_held(groups: int) -> int:
        batch = pa.record_batch({"b": pa.array([os.urandom(1000) for _ in range(1000)])})
        columns = columns_of(batch.schema)
        written = encode([batch] * groups, columns, FormatSettings(row_group_rows=1000, compression="none"))
        blob = FileBlob(str(tmp_path / f"{groups}.parquet"), written.data)
        Path(blob.name).write_bytes(blob.data)
        before, most = pa.total_allocated_bytes(), 0
        request = Request(columns, columns, PARQUET, Kept(), BatchSize(1000))
        for _ in format_named("parquet").read(blob, request):
            most = max(most, pa.total_allocated_bytes() - before)
        return most

    assert most_held(24) < 2 * most_held(3)
