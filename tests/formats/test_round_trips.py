"""Every type comes back from every format and compression as it went in, by field metadata or declared columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import COMPRESSIONS, FORMATS, Dialect, FormatSettings
from penstock.core.errors import NotSupported
from penstock.core.schema import Column, Fidelity
from tests.formats.memory import columns_of, decode, encode
from tests.formats.samples import SAMPLES, sample


def _same(back: pa.Table, batch: pa.RecordBatch) -> None:
    expected = pa.Table.from_batches([batch])
    assert back.schema.equals(expected.schema, check_metadata=True)
    assert back.equals(expected)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("format_name", FORMATS)
def test_every_type_comes_back_with_its_meaning(format_name: str, name: str) -> None:
    column, batch = sample(name)
    settings = FormatSettings(format=format_name)
    columns = (Column("id", pa.int64(), False), column)

    blob = encode([batch], columns, settings)

    choice = format_named(format_name).type_choice(column)
    assert choice.fidelity in (Fidelity.LOSSLESS, Fidelity.TEXT)
    _same(decode(blob, columns, settings), batch)
    if format_named(format_name).typed:
        assert format_named(format_name).columns([blob], settings) == [columns]


@pytest.mark.parametrize(
    ("format_name", "compression"), [(name, each) for name in FORMATS for each in COMPRESSIONS[name]]
)
def test_every_compression_comes_back(format_name: str, compression: str) -> None:
    batch = pa.record_batch({"n": pa.array(range(50_000)), "t": pa.array([f"text {at % 97}" for at in range(50_000)])})
    settings = FormatSettings(format=format_name, compression=compression)

    blob = encode([batch], columns_of(batch.schema), settings)

    _same(decode(blob, columns_of(batch.schema), settings), batch)
    if compression != "none":
        assert (
            blob.size_bytes < encode([batch], columns_of(batch.schema), FormatSettings(format_name, "none")).size_bytes
        )


@pytest.mark.parametrize("format_name", ["csv", "ndjson"])
@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(delimiter=";", decimal_comma=True),
        Dialect(delimiter="\t", quote="'", null_text="\\N"),
        Dialect(delimiter="|", escape="\\", null_text="NULL"),
        Dialect(header=False),
        Dialect(encoding="utf-16"),
        Dialect(binary_text="hex"),
    ],
    ids=str,
)
def test_every_type_comes_back_in_every_dialect(format_name: str, dialect: Dialect) -> None:
    settings = FormatSettings(format=format_name, dialect=dialect)
    for name in SAMPLES:
        column, batch = sample(name)
        columns = (Column("id", pa.int64(), False), column)

        _same(decode(encode([batch], columns, settings), columns, settings), batch)


@pytest.mark.parametrize("format_name", FORMATS)
def test_nan_comes_back(format_name: str) -> None:
    batch = pa.record_batch({"f": pa.array([float("nan"), -0.0, None])})
    settings = FormatSettings(format=format_name)

    back = decode(encode([batch], columns_of(batch.schema), settings), columns_of(batch.schema), settings)

    assert [str(value) for value in back.column("f").to_pylist()] == ["nan", "-0.0", "None"]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_rows_keep_their_columns(format_name: str, rows: int) -> None:
    batch = pa.record_batch({"a": pa.array(range(rows), pa.int64()), "b": pa.array(["x"] * rows, pa.string())})
    settings = FormatSettings(format=format_name)

    back = decode(encode([batch], columns_of(batch.schema), settings), columns_of(batch.schema), settings)

    assert back.num_rows == rows
    assert back.column_names == ["a", "b"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_2000_columns_come_back(format_name: str) -> None:
    batch = pa.record_batch({f"column {at}": pa.array([at, None, -at], pa.int64()) for at in range(2000)})
    settings = FormatSettings(format=format_name)

    _same(decode(encode([batch], columns_of(batch.schema), settings), columns_of(batch.schema), settings), batch)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_bytes_do_not_depend_on_how_rows_came_in_batches(format_name: str) -> None:
    batch = pa.record_batch(
        {
            "n": pa.array(range(5000)),
            "t": pa.array([f"text {at % 7}" for at in range(5000)]),
            "f": pa.array([0.5] * 5000),
        }
    )
    for compression in COMPRESSIONS[format_name]:
        settings = FormatSettings(format=format_name, compression=compression, row_group_rows=1000)
        columns = columns_of(batch.schema)

        files = [
            encode([batch.slice(at, rows) for at in range(0, 5000, rows)], columns, settings).data
            for rows in (5000, 1000, 333, 61)
        ]

        assert all(data == files[0] for data in files)


def test_a_type_no_format_can_hold_is_refused_by_name() -> None:
    column = Column("odd", pa.list_(pa.month_day_nano_interval()))

    with pytest.raises(NotSupported, match=r"column 'odd' has type list<item: month_day_nano_interval>"):
        format_named("parquet").type_choice(column)
    with pytest.raises(NotSupported, match="column 'odd' has type list_view"):
        format_named("csv").type_choice(Column("odd", pa.list_view(pa.int8())))
