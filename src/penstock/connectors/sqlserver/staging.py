"""The staging table of a load and the bulk copies that fill it.

Bulk copy has a connection of its own, so that its rows and the ledger's mark of their part cannot share a transaction.
Every row therefore carries the number of the attempt that wrote it: only rows of attempts that the ledger marks count,
and what a broken attempt left, or writes late, never shows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from penstock.connectors._sql.ledger import staging_name
from penstock.connectors.sqlserver.encode import encoded, longest
from penstock.connectors.sqlserver.errors import of_driver
from penstock.connectors.sqlserver.line import Line
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.connectors.sqlserver.stored import Stored
from penstock.connectors.sqlserver.types import MAX, TEXTS, Declared
from penstock.core.errors import CountMismatch, DataError, Missing
from penstock.core.load import Load
from penstock.core.names import TableName, quote

ATTEMPT = "_penstock_attempt"


def staging_table(load: Load, where: TableName) -> TableName:
    return TableName((where.schema, staging_name(load.load_id, str(where))))


def definition(table: TableName, columns: Sequence[Stored]) -> str:
    """A heap without constraints, so that sessions fill it side by side."""
    parts = [
        f"{stored.quoted} {stored.staged.text} {'NULL' if stored.column.nullable else 'NOT NULL'}" for stored in columns
    ]
    return f"CREATE TABLE {table.quoted()} ({', '.join([*parts, f'{quote(ATTEMPT)} int NOT NULL'])})"


class Feed:
    """The batches of one part on their way into staging: encoded, counted and measured as they pass.

    A batch with a value longer than its staging column ends the bulk copy in progress; `held` is then that batch.
    """

    def __init__(
        self,
        session: SqlServerSession,
        load: Load,
        columns: Sequence[Stored],
        attempt: int,
        batches: Iterator[pa.RecordBatch],
    ) -> None:
        self._session = session
        self._load = load
        self._columns = tuple(columns)
        self._attempt = pa.scalar(attempt, pa.int32())
        self._batches = batches
        self.widths = {
            at: stored.staged for at, stored in enumerate(columns) if stored.staged.name in ("nvarchar", "varbinary")
        }
        self.held: pa.RecordBatch | None = None
        self.rows = self.size_bytes = 0
        self.sizes: dict[str, int] = {}
        self.failure: BaseException | None = None
        self._names = [*(stored.name for stored in columns), ATTEMPT]

    def advance(self) -> bool:
        """Hold the next batch that has rows; False at the end."""
        while self.held is None:
            given = next(self._batches, None)
            if given is None:
                return False
            if given.num_rows:
                self.held = self._encode(given)
        return True

    def _encode(self, given: pa.RecordBatch) -> pa.RecordBatch:
        self._session.stop_if_cancelled(f"cannot write into table {self._load.table}")
        try:
            arrays = [encoded(array, stored) for array, stored in zip(given.columns, self._columns, strict=True)]
        except DataError as error:
            raise DataError(f"cannot write into table {self._load.table}: {error.what}", error.hint) from error
        for at in self.widths:
            name = self._columns[at].name
            self.sizes[name] = max(self.sizes.get(name, 0), longest(arrays[at]))
        arrays.append(pa.repeat(self._attempt, given.num_rows))
        self.size_bytes += given.nbytes
        return pa.RecordBatch.from_arrays(arrays, names=self._names)

    def too_narrow(self) -> list[int]:
        """Columns that cannot take the held batch."""
        sizes = {at: self.sizes.get(self._columns[at].name, 0) for at in self.widths}
        return [at for at, declared in self.widths.items() if declared.size != MAX and sizes[at] > declared.size]

    def stream(self) -> pa.RecordBatchReader:
        """The held batch and those after it, up to one that does not fit."""
        assert self.held is not None
        return pa.RecordBatchReader.from_batches(self.held.schema, self._passing())

    def _passing(self) -> Iterator[pa.RecordBatch]:
        try:
            while self.advance() and not self.too_narrow():
                batch, self.held = self.held, None
                assert batch is not None
                self.rows += batch.num_rows
                yield batch
        except BaseException as error:
            # The driver would make an error of its own of it; bulk() raises this one.
            self.failure = error
            raise


def bulk(line: Line, table: TableName, feed: Feed, batch_rows: int) -> None:
    """One bulk copy of what `feed` gives. Raises CountMismatch when the server took another number of rows."""
    before = feed.rows
    names = [(name, name) for name in feed.held.schema.names] if feed.held is not None else []
    with contextlib.closing(line.driver.cursor()) as cursor:
        try:
            found = cursor.bulkcopy_arrow(
                table.quoted(),
                feed.stream(),
                batch_size=batch_rows,
                timeout=0,
                column_mappings=names,
                keep_nulls=True,
                table_lock=True,
            )
        except of_driver():
            if feed.failure is not None:
                raise feed.failure from None
            raise
        except (ValueError, OverflowError) as error:
            raise DataError(f"cannot write into table {table}: {error}", "cast it in the job") from error
    if feed.failure is not None:
        raise feed.failure
    if int(found["rows_copied"]) != feed.rows - before:
        raise CountMismatch(f"bulk copy took {found['rows_copied']} rows; {feed.rows - before} were sent")


def widen(line: Line, table: TableName, columns: Sequence[Stored], feed: Feed) -> None:
    """Let staging take values of any length where one came that is longer than expected."""
    for at in feed.too_narrow():
        name, filled = feed.widths[at].name, "" if columns[at].column.nullable else " NOT NULL"
        line.execute(f"ALTER TABLE {table.quoted()} ALTER COLUMN {columns[at].quoted} {name}(max){filled}")
        feed.widths[at] = Declared(name, MAX)


def now_wide(line: Line, load: Load, table: TableName, columns: Sequence[Stored]) -> dict[str, Declared]:
    """The sized columns of staging as they are now: another session may have widened them. Raises Missing without it."""
    rows = line.query(
        "SELECT name, max_length FROM sys.columns WHERE object_id = OBJECT_ID(CAST(? AS nvarchar(800)))",
        [table.quoted()],
    )
    if not rows:
        raise Missing(f"staging of load {load.load_id!r} of table {load.table} is gone", "prepare the load again")
    lengths = {str(row[0]): int(row[1]) for row in rows}
    found = {}
    for stored in columns:
        if stored.staged.name in (*TEXTS, "varbinary"):
            is_max = lengths.get(stored.name, 0) == MAX
            found[stored.name] = Declared(stored.staged.name, MAX) if is_max else stored.staged
    return found
