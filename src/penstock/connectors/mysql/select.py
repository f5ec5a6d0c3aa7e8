"""The SELECT of a source: its table or query, the user's filter, a cursor window, a chunk's bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.connectors.mysql.session import literal
from penstock.connectors.mysql.types import BLOBS, INTEGERS, MARK, Declared
from penstock.core.errors import Missing
from penstock.core.load import CursorValue, Source, Window
from penstock.core.names import quote

NUMBERS = frozenset({*INTEGERS, "decimal", "float", "double", "year"})
MOMENTS = frozenset({"date", "datetime", "timestamp"})
BYTES = frozenset({*BLOBS, "binary", "varbinary"})


def relation(source: Source, database: str) -> str:
    """The table, with its database, or the query as a table expression."""
    if source.table is None:
        return f"({source.query.strip().rstrip(';').rstrip()}\n) AS query"
    schema = source.table.schema or database
    if not schema:
        raise Missing(f"table {source.table} names no database", "write database.table")
    return f"{quote(schema, MARK)}.{quote(source.table.table, MARK)}"


def select(source: Source, database: str, listed: Sequence[str], conditions: Sequence[str] = ()) -> str:
    """SELECT of expressions with the source's filter, its window and more conditions."""
    found = [f"({source.where}\n)"] if source.where else []
    found += [window(source.window)] if source.window and _is_closed(source.window) else []
    found += conditions
    tail = f" WHERE {' AND '.join(found)}" if found else ""
    return f"SELECT {', '.join(listed)} FROM {relation(source, database)}{tail}"


def _is_closed(given: Window) -> bool:
    return given.low is not None or given.high is not None or not given.nulls


def window(given: Window) -> str:
    """Both ends belong to it. Without ends it holds all rows that have a value."""
    name = quote(given.column, MARK)
    parts = [
        f"{name} {sign} {value(end.type, end.text)}"
        for sign, end in ((">=", given.low), ("<=", given.high))
        if end is not None
    ]
    inside = " AND ".join(parts) or f"{name} IS NOT NULL"
    return f"({inside} OR {name} IS NULL)" if given.nulls else f"({inside})"


def cursor_value(end: CursorValue) -> str:
    return value(end.type, end.text)


def value(kind: str, text: str) -> str:
    """A value as SQL, compared in the type of its column: numbers bare, times typed, bytes in hexadecimal."""
    name = kind.partition("(")[0].removesuffix(" unsigned")
    if name in NUMBERS:
        return f"CAST({literal(text)} AS DOUBLE)" if name in ("float", "double") else _number(text)
    if name == "date":
        return f"CAST({literal(text)} AS DATE)"
    if name in MOMENTS:
        return f"CAST({literal(text)} AS DATETIME(6))"
    if name == "time":
        return f"CAST({literal(text)} AS TIME(6))"
    return f"x'{text}'" if name in BYTES else literal(text)


def _number(text: str) -> str:
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, _, part = digits.partition(".")
    if not (whole + part).isdecimal():
        return literal(text)
    return f"{sign}{whole or '0'}" + (f".{part}" if part else "")


def shown(declared: Declared, name: str) -> str:
    """A column's value as the text that `value` reads back."""
    quoted = quote(name, MARK)
    if declared.name in BYTES:
        return f"HEX({quoted})"
    if declared.name in ("float", "double"):
        return f"CAST({quoted} AS DOUBLE)"
    return f"CAST({quoted} AS CHAR)"


def bounds(given: Mapping[str, Any]) -> list[str]:
    """The conditions of a chunk: rows whose key lies in [low, high), by the key's columns in order."""
    if not given:
        return []
    names = [quote(name, MARK) for name in given["key"]]
    if given.get("null"):
        return [f"{names[0]} IS NULL"]
    found = []
    for end, sign in (("low", ">"), ("high", "<")):
        texts = given.get(end)
        if texts is not None:
            values = [value(kind, text) for kind, text in zip(given["types"], texts, strict=True)]
            found.append(_beyond(names, values, sign, end == "low"))
    return found


def above(given: Mapping[str, Any]) -> list[str]:
    """Rows whose key is greater than a chunk's low end."""
    names = [quote(name, MARK) for name in given["key"]]
    values = [value(kind, text) for kind, text in zip(given["types"], given["low"], strict=True)]
    return [_beyond(names, values, ">", False)]


def _beyond(names: Sequence[str], values: Sequence[str], sign: str, with_equal: bool) -> str:
    """Keys beyond a key, written out column by column, which servers take for a range of an index."""
    ways = []
    for at in range(len(names)):
        same = [f"{name} = {one}" for name, one in zip(names[:at], values[:at], strict=True)]
        last = at == len(names) - 1
        ways.append(" AND ".join([*same, f"{names[at]} {sign}{'=' if last and with_equal else ''} {values[at]}"]))
    if len(ways) == 1:
        return ways[0]
    # The first column alone bounds the range too; said once more, it keeps the server from reading beyond.
    return f"({names[0]} {sign}= {values[0]} AND ({' OR '.join(f'({way})' for way in ways)}))"
