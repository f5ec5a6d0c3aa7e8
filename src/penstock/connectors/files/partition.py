"""Hive partitions: rows by the texts of their partition columns, and the folders that stand for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors.files.root import NULL_PARTITION
from penstock.connectors.files.stamp import FoundFile
from penstock.core.errors import DataError
from penstock.core.schema import Column

# Upper case stays readable: partitions that differ by case only need a file system that tells them apart.
_PLAIN = re.compile(rb"[A-Za-z0-9_.-]")
_MOST_BYTES = 255


def split(batch: pa.RecordBatch, columns: tuple[str, ...]) -> Iterator[tuple[tuple[str | None, ...], pa.RecordBatch]]:
    """The rows of each partition with the columns that stay in the files, partitions in order of first appearance."""
    import polars as pl

    from penstock.connectors._formats.texts import to_text

    schema = batch.schema
    texts = [to_text(batch.column(name), _logical(schema.field(name))) for name in columns]
    keys = pl.DataFrame([pl.Series(str(at), text, dtype=pl.String) for at, text in enumerate(texts)])
    rest = batch.select([name for name in schema.names if name not in columns])
    groups = keys.with_row_index("row").group_by([str(at) for at in range(len(columns))], maintain_order=True)
    # A loop over partitions, not rows.
    for values, rows in groups.agg("row").select(pl.struct(pl.exclude("row")), "row").iter_rows():
        yield tuple(values.values()), rest.take(pa.array(rows, pa.uint32()))


def _logical(field: pa.Field) -> str:
    return Column.from_field(field).logical


def partition_folder(columns: tuple[str, ...], values: tuple[str | None, ...]) -> tuple[str, ...]:
    """The folder names `column=value` of one partition, percent-encoded as Hive does."""
    folders = []
    for column, value in zip(columns, values, strict=True):
        name = f"{_encoded(column)}={NULL_PARTITION if value is None else _encoded(value)}"
        if len(name) > _MOST_BYTES or value == NULL_PARTITION:
            raise DataError(
                f"value {value[:80] if value else value!r} of column {column!r} makes no folder name",
                "partition by another column",
            )
        folders.append(name)
    return tuple(folders)


def _encoded(text: str) -> str:
    """Letters, digits, `_`, `.` and `-` as they are; all else as %XX; never a lone `.` or `..`."""
    data = text.encode("utf-8", "surrogatepass")
    out = "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02X}" for byte in data)
    return out.replace(".", "%2E") if not out.strip(".") else out


def constant(text: str | None, column: Column, rows: int, where: str) -> pa.Array:
    """A column of `rows` equal values, from a folder name. Raises DataError where it is no value of the column."""
    from penstock.connectors._formats.parse import misfits, parse

    texts = pa.array([text], pa.string())
    value = parse(texts, column)
    if misfits(texts, value) is not None:
        raise DataError(f"folder of {where} has {column.name}={text!r}, which is no {column.type}", "rename the folder")
    return value.take(pa.nulls(rows, pa.int64()).fill_null(0))


def partition_columns(files: Sequence[FoundFile], settings: FormatSettings) -> tuple[Column, ...]:
    """The columns that folder names stand for, typed by their values as text columns are."""
    if not files or not files[0].partition:
        return ()
    from penstock.connectors._formats.infer import Guesses

    names = tuple(name for name, _ in files[0].partition)
    guesses = Guesses(FormatSettings(format="csv", types=settings.types))
    guesses.open(names)
    for at, name in enumerate(names):
        values = sorted({file.partition[at][1] for file in files} - {None}, key=str)
        if name not in dict(settings.types):
            guesses.look(pa.record_batch({name: pa.array(values, pa.string()).cast(pa.binary())}))
    return tuple(guesses.column(name) for name in names)
