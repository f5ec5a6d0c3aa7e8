"""Rows that do not fit: an error that names them, or a file in the quarantine folder that keeps them with the reason."""

from __future__ import annotations

from penstock.connectors._formats.port import Blob, Refused
from penstock.core.errors import DataError


class Strict:
    """Makes a row that does not fit an error."""

    def refuse(self, blob: Blob, refused: Refused) -> None:
        raise DataError(described(blob, refused), "correct the file or declare the type")


def described(blob: Blob, refused: Refused) -> str:
    where = f"row {refused.row} of {blob.name}"
    if not refused.column:
        return f"{where}: {refused.reason}"
    return f"{where}, column {refused.column!r}: value {refused.value!r} {refused.reason}"


def refusals(*_: object) -> Strict:
    return Strict()
