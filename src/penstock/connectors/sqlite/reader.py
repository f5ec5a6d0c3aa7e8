"""Reads SQLite as Arrow batches in a fixed order, and refuses a value that is not what the column was described as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from adbc_driver_manager import dbapi

from penstock.connectors._sql.sized import fetch_rows, sized
from penstock.connectors.sqlite import cursors
from penstock.connectors.sqlite.catalog import Held, HeldColumn, described, held_tables, local_name, subquery
from penstock.connectors.sqlite.database import Connection
from penstock.connectors.sqlite.forms import (
    ARROW,
    BLOB,
    EXACT_INTEGERS,
    INTEGER,
    REAL,
    TEXT,
    from_stored,
    is_text,
    own_carrier,
    storage_of,
)
from penstock.connectors.sqlite.probe import affinity, is_decimal
from penstock.connectors.sqlite.session import SqliteSession
from penstock.core.errors import DataError, Missing, SourceChanged, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source
from penstock.core.names import quote
from penstock.core.schema import Column, Fidelity, arrow_schema

_SAMPLE_ROWS = 300
# Fails while a row is read: SQLite has no function that raises an error outside triggers.
_REFUSE = "abs(-9223372036854775807 - 1)"
_ZERO = {INTEGER: "0", REAL: "0.0", TEXT: "''", BLOB: "x''"}
# Row ids with gaps: below this share of used ids an even cut would give uneven chunks.
_DENSE = 0.8


@dataclass(frozen=True)
class _Read:
    """A source ready to be read: its table expression and the columns it has."""

    connection: Connection
    relation: str
    held: Held
    source: Source

    def column(self, name: str) -> HeldColumn:
        found = next((column for column in self.held.columns if column.name == name), None)
        if found is None:
            raise Missing(
                f"column {name!r} of {self.source} does not exist", "it was there when the source was described"
            )
        return found


class SqliteReader:
    """Every call reads as of one moment; calls that follow each other see what was committed meanwhile."""

    def __init__(self, session: SqliteSession) -> None:
        self._session = session

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Ranges of row ids, open at both ends; one chunk for views, queries, virtual tables and WITHOUT ROWID."""
        with self._session.call(f"cannot split {source}"):
            connection = self._session.reading
            read = _open(connection, source)
            rowid = read.held.rowid
            if not rowid:
                return [Chunk(0)]
            rows, low, high = connection.ask(f"SELECT count(*), min({rowid}), max({rowid}) FROM {read.relation}")[0]
            if not rows:
                return [Chunk(0, {}, 0, 0)]
            width = self._row_bytes(read, low, high)
            step = max(1, int(chunk_bytes / width))
            if rows <= step:
                return [Chunk(0, {}, rows, round(rows * width))]
            starts = _starts(connection, read, (rows, low, high), step)
            # VACUUM gives new row ids, without gaps, to a table where they have no name of their own.
            facts = {"row_bytes": round(width), **({} if read.held.alias else {"last": high})}
            return list(_chunks(starts, rows, width, facts))

    def _row_bytes(self, read: _Read, low: int, high: int) -> float:
        """Bytes of an Arrow row on average, from rows at the start, in the middle and at the end."""
        read = replace(read, source=replace(read.source, where="", window=None))
        found: list[pa.RecordBatch] = []
        for start in (low, low + (high - low) // 2, max(low, high - _SAMPLE_ROWS)):
            bounds = {"from": start}
            sql, values = _select(read, bounds)
            rows = self._session.reading.stream(f"{sql} LIMIT {_SAMPLE_ROWS + 1}", values, _SAMPLE_ROWS + 1)
            with closing(rows):  # type: ignore[type-var]
                found += [_carried(batch.slice(1), read) for batch in rows]
        return max(1.0, sum(int(batch.nbytes) for batch in found) / max(1, sum(int(b.num_rows) for b in found)))

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        doing = f"cannot read {source}"
        with self._session.call(doing):
            connection = self._session.reading
            read = _open(connection, source)
            _check_unmoved(read, chunk.bounds)
            sql, values = _select(read, chunk.bounds)
            rows = fetch_rows(arrow_schema(source.columns), chunk.bounds, batch)
            try:
                stream = connection.stream(sql, values, rows)
                with closing(stream):  # type: ignore[type-var]
                    yield from sized(self._pieces(stream, read, doing), batch)
            except (dbapi.Error, OSError) as error:
                if "integer overflow" in str(error) or "Type mismatch" in str(error):
                    raise _not_as_described(read) from error
                raise

    def _pieces(self, stream: Iterator[pa.RecordBatch], read: _Read, doing: str) -> Iterator[pa.RecordBatch]:
        is_first = True
        for fetched in stream:
            self._session.stop_if_cancelled(doing)
            # The first row is ours: it tells the driver the types, which it takes from the first values it sees.
            piece = fetched.slice(1) if is_first else fetched
            is_first = False
            if list(fetched.schema.types) != [ARROW[_storage(column)] for column in read.source.columns]:
                raise _not_as_described(read)
            if piece.num_rows:
                yield _carried(piece, read)

    def count(self, source: Source) -> int:
        with self._session.call(f"cannot count {source}"):
            read = _open(self._session.reading, source)
            condition, values = _conditions(read)
            return int(self._session.reading.ask(f"SELECT count(*) FROM {read.relation}{condition}", values)[0][0])

    def high(self, source: Source) -> CursorValue | None:
        with self._session.call(f"cannot read the cursor of {source}"):
            read, name, order, declared = self._cursor(source)
            terms = ", ".join(f"{term} DESC" for term in order.terms)
            where = f" AND ({source.where}\n)" if source.where else ""
            sql = f"SELECT {name} FROM {read.relation} WHERE {name} IS NOT NULL{where} ORDER BY {terms} LIMIT 1"
            rows = self._session.reading.ask(sql)
            if not rows:
                return None
            found = cursors.written(rows[0][0], order.kind, declared)
            if pa.types.is_temporal(order.kind) and found.text.startswith("-") and found.text != "-infinity":
                raise DataError(
                    f"the greatest {name} of {source} is {found.text!r}", "years before 1 do not sort as text"
                )
            return found

    def null_cursors(self, source: Source) -> int:
        with self._session.call(f"cannot read the cursor of {source}"):
            read, name, _, _ = self._cursor(source)
            where = f" AND ({source.where}\n)" if source.where else ""
            sql = f"SELECT count(*) FROM {read.relation} WHERE {name} IS NULL{where}"
            return int(self._session.reading.ask(sql)[0][0])

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        with self._session.call(f"cannot lag the cursor of {source}"):
            _, name, order, _ = self._cursor(source)
            return cursors.lagged(value, order, lag, name)

    def _cursor(self, source: Source) -> tuple[_Read, str, cursors.Order, str]:
        if source.window is None:
            raise SpecError(f"{source} has no cursor window", "name a cursor column")
        read = _open(self._session.reading, source)
        held = read.column(source.window.column)
        return read, quote(held.name), _order_of(read, held), held.declared


def _open(connection: Connection, source: Source) -> _Read:
    if source.table is None:
        columns = tuple(HeldColumn(column.name, "") for column in source.columns)
        return _Read(connection, subquery(source.query), Held("", "query", False, False, columns), source)
    name = local_name(source.table)
    held = held_tables(connection, [name]).get(name)
    if held is None:
        raise Missing(f"table {source.table} does not exist", "check the name, as the database stores it")
    return _Read(connection, quote(name), held, source)


def _order_of(read: _Read, held: HeldColumn) -> cursors.Order:
    """How the cursor sorts: by the column that is read, or one looked up where it is not read."""
    column = next((each for each in read.source.columns if each.name == held.name), None)
    if column is None:
        one = Held(read.held.name, read.held.kind, read.held.has_rowid, read.held.is_strict, (held,))
        column = described(read.connection, read.relation, one)[0]
    is_text_column = affinity(held.declared) in ("TEXT", "BLOB") and storage_of(column.type) == TEXT
    return cursors.order_of(quote(held.name), column.type, column.logical, is_text_column)


# ---- splitting


def _starts(connection: Connection, read: _Read, span: tuple[int, int, int], step: int) -> list[int]:
    """The least row id of every chunk but the first: an even cut where nearly all ids are used, else one pass that counts
    the rows."""
    rows, low, high = span
    if rows >= _DENSE * (high - low + 1):
        return list(range(low + step, high + 1, step))
    rowid = read.held.rowid
    numbered = f"SELECT {rowid} AS id, row_number() OVER (ORDER BY {rowid}) - 1 AS nth FROM {read.relation}"
    found = connection.ask(f"SELECT id FROM ({numbered}) WHERE nth > 0 AND nth % ? = 0 ORDER BY id", (step,))
    return [int(row[0]) for row in found]


def _chunks(starts: list[int], rows: int, width: float, facts: Mapping[str, Any]) -> Iterator[Chunk]:
    share = rows / (len(starts) + 1)
    for ordinal, (low, high) in enumerate(zip([None, *starts], [*starts, None], strict=True)):
        bounds = dict(facts)
        bounds |= {"from": low} if low is not None else {}
        bounds |= {"to": high} if high is not None else {}
        yield Chunk(ordinal, bounds, round(share), round(share * width))


def _check_unmoved(read: _Read, bounds: Mapping[str, Any]) -> None:
    if "last" not in bounds:
        return
    last = read.connection.ask(f"SELECT max({read.held.rowid}) FROM {read.relation}")[0][0]
    if last is None or last < bounds["last"]:
        raise SourceChanged(
            f"{read.source} was split with row ids up to {bounds['last']}, and now they end at {last or 0}: its last rows"
            " were deleted, or VACUUM numbered all rows anew",
            "copy it while nobody deletes its last rows or runs VACUUM",
        )


# ---- SQL


def _select(read: _Read, bounds: Mapping[str, Any]) -> tuple[str, list[object]]:
    """All rows in a fixed order, behind one row that shows the driver the storage class of every column."""
    condition, values = _conditions(read, bounds)
    columns = read.source.columns
    zeros = ", ".join(f"{_ZERO[_storage(column)]} AS {quote(column.name)}" for column in columns)
    expressions = ", ".join(f"{_expression(read, column)} AS {quote(column.name)}" for column in columns)
    order = f" ORDER BY {', '.join(_order(read.held))}" if _order(read.held) else ""
    rows = f"SELECT {expressions} FROM {read.relation}{condition}{order}"
    return f"SELECT {zeros} UNION ALL SELECT * FROM ({rows})", values


def _order(held: Held) -> list[str]:
    """Row ids, or the primary key of a table without them. Views and queries are run by one thread: the same data gives
    the same order."""
    if held.rowid:
        return [held.rowid]
    return [quote(name) for name in held.key] if held.kind == "table" else []


def _storage(column: Column) -> str:
    storage = storage_of(column.type)
    if storage is None:
        raise SpecError(f"column {column.name!r} cannot be read as {column.type}", "describe the source again")
    return storage


def _expression(read: _Read, column: Column) -> str:
    """SQL that gives values of the column's storage class only, NULL, or an error."""
    held = read.column(column.name)
    name, kind = quote(column.name), affinity(held.declared)
    storage = _storage(column)
    if storage == INTEGER:
        return name  # the driver itself refuses other values
    if storage == REAL:
        is_wide = f"typeof({name}) = 'integer' AND ({name} > {EXACT_INTEGERS} OR {name} < -{EXACT_INTEGERS})"
        return name if kind == "REAL" else f"CASE WHEN {is_wide} THEN {_REFUSE} ELSE {name} END"
    if storage == BLOB:
        if column.fidelity is Fidelity.LOSSY:
            return f"CAST({name} AS BLOB)"
        return f"CASE WHEN typeof({name}) IN ('blob', 'null') THEN {name} ELSE {_REFUSE} END"
    if pa.types.is_decimal(column.type) and kind not in ("TEXT", "BLOB"):
        return _decimal(name, column.type)
    if is_text(column.type) and kind != "TEXT":
        exact = f"WHEN 'real' THEN format('%!.17g', {name}) WHEN 'blob' THEN {_REFUSE} ELSE CAST({name} AS TEXT) END"
        return f"CASE typeof({name}) {exact}"
    return f"CASE WHEN typeof({name}) IN ('text', 'null') THEN {name} ELSE {_REFUSE} END"


def _decimal(name: str, kind: pa.DataType) -> str:
    """Numbers as text with the declared number of decimal places, where that says the same."""
    precision, scale = kind.precision, kind.scale
    zeros = f" || '.{'0' * scale}'" if scale else ""
    return (
        f"CASE WHEN {name} IS NULL THEN NULL WHEN NOT {is_decimal(name, precision, scale)} THEN {_REFUSE}"
        f" WHEN typeof({name}) = 'integer' THEN CAST({name} AS TEXT){zeros} ELSE format('%.{scale}f', {name}) END"
    )


def _conditions(read: _Read, bounds: Mapping[str, Any] | None = None) -> tuple[str, list[object]]:
    """The WHERE clause and what it binds: the range of row ids, the user's own filter, the window."""
    parts: list[str] = []
    values: list[object] = []
    for sign, side in ((">=", "from"), ("<", "to")):
        if bounds and side in bounds:
            parts.append(f"{read.held.rowid} {sign} {int(bounds[side])}")
    if read.source.where:
        parts.append(f"({read.source.where}\n)")
    window = read.source.window
    if window is not None:
        held = read.column(window.column)
        name, order = quote(held.name), _order_of(read, held)
        inside = []
        for sign, end in ((">=", window.low), ("<=", window.high)):
            if end is not None:
                is_own = end.type == cursors.type_name(order.kind, held.declared)
                bound = cursors.bound(end, order, is_own)
                inside.append(f"({', '.join(order.terms)}) {sign} ({', '.join('?' * len(bound))})")
                values += bound
        test = " AND ".join(inside) or f"{name} IS NOT NULL"
        parts.append(f"({test} OR {name} IS NULL)" if window.nulls else f"({test})")
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


# ---- batches


def _carried(fetched: pa.RecordBatch, read: _Read) -> pa.RecordBatch:
    """The driver's batch in the carriers asked for."""
    arrays = []
    for array, column in zip(fetched.columns, read.source.columns, strict=True):
        if array.type == pa.string():
            _check_utf8(array, column.name, read.source)
        try:
            arrays.append(from_stored(array, column.type, column.name))
        except DataError as error:
            raise DataError(f"cannot read {read.source}: {error.what}", error.hint) from error
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(read.source.columns))


def _check_utf8(array: pa.Array, name: str, source: Source) -> None:
    """SQLite takes any bytes for text."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {name!r} of {source} holds text that is not UTF-8", "read it as CAST(... AS BLOB)"
        ) from error


def _not_as_described(read: _Read) -> DataError:
    """The error for a value of another kind than described, with the columns and what they hold now."""
    now = {column.name: column for column in described(read.connection, read.relation, _forgotten(read.held))}
    others = [
        f"{column.name!r} ({now[column.name].note or f'now {now[column.name].type}'}, described as {column.type})"
        for column in read.source.columns
        if column.name in now and _differs(now[column.name], column)
    ]
    return DataError(
        f"{read.source} holds values of other kinds than described: {', '.join(others) or 'they changed meanwhile'}",
        "correct the values, or plan the job again",
    )


def _differs(now: Column, described_as: Column) -> bool:
    """Whether a column holds something else. Of narrow integers and the like the values say the storage class only."""
    if now.type == described_as.type:
        return now.fidelity is not described_as.fidelity
    return bool(now.note) or ARROW[_storage(described_as)] != now.type


def _forgotten(held: Held) -> Held:
    """The table as if Penstock had not written it: its values are looked at again."""
    columns = tuple(
        HeldColumn(column.name, "" if own_carrier(column.declared) is not None else column.declared)
        for column in held.columns
    )
    return Held(held.name, "query", False, False, columns)
