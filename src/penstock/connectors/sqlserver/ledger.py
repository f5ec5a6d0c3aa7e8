"""The ledger of loads in the target database, numbers of attempts, and claims of target tables by application locks."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass

from penstock.connectors._sql.ledger import LEDGER, Ledger
from penstock.connectors.sqlserver.line import Line
from penstock.core.errors import Busy, Locked, Missing
from penstock.core.load import Load, Published, Written
from penstock.core.names import TableName, quote
from penstock.core.spec import digest

_CLAIM = "claim of "


@dataclass(frozen=True)
class SqlServerLedger(Ledger):
    """The shared ledger in the server's own types. `attempt` numbers who wrote the rows of a part, in the load's own row it
    counts them; `sizes` are the longest values of sized columns."""

    @property
    def definition(self) -> str:
        exact = "COLLATE Latin1_General_BIN2 NOT NULL"
        return f"""
CREATE TABLE {self.name} (
    load_id nvarchar(128) {exact}, part nvarchar(200) {exact}, job nvarchar(400) {exact}, "table" nvarchar(400) {exact},
    "rows" bigint NOT NULL, bytes bigint NOT NULL, attempt int NOT NULL DEFAULT 0, sizes nvarchar(max) NULL,
    "at" datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), published nvarchar(max) NULL, PRIMARY KEY (load_id, part)
)""".strip()

    @property
    def exists(self) -> bool:
        return self.ask("SELECT OBJECT_ID(CAST(? AS nvarchar(800)))", (self.name,))[0][0] is not None

    def create(self) -> None:
        if not self.exists:
            self.ask(self.definition, ())

    def others(self, load: Load, table: str) -> list[str]:
        sql = f"""SELECT DISTINCT load_id FROM {self.name} WHERE job = ? AND "table" = ? AND load_id <> ?
AND load_id NOT LIKE N'{_CLAIM}%' ORDER BY 1"""
        return [row[0] for row in self.ask(sql, (load.job, table, load.load_id))]

    def begin_attempt(self, load: Load) -> int:
        """A number that no other attempt of this load has. Raises Missing for a load that was not prepared."""
        sql = f"UPDATE {self.name} SET attempt = attempt + 1 OUTPUT inserted.attempt WHERE load_id = ? AND part = N''"
        rows = self.ask(sql, (load.load_id,))
        if not rows:
            raise self.not_prepared(load)
        return int(rows[0][0])

    def not_prepared(self, load: Load) -> Missing:
        return Missing(f"load {load.load_id!r} of table {load.table} was not prepared", "prepare it first")

    def mark_attempt(
        self, load: Load, table: str, part: str, written: Written, attempt: int, sizes: dict[str, int]
    ) -> None:
        """Note that a part is staged by that attempt: from now on its rows count."""
        sql = f"""INSERT INTO {self.name} (load_id, job, "table", part, "rows", bytes, attempt, sizes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
        values = (load.load_id, load.job, table, part, written.rows, written.size_bytes, attempt, json.dumps(sizes))
        self.ask(sql, values)

    def attempts(self, load: Load) -> dict[int, int]:
        """Rows by attempt, as the marks of all parts tell."""
        sql = f"""SELECT attempt, "rows" FROM {self.name} WHERE load_id = ? AND part <> N''"""
        return {int(row[0]): int(row[1]) for row in self.ask(sql, (load.load_id,))}

    def sizes(self, load: Load) -> dict[str, int]:
        """The longest value of each sized column, over all parts."""
        found: dict[str, int] = {}
        sql = f"SELECT DISTINCT sizes FROM {self.name} WHERE load_id = ? AND part <> N'' AND sizes IS NOT NULL"
        for (text,) in self.ask(sql, (load.load_id,)):
            for name, size in json.loads(text).items():
                found[name] = max(found.get(name, 0), int(size))
        return found

    def locked(self, load: Load) -> Published | None:
        """As `published`, and keeps other publishes of the load waiting until the transaction ends."""
        self.ask(
            f"SELECT part FROM {self.name} WITH (UPDLOCK, HOLDLOCK) WHERE load_id = ? AND part = N''", (load.load_id,)
        )
        return self.published(load)

    # ---- claims

    def note_claim(self, load: Load, table: str) -> None:
        """Say who holds the table, for those who find it held."""
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        key = _CLAIM + digest([table], 8)
        self.ask(f"DELETE FROM {self.name} WHERE load_id = ?", (key,))
        sql = f"""INSERT INTO {self.name} (load_id, job, "table", part, "rows", bytes, published)
VALUES (?, ?, ?, N'', 0, 0, ?)"""
        self.ask(sql, (key, load.job, table, holder))

    def holder(self, table: str) -> str:
        """Who noted the last claim of the table, in words."""
        sql = f"""SELECT job, published, CONVERT(nvarchar(30), "at", 126) FROM {self.name} WHERE load_id = ?"""
        rows = self.ask(sql, (_CLAIM + digest([table], 8),)) if self.exists else []
        return f"job {rows[0][0]!r} ({rows[0][1]}, since {rows[0][2]} UTC)" if rows else "another session"


def ledger_of(line: Line, schema: str) -> SqlServerLedger:
    return SqlServerLedger(f"{quote(schema)}.{quote(LEDGER)}", lambda sql, values: line.query(sql, tuple(values)))


# ---- application locks

_LOCK = """
DECLARE @result int;
EXEC @result = sp_getapplock @Resource = ?, @LockMode = ?, @LockOwner = ?, @LockTimeout = ?;
SELECT @result
"""


def resource(kind: str, what: object) -> str:
    return f"penstock {kind} {digest([kind, str(what)], 16)}"


def lock(line: Line, name: str, mode: str, owner: str = "Session", timeout_ms: int = 0) -> bool:
    """Take an application lock of the database; False when it did not come in time."""
    return int(line.query(_LOCK, [name, mode, owner, timeout_ms])[0][0]) >= 0


def unlock(line: Line, name: str) -> None:
    line.query(
        "DECLARE @result int; EXEC @result = sp_releaseapplock @Resource = ?, @LockOwner = 'Session'; SELECT @result",
        [name],
    )


def take_turns(line: Line, kind: str, what: object, timeout_s: float) -> None:
    """Wait until no other session is within the same turn, which lasts to the end of the transaction. Raises Busy."""
    if not lock(line, resource(kind, what), "Exclusive", "Transaction", round(timeout_s * 1000)):
        raise Busy(f"another session holds the {kind} of {what}", "it will be tried again")


def claim(line: Line, ledger: SqlServerLedger, load: Load, table: TableName) -> None:
    """Hold `table` for this load until the session ends. Raises Locked with the holder.

    Each session that loads shares the table's lock and its load's lock. Whoever finds the table's lock held, but nobody
    with its own load's, found another load. A third lock keeps two loads from finding each other absent.
    """
    gate = resource("gate", table)
    if not lock(line, gate, "Exclusive", timeout_ms=10_000):
        raise Busy(f"table {table} is being claimed by another session", "it will be tried again")
    try:
        refuse_held(line, ledger, load, table)
        for name in (resource("table", table), resource("load", [str(table), load.load_id])):
            if not lock(line, name, "Shared"):
                raise _held(ledger, table)
        ledger.note_claim(load, str(table))
    finally:
        unlock(line, gate)


def refuse_held(line: Line, ledger: SqlServerLedger, load: Load, table: TableName) -> None:
    """Raise Locked when a session of another load holds `table`."""
    if _test(line, resource("table", table)) or not _test(line, resource("load", [str(table), load.load_id])):
        return
    raise _held(ledger, table)


def _test(line: Line, name: str) -> bool:
    """Whether no other session holds the lock."""
    return bool(int(line.query("SELECT APPLOCK_TEST('public', ?, 'Exclusive', 'Session')", [name])[0][0]))


def _held(ledger: SqlServerLedger, table: TableName) -> Locked:
    return Locked(
        f"table {table} is being loaded by {ledger.holder(str(table))}", "wait until that load ends, or stop it"
    )
