"""Rows that do not fit: an error that names them, or a file in the quarantine folder that keeps them with the reason."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.connectors._formats.port import Blob, Refusals, Refused, Span
from penstock.connectors.files.naming import file_name, part_name, table_name
from penstock.connectors.files.swap import sync_folder
from penstock.core.errors import DataError
from penstock.core.names import TableName

if TYPE_CHECKING:
    from penstock.connectors.files.root import Root


def described(blob: Blob, refused: Refused) -> str:
    where = f"row {refused.row} of {blob.name}"
    if not refused.column:
        return f"{where} {refused.reason}: {refused.text[:200]!r}"
    return f"{where}, column {refused.column!r}: {refused.value!r} {refused.reason}"


class Strict:
    """Makes a row that does not fit an error."""

    def refuse(self, blob: Blob, refused: Refused) -> None:
        raise DataError(
            described(blob, refused),
            "correct the file, declare the type (option types), or set such rows aside with bad_rows: quarantine",
        )


class Uncounted:
    """Leaves out rows that do not fit without keeping them: for counts."""

    def refuse(self, blob: Blob, refused: Refused) -> None:
        """The reading that loads the rows keeps them."""


class Quarantine:
    """Collects the rows of one read of one file in a temporary file, put in place when the file was read to its end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = f"{path}.tmp"
        self._lines: list[str] = []
        self._begun = False

    def refuse(self, blob: Blob, refused: Refused) -> None:
        value = {
            "file": blob.name,
            "row": refused.row,
            "column": refused.column,
            "value": refused.value,
            "reason": refused.reason,
            "text": refused.text,
        }
        self._lines.append(json.dumps(value, ensure_ascii=False) + "\n")
        if len(self._lines) >= 1000:
            self._write()

    def finish(self) -> None:
        """Make what was refused durable; a read without refusals leaves no file, and removes an older one."""
        if self._lines or self._begun:
            self._write()
            os.replace(self._temporary, self._path)
            sync_folder(os.path.dirname(self._path))
        elif os.path.lexists(self._path):
            os.unlink(self._path)

    def _write(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with open(self._temporary, "a" if self._begun else "w", encoding="utf-8", errors="surrogatepass") as file:
            file.writelines(self._lines)
            file.flush()
            os.fsync(file.fileno())
        self._lines, self._begun = [], True


def quarantine_folder(root: Root, table: TableName) -> str:
    return root.state("quarantine", file_name(table))


@contextmanager
def refusals(root: Root, table: TableName, file: str, span: Span | None, bad_rows: str) -> Iterator[Refusals]:
    """What to do with the bad rows of one read: `bad_rows` is "error", "quarantine" or "count"."""
    if bad_rows != "quarantine":
        yield Uncounted() if bad_rows == "count" else Strict()
        return
    name = part_name(f"{file}@{span.start}" if span else file)
    kept = root.quarantine(table, name)
    yield kept
    kept.finish()


def quarantine_notes(root: Root) -> tuple[str, ...]:
    """One note for each table with rows set aside."""
    try:
        names = sorted(os.listdir(root.state("quarantine")))
    except FileNotFoundError:
        return ()
    counts = [(table_name(name), quarantined(root, table_name(name))) for name in names]
    return tuple(f"{count} rows of {table} are in quarantine" for table, count in counts if count)


def quarantined(root: Root, table: TableName) -> int:
    """How many rows of a table are set aside now, from its last reading."""
    count = 0
    try:
        names = sorted(os.listdir(quarantine_folder(root, table)))
    except FileNotFoundError:
        return 0
    for name in names:
        if name.endswith(".ndjson"):
            with open(os.path.join(quarantine_folder(root, table), name), "rb") as file:
                count += sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    return count
