"""The SELECT of a source and a chunk: columns cast to what the decoder expects, filter, cursor window, chunk bounds.

COPY takes no bound parameters, so values stand in the text as literals that libpq quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.connectors.postgres.catalog import subquery
from penstock.connectors.postgres.session import Connection, literal
from penstock.core.errors import SpecError
from penstock.core.load import CursorValue, Source, Window
from penstock.core.names import TableName, quote

# The name of a type as format_type writes it: words, quoted names, modifiers, brackets of arrays.
_TYPE_NAME = re.compile(r'[\w ."$,()\[\]-]+\Z')


def relation(source: Source, bounds: Mapping[str, Any] | None = None) -> str:
    """What stands behind FROM: a table, one of its members (`only` leaves that one's own children out), or the query."""
    member = (bounds or {}).get("table")
    if member:
        return "ONLY " + TableName(tuple(member)).quoted()
    if source.table is not None:
        return TableName(source.table.parts[-2:]).quoted()
    return subquery(source.query)


def select(connection: Connection, source: Source, bounds: Mapping[str, Any], expressions: Sequence[str]) -> str:
    """The statement that reads `expressions` of a chunk; without bounds, of the whole source."""
    where = conditions(connection, source, bounds)
    tail = f"\nWHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {', '.join(expressions)}\nFROM {relation(source, bounds)}{tail}"


def conditions(connection: Connection, source: Source, bounds: Mapping[str, Any]) -> list[str]:
    """What a row must fulfil, to be joined with AND: chunk, window and filter."""
    quoted: Callable[[str], str] = lambda text: literal(connection, text)  # noqa: E731
    found = _bounds(bounds, quoted)
    if source.window is not None:
        found += _window(source.window, quoted)
    if source.where:
        found.append(f"({source.where}\n)")
    return found


def _bounds(bounds: Mapping[str, Any], quoted: Callable[[str], str]) -> list[str]:
    if "pages" in bounds:
        first, end = bounds["pages"]
        found = [f"ctid >= {_place(first)}"]
        return found if end is None else [*found, f"ctid < {_place(end)}"]
    if "key" in bounds:
        key = quote(bounds["key"])
        if bounds.get("null"):
            return [f"{key} IS NULL"]
        kind = type_name(bounds["type"])
        found = [f"{key} >= {quoted(bounds['low'])}::{kind}"] if bounds.get("low") is not None else []
        found += [f"{key} < {quoted(bounds['high'])}::{kind}"] if bounds.get("high") is not None else []
        return found or [f"{key} IS NOT NULL"]
    return []


def _place(place: Sequence[int]) -> str:
    page, line = place
    return f"'({int(page)},{int(line)})'::tid"


def _window(window: Window, quoted: Callable[[str], str]) -> list[str]:
    column = quote(window.column)
    found = [f"{column} >= {typed(window.low, quoted)}"] if window.low is not None else []
    found += [f"{column} <= {typed(window.high, quoted)}"] if window.high is not None else []
    if not window.nulls:
        return found or [f"{column} IS NOT NULL"]
    return [f"({' AND '.join(found)} OR {column} IS NULL)"] if found else []


def typed(value: CursorValue, quoted: Callable[[str], str]) -> str:
    return f"{quoted(value.text)}::{type_name(value.type)}"


def type_name(text: str) -> str:
    """`text`, once it is sure to be nothing but the name of a type."""
    if not _TYPE_NAME.match(text) or text.count('"') % 2:
        raise SpecError(f"{text!r} is no name of a type of PostgreSQL", "load the table anew with --full-refresh")
    return text
