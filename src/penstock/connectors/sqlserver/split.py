"""Chunks of a table: ranges of a key, partitions, or pages of a heap; every row in exactly one of them.

Ranges are half-open and cover the key's whole order, with a chunk of its own for NULL, so that they hold whatever is
written meanwhile. Their ends come from the statistics of the clustered index, else from the rows themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.connectors.sqlserver.catalog import Typed, described, resolve
from penstock.connectors.sqlserver.line import Line
from penstock.connectors.sqlserver.select import relation, select
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.connectors.sqlserver.types import Declared, is_ordered, value_text
from penstock.core.errors import Missing, NotSupported, SpecError
from penstock.core.load import Chunk, Source
from penstock.core.names import quote

_HEAP_SCANS = 8  # each chunk of a heap's pages reads the heap whole
_SAMPLE_ROWS = 1000
_LEAST_SAMPLED = 16

# Indexes of a table: number, name, type (0 heap, 1 clustered, 2 other rowstore, 5 columnstore), unique, filtered, and
# whether it is on a partition scheme.
INDEXES = """
SELECT i.index_id, i.type, i.is_unique, i.has_filter, i.data_space_id FROM sys.indexes AS i
WHERE i.object_id = ? AND i.is_disabled = 0 AND i.is_hypothetical = 0
"""
INDEX_COLUMNS = """
SELECT index_id, key_ordinal, column_id, partition_ordinal FROM sys.index_columns WHERE object_id = ?
"""
PARTITIONS = """
SELECT partition_number, SUM(rows) FROM sys.partitions WHERE object_id = ? AND index_id IN (0, 1)
GROUP BY partition_number ORDER BY partition_number
"""
FUNCTION = """
SELECT f.name FROM sys.partition_schemes AS s JOIN sys.partition_functions AS f ON f.function_id = s.function_id
WHERE s.data_space_id = ?
"""
SIZE = """
SELECT SUM(a.total_pages) * 8192 FROM sys.partitions AS p JOIN sys.allocation_units AS a ON a.container_id = p.partition_id
WHERE p.object_id = ? AND p.index_id IN (0, 1)
"""
# Ends of the steps of a column's statistics, with the rows up to and with each.
HISTOGRAM = """
SELECT {text}, h.range_rows + h.equal_rows FROM sys.stats AS s
JOIN sys.stats_columns AS c ON c.object_id = s.object_id AND c.stats_id = s.stats_id AND c.stats_column_id = 1
CROSS APPLY sys.dm_db_stats_histogram(s.object_id, s.stats_id) AS h
WHERE s.object_id = ? AND c.column_id = ? AND s.has_filter = 0 AND s.stats_id = (
    SELECT MIN(t.stats_id) FROM sys.stats AS t
    JOIN sys.stats_columns AS d ON d.object_id = t.object_id AND d.stats_id = t.stats_id AND d.stats_column_id = 1
    WHERE t.object_id = s.object_id AND d.column_id = c.column_id AND t.has_filter = 0
)
ORDER BY h.step_number
"""


@dataclass(frozen=True)
class Index:
    """An index as far as a split cares: its first column's number, whether it is clustered, alone unique."""

    first: int
    is_clustered: bool
    is_single_unique: bool


@dataclass(frozen=True)
class Shape:
    """What the catalog tells of a table: columns, indexes, the partition function with its column, partitions."""

    table: int
    columns: tuple[Typed, ...]
    indexes: tuple[Index, ...]
    is_heap: bool
    function: str
    partition_column: int
    partitions: tuple[tuple[int, int], ...]
    size_bytes: int | None

    def column(self, number: int) -> Typed | None:
        return next((column for column in self.columns if column.number == number), None)


def split(session: SqlServerSession, line: Line, source: Source, chunk_bytes: int) -> list[Chunk]:
    """Chunks of about `chunk_bytes` as stored. One chunk for a query, and where filter and window leave less than one."""
    how = session.option("split_by", source.options)
    if source.table is None or how == "none":
        return [Chunk(0)]
    table = resolve(session, line, [source.table]).get(source.table)
    if table is None:
        raise Missing(f"table {source.table} of connection {session.spec.name!r} does not exist", "check the name")
    shape = shape_of(line, table)
    rows, size_bytes = _measured(line, source, shape)
    count = -(-size_bytes // chunk_bytes)
    if rows == 0 or count <= 1:
        return [Chunk(0, {}, rows, size_bytes)]
    whole = _Whole(source, shape, rows, size_bytes, count)
    return _cut(session, line, whole, how)


@dataclass(frozen=True)
class _Whole:
    source: Source
    shape: Shape
    rows: int
    size_bytes: int
    count: int

    def chunks(self, bounds: Sequence[dict[str, Any]]) -> list[Chunk]:
        """One chunk for each of `bounds`, as if rows were spread evenly."""
        many = max(1, len(bounds))
        return [Chunk(at, dict(each), self.rows // many, self.size_bytes // many) for at, each in enumerate(bounds)]


def _cut(session: SqlServerSession, line: Line, whole: _Whole, how: str) -> list[Chunk]:
    named = session.option("split_column", whole.source.options)
    if how in ("auto", "key"):
        key = _named(whole, named) if named else key_of(whole.shape)
        if key is not None:
            return _by_key(line, whole, key)
        if how == "key":
            raise NotSupported(
                f"table {whole.source.table} has no key to split by", "name split_column, or set split_by to auto"
            )
    if how in ("auto", "partition") and whole.shape.function:
        return _by_partition(whole)
    if how == "partition":
        raise NotSupported(f"table {whole.source.table} is not partitioned", "set split_by to auto or key")
    if whole.shape.is_heap and session.server.has_pages and _tells_pages(line, whole.source):
        many = min(whole.count, _HEAP_SCANS)
        return whole.chunks([{"page": number, "of": many} for number in range(many)])
    if how == "page":
        raise NotSupported(
            f"table {whole.source.table} is no heap whose pages the server tells", "set split_by to auto or key"
        )
    return [Chunk(0, {}, whole.rows, whole.size_bytes)]


def shape_of(line: Line, table: int) -> Shape:
    """The table as the catalog tells it; six questions."""
    columns = tuple(described(line, [table]).get(table, []))
    places = line.query(INDEX_COLUMNS, [table])
    indexes, space, is_heap = [], 0, False
    for number, kind, is_unique, has_filter, data_space in line.query(INDEXES, [table]):
        keys = sorted((place, column) for index, place, column, _ in places if index == number and place)
        is_heap = is_heap or kind == 0
        space = int(data_space or 0) if number in (0, 1) else space
        if keys and kind in (1, 2) and not has_filter:
            indexes.append(Index(int(keys[0][1]), kind == 1, bool(is_unique) and len(keys) == 1))
    by = [int(column) for index, _, column, place in places if index in (0, 1) and place]
    partitions = tuple((int(number), int(rows or 0)) for number, rows in line.query(PARTITIONS, [table]))
    functions = line.query(FUNCTION, [space]) if by and len(partitions) > 1 else []
    size = line.query_if_known(SIZE, [table])
    size_bytes = int(size[0][0]) if size and size[0][0] is not None else None
    function = str(functions[0][0]) if functions else ""
    return Shape(table, columns, tuple(indexes), is_heap, function, by[0] if by else 0, partitions, size_bytes)


def key_of(shape: Shape) -> Typed | None:
    """The column to range over: the first of the clustered index, else one that is unique alone; of an ordered type."""
    ranked = sorted(shape.indexes, key=lambda index: (not index.is_clustered, not index.is_single_unique, index.first))
    for index in ranked:
        column = shape.column(index.first)
        if column is None or not (index.is_clustered or index.is_single_unique) or column.declared.name == "bit":
            continue
        if is_ordered(column.declared):
            return column
    return None


def _named(whole: _Whole, name: str) -> Typed:
    found = next((column for column in whole.shape.columns if column.name == name), None)
    if found is None or not is_ordered(found.declared):
        raise SpecError(
            f"split_column {name!r} of table {whole.source.table} "
            + ("does not exist" if found is None else f"is {found.declared.text}, which has no order to cut"),
            "name another column",
        )
    return found


def _measured(line: Line, source: Source, shape: Shape) -> tuple[int, int]:
    """Rows and bytes of what is read: of the whole table from the catalog; what filter and window leave is counted."""
    rows = sum(count for _, count in shape.partitions)
    is_whole = not source.where and (
        source.window is None or (source.window.low is None and source.window.high is None)
    )
    if is_whole and shape.size_bytes and rows:
        return rows, shape.size_bytes
    statement = select(source, {}, ["COUNT_BIG(*)"])
    counted = int(line.query(statement.sql, statement.values)[0][0])
    if shape.size_bytes and rows:
        return counted, round(shape.size_bytes * min(1.0, counted / rows))
    return counted, counted * _row_bytes(line, source, shape)


def _row_bytes(line: Line, source: Source, shape: Shape) -> int:
    """The average length of some rows, where the catalog shows no sizes."""
    lengths = [f"COALESCE(CAST(DATALENGTH(src.{quote(column.name)}) AS bigint), 0)" for column in shape.columns]
    if not lengths:
        return _LEAST_SAMPLED
    plain = replace(source, where="", window=None)
    sql = f"SELECT AVG(s.n) FROM (SELECT TOP ({_SAMPLE_ROWS}) {' + '.join(lengths)} AS n FROM {relation(plain)}) AS s"
    found = line.query(sql)[0][0]
    return max(_LEAST_SAMPLED, int(found or 0))


def _tells_pages(line: Line, source: Source) -> bool:
    """%%physloc%% is not documented: where a server does not know it, heaps are read in one piece."""
    sql = f"SELECT COUNT(*) FROM (SELECT TOP (1) %%physloc%% AS place FROM {relation(source)}) AS s"
    return bool(line.query_if_known(sql))


def _by_partition(whole: _Whole) -> list[Chunk]:
    column = whole.shape.column(whole.shape.partition_column)
    assert column is not None
    total = max(1, sum(rows for _, rows in whole.shape.partitions))
    chunks = []
    for ordinal, (number, rows) in enumerate(whole.shape.partitions):
        bounds = {"function": whole.shape.function, "column": column.name, "partition": number}
        chunks.append(Chunk(ordinal, bounds, rows, round(whole.size_bytes * rows / total)))
    return chunks


def _by_key(line: Line, whole: _Whole, key: Typed) -> list[Chunk]:
    cuts = _cuts(line, whole, key)
    kind = key.declared.text
    bounds: list[dict[str, Any]] = [
        {"key": key.name, "type": kind, "low": low, "high": high}
        for low, high in zip([None, *cuts], [*cuts, None], strict=True)
    ]
    if key.nullable:
        bounds.append({"key": key.name, "null": True})
    return whole.chunks(bounds)


def _cuts(line: Line, whole: _Whole, key: Typed) -> list[str]:
    """At most count - 1 values that cut the key into equal shares: from statistics where they have steps enough, else
    from the rows."""
    steps = _histogram(line, whole.shape, key)
    if len(steps) > 2 * whole.count:
        total, reached = sum(rows for _, rows in steps), 0.0
        cuts: list[str] = []
        for text, rows in steps[:-1]:
            reached += rows
            if reached >= total * (len(cuts) + 1) / whole.count:
                cuts.append(text)
        return cuts[: whole.count - 1]
    column = f"src.{quote(key.name)}"
    filled = select(
        whole.source, {"key": key.name}, [f"{column} AS k", f"NTILE({whole.count}) OVER (ORDER BY {column}) AS n"]
    )
    least = value_text(key.declared, "MIN(s.k)")
    sql = f"SELECT {least} FROM ({filled.sql}) AS s GROUP BY s.n ORDER BY s.n"
    values = [str(row[0]) for row in line.query(sql, filled.values)][1:]
    # A value that fills several shares is the edge of one chunk only.
    return list(dict.fromkeys(values))


def _histogram(line: Line, shape: Shape, key: Typed) -> list[tuple[str, float]]:
    """Steps of the statistics whose first column is the key; none where the server or the login's rights give none."""
    text = value_text(key.declared, f"CAST(h.range_high_key AS {_plain(key.declared)})")
    rows = line.query_if_known(HISTOGRAM.format(text=text), [shape.table, key.number])
    return [(str(text), float(count)) for text, count in rows if text is not None]


def _plain(declared: Declared) -> str:
    return "binary(8)" if declared.name == "rowversion" else declared.text
