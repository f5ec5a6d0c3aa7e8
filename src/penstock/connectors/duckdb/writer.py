"""Loads DuckDB tables: parts into a staging table with their ledger row, then one transaction that publishes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import duckdb
import pyarrow as pa

from penstock.connectors._sql.ledger import LEDGER, Ledger, check_staged, staging_name
from penstock.connectors._sql.publish import Step
from penstock.connectors.duckdb import modes
from penstock.connectors.duckdb.catalog import DEFAULT_SCHEMA, Place, columns_of, place_text
from penstock.connectors.duckdb.incoming import Placed, groups, insert
from penstock.connectors.duckdb.session import DuckdbSession, ask
from penstock.connectors.duckdb.target import Shape, Target, create, fit, inspect, remember, target_place
from penstock.core.errors import Busy, DataError, Locked, Missing
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.names import TableName, quote
from penstock.core.schema import TypeChoice

_INCOMING = "incoming"


class DuckdbWriter:
    """Parts may be written by several sessions at once; prepare and publish of one file happen one after another."""

    def __init__(self, session: DuckdbSession) -> None:
        self._session = session

    # ---- before anything is written

    def types(self, load: Load) -> list[TypeChoice]:
        with self._session.call(f"cannot compare table {load.table}"):
            return list(self._shape(load)[1].choices)

    def plan(self, load: Load) -> list[str]:
        with self._session.call(f"cannot plan the load of table {load.table}"):
            target, shape = self._shape(load)
            place = target.place if target else _place_as_given(load.table)
            staging = _staging(load.load_id, place)
            if target is None:
                steps = [_new(load, staging, shape), *_named(load, staging, place, shape)[0]]
                steps += [_key_step(load, place, shape)] if modes.wants_key(load) else []
            else:
                both = modes.sides(load, target.text, staging, shape.columns)
                steps = [Step(create(staging, shape.columns)), *shape.alterations]
                steps += [*modes.steps(load, target, both, shape.columns)[0], Step(f"DROP TABLE {staging}")]
            return [step.sql for step in steps if not step.refuses]

    def _shape(self, load: Load) -> tuple[Target | None, Shape]:
        if not self._session.exists:
            return None, fit(load, None)
        with self._session.cursor() as cursor:
            target = inspect(load.table, cursor)
            return target, fit(load, target)

    # ---- staging

    def prepare(self, load: Load) -> None:
        with self._changing(f"cannot prepare table {load.table}") as cursor:
            place, _ = target_place(load.table, cursor)
            target = inspect(load.table, cursor)
            shape = fit(load, target)
            ask(cursor, f"CREATE SCHEMA IF NOT EXISTS {quote(place[0])}")
            ledger = _ledger(cursor, place)
            ledger.create()
            for load_id in ledger.others(load, place_text(place)):
                ask(cursor, f"DROP TABLE IF EXISTS {_staging(load_id, place)}")
                ledger.forget(load_id)
            if not ledger.is_open(load):
                staging = _staging(load.load_id, place)
                ask(cursor, create(staging, shape.columns) if target else _new(load, staging, shape).sql)
                ledger.open(load, place_text(place))

    @contextlib.contextmanager
    def _changing(self, doing: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction that may create, alter and drop: one at a time in the file, since DuckDB refuses two at once."""
        with self._session.call(doing), self._session.create().changing, self._session.transaction() as cursor:
            yield cursor

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        doing = f"cannot write part {part} of table {load.table}"
        with self._session.call(doing):
            try:
                return self._write(load, part, batches)
            except duckdb.ConstraintException as error:
                # The ledger's key, perhaps at commit: the other session's rows are there, ours are rolled back.
                if 'key "load_id: ' not in str(error):
                    raise
                raise Busy(f"{doing}: another session has just written this part") from error

    def _write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        with self._session.transaction() as cursor:
            place, _ = target_place(load.table, cursor)
            ledger = _opened(_ledger(cursor, place), cursor, load, place)
            found = ledger.marked(load, part)
            if found is not None:
                return found
            written = self._insert(cursor, load, place, batches)
            ledger.mark(load, place_text(place), part, written)
            return written

    def _insert(
        self, cursor: duckdb.DuckDBPyConnection, load: Load, place: Place, batches: Iterator[pa.RecordBatch]
    ) -> Written:
        staging = (place[0], staging_name(load.load_id, place_text(place)))
        held = columns_of(cursor, [staging]).get(staging)
        if held is None:
            raise Missing(f"load {load.load_id!r} of table {load.table} was published or discarded", "start a new load")
        columns = [
            Placed(column.name, at.name, at.type, at.type, column.type)
            for column, at in zip(load.columns, held, strict=True)
        ]
        sql = insert(place_text(staging), tuple(columns))
        rows = size_bytes = 0
        for table, group_rows, group_bytes in groups(batches, load):
            self._session.stop_if_cancelled(f"cannot write table {load.table}")
            cursor.register(_INCOMING, table)
            ask(cursor, sql)
            cursor.unregister(_INCOMING)
            rows, size_bytes = rows + group_rows, size_bytes + group_bytes
        return Written(rows, size_bytes)

    # ---- publishing

    def publish(self, load: Load, expected: Expected) -> Published:
        with self._changing(f"cannot publish table {load.table}") as cursor:
            place, _ = target_place(load.table, cursor)
            ledger = _opened(_ledger(cursor, place), cursor, load, place)
            done = ledger.published(load)
            if done is not None:
                return done
            staging = _staging(load.load_id, place)
            check_staged(load, expected, ledger.staged(load), _count(cursor, staging))
            target = inspect(load.table, cursor)
            if target is None:
                published = _publish_new(cursor, load, place, self._watched)
            else:
                published = _publish_into(cursor, load, target, staging, self._watched)
            published = replace(published, rows_staged=expected.rows)
            ledger.close(load, published)
            return published

    def _watched(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The steps, ended when the call is cancelled between two statements."""
        for step in steps:
            self._session.stop_if_cancelled("cannot publish")
            yield step

    def discard(self, load: Load) -> None:
        if not self._session.exists:
            return
        with self._changing(f"cannot discard the load of table {load.table}") as cursor:
            place, _ = target_place(load.table, cursor)
            if ask(cursor, _HAS_LEDGER, (place[0], LEDGER)):
                ask(cursor, f"DROP TABLE IF EXISTS {_staging(load.load_id, place)}")
                _ledger(cursor, place).forget(load.load_id)

    def claim(self, load: Load) -> None:
        """The file's lock keeps other processes out; within this one the claims of the shared instance do."""
        with self._session.call(f"cannot claim table {load.table}"):
            instance = self._session.create()
            with self._session.cursor() as cursor:
                place, _ = target_place(load.table, cursor)
            holder = instance.claim(place_text(place).lower(), load.job, self._session.id)
            if holder is not None:
                raise Locked(
                    f"table {load.table} of connection {self._session.spec.name!r} is held by job {holder!r}",
                    "wait until that job has ended",
                )


_HAS_LEDGER = (
    "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
)


def _place_as_given(name: TableName) -> Place:
    return name.schema or DEFAULT_SCHEMA, name.table


def _staging(load_id: str, place: Place) -> str:
    return place_text((place[0], staging_name(load_id, place_text(place))))


def _ledger(cursor: duckdb.DuckDBPyConnection, place: Place) -> Ledger:
    return Ledger(place_text((place[0], LEDGER)), partial(ask, cursor))


def _opened(ledger: Ledger, cursor: duckdb.DuckDBPyConnection, load: Load, place: Place) -> Ledger:
    """The ledger, if it knows the load. Raises Missing for a load that was never prepared."""
    if not ask(cursor, _HAS_LEDGER, (place[0], LEDGER)) or not ledger.is_open(load):
        raise Missing(f"load {load.load_id!r} of table {load.table} was not prepared", "prepare it first")
    return ledger


def _count(cursor: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(ask(cursor, f"SELECT count(*) FROM {table}")[0][0])


def _new(load: Load, table: str, shape: Shape) -> Step:
    """A table as the target will be: with NOT NULL where the load has no NULLs."""
    required = frozenset(column.name for column in load.columns if not column.nullable)
    return Step(create(table, shape.columns, required))


def _named(load: Load, staging: str, place: Place, shape: Shape) -> tuple[list[Step], str]:
    """How staged rows become a new table with the memory of where its columns came from, but for its key; and in words."""
    target = place_text(place)
    memory = remember(target, shape.choices)
    if load.mode in modes.ONE_A_KEY:
        both = modes.sides(load, target, staging, shape.columns)
        made = [_new(load, target, shape), *modes.winners(both)]
        return [*made, *memory], "new table, from the winning row of each key"
    rename = Step(f"ALTER TABLE {staging} RENAME TO {quote(place[1])}")
    return [rename, *memory], "new table, by renaming the staging table"


def _key_step(load: Load, place: Place, shape: Shape) -> Step:
    key = modes.sides(load, "", "", shape.columns).key
    return Step(f"ALTER TABLE {place_text(place)} ADD PRIMARY KEY ({', '.join(key)})")


Watch = Callable[[Iterable[Step]], Iterator[Step]]


def _publish_new(cursor: duckdb.DuckDBPyConnection, load: Load, place: Place, watched: Watch) -> Published:
    shape = fit(load, None)
    steps, how = _named(load, _staging(load.load_id, place), place, shape)
    for step in watched(steps):
        ask(cursor, step.sql)
    why_not = _no_key(cursor, load, place_text(place)) if modes.wants_key(load) else ""
    if modes.wants_key(load) and not why_not:
        ask(cursor, _key_step(load, place, shape).sql)
    rows = _count(cursor, place_text(place))
    return Published(0, rows, 0, 0, 0, rows, how, notes=(why_not,) if why_not else ())


def _no_key(cursor: duckdb.DuckDBPyConnection, load: Load, table: str) -> str:
    """Why the rows allow no primary key; "" if they do."""
    names = ", ".join(quote(name) for name in load.key)
    empty = " OR ".join(f"{quote(name)} IS NULL" for name in load.key)
    if ask(cursor, f"SELECT 1 FROM {table} WHERE {empty} LIMIT 1"):
        return f"no primary key: {names} has NULLs"
    if ask(cursor, f"SELECT 1 FROM {table} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"):
        return f"no primary key: values of {names} occur more than once"
    kinds = {column.name: column.type for column in load.columns}
    if any(pa.types.is_nested(kinds[name]) for name in load.key):
        return f"no primary key: DuckDB has no index over the type of {names}"
    return ""


def _publish_into(
    cursor: duckdb.DuckDBPyConnection, load: Load, target: Target, staging: str, watched: Watch
) -> Published:
    before = _count(cursor, target.text)
    shape = fit(load, target)
    both = modes.sides(load, target.text, staging, shape.columns)
    steps, how = modes.steps(load, target, both, shape.columns)
    counts = {"inserted": 0, "updated": 0, "deleted": 0}
    for step in watched([*shape.alterations, *steps, Step(f"DROP TABLE {staging}")]):
        found = ask(cursor, step.sql, step.values)
        number = int(found[0][0]) if found and isinstance(found[0][0], int) else 0
        if step.refuses and number:
            raise DataError(
                f"table {load.table} cannot take the load: {step.refuses.format(number)}", "it is as it was"
            )
        if step.counts:
            counts[step.counts] += number
    after = _count(cursor, target.text)
    inserted, updated, deleted = counts["inserted"], counts["updated"], counts["deleted"]
    return Published(0, inserted, updated, deleted, before, after, how, notes=shape.notes)
