"""Reads tables and queries of DuckDB as Arrow batches: tables in ranges of row ids, always in the same order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from penstock.connectors._sql.lag import duration, number
from penstock.connectors._sql.sized import fetch_rows, sized
from penstock.connectors.duckdb import cursors
from penstock.connectors.duckdb.catalog import Place, place_of, place_text, subquery
from penstock.connectors.duckdb.session import DuckdbSession, ask
from penstock.connectors.duckdb.text import bound
from penstock.connectors.duckdb.types import carried, is_text
from penstock.core.errors import DataError, Missing, SourceChanged, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source
from penstock.core.names import quote
from penstock.core.schema import Column, arrow_schema

_ROW_GROUP = 122_880
_VECTOR = 2048
_SAMPLE_ROWS = 1024

# Operators of DuckDB's plans that hand rows on in the order in which they get them.
_STREAMING = frozenset(
    {"PROJECTION", "FILTER", "SEQ_SCAN", "TABLE_SCAN", "COLUMN_DATA_SCAN", "DUMMY_SCAN", "EMPTY_RESULT", "RANGE"}
    | {
        "GENERATE_SERIES",
        "UNNEST",
        "STREAMING_LIMIT",
        "LIMIT",
        "READ_CSV",
        "READ_CSV_AUTO",
        "READ_PARQUET",
        "PARQUET_SCAN",
    }
)
_SORTING = frozenset({"ORDER_BY", "TOP_N"})


class DuckdbReader:
    """Reads through a cursor of its own for each call, so that an open iterator never blocks another call."""

    def __init__(self, session: DuckdbSession) -> None:
        self._session = session

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Ranges of row ids, whole row groups where chunks are that large; one chunk for views and queries.

        The last chunk is open-ended. Each chunk carries the table's state, so that reading notices a table whose rows
        were deleted or moved since.
        """
        with self._session.call(f"cannot split {source}"), self._session.cursor() as cursor:
            place = _base_table(source, cursor)
            if place is None:
                return [Chunk(0)]
            self._settle(cursor)
            state = _state(cursor, place)
            if not state["rows"]:
                return [Chunk(0, {}, 0, 0)]
            width = self._row_bytes(cursor, source, state["last"])
            return _ranges(state, width, max(1, int(chunk_bytes / width)))

    def _settle(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Let DuckDB do now what it would do at its next checkpoint: drop deleted rows, which moves row ids."""
        if not self._session.instance.is_read_only:
            with contextlib.suppress(duckdb.Error):  # other transactions are open: the state tells if rows move later
                ask(cursor, "CHECKPOINT")

    def _row_bytes(self, cursor: duckdb.DuckDBPyConnection, source: Source, last: int) -> float:
        """Bytes of an Arrow row on average, from rows at the start, in the middle and at the end."""
        starts = [0, max(0, last // 2), max(0, last - _SAMPLE_ROWS + 1)]
        picked = " OR ".join(f"(rowid >= {start} AND rowid < {start + _SAMPLE_ROWS})" for start in starts)
        expressions = _select_list(cursor, source)
        sample = cursor.sql(f"SELECT {expressions} FROM {_relation(source, cursor)} WHERE {picked}").to_arrow_table()
        return max(1.0, int(sample.nbytes) / max(1, int(sample.num_rows)))

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(source.columns)
        doing = f"cannot read {source}"
        with self._session.call(doing), self._session.cursor() as cursor:
            place = _base_table(source, cursor)
            if chunk.bounds and place is not None:
                _check_unmoved(cursor, source, place, chunk.bounds)
            sql, values = _select(cursor, source, chunk.bounds)
            sql += _order(cursor, sql, values, is_table=place is not None)
            fetched = cursor.sql(sql, params=values or None).to_arrow_reader(fetch_rows(schema, chunk.bounds, batch))
            for piece in sized(iter(fetched), batch):
                self._session.stop_if_cancelled(doing)
                yield _as(piece, schema, source)

    def count(self, source: Source) -> int:
        with self._session.call(f"cannot count {source}"), self._session.cursor() as cursor:
            condition, values = _conditions(cursor, source)
            return int(ask(cursor, f"SELECT count(*) FROM {_relation(source, cursor)}{condition}", values)[0][0])

    def high(self, source: Source) -> CursorValue | None:
        with self._session.call(f"cannot read the cursor of {source}"), self._session.cursor() as cursor:
            name, kind = _window_kind(cursor, source)
            condition = f" WHERE ({source.where}\n)" if source.where else ""
            sql = f"SELECT CAST(max({name}) AS VARCHAR) FROM {_relation(source, cursor)}{condition}"
            text = ask(cursor, sql)[0][0]
            return None if text is None else CursorValue(str(kind), text)

    def null_cursors(self, source: Source) -> int:
        with self._session.call(f"cannot read the cursor of {source}"), self._session.cursor() as cursor:
            name, _ = _window_kind(cursor, source)
            condition = f" AND ({source.where}\n)" if source.where else ""
            sql = f"SELECT count(*) FROM {_relation(source, cursor)} WHERE {name} IS NULL{condition}"
            return int(ask(cursor, sql)[0][0])

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        """Durations off dates and times, rounded down to what the column holds; numbers off numbers, not below the least
        number of the column's type."""
        with self._session.call(f"cannot lag the cursor of {source}"), self._session.cursor() as cursor:
            name, kind = _window_kind(cursor, source)
            text = bound(value, str(kind))
            if cursors.is_number(kind):
                return CursorValue(str(kind), cursors.less(text, kind, number(lag, name)))
            if cursors.is_moment(kind):
                sql, values = cursors.earlier(text, kind, duration(lag, name))
                return CursorValue(str(kind), ask(cursor, sql, values)[0][0])
            raise SpecError(f"column {name} of type {kind} takes no lag", "use a number or time column as cursor")


def _ranges(state: Mapping[str, int], width: float, rows: int) -> list[Chunk]:
    """Chunks of `rows` rows, rounded down to whole row groups or vectors where they are that large."""
    for unit in (_ROW_GROUP, _VECTOR):
        if rows >= unit:
            rows -= rows % unit
            break
    total = state["last"] + 1
    starts = range(0, total, rows)
    facts = {**state, "row_bytes": round(width)}
    if len(starts) == 1:
        return [Chunk(0, {}, state["rows"], round(state["rows"] * width))]
    # Deleted rows leave gaps in the ids, spread evenly as far as an estimate goes.
    share = state["rows"] / total
    chunks = []
    for ordinal, start in enumerate(starts):
        held = round(min(rows, total - start) * share)
        end = {} if start + rows >= total else {"to": start + rows}
        chunks.append(Chunk(ordinal, {"from": start, **end, **facts}, held, round(held * width)))
    return chunks


def _state(cursor: duckdb.DuckDBPyConnection, place: Place) -> dict[str, int]:
    rows, last = ask(cursor, f"SELECT count(*), coalesce(max(rowid), -1) FROM {place_text(place)}")[0]
    return {"rows": int(rows), "last": int(last)}


def _check_unmoved(cursor: duckdb.DuckDBPyConnection, source: Source, place: Place, bounds: Mapping[str, Any]) -> None:
    """Rows that were only added since the split have greater ids and belong to the last chunk; anything else means that
    the ranges may miss rows or give them twice."""
    now = _state(cursor, place)
    added = now["last"] - bounds["last"]
    if added < 0 or now["rows"] - bounds["rows"] != added:
        raise SourceChanged(
            f"{source} changed since it was split: it had {bounds['rows']} rows up to row id {bounds['last']}, now"
            f" {now['rows']} up to {now['last']}",
            "copy it while nothing deletes from it",
        )


def _base_table(source: Source, cursor: duckdb.DuckDBPyConnection) -> Place | None:
    """The table a source names, None for a view or a query. Raises Missing."""
    if source.table is None:
        return None
    place = place_of(source.table, cursor)
    tables = (
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    )
    if ask(cursor, tables, place):
        return place
    views = (
        "SELECT 1 FROM duckdb_views() WHERE database_name = current_database() AND schema_name = ? AND view_name = ?"
    )
    if ask(cursor, views, place):
        return None
    raise Missing(f"table {source.table} does not exist", "check the name, as the database stores it")


def _relation(source: Source, cursor: duckdb.DuckDBPyConnection) -> str:
    return subquery(source.query) if source.table is None else place_text(place_of(source.table, cursor))


def _kinds(cursor: duckdb.DuckDBPyConnection, source: Source) -> dict[str, DuckDBPyType]:
    relation = cursor.sql(f"SELECT * FROM {_relation(source, cursor)}")
    return dict(zip(relation.columns, relation.types, strict=True))


def _window_kind(cursor: duckdb.DuckDBPyConnection, source: Source) -> tuple[str, DuckDBPyType]:
    """The quoted name and the type of the window's column."""
    if source.window is None:
        raise SpecError(f"{source} has no cursor window", "name a cursor column")
    name = source.window.column
    column = next((each for each in source.columns if each.name == name), None)
    kind = _kind_of(_kinds(cursor, source), source, name)
    cursors.check_order(name, str(kind), column.logical if column is not None else "")
    return quote(name), kind


def _kind_of(kinds: Mapping[str, DuckDBPyType], source: Source, name: str) -> DuckDBPyType:
    if name not in kinds:
        raise Missing(f"column {name!r} of {source} does not exist", "it was there when the source was described")
    return kinds[name]


def _select_list(cursor: duckdb.DuckDBPyConnection, source: Source) -> str:
    kinds = _kinds(cursor, source)
    return ", ".join(_expression(column, _kind_of(kinds, source, column.name)) for column in source.columns)


def _expression(column: Column, kind: DuckDBPyType) -> str:
    name = quote(column.name)
    found = carried(kind)
    cast = found.cast
    if is_text(column.type) and not is_text(found.type):
        cast = "VARCHAR"
    elif kind.id == "interval" and column.type == pa.month_day_nano_interval():
        cast = ""
    return f"CAST({name} AS {cast}) AS {name}" if cast else name


def _select(cursor: duckdb.DuckDBPyConnection, source: Source, bounds: Mapping[str, Any]) -> tuple[str, list[object]]:
    condition, values = _conditions(cursor, source, bounds)
    return f"SELECT {_select_list(cursor, source)} FROM {_relation(source, cursor)}{condition}", values


def _conditions(
    cursor: duckdb.DuckDBPyConnection, source: Source, bounds: Mapping[str, Any] | None = None
) -> tuple[str, list[object]]:
    """The WHERE clause and what it binds: the range of row ids, the user's own filter, the window."""
    parts: list[str] = []
    values: list[object] = []
    if bounds and "from" in bounds:
        parts.append(f"rowid >= {int(bounds['from'])}")
        parts += [f"rowid < {int(bounds['to'])}"] if "to" in bounds else []
    if source.where:
        parts.append(f"({source.where}\n)")
    window = source.window
    if window is not None:
        name, kind = _window_kind(cursor, source)
        ends = [(sign, end) for sign, end in ((">=", window.low), ("<=", window.high)) if end is not None]
        values += [bound(end, str(kind)) for _, end in ends]
        inside = " AND ".join(f"{name} {sign} CAST(? AS {kind})" for sign, _ in ends) or f"{name} IS NOT NULL"
        parts.append(f"({inside} OR {name} IS NULL)" if window.nulls else f"({inside})")
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


def _order(cursor: duckdb.DuckDBPyConnection, sql: str, values: list[object], is_table: bool) -> str:
    """What makes the order of rows the same each time: nothing where the plan keeps or makes an order itself, else the row
    id of a table, or all columns (equal rows may change places unseen). Rows that tie in a query's own ORDER BY stay as
    DuckDB sorts them."""
    plan = json.loads(ask(cursor, f"EXPLAIN (FORMAT json) {sql}", values)[0][1])
    operators = list(_operators(plan[0]))
    first = next((name for name in operators if name != "PROJECTION"), "")
    if first in _SORTING or all(name in _STREAMING for name in operators):
        return ""
    return " ORDER BY rowid" if is_table else " ORDER BY ALL"


def _operators(node: Mapping[str, Any]) -> Iterator[str]:
    yield str(node["name"]).strip()
    for child in node.get("children", ()):
        yield from _operators(child)


# ---- batches


def _as(piece: pa.RecordBatch, schema: pa.Schema, source: Source) -> pa.RecordBatch:
    """The batch in the carriers asked for. Raises DataError for a value that does not fit one."""
    if piece.schema.types == schema.types and piece.schema.names == schema.names:
        return pa.RecordBatch.from_arrays(piece.columns, schema=schema)
    try:
        return piece.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise DataError(f"{source} does not fit its description: {error}", "describe the source again") from error
