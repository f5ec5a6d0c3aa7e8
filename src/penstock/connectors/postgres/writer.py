"""Loading a table: staging beside the target, a ledger row in each part's transaction, one transaction that publishes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg.pq import TransactionStatus

from penstock.connectors._sql.ledger import check_staged, staging_name
from penstock.connectors.postgres import wire
from penstock.connectors.postgres.formats import copy_format
from penstock.connectors.postgres.ledger import Ledger, claim, create_schema, refuse_held
from penstock.connectors.postgres.merge import Step
from penstock.connectors.postgres.publish import Publication, carry_out, facts
from penstock.connectors.postgres.reader import CopyStream
from penstock.connectors.postgres.relation import MAX_NAME_BYTES, Target, located, target_of
from penstock.connectors.postgres.session import Connection, PostgresSession, execute, query
from penstock.connectors.postgres.staging import Place, definition, destinations, layout, staging_table, write_batches
from penstock.connectors.postgres.stored import Stored, stored_columns
from penstock.core.errors import Busy, NotSupported, SpecError
from penstock.core.load import Expected, Load, Mode, Published, Written
from penstock.core.names import TableName, quote
from penstock.core.ports import RawSource
from penstock.core.schema import TypeChoice

_KEYED = (Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY)

# A transaction as loads need it, whatever the server's defaults; {0} are milliseconds.
_BEGIN = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL lock_timeout = {0}"

# Who holds locks on a table: process, name, user, state, beginning of the statement.
_BLOCKERS = """
SELECT DISTINCT a.pid, a.application_name, a.usename::text, a.state, left(a.query, 80)
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.relation = to_regclass($1) AND l.granted AND l.pid <> pg_backend_pid() ORDER BY a.pid LIMIT 3
"""


@dataclass(frozen=True)
class _Part:
    """What a session remembers of a load between parts: where it goes, and how columns are put into staging."""

    load: Load
    where: TableName
    places: tuple[Place, ...]


class PostgresWriter:
    """Writes on the session's writing connection."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._claimed: set[tuple[str, str]] = set()
        self._part: _Part | None = None
        self._name = ""

    # ---- looking

    def types(self, load: Load) -> list[TypeChoice]:
        """Raises SchemaChanged for a column whose type does not fit the target's and may not be adapted."""
        with self._call(load, f"cannot choose the types of table {load.table}") as connection:
            return [stored.choice() for stored in self._stored(connection, load)[2]]

    def plan(self, load: Load) -> list[str]:
        """CREATE of staging and the statements of the publish; those that depend on the rows say on what."""
        with self._call(load, f"cannot plan the load of table {load.table}") as connection:
            publication = self._publication(connection, load)
            _, steps = publication.plan()
            return [str(step).strip() for step in [*self._preparing(connection, publication), *steps]]

    def raw_format(self, load: Load) -> str:
        """What a reader's raw_format must equal; "" where no stream can be taken untouched."""
        if self._session.option("codec", load.options) == "portable" or not wire.available():
            return ""
        with self._call(load, f"cannot describe table {load.table}") as connection:
            return _raw_format(self._stored(connection, load)[2])

    # ---- the load

    def prepare(self, load: Load) -> None:
        with self._transaction(load, f"cannot prepare the load of table {load.table}") as connection:
            publication = self._publication(connection, load)
            publication.plan()
            ledger = self._ledger(connection, load, publication.where)
            ledger.create()
            if ledger.schema != publication.where.schema:
                create_schema(connection, publication.where.schema)
            ledger.open(load)
            if ledger.published(load, lock=True) is not None:
                return
            self._remove_leftovers(connection, ledger, load)
            execute(connection, definition(publication.staging, publication.staged))
            ledger.identify(load, publication.staging)

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        try:
            with self._transaction(load, f"cannot write into table {load.table}") as connection:
                where, places = self._places(connection, load)
                ledger = self._ledger(connection, load, where)
                before = ledger.begin(load, part)
                if before is not None:
                    return before
                places = places or tuple(destinations(connection, load, staging_table(load, where)))
                self._part = _Part(load, where, places)
                written = write_batches(self._session, load, staging_table(load, where), places, batches)
                ledger.count(load, part, written)
            return written
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def write_raw(self, load: Load, part: str, raw: RawSource) -> Written:
        """Raises NotSupported for a stream that is not PostgreSQL's."""
        if not isinstance(raw, CopyStream):
            raise NotSupported(f"a stream of {type(raw).__name__} cannot pass into PostgreSQL", "write batches instead")
        doing = f"cannot copy {raw.source} into table {load.table}"
        with self._transaction(load, doing) as connection:
            where, _ = self._places(connection, load)
            ledger = self._ledger(connection, load, where)
            before = ledger.begin(load, part)
            if before is not None:
                return before
            names = ", ".join(quote(column.name) for column in load.columns)
            into = f"COPY {staging_table(load, where).quoted()} ({names}) FROM STDIN (FORMAT binary)"
            with raw.open() as (source, out), self._session.call(doing, source):
                pumped = wire.pump(source, out, connection, into, stop=lambda: self._stopped(raw))
            written = Written(pumped.rows, pumped.size_bytes)
            ledger.count(load, part, written)
        return written

    def publish(self, load: Load, expected: Expected) -> Published:
        """Raises Busy, naming who holds the table, when a lock did not come within lock_timeout_s."""
        where = load.table
        try:
            with self._transaction(load, f"cannot publish table {load.table}") as connection:
                where, _ = located(connection, load.table)
                ledger = self._ledger(connection, load, where)
                before = ledger.published(load, lock=True)
                if before is not None:
                    return before
                if load.mode is not Mode.APPEND or load.reread_to is not None:
                    # Row security would hide rows that the load must see; this makes it an error instead.
                    execute(connection, "SET LOCAL row_security = off")
                publication = self._publication(connection, load)
                staged, is_same = ledger.staged(load, publication.staging)
                is_sure = is_same and publication.count_by == "acknowledged"
                found = facts(connection, publication, staged.rows if is_sure else None)
                check_staged(load, expected, staged, found.rows)
                published = carry_out(connection, publication, found)
                ledger.close(load, published)
            return published
        except Busy as error:
            raise self._busy(error, where) from error

    def discard(self, load: Load) -> None:
        with self._transaction(load, f"cannot discard the load of table {load.table}") as connection:
            where, _ = located(connection, load.table)
            execute(connection, f"DROP TABLE IF EXISTS {staging_table(load, where).quoted()}")
            ledger = self._ledger(connection, load, where)
            if ledger.exists:
                ledger.forget(load.load_id)
        self._part = None

    def claim(self, load: Load) -> None:
        with self._call(load, f"cannot claim table {load.table}") as connection:
            where, _ = located(connection, load.table)
            if (str(where), load.load_id) not in self._claimed:
                claim(connection, load, where)
                self._claimed.add((str(where), load.load_id))

    def release(self) -> None:
        """Give claims back at once; a server notices a closed connection a little later. What fails ends with it."""
        if not self._claimed:
            return
        self._claimed.clear()
        connection = self._session.writing
        if connection.info.transaction_status == TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                execute(connection, "SELECT pg_advisory_unlock_all()")

    # ---- parts of it

    @contextlib.contextmanager
    def _call(self, load: Load, doing: str) -> Iterator[Connection]:
        _check_key(load)
        connection = self._session.writing
        with self._session.call(doing, connection):
            self._introduce(connection, load)
            yield connection

    @contextlib.contextmanager
    def _transaction(self, load: Load, doing: str) -> Iterator[Connection]:
        with self._call(load, doing) as connection, connection.transaction():
            timeout_s = float(self._session.option("lock_timeout_s", load.options))
            execute(connection, _BEGIN.format(round(timeout_s * 1000)))
            yield connection

    def _introduce(self, connection: Connection, load: Load) -> None:
        """Show the job in pg_stat_activity, where it tells others who holds a table."""
        name = f"{self._session.parameters['application_name']} {load.job}"
        if name != self._name:
            execute(connection, "SELECT set_config('application_name', $1, false)", [name])
            self._name = name

    def _stored(self, connection: Connection, load: Load) -> tuple[TableName, Target | None, list[Stored]]:
        for column in load.columns:
            if len(column.name.encode()) > MAX_NAME_BYTES:
                raise SpecError(
                    f"column {column.name!r} of table {load.table} has {len(column.name.encode())} bytes; PostgreSQL would"
                    f" cut it to {MAX_NAME_BYTES}",
                    "rename it in the job: columns.rename",
                )
        where, oid = located(connection, load.table)
        target = None if oid is None else target_of(connection, oid)
        return where, target, stored_columns(connection, load, where, target)

    def _publication(self, connection: Connection, load: Load) -> Publication:
        where, target, stored = self._stored(connection, load)
        takes_raw = wire.available() and bool(_raw_format(stored))
        replace_with = self._session.option("replace_with", load.options)
        count_by = self._session.option("count_by", load.options)
        return Publication(load, where, target, tuple(layout(stored, takes_raw)), replace_with, count_by)

    def _preparing(self, connection: Connection, publication: Publication) -> list[Step]:
        schema = publication.where.schema
        found = query(connection, "SELECT to_regnamespace($1) IS NOT NULL", [quote(schema)])[0][0]
        create = [] if found else [Step(f"CREATE SCHEMA {quote(schema)}")]
        return [*create, Step(definition(publication.staging, publication.staged))]

    def _ledger(self, connection: Connection, load: Load, where: TableName) -> Ledger:
        return Ledger(connection, self._session.option("ledger_schema", load.options) or where.schema, where)

    def _remove_leftovers(self, connection: Connection, ledger: Ledger, load: Load) -> None:
        others = ledger.others(load)
        if others:
            refuse_held(connection, load, ledger.table)
        for load_id in others:
            leftover = TableName((ledger.table.schema, staging_name(load_id, str(ledger.table))))
            execute(connection, f"DROP TABLE IF EXISTS {leftover.quoted()}")
            ledger.forget(load_id)

    def _places(self, connection: Connection, load: Load) -> tuple[TableName, tuple[Place, ...]]:
        """Where the load goes; its staging columns if this session has written to them before."""
        if self._part is not None and self._part.load == load:
            return self._part.where, self._part.places
        return located(connection, load.table)[0], ()

    def _stopped(self, raw: CopyStream) -> bool:
        return self._session.cancelled() or raw.reader.session.cancelled()

    def _busy(self, error: Busy, where: TableName) -> Busy:
        """The same error with the sessions that hold locks on the table."""
        with self._session.call(f"cannot see who holds table {where}"):
            rows = query(self._session.writing, _BLOCKERS, [where.quoted()])
        held = "; ".join(f"process {pid} ({name or user}, {state}: {sql})" for pid, name, user, state, sql in rows)
        return Busy(f"{error.what}; held by {held}" if held else error.what, error.hint or "it will be tried again")


def _raw_format(stored: list[Stored]) -> str:
    """Streams fit where every column keeps the type that it has in a source of the same system."""
    return copy_format([one.wanted for one in stored]) if all(one.is_native for one in stored) else ""


def _check_key(load: Load) -> None:
    names = {column.name for column in load.columns}
    if load.mode in _KEYED and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "name the key columns: key: [id]")
    for wanted in (*load.key, *((load.cursor,) if load.cursor else ())):
        if wanted not in names:
            raise SpecError(f"column {wanted!r} of table {load.table} is not loaded", "key and cursor must be loaded")
