"""What a column was in the system it came from, kept in the column's comment: it moves with the column and dies with it.

The comment is one JSON object. It counts only while the column still has the type it was written for; any other comment is
the user's own and left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from penstock.core.schema import Column, Fidelity

_MARK = "penstock"
_PLAIN = {
    str(kind): kind
    for kind in (
        pa.float16(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.timestamp("s"), pa.timestamp("ms"),
        pa.month_day_nano_interval(), pa.large_string(), pa.large_binary(),
    )
}  # fmt: skip
_WITH_SIZE: tuple[tuple[re.Pattern[str], Callable[[Any], pa.DataType]], ...] = (
    (re.compile(r"decimal256\((\d+), (-?\d+)\)\Z"), lambda m: pa.decimal256(int(m[1]), int(m[2]))),
    (re.compile(r"timestamp\[(s|ms|us|ns), tz=([^\]]+)\]\Z"), lambda m: pa.timestamp(m[1], m[2])),
    (re.compile(r"fixed_size_binary\[(\d+)\]\Z"), lambda m: pa.binary(int(m[1]))),
)


def is_own(comment: str) -> bool:
    """Whether Penstock wrote this comment."""
    return _read(comment) is not None


def comment_of(column: Column, stored: str, plain: Column) -> str:
    """The comment that keeps what `plain`, the column as it would be read from its stored type alone, does not say."""
    kept = {"type": stored}
    if column.logical != plain.logical:
        kept["logical"] = column.logical
    if column.native and column.native != plain.native:
        kept["native"] = column.native
    if column.type != plain.type and carrier_of(str(column.type)) is not None:
        kept["carrier"] = str(column.type)
    return json.dumps({_MARK: kept}, ensure_ascii=False) if len(kept) > 1 else ""


def recalled(comment: str, stored: str, plain: Column) -> Column:
    """`plain` with what the comment keeps of the column's origin."""
    kept = _read(comment)
    if kept is None or kept.get("type") != stored:
        return plain
    carrier = carrier_of(kept.get("carrier", "")) or plain.type
    logical = kept.get("logical", plain.logical)
    is_text = carrier == pa.string() and logical not in ("", "json", "enum", "citext")
    fidelity = Fidelity.TEXT if is_text else Fidelity.LOSSLESS
    return replace(plain, type=carrier, logical=logical, native=kept.get("native", plain.native), fidelity=fidelity)


def carrier_of(text: str) -> pa.DataType | None:
    """The Arrow type of its own text, for types that DuckDB stores in another one from which Arrow casts exactly."""
    if text in _PLAIN:
        return _PLAIN[text]
    for pattern, make in _WITH_SIZE:
        match = pattern.match(text)
        if match:
            return make(match)
    return None


def _read(comment: str) -> dict[str, str] | None:
    if not comment.startswith("{"):
        return None
    try:
        found = json.loads(comment)
    except ValueError:
        return None
    kept = found.get(_MARK)
    return kept if isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values()) else None
