"""Chunks of a table: ranges of pages by ctid, or ranges of a key by the planner's histogram.

Page ranges need no key, have no skew and no hole for NULL. They need release 14 (TID range scans), the ordinary heap, and
the right to read each member of a partitioned table by itself; where that lacks, a single orderable key does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.connectors.postgres import drift
from penstock.connectors.postgres.select import select
from penstock.connectors.postgres.session import Connection, query
from penstock.core.errors import NotSupported
from penstock.core.load import Chunk, Source
from penstock.core.names import TableName, quote

_FIRST_WITH_TID_RANGES = 140000
_SAMPLE_ROWS = 30_000
_LINES_UNKNOWN = 64  # rows on a page of a table that was never analysed

# The table and all tables below it (partitions, inheritance): schema, name, kind, bytes of the heap, bytes with TOAST,
# estimated rows (-1: never analysed), whether it stores rows and pages can be ranged over, whether the user may read it
# by itself, whether it is the table asked for, whether row security restricts the user, block size.
_MEMBERS = """
WITH RECURSIVE member AS (
    SELECT $1::text::regclass::oid AS oid
    UNION
    SELECT i.inhrelid FROM member AS m JOIN pg_inherits AS i ON i.inhparent = m.oid
)
SELECT n.nspname::text, c.relname::text, c.relkind::text,
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END,
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE 0 END,
    c.reltuples::bigint,
    c.relkind IN ('r', 'm') AND a.amname = 'heap' AND n.nspname <> '_timescaledb_internal',
    has_table_privilege(c.oid, 'SELECT'), c.oid = $1::text::regclass, row_security_active(c.oid),
    current_setting('block_size')::int
FROM member JOIN pg_class AS c ON c.oid = member.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_am AS a ON a.oid = c.relam
WHERE c.relkind IN ('r', 'm', 'f', 'p', 'v')
ORDER BY 1, 2
"""

# For each of the tables asked for, by place: how many tables at or below it hold rows, their bytes and estimated rows.
_SIZES = """
WITH RECURSIVE member AS (
    SELECT w.place, to_regclass(w.name)::oid AS oid FROM unnest($1::text[]) WITH ORDINALITY AS w (name, place)
    UNION
    SELECT m.place, i.inhrelid FROM member AS m JOIN pg_inherits AS i ON i.inhparent = m.oid
)
SELECT m.place, count(*) FILTER (WHERE c.relkind <> 'p'),
    sum(CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE 0 END)::bigint, sum(c.reltuples::bigint)::bigint
FROM member AS m JOIN pg_class AS c ON c.oid = m.oid
WHERE c.relkind IN ('r', 'm', 'f', 'p', 'v')
GROUP BY m.place
"""

# Columns that are a key alone and have a fitting order, best first: name, type, may be NULL, type's base name.
_KEYS = """
SELECT a.attname::text, format_type(t.oid, -1), NOT a.attnotnull
FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE i.indrelid = $1::text::regclass AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
    AND i.indpred IS NULL AND i.indexprs IS NULL
    AND t.typname IN ('int2', 'int4', 'int8', 'oid', 'uuid', 'date', 'timestamp', 'timestamptz', 'text', 'varchar')
ORDER BY NOT i.indisprimary, a.attnotnull DESC, a.attlen < 0, a.attnum
"""

# Where the planner's statistics cut a column into equal shares.
_HISTOGRAM = """
SELECT histogram_bounds::text::text[] FROM pg_stats
WHERE format('%I.%I', schemaname, tablename)::regclass = $1::text::regclass AND attname = $2::text
ORDER BY inherited DESC LIMIT 1
"""


@dataclass(frozen=True)
class Member:
    """A table that holds rows of the source: the source itself, a partition, a child."""

    name: TableName
    kind: str
    heap_bytes: int
    size_bytes: int
    rows: int
    has_pages: bool
    is_readable: bool
    is_root: bool
    is_restricted: bool
    block_bytes: int

    @property
    def holds_rows(self) -> bool:
        return self.kind != "p"


def split(connection: Connection, version: int, source: Source, chunk_bytes: int, how: str) -> list[Chunk]:
    """Chunks of about `chunk_bytes` as stored, cut by the relation's size within the open transaction's snapshot.

    `how` is the option "split_by". One chunk for a query, for what holds no pages and has no single key, and where filter
    and window leave less than a chunk.
    """
    if source.table is None or how == "none":
        return [Chunk(0)]
    table = TableName(source.table.parts[-2:])
    members = [Member(TableName(row[:2]), *row[2:]) for row in query(connection, _MEMBERS, [table.quoted()])]
    share = _share(connection, source)
    size_bytes = sum(member.size_bytes for member in members)
    ranged = why_no_pages(version, members)
    if how == "ctid" and ranged:
        raise NotSupported(f"table {source.table} cannot be split by ctid: {ranged}", "set split to auto, key or none")
    if size_bytes * share <= chunk_bytes and len([m for m in members if m.holds_rows]) <= 1:
        rows = sum(member.rows for member in members)
        return [Chunk(0, {}, round(rows * share) if rows >= 0 else None, round(size_bytes * share))]
    if ranged or how == "key":
        return _by_key(connection, source, members, -(-round(size_bytes * share) // chunk_bytes))
    now = drift.moment(connection)
    found = [piece for member in members if member.holds_rows for piece in _pages(member, share, chunk_bytes)]
    by_line = {m.name for m, places, _ in found if places and any(place and place[1] for place in places)}
    seen = {m.name: drift.marks(connection, m.name, now, m.name in by_line) for m in members if m.has_pages}
    alone = len(members) == 1
    chunks = []
    for ordinal, (member, pages, part) in enumerate(found):
        bounds: dict[str, Any] = {} if alone else {"table": list(member.name.parts)}
        if pages is not None:
            bounds |= {"pages": [list(place) if place else None for place in pages], "seen": seen[member.name]}
        estimate = round(member.rows * part) if member.rows >= 0 else None
        chunks.append(Chunk(ordinal, bounds, estimate, round(member.size_bytes * part)))
    return chunks or [Chunk(0)]


def small(connection: Connection, sources: Sequence[Source], chunk_bytes: int) -> list[Chunk | None]:
    """The chunk that split() makes of each source whose one table is no larger than a chunk; None for the others.

    What a filter or window leaves of a small table is not estimated: its rows are not known.
    """
    asked = [place for place, source in enumerate(sources) if source.table is not None]
    names = [TableName(source.table.parts[-2:]).quoted() for source in sources if source.table is not None]
    found: list[Chunk | None] = [None] * len(sources)
    for at, holders, size_bytes, rows in query(connection, _SIZES, [names]) if names else []:
        place = asked[at - 1]
        if holders <= 1 and size_bytes <= chunk_bytes:
            is_known = rows >= 0 and not sources[place].where and sources[place].window is None
            found[place] = Chunk(0, {}, rows if is_known else None, size_bytes)
    return found


def why_no_pages(version: int, members: Sequence[Member]) -> str:
    """The reason why page ranges cannot be used, "" where they can."""
    if version < _FIRST_WITH_TID_RANGES:
        return "servers before release 14 read the whole table for every range of pages"
    if any(member.is_restricted for member in members):
        return "row security restricts what the user sees"
    for member in members:
        if member.holds_rows and not member.has_pages and (member.is_root or member.kind != "f"):
            return f"{member.name} does not store its rows in an ordinary heap"
        if not member.is_root and not member.is_readable:
            return f"the user may not read {member.name} by itself"
    return ""


Place = tuple[int, int]  # a page and a line on it


def _pages(member: Member, share: float, chunk_bytes: int) -> Iterator[tuple[Member, list[Place | None] | None, float]]:
    """Ranges of pages of one member, with the share of its rows that each holds; the last one is open, None is all.

    Where values lie outside the page (TOAST) a page may weigh more than a chunk: then ranges begin on lines within it.
    """
    pages = -(-member.heap_bytes // member.block_bytes) if member.has_pages else 0
    rows_a_page = -(-member.rows // pages) if member.rows > 0 and pages else _LINES_UNKNOWN
    wanted = -(-round(member.size_bytes * share) // chunk_bytes)
    lines = max(1, min(rows_a_page, -(-wanted // max(pages, 1))))
    count = min(pages * lines, wanted)
    if count <= 1:
        yield member, None, share
        return
    for number in range(count):
        places = [divmod(pages * lines * at // count, lines) for at in (number, number + 1)]
        first, end = ((page, line * rows_a_page // lines) for page, line in places)
        yield member, [first, None if number + 1 == count else end], share / count


def _share(connection: Connection, source: Source) -> float:
    """The share of the table's rows that filter and window leave, as the planner estimates it."""
    if not source.where and (source.window is None or (source.window.low is None and source.window.high is None)):
        return 1.0
    plain = Source(source.table, columns=source.columns)
    rows = [
        query(connection, "EXPLAIN (FORMAT JSON) " + select(connection, asked, {}, ["1"]))[0][0]
        for asked in (source, plain)
    ]
    asked_rows, all_rows = (_plan_rows(plan) for plan in rows)
    return min(1.0, asked_rows / all_rows) if all_rows > 0 else 1.0


def _plan_rows(plan: Any) -> float:
    found = json.loads(plan) if isinstance(plan, str) else plan
    return float(found[0]["Plan"]["Plan Rows"])


def _by_key(connection: Connection, source: Source, members: Sequence[Member], count: int) -> list[Chunk]:
    """Half-open ranges of a key, the first and last open, and one chunk for NULL where the key may be NULL."""
    assert source.table is not None
    table = TableName(source.table.parts[-2:])
    keys = query(connection, _KEYS, [table.quoted()]) if count > 1 else []
    if not keys:
        return [Chunk(0)]
    name, kind, nullable = keys[0]
    cuts = _cuts(connection, table, name, members, count)
    share = 1 / (len(cuts) + 1)
    rows, size_bytes = sum(max(member.rows, 0) for member in members), sum(member.size_bytes for member in members)
    chunks = [
        Chunk(
            number,
            {"key": name, "type": kind, "low": low, "high": high},
            round(rows * share) or None,
            round(size_bytes * share),
        )
        for number, (low, high) in enumerate(zip([None, *cuts], [*cuts, None], strict=True))
    ]
    return [*chunks, Chunk(len(chunks), {"key": name, "null": True}, 0, 0)] if nullable else chunks


def _cuts(connection: Connection, table: TableName, key: str, members: Sequence[Member], count: int) -> list[str]:
    """At most count - 1 values that cut the key into equal shares: from the planner's histogram, else from a sample that
    is the same each time for the same data."""
    found = query(connection, _HISTOGRAM, [table.quoted(), key])
    bounds: list[str] = (found[0][0] or []) if found else []
    if len(bounds) > 2:
        places = [round(number * (len(bounds) - 1) / count) for number in range(1, count)]
        return [bounds[place] for place in sorted(set(places)) if 0 < place < len(bounds) - 1]
    if any(member.is_root and member.kind not in ("r", "m", "p") for member in members):
        return []
    rows = max(sum(member.rows for member in members), sum(member.heap_bytes for member in members) // 100, 1)
    percent = min(100.0, 100.0 * _SAMPLE_ROWS / rows)
    column = quote(key)
    sample = f"""
SELECT percentile_disc($1::float8[]) WITHIN GROUP (ORDER BY {column})::text[]
FROM {table.quoted()} TABLESAMPLE SYSTEM ({percent:.4f}) REPEATABLE (0) WHERE {column} IS NOT NULL
"""
    shares = [number / count for number in range(1, count)]
    values = query(connection, sample, [shares])[0][0] or []
    return [value for place, value in enumerate(values) if value is not None and value not in values[:place]]
