"""What a column was before it was stored: its carrier, meaning and native type, in the table `_penstock_columns`.

An entry counts only while the column still has the declared type it was written for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors._formats.carriers import type_from_text, type_to_text
from penstock.connectors.sqlite.database import Connection
from penstock.core.schema import Column

COLUMNS = "_penstock_columns"

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {COLUMNS} (
    "table" TEXT NOT NULL, "column" TEXT NOT NULL, declared TEXT NOT NULL, carrier TEXT NOT NULL, logical TEXT NOT NULL,
    native TEXT NOT NULL, PRIMARY KEY ("table", "column")
)"""
# One row for each remembered column of the tables in $1 (JSON); text that is no entry of ours is left out.
_READ = f"""
SELECT "table", "column", declared, carrier, logical, native FROM {COLUMNS}
WHERE "table" IN (SELECT value FROM json_each(?)) AND typeof(carrier) = 'text'
"""
_HAS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"


@dataclass(frozen=True)
class Remembered:
    declared: str
    carrier: pa.DataType
    logical: str
    native: str


def create(connection: Connection) -> None:
    connection.ask(_CREATE)


def read(connection: Connection, tables: Sequence[str]) -> dict[tuple[str, str], Remembered]:
    """What is remembered of these tables, by table and column."""
    if not connection.ask(_HAS, (COLUMNS,)):
        return {}
    found: dict[tuple[str, str], Remembered] = {}
    for table, column, declared, carrier, logical, native in connection.ask(_READ, (json.dumps(list(tables)),)):
        kind = _type(carrier)
        if kind is not None:
            found[table, column] = Remembered(declared, kind, logical, native)
    return found


def _type(text: str) -> pa.DataType | None:
    """The carrier of an entry, None if somebody else wrote it."""
    try:
        return type_from_text(text)
    except (ValueError, pa.ArrowException, OSError):
        return None


def write(connection: Connection, table: str, columns: Sequence[tuple[str, str, Column]]) -> None:
    """Remember columns of a table: name there, declared type, and the column as it is read back."""
    rows = [
        (table, name, declared, type_to_text(column.type), column.logical, column.native)
        for name, declared, column in columns
    ]
    if rows:
        arrays = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, names=list("tcdaln"))
        connection.insert(f"INSERT OR REPLACE INTO {COLUMNS} VALUES (?, ?, ?, ?, ?, ?)", batch)


def forget(connection: Connection, table: str) -> None:
    connection.ask(f'DELETE FROM {COLUMNS} WHERE "table" = ?', (table,))
