"""Reading tables and queries through prepared statements, whose rows come in binary form and are decoded into Arrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import pyarrow as pa
import pymysql

from penstock.connectors._sql.lag import duration, number
from penstock.connectors.mysql import codec, snapshot
from penstock.connectors.mysql.catalog import columns_of, place_of
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.select import MOMENTS, NUMBERS, bounds, select, shown
from penstock.connectors.mysql.session import MysqlSession, query
from penstock.connectors.mysql.split import split
from penstock.connectors.mysql.types import MARK, Declared, declared_of, fetched
from penstock.core.errors import ConnectionLost, Missing, NotSupported, SnapshotLost, SpecError
from penstock.core.load import BatchSize, Chunk, CursorValue, Source, Window
from penstock.core.names import quote
from penstock.core.schema import arrow_schema

_LOCK_REFUSED = (1044, 1227, 1205, 1223, 1290, 1142, 1064)


class MysqlReader:
    """Reads on the session's reading connection. Outside a shared moment each call sees its own."""

    def __init__(self, session: MysqlSession) -> None:
        self.session = session
        self._held: snapshot.Moment | None = None
        self._lent: snapshot.Moment | None = None

    # ---- snapshots

    def hold_snapshot(self) -> str:
        """Open a moment for `snapshot_connections` connections of this process, and keep it until the session closes; the
        same one when called again. "" where it cannot be shared: the user lacks RELOAD, the lock did not come in
        time, or the option `snapshot` is none. Every chunk is then read at its own moment."""
        session = self.session
        wish = session.option("snapshot")
        if wish == "none":
            return ""
        if self._held is not None and self._lent is self._held and session.reading.open:
            return self._held.token
        self.leave_snapshot()
        with session.call("cannot hold a snapshot"):
            limit = session.spec.max_connections
            count = session.option("snapshot_connections")
            try:
                self._held = snapshot.take(
                    session.open_another,
                    max(1, count if limit is None else min(count, limit)),
                    session.option("snapshot_wait_s"),
                )
            except pymysql.MySQLError as error:
                if wish == "auto" and error.args and error.args[0] in _LOCK_REFUSED:
                    return ""
                raise
        self._join(self._held)
        return self._held.token

    def use_snapshot(self, token: str) -> None:
        if not token:
            return
        if self._lent is not None and self._lent.token == token and self.session.reading.open:
            snapshot.find(token, self.session.spec.name)
            return
        self._join(snapshot.find(token, self.session.spec.name))

    def _join(self, moment: snapshot.Moment) -> None:
        self._return_lent()
        self.session.read_with(moment.lend())
        self._lent = moment

    def leave_snapshot(self) -> None:
        """Give the shared connection back, and end the moment that this session holds."""
        self._return_lent()
        if self._held is not None:
            snapshot.end(self._held)
        self._held = None

    def _return_lent(self) -> None:
        moment, self._lent = self._lent, None
        if moment is not None:
            connection = self.session.leave_reading()
            if connection is not None:
                moment.give_back(connection)

    @contextlib.contextmanager
    def _call(self, doing: str) -> Iterator[Connection]:
        connection = self.session.reading
        if self._lent is not None and not connection.open:
            raise SnapshotLost(f"{doing}: a connection of the shared moment of {self.session.spec.name!r} broke")
        with self.session.call(doing, connection):
            yield connection

    # ---- the port

    @property
    def _database(self) -> str:
        return self.session.address.database

    def split(self, source: Source, chunk_bytes: int) -> list[Chunk]:
        """Chunks by ranges of a key, or one; see split.py. They hold for any moment."""
        if source.table is None or self.session.option("split_by", source.options) == "none":
            return [Chunk(0)]
        with self._call(f"cannot split {source}") as connection:
            return split(connection, source, place_of(source.table, self.session), chunk_bytes)

    def read(self, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        """Batches of the chunk. The order of rows is the server's."""
        if not source.columns:
            raise NotSupported(f"{source} has no columns", "leave it out")
        is_native = codec.uses_native(self.session.option("codec", source.options))
        with self._call(f"cannot read {source}") as connection:
            sql = select(source, self._database, [fetched(column) for column in source.columns], bounds(chunk.bounds))
            statement, _ = connection.prepare_statement(sql)
            fields = connection.execute_statement(statement)
            rows = codec.Rows(
                str(source),
                arrow_schema(source.columns),
                fields,
                self.session.option("zero_dates") == "as_null",
                is_native,
            )
            is_over = False
            decoder = None
            pieces = connection.pieces()
            try:
                decoder = rows.decoder(batch, connection.sequence)
                yield from codec.batches(rows, decoder, self._watched(pieces, source))
                is_over = True
                if decoder.refused:
                    connection.refuse(decoder.refused)
            finally:
                if is_over or not connection.open or (decoder and self._cut_off(connection, decoder, pieces)):
                    self._close_statement(connection, statement)
                else:
                    self._hang_up(connection)

    def _watched(self, pieces: Iterator[bytes], source: Source) -> Iterator[bytes]:
        for piece in pieces:
            self.session.stop_if_cancelled(f"cannot read {source}")
            yield piece

    def _cut_off(self, connection: Connection, decoder: codec.Decoder, pieces: Iterator[bytes]) -> bool:
        """End a statement whose rows nobody wants any more and take what had been sent, where the connection's transaction
        is worth keeping; False where it is not, or where that fails."""
        if self._lent is None:
            return False
        try:
            self.session.kill_query([connection])
            codec.pass_over(decoder, pieces)
        except (ConnectionLost, ValueError, pymysql.MySQLError, OSError):
            return False
        return True

    def _close_statement(self, connection: Connection, statement: int) -> None:
        with contextlib.suppress(pymysql.MySQLError, OSError):
            connection.close_statement(statement)

    def _hang_up(self, connection: Connection) -> None:
        """Rows that are still coming end with their connection; the next call opens another."""
        connection.hang_up()
        with contextlib.suppress(pymysql.MySQLError, OSError):
            connection.close()
        if self._lent is None:
            self.session.leave_reading()

    def count(self, source: Source) -> int:
        with self._call(f"cannot count {source}") as connection:
            return int(query(connection, select(source, self._database, ["COUNT(*)"]))[0][0])

    def high(self, source: Source) -> CursorValue | None:
        """Of text the greatest by the column's collation."""
        with self._call(f"cannot read the greatest cursor of {source}") as connection:
            name, declared = self._cursor(connection, source)
            filled = replace(source, window=_open_window(source))
            # Under a name of its own, or ORDER BY would sort the text.
            listed = [f"{shown(declared, name)} AS _penstock_value"]
            sql = select(filled, self._database, listed) + f" ORDER BY {quote(name, MARK)} DESC LIMIT 1"
            found = query(connection, sql)
        if not found:
            return None
        value = found[0][0]
        return CursorValue(declared.text, repr(value) if isinstance(value, float) else str(value))

    def null_cursors(self, source: Source) -> int:
        with self._call(f"cannot read the cursor of {source}") as connection:
            name, _ = self._cursor(connection, source)
            anything = replace(source, window=None)
            sql = select(anything, self._database, ["COUNT(*)"], [f"{quote(name, MARK)} IS NULL"])
            return int(query(connection, sql)[0][0])

    def lagged(self, source: Source, value: CursorValue, lag: str) -> CursorValue:
        """Numbers take a number off, dates and times a duration ("10 minutes"). Raises SpecError for a lag that does not
        fit the cursor's type."""
        name = source.window.column if source.window else ""
        kind = value.type.partition("(")[0].removesuffix(" unsigned")
        if kind in NUMBERS:
            return CursorValue(value.type, _less(value, kind, number(lag, name)))
        if kind in MOMENTS:
            return CursorValue(value.type, _earlier(value.text, kind, duration(lag, name)))
        raise SpecError(
            f"lag {lag!r} does not fit the cursor column {name!r} of {source}, which is {value.type}",
            "a cursor with a lag must be a number, a date or a timestamp",
        )

    def _cursor(self, connection: Connection, source: Source) -> tuple[str, Declared]:
        """The window's column and its type. Raises Missing where the source has no such column."""
        if source.window is None:
            raise SpecError(f"{source} has no cursor", "set cursor")
        name = source.window.column
        if source.table is not None:
            place = place_of(source.table, self.session)
            held = columns_of(connection, {place}).get(place, [])
            found = {column.name: column.declared for column in held}
        else:
            statement, fields = connection.prepare_statement(
                select(replace(source, window=None), self._database, ["*"])
            )
            connection.close_statement(statement)
            found = {info.name: declared_of(info) for info in fields}
        if name not in found:
            raise Missing(
                f"{source} of connection {self.session.spec.name!r} has no column {name!r}", "check the cursor"
            )
        return name, found[name]


def _open_window(source: Source) -> Window:
    assert source.window is not None
    return replace(source.window, low=None, high=None, nulls=False)


def _less(value: CursorValue, kind: str, amount: Decimal) -> str:
    if kind in ("float", "double"):
        return repr(float(value.text) - float(amount))
    with localcontext(prec=200):
        found = Decimal(value.text)
        if kind != "decimal":
            return str(int(found) - int(amount.to_integral_value(ROUND_CEILING)))
        scale = Decimal(1).scaleb(min(0, int(found.as_tuple().exponent)))
        return str((found - amount).quantize(scale, ROUND_FLOOR))


def _earlier(text: str, kind: str, micros: int) -> str:
    """Before the first day of year 1 there is nothing: the lag ends there."""
    if kind == "date":
        days = -(-micros // (86_400 * 10**6))
        return str(date.fromordinal(max(1, date.fromisoformat(text).toordinal() - days)))
    moment = datetime.fromisoformat(text)
    try:
        return str(moment - timedelta(microseconds=micros))
    except OverflowError:
        return "0001-01-01 00:00:00"
