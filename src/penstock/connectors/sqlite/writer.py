"""Loads SQLite tables: parts into a staging table with their ledger row, then one transaction that publishes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from penstock.connectors._sql.ledger import LEDGER, Ledger, check_staged, staging_name
from penstock.connectors._sql.publish import Step, insert_all
from penstock.connectors.sqlite import memory, modes
from penstock.connectors.sqlite.catalog import held_tables, local_name
from penstock.connectors.sqlite.claim import claim
from penstock.connectors.sqlite.database import Connection
from penstock.connectors.sqlite.forms import to_stored, widened
from penstock.connectors.sqlite.session import SqliteSession
from penstock.connectors.sqlite.target import Shape, Target, create, fit, inspect, target_name
from penstock.core.errors import DataError, Missing
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.names import quote
from penstock.core.schema import TypeChoice

# What a worker reads ahead before it takes the file's only lock, so that workers read side by side.
_AHEAD_BYTES = 32 * 2**20
# Rows of staging that one statement of a publish moves: a cancelled publish ends after the statement.
_SLICE_ROWS = 200_000


class SqliteWriter:
    """Parts may be read by several sessions at once and are written one after another.

    Triggers of the target fire as its definition says. Foreign keys are not enforced, so that replacing a table does not
    delete what refers to it.
    """

    def __init__(self, session: SqliteSession) -> None:
        self._session = session

    # ---- before anything is written

    def types(self, load: Load) -> list[TypeChoice]:
        with self._session.call(f"cannot compare table {load.table}"):
            return list(self._shape(load)[1].choices)

    def plan(self, load: Load) -> list[str]:
        with self._session.call(f"cannot plan the load of table {load.table}"):
            target, shape = self._shape(load)
            name = target.name if target else local_name(load.table)
            staging = staging_name(load.load_id, name)
            steps = [Step(create(staging, shape.columns, _required(load, target)))]
            if target is None:
                steps += _named(load, name, staging, shape, modes.wants_key(load))[0]
            else:
                both = modes.sides(load, name, staging, shape.columns)
                steps += [*shape.alterations, *modes.steps(load, target, both, shape.columns)[0]]
                steps += [Step(f"DROP TABLE {quote(staging)}")]
            return [step.sql for step in steps if not step.refuses]

    def _shape(self, load: Load) -> tuple[Target | None, Shape]:
        if not self._session.exists:
            local_name(load.table)
            return None, _checked(load, fit(load, None))
        target = inspect(load.table, self._session.reading)
        return target, _checked(load, fit(load, target))

    # ---- staging

    def prepare(self, load: Load) -> None:
        doing = f"cannot prepare table {load.table}"
        with self._session.call(doing), self._session.transaction(doing) as connection:
            target = inspect(load.table, connection)
            shape = _checked(load, fit(load, target))
            name = target.name if target else local_name(load.table)
            ledger = _ledger(connection)
            ledger.create()
            memory.create(connection)
            for load_id in ledger.others(load, name):
                _drop(connection, staging_name(load_id, name))
                ledger.forget(load_id)
            if not ledger.is_open(load):
                staging = staging_name(load.load_id, name)
                connection.ask(create(staging, shape.columns, _required(load, target)))
                # Parts are written as the target reads them: equal values must be equal text.
                entries = [(placed.name, placed.declared, placed.read_as) for placed in shape.columns]
                memory.write(connection, staging, entries)
                ledger.open(load, name)

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        doing = f"cannot write part {part} of table {load.table}"
        with self._session.call(doing):
            name, ledger = self._opened(load, self._session.writing)
            found = ledger.marked(load, part)
            if found is not None:
                return found
            stored = _stored(batches, load, self._carriers(load, name))
            ahead = self._read_ahead(stored, doing)
            with self._session.transaction(doing) as connection:
                found = ledger.marked(load, part)
                if found is not None:
                    return found
                written = self._insert(connection, name, load, _chained(ahead, stored))
                ledger.mark(load, name, part, written)
                return written

    def _read_ahead(self, stored: Iterator[tuple[pa.RecordBatch, int]], doing: str) -> list[tuple[pa.RecordBatch, int]]:
        ahead: list[tuple[pa.RecordBatch, int]] = []
        size_bytes = 0
        for batch, given_bytes in stored:
            self._session.stop_if_cancelled(doing)
            ahead.append((batch, given_bytes))
            size_bytes += batch.nbytes
            if size_bytes >= _AHEAD_BYTES:
                break
        return ahead

    def _insert(
        self, connection: Connection, name: str, load: Load, batches: Iterator[tuple[pa.RecordBatch, int]]
    ) -> Written:
        staging = quote(staging_name(load.load_id, name))
        sql = f"INSERT INTO {staging} VALUES ({', '.join('?' * len(load.columns))})"
        rows = size_bytes = 0
        for batch, given_bytes in batches:
            self._session.stop_if_cancelled(f"cannot write table {load.table}")
            connection.insert(sql, batch)
            rows, size_bytes = rows + batch.num_rows, size_bytes + given_bytes
        return Written(rows, size_bytes)

    def _carriers(self, load: Load, name: str) -> list[pa.DataType]:
        """How each column is read back from the staging table. Raises Missing when that is gone."""
        staging = staging_name(load.load_id, name)
        held = held_tables(self._session.writing, [staging]).get(staging)
        if held is None:
            raise Missing(f"load {load.load_id!r} of table {load.table} was published or discarded", "start a new load")
        return [
            at.remembered.carrier if at.remembered is not None else column.type
            for at, column in zip(held.columns, load.columns, strict=True)
        ]

    def _opened(self, load: Load, connection: Connection) -> tuple[str, Ledger]:
        """The table's name and the ledger, if it knows the load. Raises Missing for a load that was never prepared."""
        name, _ = target_name(load.table, connection)
        ledger = _ledger(connection)
        if not connection.ask(_HAS, (LEDGER,)) or not ledger.is_open(load):
            raise Missing(f"load {load.load_id!r} of table {load.table} was not prepared", "prepare it first")
        return name, ledger

    # ---- publishing

    def publish(self, load: Load, expected: Expected) -> Published:
        doing = f"cannot publish table {load.table}"
        with self._session.call(doing), self._session.transaction(doing) as connection:
            name, ledger = self._opened(load, connection)
            done = ledger.published(load)
            if done is not None:
                return done
            staging = staging_name(load.load_id, name)
            check_staged(load, expected, ledger.staged(load), _count(connection, staging))
            target = inspect(load.table, connection)
            if target is None:
                published = self._publish_new(connection, load, name, staging)
            else:
                published = self._publish_into(connection, load, target, staging)
            published = replace(published, rows_staged=expected.rows)
            ledger.close(load, published)
            return published

    def _publish_new(self, connection: Connection, load: Load, name: str, staging: str) -> Published:
        shape = _checked(load, fit(load, None))
        why_not = _no_key(connection, load, staging) if modes.wants_key(load) else ""
        steps, how = _named(load, name, staging, shape, modes.wants_key(load) and not why_not)
        self._run(connection, load, steps)
        for table in (staging, name):
            memory.forget(connection, table)
        memory.write(connection, name, shape.remembered)
        rows = _count(connection, name)
        return Published(0, rows, 0, 0, 0, rows, how, notes=(why_not,) if why_not else ())

    def _publish_into(self, connection: Connection, load: Load, target: Target, staging: str) -> Published:
        before = _count(connection, target.name)
        shape = _checked(load, fit(load, target))
        both = modes.sides(load, target.name, staging, shape.columns)
        steps, how = modes.steps(load, target, both, shape.columns)
        drop = Step(f"DROP TABLE {quote(staging)}")
        counts = self._run(connection, load, [*shape.alterations, *_sliced(connection, both.staging, steps), drop])
        memory.forget(connection, staging)
        memory.write(connection, target.name, shape.remembered)
        after = _count(connection, target.name)
        return Published(0, counts["inserted"], counts["updated"], counts["deleted"], before, after, how)

    def _run(self, connection: Connection, load: Load, steps: Sequence[Step]) -> dict[str, int]:
        counts = {"inserted": 0, "updated": 0, "deleted": 0}
        for step in steps:
            self._session.stop_if_cancelled(f"cannot publish table {load.table}")
            if step.refuses:
                number = int(connection.ask(step.sql, step.values)[0][0])
                if number:
                    what = step.refuses.format(number)
                    raise DataError(f"table {load.table} cannot take the load: {what}", "it is as it was")
            elif step.counts and step.sql.startswith("SELECT"):
                counts[step.counts] += int(connection.ask(step.sql, step.values)[0][0])
            elif step.counts:
                counts[step.counts] += connection.change(step.sql, step.values)
            else:
                connection.ask(step.sql, step.values)
        return counts

    def discard(self, load: Load) -> None:
        doing = f"cannot discard the load of table {load.table}"
        if not self._session.exists:
            return
        with self._session.call(doing), self._session.transaction(doing) as connection:
            name, _ = target_name(load.table, connection)
            if connection.ask(_HAS, (LEDGER,)):
                _drop(connection, staging_name(load.load_id, name))
                _ledger(connection).forget(load.load_id)

    def claim(self, load: Load) -> None:
        with self._session.call(f"cannot claim table {load.table}"):
            claim(self._session.file, local_name(load.table), load, self._session.id)


_HAS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"


def _checked(load: Load, shape: Shape) -> Shape:
    """The shape, if the load's cursor sorts in SQLite: it decides which row of a key wins. Raises SpecError."""
    modes.order_of(load, shape.columns)
    return shape


def _ledger(connection: Connection) -> Ledger:
    return Ledger(quote(LEDGER), connection.ask)


def _required(load: Load, target: Target | None) -> frozenset[str]:
    """Columns that a staging table declares NOT NULL: it may become the target by its name."""
    return frozenset(column.name for column in load.columns if not column.nullable and target is None)


def _drop(connection: Connection, staging: str) -> None:
    connection.ask(f"DROP TABLE IF EXISTS {quote(staging)}")
    memory.forget(connection, staging)


def _count(connection: Connection, table: str) -> int:
    return int(connection.ask(f"SELECT count(*) FROM {quote(table)}")[0][0])


def _named(load: Load, name: str, staging: str, shape: Shape, has_key: bool) -> tuple[list[Step], str]:
    """How staged rows become a new table, and in words. SQLite adds no primary key to a table that exists, so a table
    with one is made and filled in the key's order."""
    both = modes.sides(load, name, staging, shape.columns)
    steps = modes.winners(load, both, shape.columns) if load.mode in modes.ONE_A_KEY else []
    if not has_key:
        rename = Step(f"ALTER TABLE {quote(staging)} RENAME TO {quote(name)}")
        return [*steps, rename], "new table, by renaming the staging table"
    keys = [placed.name for source in load.key for placed in shape.columns if placed.source == source]
    made = create(name, shape.columns, _required(load, None), keys)
    filled = f"{insert_all(both).sql} ORDER BY {', '.join(both.key)}"
    return [*steps, Step(made), Step(filled), Step(f"DROP TABLE {quote(staging)}")], "new table with its primary key"


def _no_key(connection: Connection, load: Load, staging: str) -> str:
    """Why the rows allow no primary key; "" if they do. Rows that an UPSERT drops do not count."""
    names = ", ".join(quote(name) for name in load.key)
    empty = " OR ".join(f"{quote(name)} IS NULL" for name in load.key)
    if connection.ask(f"SELECT 1 FROM {quote(staging)} WHERE {empty} LIMIT 1"):
        return f"no primary key: {names} has NULLs"
    repeated = f"SELECT 1 FROM {quote(staging)} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
    if load.mode not in modes.ONE_A_KEY and connection.ask(repeated):
        return f"no primary key: values of {names} occur more than once"
    return ""


def _sliced(connection: Connection, staging: str, steps: Sequence[Step]) -> list[Step]:
    """Steps with the plain copy of staging cut into ranges of its row ids."""
    rows = connection.ask(f"SELECT max(rowid) FROM {staging}")[0][0] or 0
    out: list[Step] = []
    for step in steps:
        if rows > _SLICE_ROWS and step.counts == "inserted" and step.sql.endswith(f" FROM {staging}"):
            for start in range(1, rows + 1, _SLICE_ROWS):
                within = f" WHERE rowid >= {start} AND rowid < {start + _SLICE_ROWS}"
                out.append(replace(step, sql=step.sql + within))
        else:
            out.append(step)
    return out


# ---- batches


def _stored(
    batches: Iterator[pa.RecordBatch], load: Load, carriers: Sequence[pa.DataType]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches as SQLite stores them in columns that are read back as `carriers`, with the bytes they had when they came."""
    wanted = [(column.name, column.type) for column in load.columns]
    nan = str(load.options.get("nan", "error"))
    for batch in batches:
        if [(field.name, field.type) for field in batch.schema] != wanted:
            raise DataError(
                f"a batch for table {load.table} has columns {batch.schema.names}, expected {[name for name, _ in wanted]}"
                " in their types",
                "the source changed while it was read",
            )
        arrays = [
            to_stored(widened(array, kind, name), name, nan)
            for array, kind, (name, _) in zip(batch.columns, carriers, wanted, strict=True)
        ]
        names = [f"c{number}" for number in range(len(arrays))]
        yield pa.RecordBatch.from_arrays(arrays, names=names), batch.nbytes


def _chained(
    ahead: list[tuple[pa.RecordBatch, int]], rest: Iterator[tuple[pa.RecordBatch, int]]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """What was read ahead, let go piece by piece, then the rest."""
    ahead.reverse()
    while ahead:
        yield ahead.pop()
    yield from rest
