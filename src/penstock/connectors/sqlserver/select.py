"""The SELECT of a source and a chunk: columns as the decoder expects them, filter, cursor window, chunk bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.connectors.sqlserver.types import text_value
from penstock.core.load import CursorValue, Source, Window
from penstock.core.names import TableName, quote


@dataclass(frozen=True)
class Statement:
    """SQL and the values bound to its `?`, in order."""

    sql: str
    values: tuple[Any, ...] = ()


def relation(source: Source) -> str:
    """What stands behind FROM: the table, or the query as a derived table. The line break ends a comment at its end."""
    if source.table is not None:
        return f"{TableName(source.table.parts[-2:]).quoted()} AS src"
    return f"({source.query.strip().rstrip(';').rstrip()}\n) AS src"


def select(source: Source, bounds: Mapping[str, Any], expressions: Sequence[str], head: str = "SELECT") -> Statement:
    """The statement that reads `expressions` of a chunk; without bounds, of the whole source."""
    found, values = conditions(source, bounds)
    tail = f"\nWHERE {' AND '.join(found)}" if found else ""
    return Statement(f"{head} {', '.join(expressions)}\nFROM {relation(source)}{tail}", tuple(values))


def conditions(source: Source, bounds: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """What a row must fulfil, to be joined with AND: chunk, window and filter; and the values they bind."""
    found, values = _bounds(bounds)
    if source.window is not None:
        more, bound = _window(source.window)
        found, values = found + more, values + bound
    if source.where:
        found.append(f"({source.where}\n)")
    return found, values


def _bounds(bounds: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    if "partition" in bounds:
        function, column = quote(bounds["function"]), quote(bounds["column"])
        return [f"$PARTITION.{function}(src.{column}) = {int(bounds['partition'])}"], []
    if "page" in bounds:
        # A row's place begins with its page, the lowest byte first.
        page = "(CAST(SUBSTRING(%%physloc%%, 1, 1) AS int) + 256 * CAST(SUBSTRING(%%physloc%%, 2, 1) AS int))"
        return [f"{page} % {int(bounds['of'])} = {int(bounds['page'])}"], []
    if "key" not in bounds:
        return [], []
    key = f"src.{quote(bounds['key'])}"
    if bounds.get("null"):
        return [f"{key} IS NULL"], []
    found, values = [], []
    for end, sign in (("low", ">="), ("high", "<")):
        if bounds.get(end) is not None:
            found.append(f"{key} {sign} {text_value(bounds['type'])}")
            values.append(bounds[end])
    return found or [f"{key} IS NOT NULL"], values


def _window(window: Window) -> tuple[list[str], list[Any]]:
    column = f"src.{quote(window.column)}"
    found: list[str] = []
    values: list[Any] = []
    for value, sign in ((window.low, ">="), (window.high, "<=")):
        if value is not None:
            found.append(f"{column} {sign} {typed(value)}")
            values.append(value.text)
    if not window.nulls:
        return found or [f"{column} IS NOT NULL"], values
    return ([f"({' AND '.join(found)} OR {column} IS NULL)"] if found else []), values


def typed(value: CursorValue) -> str:
    """SQL for a cursor's value, whose text is bound."""
    return text_value(value.type)
