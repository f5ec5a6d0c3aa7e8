"""Loading a table: bulk copies into staging, a ledger row for each part, one transaction that publishes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors._sql.ledger import staging_name
from penstock.connectors.sqlserver.errors import of_driver
from penstock.connectors.sqlserver.ledger import (
    SqlServerLedger,
    claim,
    ledger_of,
    lock,
    refuse_held,
    resource,
    take_turns,
    unlock,
)
from penstock.connectors.sqlserver.line import Line
from penstock.connectors.sqlserver.merge import Step
from penstock.connectors.sqlserver.publish import Publication, carry_out, clean, measure, with_sizes
from penstock.connectors.sqlserver.relation import located, target_of
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.connectors.sqlserver.staging import Feed, bulk, definition, now_wide, staging_table, widen
from penstock.connectors.sqlserver.stored import Stored, stored_columns
from penstock.connectors.sqlserver.types import Declared
from penstock.core.errors import Busy, SpecError
from penstock.core.load import Expected, Load, Mode, Published, Written
from penstock.core.names import TableName, quote
from penstock.core.schema import TypeChoice

_KEYED = (Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY)


@dataclass(frozen=True)
class _Remembered:
    """What a session remembers of a load between parts: where it goes, and how its columns are staged."""

    load: Load
    where: TableName
    stored: tuple[Stored, ...]


class SqlServerWriter:
    """Writes on the session's writing connection; bulk copies use one of their own."""

    def __init__(self, session: SqlServerSession) -> None:
        self._session = session
        self._claimed: set[tuple[str, str]] = set()
        self._remembered: _Remembered | None = None

    # ---- looking

    def types(self, load: Load) -> list[TypeChoice]:
        """Raises SchemaChanged for a column whose type does not fit the target's and may not be adapted."""
        with self._call(load, f"cannot choose the types of table {load.table}") as line:
            return [one.choice() for one in self._publication(line, load).stored]

    def plan(self, load: Load) -> list[str]:
        """CREATE of staging and the statements of the publish. Sizes of new text columns follow the data."""
        with self._call(load, f"cannot plan the load of table {load.table}") as line:
            publication = self._publication(line, load)
            _, steps = publication.plan()
            return [str(step).strip() for step in [*self._preparing(line, publication), *steps]]

    # ---- the load

    def prepare(self, load: Load) -> None:
        with self._transaction(load, f"cannot prepare the load of table {load.table}") as line:
            publication = self._publication(line, load)
            publication.plan()
            ledger = self._ledger(line, load, publication.where)
            take_turns(line, "ledger", ledger.name, self._patience(load))
            self._create_schemas(line, load, publication.where)
            ledger.create()
            if not ledger.is_open(load):
                ledger.open(load, str(publication.where))
            if ledger.locked(load) is not None:
                return
            self._remove_leftovers(line, ledger, load, publication.where)
            if not _exists(line, publication.staging):
                line.execute(definition(publication.staging, publication.stored))

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        try:
            with self._call(load, f"cannot write into table {load.table}") as line:
                return self._write(line, load, part, batches)
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def _write(self, line: Line, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        remembered = self._recall(line, load)
        ledger = self._ledger(line, load, remembered.where)
        if not ledger.exists:
            raise ledger.not_prepared(load)
        turn = resource("part", [ledger.name, load.load_id, part])
        if not lock(line, turn, "Exclusive", timeout_ms=round(self._patience(load) * 1000)):
            raise Busy(
                f"part {part} of table {load.table} is being written by another session", "it will be tried again"
            )
        try:
            before = ledger.marked(load, part)
            if before is not None:
                return before
            attempt = ledger.begin_attempt(load)
            feed = Feed(self._session, load, remembered.stored, attempt, batches)
            self._copy(line, load, remembered, feed)
            written = Written(feed.rows, feed.size_bytes)
            ledger.mark_attempt(load, str(remembered.where), part, written, attempt, feed.sizes)
            return written
        finally:
            with contextlib.suppress(*of_driver()), line.unasked():  # a broken line gave the lock back by itself
                unlock(line, turn)

    def _copy(self, line: Line, load: Load, remembered: _Remembered, feed: Feed) -> None:
        """As many bulk copies as it takes: a longer value than expected ends one, and the next goes on after it."""
        table = staging_table(load, remembered.where)
        batch_rows = int(self._session.option("bulk_rows", load.options))
        if not feed.advance():
            return
        wide = now_wide(line, load, table, remembered.stored)
        feed.widths = {at: wide.get(remembered.stored[at].name, declared) for at, declared in feed.widths.items()}
        while feed.advance():
            widen(line, table, remembered.stored, feed)
            bulk(line, table, feed, batch_rows)

    def publish(self, load: Load, expected: Expected) -> Published:
        with self._transaction(load, f"cannot publish table {load.table}") as line:
            where, _ = located(self._session, line, load.table)
            ledger = self._ledger(line, load, where)
            if not ledger.exists:
                raise ledger.not_prepared(load)
            before = ledger.locked(load)
            if before is not None:
                return before
            publication = self._publication(line, load)
            wide: dict[str, Declared] = now_wide(line, load, publication.staging, publication.stored)
            publication = with_sizes(publication, dict(wide))
            clean(line, publication, ledger, expected)
            published = carry_out(line, publication, measure(line, publication, ledger), expected.rows)
            ledger.close(load, published)
        return published

    def discard(self, load: Load) -> None:
        with self._transaction(load, f"cannot discard the load of table {load.table}") as line:
            where, _ = located(self._session, line, load.table)
            _drop(line, staging_table(load, where))
            ledger = self._ledger(line, load, where)
            if ledger.exists:
                ledger.forget(load.load_id)
        self._remembered = None

    def claim(self, load: Load) -> None:
        with self._call(load, f"cannot claim table {load.table}") as line:
            where, _ = located(self._session, line, load.table)
            if (str(where), load.load_id) in self._claimed:
                return
            ledger = self._ledger(line, load, where)
            with line.transaction(self._patience(load)):
                take_turns(line, "ledger", ledger.name, self._patience(load))
                self._create_schemas(line, load, where)
                ledger.create()
            claim(line, ledger, load, where)
            self._claimed.add((str(where), load.load_id))

    # ---- parts of it

    @contextlib.contextmanager
    def _call(self, load: Load, doing: str) -> Iterator[Line]:
        _check_key(load)
        with self._session.call(doing):
            yield self._session.writing

    @contextlib.contextmanager
    def _transaction(self, load: Load, doing: str) -> Iterator[Line]:
        with self._call(load, doing) as line, line.transaction(self._patience(load)):
            yield line

    def _patience(self, load: Load) -> float:
        return float(self._session.option("lock_timeout_s", load.options))

    def _publication(self, line: Line, load: Load) -> Publication:
        where, table = located(self._session, line, load.table)
        target = None if table is None else target_of(line, table)
        stored = tuple(stored_columns(load, where, target, self._session.server))
        kinds = [self._session.option(name, load.options) for name in ("replace_with", "table_kind")]
        return Publication(load, where, target, stored, *kinds)

    def _recall(self, line: Line, load: Load) -> _Remembered:
        """How the load's columns are staged. The target does not matter for that, and is not asked."""
        if self._remembered is None or self._remembered.load != load:
            where, _ = located(self._session, line, load.table)
            stored = stored_columns(load, where, None, self._session.server)
            self._remembered = _Remembered(load, where, tuple(stored))
        return self._remembered

    def _ledger(self, line: Line, load: Load, where: TableName) -> SqlServerLedger:
        return ledger_of(line, self._session.option("ledger_schema", load.options) or where.schema)

    def _schemas(self, load: Load, where: TableName) -> list[str]:
        return list(dict.fromkeys([where.schema, self._session.option("ledger_schema", load.options) or where.schema]))

    def _preparing(self, line: Line, publication: Publication) -> list[Step]:
        missing = [name for name in self._schemas(publication.load, publication.where) if not _has_schema(line, name)]
        create = [Step(f"CREATE SCHEMA {quote(name)}") for name in missing]
        return [*create, Step(definition(publication.staging, publication.stored))]

    def _create_schemas(self, line: Line, load: Load, where: TableName) -> None:
        for name in self._schemas(load, where):
            if not _has_schema(line, name):
                line.execute(f"CREATE SCHEMA {quote(name)}")

    def _remove_leftovers(self, line: Line, ledger: SqlServerLedger, load: Load, where: TableName) -> None:
        others = ledger.others(load, str(where))
        if others:
            refuse_held(line, ledger, load, where)
        for load_id in others:
            _drop(line, TableName((where.schema, staging_name(load_id, str(where)))))
            ledger.forget(load_id)


def _exists(line: Line, table: TableName) -> bool:
    return line.query("SELECT OBJECT_ID(CAST(? AS nvarchar(800)))", [table.quoted()])[0][0] is not None


def _has_schema(line: Line, name: str) -> bool:
    return bool(line.query("SELECT 1 FROM sys.schemas WHERE name = ?", [name]))


def _drop(line: Line, table: TableName) -> None:
    line.execute(f"DROP TABLE IF EXISTS {table.quoted()}")


def _check_key(load: Load) -> None:
    names = {column.name for column in load.columns}
    if load.mode in _KEYED and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "name the key columns: key: [id]")
    for wanted in (*load.key, *((load.cursor,) if load.cursor else ())):
        if wanted not in names:
            raise SpecError(f"column {wanted!r} of table {load.table} is not loaded", "key and cursor must be loaded")
