"""The ledger of loads in the target database, and claims of target tables by named locks.

One row a part, and one with part '' for the load itself, made by prepare and marked by the publish. The rows of a load
stay until the next load of the same job and table is prepared, so that a call repeated late still finds its answer.

A new table comes to be by RENAME, which MySQL commits by itself. What the rename will have done is therefore written down
before it (`intent`, with the name of the table that is renamed); after a crash the names tell whether it has happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pymysql

from penstock.connectors._sql.ledger import LEDGER
from penstock.connectors.mysql.catalog import Place
from penstock.connectors.mysql.errors import number_of
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.relation import exists, text_of
from penstock.connectors.mysql.session import execute, query
from penstock.core.errors import Busy, Locked, Missing
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.spec import digest, plain

_CREATE = """
CREATE TABLE IF NOT EXISTS {ledger} (
    load_id VARCHAR(190) NOT NULL, part VARCHAR(190) NOT NULL, job TEXT NOT NULL, `table` TEXT NOT NULL,
    `rows` BIGINT NOT NULL, bytes BIGINT NOT NULL, at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    published LONGTEXT NULL, intent LONGTEXT NULL, PRIMARY KEY (load_id, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""
_TWICE, _NO_TABLE, _NO_DATABASE = 1062, 1146, 1049
# The row of a claim stands beside the loads: it names the holder of a lock, which the server does not tell.
_CLAIM = "claim"


@dataclass(frozen=True)
class Ledger:
    """The ledger table beside the target; `place` is the target."""

    connection: Connection
    place: Place

    @property
    def name(self) -> str:
        return text_of((self.place[0], LEDGER))

    @property
    def exists(self) -> bool:
        return exists(self.connection, (self.place[0], LEDGER))

    @property
    def table(self) -> str:
        return ".".join(self.place)

    def create(self) -> None:
        if not self.exists:
            execute(self.connection, _CREATE.format(ledger=self.name))

    def others(self, load: Load) -> list[str]:
        """Ids of other loads of the same job and table: what a new load finds left over."""
        sql = f"SELECT DISTINCT load_id FROM {self.name} WHERE job = %s AND `table` = %s AND load_id NOT IN (%s, %s)"
        return [
            str(row[0])
            for row in query(self.connection, sql, [load.job, self.table, load.load_id, _claim_id(self.place)])
        ]

    def forget(self, load_id: str) -> None:
        execute(self.connection, f"DELETE FROM {self.name} WHERE load_id = %s", [load_id])

    def open(self, load: Load) -> None:
        """Note that a load is prepared."""
        sql = (
            f"INSERT IGNORE INTO {self.name} (load_id, part, job, `table`, `rows`, bytes) VALUES (%s, '', %s, %s, 0, 0)"
        )
        execute(self.connection, sql, [load.load_id, load.job, self.table])

    def is_open(self, load: Load) -> bool:
        return bool(
            query(self.connection, f"SELECT 1 FROM {self.name} WHERE load_id = %s AND part = ''", [load.load_id])
        )

    def begin(self, load: Load, part: str) -> Written | None:
        """Mark a part whose rows are about to come; None when it is new, else what was written before.

        Waits while another session writes the same part, until that one commits or ends. Raises Missing for a load that
        was not prepared.
        """
        if not self._ask(f"SELECT 1 FROM {self.name} WHERE load_id = %s AND part = ''", load, [load.load_id]):
            raise self._not_prepared(load)
        sql = f"INSERT INTO {self.name} (load_id, part, job, `table`, `rows`, bytes) VALUES (%s, %s, %s, %s, 0, 0)"
        try:
            execute(self.connection, sql, [load.load_id, part, load.job, self.table])
            return None
        except pymysql.IntegrityError as error:
            if number_of(error) != _TWICE:
                raise
        sql = f"SELECT `rows`, bytes FROM {self.name} WHERE load_id = %s AND part = %s"
        rows, size_bytes = query(self.connection, sql, [load.load_id, part])[0]
        return Written(int(rows), int(size_bytes), again=True)

    def count(self, load: Load, part: str, written: Written) -> None:
        sql = f"UPDATE {self.name} SET `rows` = %s, bytes = %s WHERE load_id = %s AND part = %s"
        execute(self.connection, sql, [written.rows, written.size_bytes, load.load_id, part])

    def published(self, load: Load, lock: bool = False) -> Published | None:
        """What the load's publish did, None while it is not published. `lock` keeps the row to the transaction's end.

        Raises Missing for a load that was never prepared, or was discarded.
        """
        tail = " FOR UPDATE" if lock else ""
        sql = f"SELECT published FROM {self.name} WHERE load_id = %s AND part = ''{tail}"
        rows = self._ask(sql, load, [load.load_id])
        if not rows:
            raise self._not_prepared(load)
        return None if rows[0][0] is None else _published(json.loads(rows[0][0]), again=True)

    def close(self, load: Load, published: Published) -> None:
        """Mark the load as published."""
        sql = f"UPDATE {self.name} SET published = %s, at = CURRENT_TIMESTAMP(6) WHERE load_id = %s AND part = ''"
        execute(self.connection, sql, [json.dumps(plain(published), ensure_ascii=False), load.load_id])

    def intend(self, load: Load, published: Published, renamed: Place) -> None:
        """Write down what the rename of a table is about to do."""
        text = json.dumps({"published": plain(published), "renamed": list(renamed)}, ensure_ascii=False)
        execute(
            self.connection,
            f"UPDATE {self.name} SET intent = %s WHERE load_id = %s AND part = ''",
            [text, load.load_id],
        )

    def fulfilled(self, load: Load) -> Published | None:
        """What a rename did whose mark is missing, None where none was meant or it did not happen: then the table that was
        to be renamed is still there."""
        rows = query(
            self.connection, f"SELECT intent FROM {self.name} WHERE load_id = %s AND part = ''", [load.load_id]
        )
        if not rows or rows[0][0] is None:
            return None
        kept = json.loads(rows[0][0])
        schema, table = kept["renamed"]
        return None if exists(self.connection, (schema, table)) else _published(kept["published"], again=False)

    def staged(self, load: Load) -> Expected:
        sql = f"SELECT COUNT(*), COALESCE(SUM(`rows`), 0) FROM {self.name} WHERE load_id = %s AND part <> ''"
        parts, rows = query(self.connection, sql, [load.load_id])[0]
        return Expected(int(parts), int(rows))

    def _ask(self, sql: str, load: Load, values: list[object]) -> list[tuple[Any, ...]]:
        try:
            return query(self.connection, sql, values)
        except pymysql.MySQLError as error:
            if number_of(error) in (_NO_TABLE, _NO_DATABASE):
                raise self._not_prepared(load) from error
            raise

    def _not_prepared(self, load: Load) -> Missing:
        return Missing(f"load {load.load_id!r} of table {load.table} was not prepared", "prepare it first")


def _published(kept: dict[str, Any], again: bool) -> Published:
    return Published(**{**kept, "notes": tuple(kept["notes"]), "again": again})


# ---- claims


def claim(connection: Connection, ledger: Ledger, load: Load) -> None:
    """Hold the table for this load until the session ends. Raises Locked with the holder."""
    if not query(connection, "SELECT GET_LOCK(%s, 0)", [_lock("table", ledger.place)])[0][0]:
        raise _locked(connection, ledger, load)
    if not query(connection, "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", [ledger.place[0]]):
        return
    ledger.create()
    sql = f"REPLACE INTO {ledger.name} (load_id, part, job, `table`, `rows`, bytes) VALUES (%s, %s, %s, %s, 0, 0)"
    execute(connection, sql, [_claim_id(ledger.place), _CLAIM, load.job, ledger.table])


def refuse_held(connection: Connection, ledger: Ledger, load: Load) -> None:
    """Raise Locked when a session other than this one holds the table."""
    sql = "SELECT IS_USED_LOCK(%s), CONNECTION_ID()"
    holder, own = query(connection, sql, [_lock("table", ledger.place)])[0]
    if holder is not None and holder != own and _holder(connection, ledger) != load.job:
        raise _locked(connection, ledger, load)


def _locked(connection: Connection, ledger: Ledger, load: Load) -> Locked:
    number = query(connection, "SELECT IS_USED_LOCK(%s)", [_lock("table", ledger.place)])[0][0]
    return Locked(
        f"table {load.table} is being loaded by job {_holder(connection, ledger)!r} (connection {number} of the server)",
        "wait until that load ends, or stop it",
    )


def _holder(connection: Connection, ledger: Ledger) -> str:
    if not ledger.exists:
        return "?"
    rows = query(connection, f"SELECT job FROM {ledger.name} WHERE load_id = %s", [_claim_id(ledger.place)])
    return str(rows[0][0]) if rows else "?"


def _claim_id(place: Place) -> str:
    return f"{_CLAIM} {digest(list(place), 8)}"


def _lock(kind: str, what: object) -> str:
    return f"penstock {kind} {digest([kind, what], 12)}"


@contextmanager
def turn(connection: Connection, load: Load, timeout_s: int) -> Iterator[None]:
    """Within, no other session publishes this load. Raises Busy when that takes longer than `timeout_s` seconds."""
    name = _lock("publish", load.load_id)
    if not query(connection, "SELECT GET_LOCK(%s, %s)", [name, timeout_s])[0][0]:
        raise Busy(f"table {load.table} is being published by another session", "it will be tried again")
    try:
        yield
    finally:
        with suppress(pymysql.MySQLError, OSError):
            query(connection, "SELECT RELEASE_LOCK(%s)", [name])
