"""Inferred types give every value back exactly, or are text."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.connectors._formats.declared import declared_column
from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import Dialect, FormatSettings
from penstock.core.errors import DataError, SpecError
from tests.formats.memory import MemoryBlob


def _csv_type(*values: str, **dialect: object) -> str:
    rows = "".join(f'"{value}"\n' if "," in value else f"{value}\n" for value in values)
    settings = FormatSettings(format="csv", dialect=Dialect(**dialect))  # type: ignore[arg-type]
    return str(
        format_named("csv")
        .columns([MemoryBlob("f.csv", b"c,x\n" + rows.replace("\n", ",\n").encode())], settings)[0][0]
        .type
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-5", ""], "int64"),
        (["1", "007"], "string"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808", "1"], "decimal128(19, 0)"),
        (["1" * 77], "string"),
        (["1.10", "22", "-3.5"], "decimal128(4, 2)"),
        (["0.30000000000000004", "0.1"], "double"),
        (["12345678901234567.25"], "decimal128(19, 2)"),
        (["1e5", "2.5"], "double"),
        (["3.3333333333333334e-301"], "double"),
        (["1.23456789012345678901e5"], "string"),
        (["NaN", "1.5"], "double"),
        (["true", "False"], "bool"),
        (["true", "1"], "string"),
        (["2024-01-01", ""], "date32[day]"),
        (["2024-01-01", "2024-02-30"], "string"),
        (["2024-01-01 10:00:00", "2024-01-01T10:00:00.5"], "timestamp[us]"),
        (["2024-01-01T10:00:00.123456789"], "timestamp[ns]"),
        (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00"], "timestamp[us, tz=UTC]"),
        (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00"], "string"),
        (["", ""], "string"),
        (["x"], "string"),
    ],
)
def test_csv_columns_get_the_type_that_holds_every_value(values: list[str], kind: str) -> None:
    assert _csv_type(*values) == kind


def test_types_are_inferred_over_all_files_of_a_table() -> None:
    blobs = [MemoryBlob("1.csv", b"a\n1\n"), MemoryBlob("2.csv", b"a\nx\n")]

    shapes = format_named("csv").columns(blobs, FormatSettings(format="csv"))

    assert [str(shape[0].type) for shape in shapes] == ["string", "string"]


def test_a_sample_of_rows_decides_where_it_is_asked_for() -> None:
    blob = MemoryBlob("f.csv", b"a\n1\n2\nx\n")

    shapes = format_named("csv").columns([blob], FormatSettings(format="csv", infer_rows=2))

    assert str(shapes[0][0].type) == "int64"


def test_declared_types_win() -> None:
    settings = FormatSettings(format="csv", types=(("a", "text"), ("b", "decimal(10,2)")))
    blob = MemoryBlob("f.csv", b"a,b\n1,1\n")

    assert [str(column.type) for column in format_named("csv").columns([blob], settings)[0]] == [
        "string",
        "decimal128(10, 2)",
    ]


def test_a_declared_type_that_does_not_exist_is_named() -> None:
    assert declared_column("c", "LIST<uuid>").type == pa.list_(pa.uuid())
    with pytest.raises(SpecError, match="type 'txt' of column 'c' does not exist"):
        declared_column("c", "txt")


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ('{"a":1}\n{"a":2}', "int64"),
        ('{"a":1}\n{"a":2.5}', "double"),
        ('{"a":12345678901234567890}', "decimal128(20, 0)"),
        ('{"a":0.30000000000000004}', "double"),
        ('{"a":12345678901234567.25}', "decimal128(19, 2)"),
        ('{"a":"2024-01-01"}', "string"),
        ('{"a":[1,null]}', "list<item: int64>"),
        ('{"a":{"b":"2024-01-01T00:00:00Z"}}\n{"a":{"c":1}}', "struct<b: string, c: int64>"),
        ('{"a":null}\n{"a":[]}', "list<item: string>"),
        ('{"a":null}', "string"),
    ],
)
def test_ndjson_fields_get_the_type_that_holds_every_value(lines: str, kind: str) -> None:
    shapes = format_named("ndjson").columns([MemoryBlob("f.ndjson", lines.encode())], FormatSettings(format="ndjson"))

    assert str(shapes[0][0].type) == kind


def test_a_field_of_two_kinds_is_named() -> None:
    ndjson = FormatSettings(format="ndjson")

    with pytest.raises(DataError, match=r"field 'a' of f\.ndjson is string, but int64 in rows before"):
        format_named("ndjson").columns([MemoryBlob("f.ndjson", b'{"a":1}\n{"a":"x"}')], ndjson)
    with pytest.raises(DataError, match=r"field 'a' of 2\.ndjson is string, but int64 in rows before"):
        format_named("ndjson").columns(
            [MemoryBlob("1.ndjson", b'{"a":1}'), MemoryBlob("2.ndjson", b'{"a":"x"}')], ndjson
        )
