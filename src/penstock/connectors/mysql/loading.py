"""A part of a load on its way into staging, within the open transaction: by LOAD DATA LOCAL from memory, or by INSERT."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pymysql

from penstock.connectors.mysql import codec, encode
from penstock.connectors.mysql.encode import Form
from penstock.connectors.mysql.protocol import Connection, Done
from penstock.connectors.mysql.session import MysqlSession, execute, query
from penstock.connectors.mysql.types import MARK
from penstock.core.errors import DataError, NotSupported
from penstock.core.load import Load, Written
from penstock.core.names import quote

_SLICE_BYTES = 2**20
_OVERHEAD_BYTES = 2**16


def write_batches(
    session: MysqlSession, load: Load, staging: str, forms: Sequence[Form], batches: Iterator[pa.RecordBatch]
) -> Written:
    """Rows that the server counted. Raises DataError for a value that it would have changed."""
    connection = session.writing
    wish = session.option("local_infile", load.options)
    is_on = wish != "never" and bool(query(connection, "SELECT @@local_infile")[0][0])
    if wish == "always" and not is_on:
        raise NotSupported(
            f"cannot write into table {load.table} by LOAD DATA LOCAL: local_infile is off on the server of connection"
            f" {session.spec.name!r}",
            "set local_infile to ON on the server, or to auto on the connection",
        )
    way = _load if is_on else _insert
    return way(session, load, staging, forms, batches)


def _ready(load: Load, forms: Sequence[Form], batch: pa.RecordBatch) -> list[pa.Array]:
    try:
        return [encode.ready(array, form) for array, form in zip(batch.columns, forms, strict=True)]
    except DataError as error:
        raise DataError(f"cannot write into table {load.table}: {error.what}", error.hint) from error


def _load(
    session: MysqlSession, load: Load, staging: str, forms: Sequence[Form], batches: Iterator[pa.RecordBatch]
) -> Written:
    is_native = codec.uses_native(session.option("codec", load.options))
    connection = session.writing
    rows = size_bytes = 0
    connection.begin_load(_statement(staging, forms))
    try:
        for batch in batches:
            session.stop_if_cancelled(f"cannot write into table {load.table}")
            if batch.num_rows:
                connection.send_load(encode.encoded(_ready(load, forms, batch), batch.num_rows, False, is_native))
            rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
    except BaseException:
        # The server waits for rows until it is told that there are no more; the caller rolls back what it took.
        if connection.open:
            with contextlib.suppress(pymysql.MySQLError, OSError):
                connection.end_load()
        raise
    done = connection.end_load()
    _check(connection, load, done, rows)
    return Written(rows, size_bytes)


def _statement(staging: str, forms: Sequence[Form]) -> str:
    """Values come as bytes, so that text is taken as the UTF-8 it is and bytes as they are."""
    places, sets = [], []
    for at, form in enumerate(forms):
        name = quote(form.column.name, MARK)
        if form.conversion:
            variable = f"@_penstock_{at}"
            places.append(variable)
            sets.append(f"{name} = {form.conversion.format(variable)}")
        else:
            places.append(name)
    tail = f" SET {', '.join(sets)}" if sets else ""
    return (
        f"LOAD DATA LOCAL INFILE 'penstock' INTO TABLE {staging} CHARACTER SET binary FIELDS TERMINATED BY '\\t'"
        f" ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({', '.join(places)}){tail}"
    )


def _check(connection: Connection, load: Load, done: Done, rows: int) -> None:
    """LOAD DATA LOCAL makes warnings of what would be errors elsewhere; here they are errors again."""
    if done.rows == rows and not done.warnings:
        return
    said = [str(row[2]) for row in query(connection, "SHOW WARNINGS LIMIT 3")]
    raise DataError(
        f"cannot write into table {load.table}: the server took {done.rows} of {rows} rows as they are, with"
        f" {done.warnings} warnings: {'; '.join(said) or 'none told'}",
        "cast or exclude the column, or change the table's column",
    )


def _insert(
    session: MysqlSession, load: Load, staging: str, forms: Sequence[Form], batches: Iterator[pa.RecordBatch]
) -> Written:
    is_native = codec.uses_native(session.option("codec", load.options))
    connection = session.writing
    limit = int(query(connection, "SELECT @@max_allowed_packet")[0][0]) - _OVERHEAD_BYTES
    names = ", ".join(quote(form.column.name, MARK) for form in forms)
    head = f"INSERT INTO {staging} ({names}) VALUES ".encode()
    rows = size_bytes = 0
    for batch in batches:
        session.stop_if_cancelled(f"cannot write into table {load.table}")
        for piece in _pieces(batch, min(limit // 2, _SLICE_BYTES)):
            values = encode.encoded(_ready(load, forms, piece), piece.num_rows, True, is_native)
            session.stop_if_cancelled(f"cannot write into table {load.table}")
            connection.run_bytes(head + bytes(values))
        rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
    return Written(rows, size_bytes)


def _pieces(batch: pa.RecordBatch, size_bytes: int) -> Iterator[pa.RecordBatch]:
    if not batch.num_rows:
        return
    count = max(1, -(-batch.nbytes // size_bytes))
    rows = max(1, batch.num_rows // count)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def drop(connection: Connection, *tables: str) -> None:
    """Remove tables; one that is gone is no error."""
    execute(connection, f"DROP TABLE IF EXISTS {', '.join(tables)}")
