"""The ledger of loads in a target: which parts are staged and which loads are published, for targets that bind with `?`.

Used by the DuckDB and the SQLite writer. One row a part, and one with part '' for the load itself, made by prepare, which
the publish marks. The rows of the last load of a job and table stay until the next load is prepared, so that a call which
is repeated late still finds its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import CountMismatch, Missing
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.spec import digest, plain

LEDGER = "_penstock_ledger"
OWN_PREFIX = "_penstock_"

Ask = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]


def staging_name(load_id: str, table: str) -> str:
    """The name of a load's staging table, the same after every restart."""
    return OWN_PREFIX + digest([load_id, table], 8)


@dataclass(frozen=True)
class Ledger:
    """The ledger table `name` (quoted), asked and changed by statements that the caller runs in its transaction.

    `ask` runs one statement with bound values and returns all its rows ([] for statements that return none).
    """

    name: str
    ask: Ask

    def create(self) -> None:
        self.ask(self.definition, ())

    @property
    def definition(self) -> str:
        return f"""
CREATE TABLE IF NOT EXISTS {self.name} (
    load_id VARCHAR NOT NULL, job VARCHAR NOT NULL, "table" VARCHAR NOT NULL, part VARCHAR NOT NULL,
    "rows" BIGINT NOT NULL, bytes BIGINT NOT NULL, "at" TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, published VARCHAR,
    PRIMARY KEY (load_id, part)
)""".strip()

    def others(self, load: Load, table: str) -> list[str]:
        """Ids of other loads of the same job and table: what a new load finds left over."""
        sql = f"""SELECT DISTINCT load_id FROM {self.name} WHERE job = ? AND "table" = ? AND load_id <> ? ORDER BY 1"""
        return [row[0] for row in self.ask(sql, (load.job, table, load.load_id))]

    def forget(self, load_id: str) -> None:
        self.ask(f"DELETE FROM {self.name} WHERE load_id = ?", (load_id,))

    def is_open(self, load: Load) -> bool:
        """Whether the load was prepared, and perhaps published since."""
        return bool(self.ask(f"SELECT 1 FROM {self.name} WHERE load_id = ? AND part = ''", (load.load_id,)))

    def open(self, load: Load, table: str) -> None:
        """Note that a load is prepared."""
        self.mark(load, table, "", Written(0, 0))

    def mark(self, load: Load, table: str, part: str, written: Written) -> None:
        """Note that a part is staged, in the transaction of its rows."""
        sql = f"""INSERT INTO {self.name} (load_id, job, "table", part, "rows", bytes) VALUES (?, ?, ?, ?, ?, ?)"""
        self.ask(sql, (load.load_id, load.job, table, part, written.rows, written.size_bytes))

    def marked(self, load: Load, part: str) -> Written | None:
        """What was written as `part` before, or None."""
        sql = f"""SELECT "rows", bytes FROM {self.name} WHERE load_id = ? AND part = ?"""
        rows = self.ask(sql, (load.load_id, part))
        return Written(int(rows[0][0]), int(rows[0][1]), again=True) if rows else None

    def published(self, load: Load, again: bool = True) -> Published | None:
        """What the load's publish did, or None while it is not published. Raises Missing for a load never prepared."""
        rows = self.ask(f"SELECT published FROM {self.name} WHERE load_id = ? AND part = ''", (load.load_id,))
        if not rows:
            raise Missing(f"load {load.load_id!r} of table {load.table} was not prepared", "prepare it first")
        if rows[0][0] is None:
            return None
        kept = json.loads(rows[0][0])
        return Published(**{**kept, "notes": tuple(kept["notes"]), "again": again})

    def close(self, load: Load, published: Published) -> None:
        """Mark the load as published."""
        text = json.dumps(plain(published), ensure_ascii=False)
        self.ask(f"UPDATE {self.name} SET published = ? WHERE load_id = ? AND part = ''", (text, load.load_id))

    def staged(self, load: Load) -> Expected:
        sql = f"""SELECT count(*), coalesce(sum("rows"), 0) FROM {self.name} WHERE load_id = ? AND part <> ''"""
        parts, rows = self.ask(sql, (load.load_id,))[0]
        return Expected(int(parts), int(rows))


def check_staged(load: Load, expected: Expected, staged: Expected, rows_in_staging: int) -> None:
    """Raises CountMismatch unless the ledger and the staging table hold exactly what is expected."""
    if staged != expected or rows_in_staging != expected.rows:
        raise CountMismatch(
            f"staging of table {load.table} holds {rows_in_staging} rows, of {staged.rows} noted in {staged.parts} parts;"
            f" expected {expected.rows} rows in {expected.parts} parts",
            "the table is as it was; run the job again with --fresh",
        )
