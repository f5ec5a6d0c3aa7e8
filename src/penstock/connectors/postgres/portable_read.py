"""Reading through ADBC where the compiled codec is missing: the same carriers and values, at a higher price.

What ADBC's carriers do not hold exactly is cast to text by the server and to the carrier by Arrow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg.conninfo import make_conninfo

from penstock.connectors.postgres.errors import translate_portable
from penstock.connectors.postgres.select import select
from penstock.connectors.postgres.session import TEXT_SETTINGS, Connection, PostgresSession, literal, query
from penstock.connectors.postgres.types import Fetched, fetched
from penstock.core.errors import DataError, NotSupported
from penstock.core.load import BatchSize, Chunk, Source
from penstock.core.names import quote
from penstock.core.schema import DATE_INFINITY, TIMESTAMP_INFINITY, Column, arrow_schema

if TYPE_CHECKING:
    from penstock.connectors.postgres.reader import PostgresReader

_DAY_US = 86_400_000_000
_EPOCH_DAYS, _EPOCH_US = 10957, 946_684_800_000_000  # from 1970 to PostgreSQL's epoch, 2000-01-01


def read_portable(
    reader: PostgresReader, connection: Connection, source: Source, chunk: Chunk, batch: BatchSize
) -> Iterator[pa.RecordBatch]:
    """The batches of a chunk, as of the transaction that is open on `connection`."""
    plan = [fetched(column) for column in source.columns]
    nan_is_null = source.policy.nan == "null"
    columns = [
        f"{_expression(column, how, nan_is_null)} AS {quote(column.name)}"
        for column, how in zip(source.columns, plan, strict=True)
    ]
    sql = select(connection, source, chunk.bounds, columns)
    token = reader.token or str(query(connection, "SELECT pg_export_snapshot()")[0][0])
    schema = arrow_schema(source.columns)
    doing = f"cannot read {source}"
    with (
        translate_portable(doing, reader.session.spec),
        _opened(reader.session) as driver,
        contextlib.closing(driver.cursor()) as cursor,
        reader.session.cancel_with(cursor.adbc_cancel),
    ):
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute(f"SET TRANSACTION SNAPSHOT {literal(connection, token)}")
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch.size_bytes)})
        reader.session.stop_if_cancelled(doing)
        cursor.execute(sql)
        with contextlib.closing(cursor.fetch_record_batch()) as batches:
            for given in batches:
                reader.session.stop_if_cancelled(doing)
                whole = _carried(given, schema, source)
                for start in range(0, whole.num_rows, batch.rows):
                    yield whole.slice(start, batch.rows)


@contextlib.contextmanager
def _opened(session: PostgresSession) -> Iterator[Any]:
    try:
        from adbc_driver_postgresql import dbapi
    except ModuleNotFoundError as error:
        raise NotSupported(
            "reading PostgreSQL needs the compiled codec or the package adbc-driver-postgresql, and has neither",
            "install it with: pip install 'penstock[postgres]'",
        ) from error
    driver = dbapi.connect(make_conninfo(**session.parameters), autocommit=True)
    try:
        with contextlib.closing(driver.cursor()) as cursor:
            for name, value in TEXT_SETTINGS.items():
                cursor.execute(f"SET {name} = '{value}'")
        yield driver
    finally:
        driver.close()


def _expression(column: Column, how: Fetched, nan_is_null: bool) -> str:
    name = quote(column.name)
    if how.wire.endswith("[]"):
        # ADBC flattens arrays of several dimensions; the cast of a text that is no array refuses them.
        kind = "text[]" if how.wire == "numeric[]" else how.cast
        return (
            f"CASE WHEN array_ndims({name}) > 1 THEN 'array of more than one dimension'::text::{kind}"
            f" ELSE {name}::{how.cast}::{kind} END"
        )
    if pa.types.is_decimal(column.type):
        text = f"{name}::numeric::text"
        return (
            f"CASE WHEN {text} IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE {text} END" if nan_is_null else text
        )
    if how.cast in ("json", "jsonb"):
        return f"{name}::{how.cast}::text"
    return f"{name}::{how.cast}"


def _carried(given: pa.RecordBatch, schema: pa.Schema, source: Source) -> pa.RecordBatch:
    arrays = []
    for array, field in zip(given.columns, schema, strict=True):
        try:
            arrays.append(_column(array, field.type))
        except (pa.ArrowInvalid, DataError) as error:
            raise DataError(f"cannot read {source}: column {field.name!r}: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(array: pa.Array, carrier: pa.DataType) -> pa.Array:
    if pa.types.is_list(carrier):
        offsets, items = array.offsets, _column(array.values, carrier.value_type)
        return pa.ListArray.from_arrays(
            offsets, items, type=carrier, mask=array.is_null() if array.null_count else None
        )
    if pa.types.is_timestamp(carrier):
        return _unwrapped(array, pa.int64(), _EPOCH_US, TIMESTAMP_INFINITY).view(carrier)
    if pa.types.is_date32(carrier):
        return _unwrapped(array, pa.int32(), _EPOCH_DAYS, DATE_INFINITY).view(carrier)
    if pa.types.is_time(carrier) and pc.any(pc.greater_equal(array.view(pa.int64()), _DAY_US)).as_py():
        raise DataError("time is 24:00:00; a day of the carrier ends before (read the column as text)")
    return array if array.type == carrier else array.cast(carrier)


def _unwrapped(array: pa.Array, number: pa.DataType, epoch: int, infinity: int) -> pa.Array:
    """ADBC adds the distance of the epochs without looking: infinity, and what lies beyond the carrier, wrap around to
    values before the first that PostgreSQL knows (4714 BC)."""
    values = array.view(number)
    lowest = -infinity - 1 + epoch
    positive, negative = pa.scalar(lowest - 1, number), pa.scalar(lowest, number)
    wrapped = pc.less(values, positive)
    if pc.any(wrapped).as_py():
        raise DataError(f"a value of {array.type} lies beyond what the carrier holds")
    values = pc.if_else(pc.equal(values, positive), pa.scalar(infinity, number), values)
    return pc.if_else(pc.equal(values, negative), pa.scalar(-infinity, number), values)
