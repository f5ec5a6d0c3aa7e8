"""Chunks of a table: ranges of a key, cut where so many rows of an index have gone by; of large tables, by estimates.

Every row has one place in the order of a key, so that ranges with open ends hold each row once; rows without a value in a
key that may be NULL make a chunk of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from penstock.connectors.mysql.catalog import HeldColumn, Place, columns_of
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.select import BYTES, above, bounds, select, shown
from penstock.connectors.mysql.session import query
from penstock.connectors.mysql.types import BLOBS, GEOMETRIES, INTEGERS, MARK, TEXTS, Declared
from penstock.core.load import Chunk, Source
from penstock.core.names import quote

# Up to so many rows an index is walked from end to end; beyond, ranges are halved by the server's estimates.
_WALK_ROWS = 5_000_000
_SAMPLE_ROWS = 500
_KEY_COLUMNS = 3
_HALVINGS = 64

# Indexes of a table: name, is unique, column, may be NULL, prefix length, in order.
_INDEXES = """
SELECT INDEX_NAME, NON_UNIQUE = 0, COLUMN_NAME, NULLABLE = 'YES', SUB_PART FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND INDEX_TYPE = 'BTREE' ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX
"""
_ESTIMATE = "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
_FIXED_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 4, "int": 4, "bigint": 8, "float": 4, "double": 8, "date": 4}


@dataclass(frozen=True)
class Key:
    """Columns of an index, in order; only a single one may be NULL."""

    index: str
    columns: tuple[HeldColumn, ...]
    is_nullable: bool

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def types(self) -> list[str]:
        return [column.declared.text for column in self.columns]

    @property
    def listed(self) -> str:
        return ", ".join(quote(name, MARK) for name in self.names)

    def bounds(self, low: Sequence[str] | None, high: Sequence[str] | None) -> dict[str, Any]:
        found: dict[str, Any] = {"key": self.names, "types": self.types}
        found |= {"low": list(low)} if low is not None else {}
        return found | ({"high": list(high)} if high is not None else {})


def split(connection: Connection, source: Source, place: Place, chunk_bytes: int) -> list[Chunk]:
    """Chunks of about `chunk_bytes` as rows weigh in Arrow. One for a view and for a table without a fitting key."""
    held = columns_of(connection, {place}).get(place, [])
    key = _key(connection, source, place, held)
    if key is None:
        return [Chunk(0)]
    row_bytes = _row_bytes(connection, source, place, held, key)
    rows = query(connection, _ESTIMATE, place)[0][0] or 0
    share = _share(connection, source, place)
    step = max(1, round(chunk_bytes / row_bytes / share))
    is_own_window = source.window is not None and source.window.column == key.names[0]
    if rows > _WALK_ROWS and not is_own_window and _is_countable(key.columns[0].declared):
        key = Key(key.index, key.columns[:1], key.is_nullable)
        ranges = list(_halved(connection, place, key, step))
    else:
        ranges = list(_walked(connection, source, place, key, step, is_own_window))
    chunks = [
        Chunk(at, key.bounds(low, high), count, round((count or 1) * row_bytes))
        for at, (low, high, count) in enumerate(ranges)
    ]
    if key.is_nullable and len(ranges) > 1:
        return [*chunks, Chunk(len(chunks), {"key": key.names[:1], "types": key.types[:1], "null": True}, None, 0)]
    return chunks if len(ranges) > 1 else [Chunk(0, {}, chunks[0].rows_estimate, chunks[0].size_bytes)]


# ---- the key


def _key(connection: Connection, source: Source, place: Place, held: Sequence[HeldColumn]) -> Key | None:
    """The index to cut by: one that begins with the window's column, else the primary key, else a unique index, else any."""
    by_name = {column.name: column for column in held}
    indexes: dict[str, list[tuple[HeldColumn | None, bool, bool, bool]]] = {}
    for index, is_unique, name, nullable, prefix in query(connection, _INDEXES, place):
        # An index may be over an expression, which has no name.
        column = by_name.get(name)
        fits = column is not None and prefix is None and _has_order(column.declared)
        indexes.setdefault(index, []).append((column, bool(is_unique), bool(nullable), fits))
    found = []
    for at, (index, parts) in enumerate(indexes.items()):
        columns: list[HeldColumn] = []
        for column, _, nullable, fits in parts[:_KEY_COLUMNS]:
            if column is None or not fits or (columns and (nullable or parts[0][2])):
                break
            columns.append(column)
        if not columns:
            continue
        in_window = source.window is not None and source.window.column == columns[0].name
        rank = (not in_window, index != "PRIMARY", not parts[0][1], parts[0][2], at)
        found.append((rank, Key(index, tuple(columns), parts[0][2])))
    return min(found, key=lambda each: each[0])[1] if found else None


def _has_order(declared: Declared) -> bool:
    """Whether comparing with a literal follows the index: not so for enum and set, whose order is that of numbers."""
    return declared.name not in {"enum", "set", "bit", "json", "float", "time", *GEOMETRIES}


# ---- sizes


def _row_bytes(connection: Connection, source: Source, place: Place, held: Sequence[HeldColumn], key: Key) -> float:
    """Bytes of an average row, from the first and the last rows by key: they do not depend on statistics that come late."""
    chosen = {column.name for column in source.columns}
    columns = [column for column in held if not chosen or column.name in chosen]
    fixed = sum(_FIXED_BYTES.get(column.declared.name, 8) for column in columns if not _is_wide(column.declared))
    wide = [f"COALESCE(LENGTH({quote(c.name, MARK)}), 0) + 4" for c in columns if _is_wide(c.declared)]
    if not wide:
        return max(1.0, float(fixed))
    table = f"{quote(place[0], MARK)}.{quote(place[1], MARK)}"
    ends = [
        f"(SELECT {' + '.join(wide)} AS size FROM {table} ORDER BY {', '.join(f'{quote(n, MARK)} {way}' for n in key.names)}"
        f" LIMIT {_SAMPLE_ROWS})"
        for way in ("ASC", "DESC")
    ]
    average = query(connection, f"SELECT AVG(size) FROM ({' UNION ALL '.join(ends)}) AS ends")[0][0]
    return max(1.0, fixed + float(average or 0))


def _is_wide(declared: Declared) -> bool:
    names = {*TEXTS, *BLOBS, *BYTES, *GEOMETRIES, "char", "varchar", "json", "enum", "set"}
    return declared.name in names


def _share(connection: Connection, source: Source, place: Place) -> float:
    """The share of the table's rows that filter and window leave, as the server estimates it."""
    if not source.where and (source.window is None or (source.window.low is None and source.window.high is None)):
        return 1.0
    if not source.where and source.window is not None:
        return 1.0 if _has_index_on(connection, place, source.window.column) else _estimated(connection, source, place)
    return _estimated(connection, source, place)


def _has_index_on(connection: Connection, place: Place, column: str) -> bool:
    rows = query(connection, _INDEXES, place)
    first: dict[str, str] = {}
    for index, _, name, _, _ in rows:
        first.setdefault(index, name)
    return column in first.values()


def _estimated(connection: Connection, source: Source, place: Place) -> float:
    asked = _planned_rows(connection, "EXPLAIN " + select(source, place[0], ["1"]))
    everything = _planned_rows(connection, "EXPLAIN " + select(Source(source.table), place[0], ["1"]))
    return min(1.0, max(asked, 1.0) / everything) if everything > 0 else 1.0


def _planned_rows(connection: Connection, sql: str) -> float:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        names = [str(each[0]).lower() for each in cursor.description or ()]
        rows = cursor.fetchall()
    found = dict(zip(names, rows[0], strict=True)) if rows else {}
    return float(found.get("rows") or 0) * float(found.get("filtered") or 100) / 100


# ---- cuts

Range = tuple[Sequence[str] | None, Sequence[str] | None, int | None]


def _walked(
    connection: Connection, source: Source, place: Place, key: Key, step: int, in_window: bool
) -> Iterator[Range]:
    """Ranges of `step` rows each by the order of the index; the server passes over the rows in between by itself."""
    listed = [f"{shown(column.declared, column.name)} AS _penstock_{at}" for at, column in enumerate(key.columns)]
    table = Source(source.table, window=source.window if in_window else None)
    filled = [f"{quote(key.names[0], MARK)} IS NOT NULL"] if key.is_nullable else []
    low: Sequence[str] | None = None
    while True:
        sql = select(table, place[0], listed, [*filled, *bounds(key.bounds(low, None))])
        found = query(connection, f"{sql} ORDER BY {key.listed} LIMIT 1 OFFSET {step}")
        if found and low is not None and [str(part) for part in found[0]] == list(low):
            # More equal keys than a chunk holds: it ends where the next key begins.
            found = query(
                connection,
                select(table, place[0], listed, [*filled, *above(key.bounds(low, None))])
                + f" ORDER BY {key.listed} LIMIT 1",
            )
        if not found:
            break
        high = [str(part) for part in found[0]]
        yield low, high, step
        low = high
    yield low, None, step


def _is_countable(declared: Declared) -> bool:
    return declared.name in INTEGERS or declared.name in ("date", "datetime", "timestamp")


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


def _number_of(value: Any) -> int:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    return value.toordinal() if isinstance(value, date) else int(value)


def _text_of(declared: Declared, number: int) -> str:
    if declared.name == "date":
        return str(date.fromordinal(number))
    return str(number) if declared.name in INTEGERS else str(_EPOCH + timedelta(microseconds=number))


def _halved(connection: Connection, place: Place, key: Key, step: int) -> Iterator[Range]:
    """Ranges of the key's first column that are halved until the server's index says that they hold `step` rows or less;
    neighbours that hold little are put together. Skewed keys so get ranges of unequal width."""
    column = key.columns[0]
    name, table = quote(column.name, MARK), f"{quote(place[0], MARK)}.{quote(place[1], MARK)}"
    low, high = query(connection, f"SELECT MIN({name}), MAX({name}) FROM {table}")[0]
    if not isinstance(low, int | date) or not isinstance(high, int | date):
        yield None, None, None
        return

    def rows_between(start: int, end: int) -> float:
        texts = [[_text_of(column.declared, number)] for number in (start, end)]
        inside = " AND ".join(bounds(key.bounds(*texts)))
        return _planned_rows(
            connection, f"EXPLAIN SELECT 1 FROM {table} FORCE INDEX ({quote(key.index, MARK)}) WHERE {inside}"
        )

    def pieces(start: int, end: int, depth: int) -> Iterator[tuple[int, float]]:
        """Where each piece ends, and its rows."""
        rows = rows_between(start, end)
        if rows <= step or end - start < 2 or depth == 0:
            yield end, rows
            return
        middle = (start + end) // 2
        yield from pieces(start, middle, depth - 1)
        yield from pieces(middle, end, depth - 1)

    start, last = _number_of(low), _number_of(high) + 1
    begun: Sequence[str] | None = None
    held = 0.0
    for end, rows in pieces(start, last, _HALVINGS):
        if held and held + rows > step:
            cut = [_text_of(column.declared, start)]
            yield begun, cut, round(held)
            begun, held = cut, 0.0
        held += rows
        start = end
    yield begun, None, round(held)
