"""What a column was in the system it came from, kept in the column's comment where its type here does not tell.

The comment is one JSON object. It counts only while the column still has the type it was written for; any other comment is
the user's own and left alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pyarrow as pa

from penstock.core.schema import Column

_MARK = "penstock"
_PLAIN = {str(kind): kind for kind in (pa.bool_(), pa.time64("us"), pa.timestamp("us", "UTC"))} | {"uuid": pa.uuid()}


def comment_of(column: Column, stored: str, plain: Column) -> str:
    """The comment that keeps what `plain`, the column as it would be read from its stored type alone, does not say; ""
    where that says all that can be kept."""
    kept = {}
    if column.logical != plain.logical:
        kept["logical"] = column.logical
    if column.type != plain.type and _name_of(column.type):
        kept["carrier"] = _name_of(column.type)
    if not kept:
        return ""
    if column.native:
        kept["native"] = column.native
    return json.dumps({_MARK: {"type": stored, **kept}}, ensure_ascii=False)


def _name_of(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        kind = pa.timestamp("us", "UTC")
    return "uuid" if kind == pa.uuid() else str(kind) if str(kind) in _PLAIN else ""


def recalled(comment: str, stored: str, plain: Column) -> Column:
    """`plain` with what the comment keeps of the column's origin."""
    kept = _read(comment)
    if kept is None or kept.get("type") != plain_text(stored):
        return plain
    carrier = _PLAIN.get(kept.get("carrier", ""), plain.type)
    return replace(
        plain, type=carrier, logical=kept.get("logical", plain.logical), native=kept.get("native", plain.native)
    )


def plain_text(stored: str) -> str:
    """A type without the display widths that some servers add and others leave out; tinyint(1) keeps its own."""
    return re.sub(r"\b((?:small|medium|big)?int|tinyint(?!\(1\)))\(\d+\)", r"\1", stored)


def _read(comment: str) -> dict[str, str] | None:
    if not comment.startswith("{"):
        return None
    try:
        found = json.loads(comment)
    except ValueError:
        return None
    kept = found.get(_MARK) if isinstance(found, dict) else None
    return kept if isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values()) else None
