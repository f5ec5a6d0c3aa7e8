"""The ledger of loads in the target database, and claims of target tables by advisory locks.

One row a part, and one with part '' for the load itself, made by prepare and marked by the publish. The rows of a load
stay until the next load of the same job and table is prepared, so that a call repeated late still finds its answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg

from penstock.connectors._sql.ledger import LEDGER
from penstock.connectors.postgres.session import Connection, execute, query
from penstock.core.errors import Locked, Missing
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.names import TableName, quote
from penstock.core.spec import digest, plain

_CREATE = """
CREATE TABLE {ledger} (
    load_id text NOT NULL, part text NOT NULL, job text NOT NULL, "table" text NOT NULL,
    rows bigint NOT NULL, bytes bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), published json, staging text,
    PRIMARY KEY (load_id, part)
)
"""

# Which table has the name $2, and which file holds its rows: another one once it was made anew, truncated or rewritten.
_IDENTITY = """
SELECT concat_ws('/', c.oid, pg_relation_filenode(c.oid)) FROM pg_class AS c WHERE c.oid = to_regclass($2)
"""

# Asked of the catalog's own tables: to_regclass and to_regnamespace answer from a cache that does not see what another
# session commits while this one waits its turn. Tells whether the ledger has its newest column.
_HAS_TABLE = """
SELECT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'staging' AND NOT a.attisdropped)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
"""
_HAS_SCHEMA = "SELECT FROM pg_namespace WHERE nspname = $1"


def create_schema(connection: Connection, schema: str) -> None:
    """Create a schema where it is missing; sessions that come at the same time wait for each other.

    CREATE IF NOT EXISTS would ask for a permission even where there is nothing to do.
    """
    if not query(connection, _HAS_SCHEMA, [schema]):
        _take_turns(connection, "schema", schema)
        if not query(connection, _HAS_SCHEMA, [schema]):
            execute(connection, f"CREATE SCHEMA {quote(schema)}")


def _take_turns(connection: Connection, kind: str, what: object) -> None:
    """Wait until no other session is within the same turn, which lasts to the end of the transaction."""
    execute(connection, "SELECT pg_advisory_xact_lock($1)", [_number(kind, what)])


@dataclass(frozen=True)
class Ledger:
    """The ledger table of one schema; all calls run in the caller's transaction. `table` names the target in full."""

    connection: Connection
    schema: str
    table: TableName

    @property
    def name(self) -> str:
        return f"{quote(self.schema)}.{quote(LEDGER)}"

    @property
    def exists(self) -> bool:
        return bool(query(self.connection, _HAS_TABLE, [self.schema, LEDGER]))

    def create(self) -> None:
        """Create it, and its schema, where they are missing; sessions that come at the same time wait for each other."""
        found = query(self.connection, _HAS_TABLE, [self.schema, LEDGER])
        if not found:
            create_schema(self.connection, self.schema)
            _take_turns(self.connection, "ledger", self.schema)
            if not self.exists:
                execute(self.connection, _CREATE.format(ledger=self.name))
        elif not found[0][0]:  # made by an earlier version
            execute(self.connection, f"ALTER TABLE {self.name} ADD COLUMN IF NOT EXISTS staging text")

    def identify(self, load: Load, staging: TableName) -> None:
        """Note which table takes the parts; the one that was noted first stays noted."""
        sql = f"UPDATE {self.name} SET staging = ({_IDENTITY}) WHERE load_id = $1 AND part = '' AND staging IS NULL"
        execute(self.connection, sql, [load.load_id, staging.quoted()])

    def open(self, load: Load) -> None:
        """Note that a load is prepared; nothing changes when it is."""
        sql = f"""
INSERT INTO {self.name} (load_id, part, job, "table", rows, bytes) VALUES ($1, '', $2, $3, 0, 0) ON CONFLICT DO NOTHING
"""
        execute(self.connection, sql, [load.load_id, load.job, str(self.table)])

    def others(self, load: Load) -> list[str]:
        """Ids of other loads of the same job and table: what a new load finds left over."""
        sql = f'SELECT DISTINCT load_id FROM {self.name} WHERE job = $1 AND "table" = $2 AND load_id <> $3 ORDER BY 1'
        return [row[0] for row in query(self.connection, sql, [load.job, str(self.table), load.load_id])]

    def forget(self, load_id: str) -> None:
        execute(self.connection, f"DELETE FROM {self.name} WHERE load_id = $1", [load_id])

    def begin(self, load: Load, part: str) -> Written | None:
        """Mark a part whose rows are about to come; None when it is new, else what was written before.

        Waits while another session writes the same part, until that one commits or ends. Raises Missing for a load that
        was not prepared.
        """
        sql = f"""
WITH prepared AS (
    SELECT FROM {self.name} WHERE load_id = $1 AND part = ''
), marked AS (
    INSERT INTO {self.name} (load_id, part, job, "table", rows, bytes) SELECT $1, $2, $3, $4, 0, 0 FROM prepared
    ON CONFLICT DO NOTHING RETURNING part
)
SELECT (SELECT count(*) FROM prepared), (SELECT count(*) FROM marked)
"""
        prepared, marked = self._ask(sql, load, [load.load_id, part, load.job, str(self.table)])[0]
        if not prepared:
            raise self._not_prepared(load)
        if marked:
            return None
        sql = f"SELECT rows, bytes FROM {self.name} WHERE load_id = $1 AND part = $2"
        rows, size_bytes = query(self.connection, sql, [load.load_id, part])[0]
        return Written(rows, size_bytes, again=True)

    def _ask(self, sql: str, load: Load, values: list[object]) -> list[tuple[Any, ...]]:
        try:
            return query(self.connection, sql, values)
        except psycopg.errors.UndefinedTable as error:
            raise self._not_prepared(load) from error

    def _not_prepared(self, load: Load) -> Missing:
        return Missing(f"load {load.load_id!r} of table {self.table} was not prepared", "prepare it first")

    def count(self, load: Load, part: str, written: Written) -> None:
        sql = f"UPDATE {self.name} SET rows = $3, bytes = $4 WHERE load_id = $1 AND part = $2"
        execute(self.connection, sql, [load.load_id, part, written.rows, written.size_bytes])

    def published(self, load: Load, lock: bool = False) -> Published | None:
        """What the load's publish did, None while it is not published. `lock` keeps other publishes of it waiting.

        Raises Missing for a load that was never prepared, or was discarded.
        """
        tail = " FOR UPDATE" if lock else ""
        sql = f"SELECT published FROM {self.name} WHERE load_id = $1 AND part = ''{tail}"
        rows = self._ask(sql, load, [load.load_id])
        if not rows:
            raise self._not_prepared(load)
        kept = rows[0][0]
        return None if kept is None else Published(**{**kept, "notes": tuple(kept["notes"]), "again": True})

    def close(self, load: Load, published: Published) -> None:
        """Mark the load as published."""
        text = json.dumps(plain(published), ensure_ascii=False)
        sql = f"UPDATE {self.name} SET published = $2::json, at = now() WHERE load_id = $1 AND part = ''"
        execute(self.connection, sql, [load.load_id, text])

    def staged(self, load: Load, staging: TableName) -> tuple[Expected, bool]:
        """Parts and the rows that the server acknowledged for them; whether `staging` is the very table that took them."""
        sql = f"""
SELECT count(*) FILTER (WHERE part <> ''), coalesce(sum(rows) FILTER (WHERE part <> ''), 0),
    coalesce(bool_or(staging = ({_IDENTITY})), false)
FROM {self.name} WHERE load_id = $1
"""
        parts, rows, is_same = query(self.connection, sql, [load.load_id, staging.quoted()])[0]
        return Expected(int(parts), int(rows)), is_same


# ---- claims

# Sessions other than this one that hold the lock $1 (a table), but not $2 (this very load): process, name, user, since.
_HOLDERS = """
WITH held AS (
    SELECT pid, (classid::bigint << 32) | objid::bigint AS number FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT a.pid, a.application_name, a.usename::text, to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS "UTC"')
FROM held AS h JOIN pg_stat_activity AS a ON a.pid = h.pid
WHERE h.number = $1 AND h.pid <> pg_backend_pid() AND h.pid NOT IN (SELECT pid FROM held WHERE number = $2)
ORDER BY a.backend_start LIMIT 1
"""


def claim(connection: Connection, load: Load, table: TableName) -> None:
    """Hold `table` for this load until the session ends. Raises Locked with the holder.

    Each session that loads shares the table's lock and its load's lock; whoever holds the first without the second is
    another load. A third lock, for the moment of looking, keeps two loads from finding each other absent.
    """
    with connection.transaction():
        _take_turns(connection, "gate", table)
        refuse_held(connection, load, table)
        for number in (_number("table", table), _number("load", [str(table), load.load_id])):
            execute(connection, "SELECT pg_advisory_lock_shared($1)", [number])


def refuse_held(connection: Connection, load: Load, table: TableName) -> None:
    """Raise Locked when a session of another load holds `table`."""
    numbers = [_number("table", table), _number("load", [str(table), load.load_id])]
    found = query(connection, _HOLDERS, numbers)
    if found:
        pid, name, user, since = found[0]
        raise Locked(
            f"table {table} is being loaded by {name!r} (process {pid} of user {user}, connected since {since})",
            "wait until that load ends, or stop it",
        )


def _number(kind: str, what: object) -> int:
    """The number of an advisory lock, a signed integer of 64 bits."""
    return int.from_bytes(bytes.fromhex(digest(["penstock", kind, str(what)], 8)), "big", signed=True)
