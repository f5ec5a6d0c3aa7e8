"""Reading tables and queries: Arrow batches from the driver, each chunk in one statement under the chosen isolation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa

from penstock.connectors._sql.lag import duration, number
from penstock.connectors._sql.sized import sized
from penstock.connectors.sqlserver.catalog import described, query_columns, resolve
from penstock.connectors.sqlserver.decode import decoded
from penstock.connectors.sqlserver.line import Line
from penstock.connectors.sqlserver.select import select
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.connectors.sqlserver.split import split
from penstock.connectors.sqlserver.types import (
    INTEGERS,
    Declared,
    bound_bytes,
    is_ordered,
    template,
    text_value,
    value_text,
)
from penstock.core.errors import Missing, NotSupported, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source, Window
from penstock.core.names import quote
from penstock.core.schema import arrow_schema

_BOUND_BYTES = 16 * 2**20  # what the driver may reserve for the rows of one fetch
_LONG_ROWS = 512  # rows of one fetch where values of any length come one by one
_NUMBERS = {*INTEGERS, "decimal", "money", "smallmoney"}
_MOMENTS = {"date", "smalldatetime", "datetime", "datetime2", "datetimeoffset"}
_LEVELS = {"snapshot": "SNAPSHOT", "committed": "READ COMMITTED", "nolock": "READ UNCOMMITTED"}


class SqlServerReader:
    """Reads on the session's reading connection. Sessions cannot share a snapshot; each call sees a moment of its own."""

    def __init__(self, session: SqlServerSession) -> None:
        self._session = session
        self._level = ""

    # ---- the port

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Chunks by key, partition or page, or one; see split.py."""
        with self._call(f"cannot split {source}", source) as line:
            return split(self._session, line, source, chunk_bytes)

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        """Batches of the chunk. The order of rows is the server's."""
        if not source.columns:
            raise NotSupported(f"{source} has no columns", "leave it out")
        doing = f"cannot read {source}"
        schema = arrow_schema(source.columns)
        expressions = []
        for column in source.columns:
            name = f"src.{quote(column.name)}"
            expressions.append(f"{template(column).replace('{0}', name)} AS {quote(column.name)}")
        statement = select(source, chunk.bounds, expressions)
        with self._call(doing, source) as line, line.cursor(statement.sql, statement.values) as cursor:
            pieces = (decoded(one, schema, source.columns, doing) for one in self._pieces(cursor, source, batch))
            with contextlib.closing(pieces):
                yield from sized(pieces, batch)

    def _pieces(self, cursor: Any, source: Source, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        rows = fetch_rows(source, batch)
        while True:
            self._session.stop_if_cancelled(f"cannot read {source}")
            piece = cursor.arrow_batch(rows)
            if piece.num_rows == 0:
                return
            yield piece

    def count(self, source: Source) -> int:
        with self._call(f"cannot count {source}", source) as line:
            statement = select(source, {}, ["COUNT_BIG(*)"])
            return int(line.query(statement.sql, statement.values)[0][0])

    def high(self, source: Source) -> CursorValue | None:
        """Of a rowversion the greatest below those of transactions that still run: they may yet come to show smaller ones."""
        with self._call(f"cannot read the greatest cursor of {source}", source) as line:
            name, declared = self._cursor(line, source)
            filled = replace(source, window=Window(name))
            if declared.name == "rowversion":
                settled = f"({filled.where}\n) AND " if filled.where else ""
                filled = replace(filled, where=f"{settled}src.{quote(name)} < MIN_ACTIVE_ROWVERSION()")
            text = value_text(declared, f"src.{quote(name)}")
            statement = select(filled, {}, [f"{text} AS penstock_value"], "SELECT TOP (1)")
            found = line.query(f"{statement.sql}\nORDER BY src.{quote(name)} DESC", statement.values)
        return CursorValue(declared.text, str(found[0][0])) if found else None

    def null_cursors(self, source: Source) -> int:
        with self._call(f"cannot read the cursor of {source}", source) as line:
            name, _ = self._cursor(line, source)
            empty = f"SUM(CASE WHEN src.{quote(name)} IS NULL THEN CAST(1 AS bigint) ELSE 0 END)"
            statement = select(replace(source, window=None), {}, [empty])
            return int(line.query(statement.sql, statement.values)[0][0] or 0)

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        """Numbers take a number off, dates and times a duration ("10 minutes"). Raises SpecError for a lag that does not
        fit the cursor's type."""
        with self._call(f"cannot take {lag!r} off the cursor of {source}", source) as line:
            name, declared = self._cursor(line, source)
            if declared.name == "rowversion":
                before = max(0, int(value.text, 16) - int(number(lag, name)))
                return CursorValue(value.type, f"0x{before:016X}")
            if declared.name in _NUMBERS:
                exact = Context(prec=60).subtract(Decimal(value.text), number(lag, name))
                return CursorValue(value.type, _number_text(declared, exact))
            if declared.name in _MOMENTS:
                return self._earlier(line, declared, value, duration(lag, name))
            raise SpecError(
                f"lag {lag!r} does not fit the cursor column {name!r} of {source}, which is {declared.text}",
                "a cursor with a lag must be a number, a date or a timestamp",
            )

    # ---- parts of it

    def _earlier(self, line: Line, declared: Declared, value: CursorValue, micros: int) -> CursorValue:
        """Taken off in the finest type, so that nothing is rounded on the way; a date goes back to the day it falls on."""
        off = timedelta(microseconds=micros)
        fine = "datetimeoffset(7)" if declared.name == "datetimeoffset" else "datetime2(7)"
        moment = f"CAST({text_value(value.type)} AS {fine})"
        for unit, amount in (("DAY", off.days), ("SECOND", off.seconds), ("MICROSECOND", off.microseconds)):
            moment = f"DATEADD({unit}, -{int(amount)}, {moment})"
        text = value_text(declared, f"CAST({moment} AS {declared.text})")
        return CursorValue(value.type, str(line.query(f"SELECT {text}", [value.text])[0][0]))

    @contextlib.contextmanager
    def _call(self, doing: str, source: Source) -> Iterator[Line]:
        with self._session.call(doing):
            line = self._session.reading
            level = self.level(source)
            if level != self._level:
                line.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                self._level = level
            yield line

    def level(self, source: Source) -> str:
        """The isolation of reading: SNAPSHOT where it is asked for and the database allows it."""
        how = self._session.option("read", source.options)
        if how == "snapshot" and not self._session.server.allows_snapshot:
            how = "committed"
        return _LEVELS[how]

    def _cursor(self, line: Line, source: Source) -> tuple[str, Declared]:
        """The window's column and its type. Raises Missing where the source has no such column."""
        if source.window is None:
            raise SpecError(f"{source} has no cursor", "set cursor")
        name = source.window.column
        declared = self._declared(line, source).get(name)
        if declared is None:
            raise Missing(
                f"{source} of connection {self._session.spec.name!r} has no column {name!r}", "check the cursor"
            )
        if not is_ordered(declared):
            raise SpecError(
                f"column {name!r} of {source} is {declared.text}, which is no cursor",
                "choose a number, a date, a time, a rowversion or a sized text",
            )
        return name, declared

    def _declared(self, line: Line, source: Source) -> dict[str, Declared]:
        if source.table is None:
            return {name: declared for name, declared, _ in query_columns(line, source.query)}
        table = resolve(self._session, line, [source.table]).get(source.table)
        if table is None:
            raise Missing(
                f"table {source.table} of connection {self._session.spec.name!r} does not exist", "check the name"
            )
        return {column.name: column.declared for column in described(line, [table]).get(table, [])}


def fetch_rows(source: Source, batch: BatchSize) -> int:
    """Rows of one fetch: the driver reserves each column's declared width for every row, so that wide columns come in
    fewer rows. Columns without a width are fetched value by value."""
    widths = [bound_bytes(column) for column in source.columns]
    most = max(1, min(batch.rows, _BOUND_BYTES // max(1, sum(widths))))
    return most if all(widths) else min(most, _LONG_ROWS)


def _number_text(declared: Declared, value: Decimal) -> str:
    if declared.name in INTEGERS:
        whole = value.to_integral_value(rounding="ROUND_FLOOR")
        return str(int(whole))
    scale = declared.scale if declared.name == "decimal" else 4
    return str(value.quantize(Decimal(1).scaleb(-scale), rounding="ROUND_FLOOR", context=Context(prec=60)))
