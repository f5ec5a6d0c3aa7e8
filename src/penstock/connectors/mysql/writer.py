"""Loading a table: staging beside the target, a ledger row in each part's transaction, one transaction that publishes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pymysql

from penstock.connectors._sql.ledger import check_staged, staging_name
from penstock.connectors.mysql.catalog import Place, place_of
from penstock.connectors.mysql.encode import Form
from penstock.connectors.mysql.ledger import Ledger, claim, refuse_held, turn
from penstock.connectors.mysql.loading import drop, write_batches
from penstock.connectors.mysql.mapping import Server
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.publish import KEYED, Facts, Publication, carry_out, facts, get_ready, make_new
from penstock.connectors.mysql.relation import exists, server_of, target_of, text_of
from penstock.connectors.mysql.session import MysqlSession, execute, query
from penstock.connectors.mysql.stored import stored_columns
from penstock.connectors.mysql.types import MARK
from penstock.core.errors import Missing, SpecError
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.names import quote
from penstock.core.schema import TypeChoice

_MAX_NAME = 64
# A transaction that inserts what it selects then locks none of the rows it selects.
_ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
# Statement-based logs of changes do not take that level.
_LOGS = "SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format')"


class MysqlWriter:
    """Writes on the session's writing connection."""

    def __init__(self, session: MysqlSession) -> None:
        self._session = session
        self._claimed: set[Place] = set()
        self._ready: Connection | None = None
        self._server: Server | None = None
        self._part: tuple[Load, tuple[Form, ...]] | None = None

    # ---- looking

    def types(self, load: Load) -> list[TypeChoice]:
        """Raises SchemaChanged for a column whose type does not fit the target's and may not be adapted."""
        with self._call(load, f"cannot choose the types of table {load.table}") as connection:
            return [stored.choice() for stored in self._publication(connection, load).stored]

    def plan(self, load: Load) -> list[str]:
        """CREATE of staging and the statements of the publish."""
        with self._call(load, f"cannot plan the load of table {load.table}") as connection:
            return self._publication(connection, load).plan()

    # ---- the load

    def prepare(self, load: Load) -> None:
        """Every statement here commits by itself; staging comes before its mark in the ledger."""
        with self._call(load, f"cannot prepare the load of table {load.table}") as connection:
            place = self._place(load)
            self._create_database(connection, place[0])
            publication = self._publication(connection, load)
            publication.plan()
            ledger = Ledger(connection, place)
            ledger.create()
            if ledger.is_open(load) and ledger.published(load) is not None:
                return
            others = ledger.others(load)
            if others:
                refuse_held(connection, ledger, load)
            for load_id in others:
                drop(connection, *_tables(load_id, place))
                ledger.forget(load_id)
            if ledger.fulfilled(load) is None:
                execute(connection, publication.create(publication.staging))
            ledger.open(load)

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        try:
            with (
                self._call(load, f"cannot write into table {load.table}") as connection,
                self._transaction(connection),
            ):
                ledger = Ledger(connection, self._place(load))
                before = ledger.begin(load, part)
                if before is not None:
                    return before
                staging = _tables(load.load_id, ledger.place)[0]
                written = write_batches(self._session, load, staging, self._forms(connection, load), batches)
                ledger.count(load, part, written)
            return written
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def publish(self, load: Load, expected: Expected) -> Published:
        """Raises Busy when a lock did not come within lock_timeout_s."""
        doing = f"cannot publish table {load.table}"
        wait_s = self._session.option("lock_timeout_s", load.options)
        with self._call(load, doing) as connection, turn(connection, load, wait_s):
            ledger = Ledger(connection, self._place(load))
            before = ledger.published(load)
            if before is None:
                before = self._finished(ledger, load)
            if before is not None:
                drop(connection, *_tables(load.load_id, ledger.place))
                return before
            publication = self._publication(connection, load)
            if not exists(connection, _places(load.load_id, ledger.place)[0]):
                raise Missing(f"staging of load {load.load_id!r} of table {load.table} is gone", "start a new load")
            found = facts(connection, publication)
            check_staged(load, expected, ledger.staged(load), found.rows)
            source, notes = get_ready(connection, publication, found)
            if publication.target is None:
                published = make_new(connection, publication, source, found)
            else:
                # The target may have been altered a moment ago.
                publication = self._publication(connection, load)
                published = self._publish_into(ledger, publication, source, found, notes)
            published = replace(published, notes=tuple(dict.fromkeys([*notes, *published.notes])))
            self._close(ledger, load, publication, published, source)
            return published

    def _publish_into(
        self, ledger: Ledger, publication: Publication, source: str, found: Facts, notes: list[str]
    ) -> Published:
        connection, load = ledger.connection, publication.load
        with self._transaction(connection):
            done = ledger.published(load, lock=True)
            if done is not None:
                return done
            published = carry_out(connection, publication, source, found)
            published = replace(published, notes=(*notes, *published.notes))
            ledger.close(load, published)
        return published

    def _close(self, ledger: Ledger, load: Load, publication: Publication, published: Published, source: str) -> None:
        """What is left to do outside the transaction. A new table: the intent is written, the table renamed, the mark
        made; after a crash in between the next call finds by the names how far it came."""
        connection = ledger.connection
        staging, won = _places(load.load_id, ledger.place)
        if publication.target is None:
            ledger.intend(load, published, staging if source == text_of(staging) else won)
            execute(connection, f"RENAME TABLE {source} TO {text_of(ledger.place)}")
            ledger.close(load, published)
        drop(connection, text_of(staging), text_of(won))

    def _finished(self, ledger: Ledger, load: Load) -> Published | None:
        """What a rename did whose mark was lost, marked now."""
        done = ledger.fulfilled(load)
        if done is not None:
            ledger.close(load, done)
        return done

    def discard(self, load: Load) -> None:
        with self._call(load, f"cannot discard the load of table {load.table}") as connection:
            ledger = Ledger(connection, self._place(load))
            if ledger.exists:
                drop(connection, *_tables(load.load_id, ledger.place))
                ledger.forget(load.load_id)
        self._part = None

    def claim(self, load: Load) -> None:
        with self._call(load, f"cannot claim table {load.table}") as connection:
            place = self._place(load)
            if place not in self._claimed:
                claim(connection, Ledger(connection, place), load)
                self._claimed.add(place)

    def release(self) -> None:
        """Give claims back at once; a server notices a closed connection a little later. What fails ends with it."""
        if not self._claimed:
            return
        self._claimed.clear()
        with contextlib.suppress(pymysql.MySQLError, OSError):
            query(self._session.writing, "SELECT RELEASE_ALL_LOCKS()")

    # ---- parts of it

    @contextlib.contextmanager
    def _call(self, load: Load, doing: str) -> Iterator[Connection]:
        _check_key(load)
        connection = self._session.writing
        with self._session.call(doing, connection):
            if self._ready is not connection:
                self._set_up(connection, load)
            yield connection

    def _set_up(self, connection: Connection, load: Load) -> None:
        wait_s = self._session.option("lock_timeout_s", load.options)
        execute(connection, f"SET SESSION innodb_lock_wait_timeout = {wait_s}, lock_wait_timeout = {wait_s}")
        if {"ON", "STATEMENT"} - {str(row[1]).upper() for row in query(connection, _LOGS)}:
            execute(connection, _ISOLATION)
        self._server = server_of(connection, str(self._session.option("collation", load.options) or ""))
        self._ready = connection

    @contextlib.contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        connection.begin()
        try:
            yield
            connection.commit()
        except BaseException:
            with contextlib.suppress(pymysql.MySQLError, OSError):
                connection.rollback()
            raise

    def _place(self, load: Load) -> Place:
        place = place_of(load.table, self._session)
        for part in place:
            if len(part) > _MAX_NAME or part != part.rstrip(" ") or any(ord(c) > 0xFFFF for c in part):
                raise SpecError(
                    f"name {part!r} of table {load.table} is one that MySQL does not take: more than {_MAX_NAME} characters,"
                    " spaces at the end, or characters beyond its own",
                    "choose another target_name",
                )
        return place

    def _create_database(self, connection: Connection, name: str) -> None:
        if not query(connection, "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", [name]):
            execute(connection, f"CREATE DATABASE IF NOT EXISTS {quote(name, MARK)} CHARACTER SET utf8mb4")

    def _publication(self, connection: Connection, load: Load) -> Publication:
        place = self._place(load)
        assert self._server is not None
        target = target_of(connection, place, load.table)
        stored = tuple(stored_columns(load, self._server, target))
        return Publication(load, place, target, stored, self._server, *_tables(load.load_id, place))

    def _forms(self, connection: Connection, load: Load) -> tuple[Form, ...]:
        if self._part is None or self._part[0] != load:
            self._part = load, tuple(each.form() for each in self._publication(connection, load).stored)
        return self._part[1]


def _places(load_id: str, place: Place) -> tuple[Place, Place]:
    """Staging of a load, and the table of one row a key."""
    name = staging_name(load_id, ".".join(place))
    return (place[0], name), (place[0], f"{name}_won")


def _tables(load_id: str, place: Place) -> tuple[str, str]:
    staging, won = _places(load_id, place)
    return text_of(staging), text_of(won)


def _check_key(load: Load) -> None:
    names = {column.name for column in load.columns}
    if load.mode in KEYED and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "name the key columns: key: [id]")
    for wanted in (*load.key, *((load.cursor,) if load.cursor else ())):
        if wanted not in names:
            raise SpecError(f"column {wanted!r} of table {load.table} is not loaded", "key and cursor must be loaded")
