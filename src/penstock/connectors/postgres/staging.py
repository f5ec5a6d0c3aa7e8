"""The staging table of a load: its columns, how parts are put into it, what its columns become in the target."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors._sql.ledger import staging_name
from penstock.connectors.postgres import wire
from penstock.connectors.postgres.catalog import columns_of
from penstock.connectors.postgres.encode import in_microseconds, micro_type, text_type, wire_form
from penstock.connectors.postgres.fit import shape
from penstock.connectors.postgres.session import Connection, PostgresSession, query
from penstock.connectors.postgres.stored import Stored
from penstock.connectors.postgres.types import Declared
from penstock.core.errors import CountMismatch, DataError, Missing
from penstock.core.load import Load, Written
from penstock.core.names import TableName, quote

_TWIN = "_penstock_text_"


@dataclass(frozen=True)
class Staged:
    """A column of staging: its declared type, and the name of a second column that holds the value as text instead, ""
    where there is none. Of the two the one that is not NULL counts."""

    stored: Stored
    type: str
    twin: str = ""

    @property
    def name(self) -> str:
        return self.stored.name

    def expression(self) -> str:
        """The value in the target's type, without its modifiers: a cast to varchar(3) would cut in silence, an
        assignment refuses."""
        final, own = self.stored.final, self.stored.quoted
        kind = castable(final)
        here = own if self.type == final else f"{own}::{kind}"
        return f"coalesce({here}, {quote(self.twin)}::{kind})" if self.twin else here

    @property
    def is_final(self) -> bool:
        return self.type == self.stored.final

    @property
    def is_filled(self) -> bool:
        """Whether staging itself refuses NULL: where the source has none and one column holds the value. A table that
        becomes the target then needs no scan for its NOT NULL."""
        return not self.stored.column.nullable and not self.twin


def staging_table(load: Load, where: TableName) -> TableName:
    return TableName((where.schema, staging_name(load.load_id, str(where))))


def layout(columns: Sequence[Stored], takes_raw: bool) -> list[Staged]:
    """How staging holds the columns. Where streams of the source may come untouched, columns that batches bring as text
    have both forms."""
    found = []
    for number, stored in enumerate(columns):
        kind = staged_type(stored.wanted)
        if stored.is_typed:
            found.append(Staged(stored, kind))
        elif takes_raw:
            found.append(Staged(stored, kind, f"{_TWIN}{number}"))
        else:
            found.append(Staged(stored, text_type(stored.column)))
    return found


def staged_type(declared: Declared) -> str:
    """A domain is staged as what is behind it: its checks apply when the value reaches the target."""
    return declared.base.text if declared.type.kind == "d" else declared.text


def castable(text: str) -> str:
    """The type without its modifiers, in a form that adds none: plain `character` would mean character(1)."""
    found = shape(text)
    if "." in found.text or "." in found.name:
        return re.sub(r'\([^()"]*\)(?=(\[\])?\Z)', "", text)
    return f"pg_catalog.{quote(found.name)}{'[]' if found.is_array else ''}"


def definition(table: TableName, columns: Sequence[Staged]) -> str:
    parts = [f"{column.stored.quoted} {column.type}{' NOT NULL' if column.is_filled else ''}" for column in columns]
    parts += [f"{quote(column.twin)} {text_type(column.stored.column)}" for column in columns if column.twin]
    return f"CREATE TABLE IF NOT EXISTS {table.quoted()} ({', '.join(parts)})"


# ---- parts


@dataclass(frozen=True)
class Place:
    """Where a column of batches goes: the name in staging and its type there."""

    name: str
    declared: Declared
    form: tuple[str, int] | None


def destinations(connection: Connection, load: Load, staging: TableName) -> list[Place]:
    """For each column of the load the staging column that takes it from batches. Raises Missing without staging."""
    oid = query(connection, "SELECT to_regclass($1)::oid", [staging.quoted()])[0][0]
    if oid is None:
        raise Missing(f"staging of load {load.load_id!r} of table {load.table} is gone", "prepare the load again")
    held = {name: declared for name, declared, _ in columns_of(connection, [oid]).get(oid, [])}
    found = []
    for number, column in enumerate(load.columns):
        form = wire_form(column, held[column.name])
        twin = f"{_TWIN}{number}"
        name = twin if form is None and twin in held else column.name
        found.append(Place(name, held[name], form))
    return found


def write_batches(
    session: PostgresSession, load: Load, staging: TableName, places: Sequence[Place], batches: Iterator[pa.RecordBatch]
) -> Written:
    """COPY the batches into staging within the open transaction; the rows are those the server counted."""
    codec = session.option("codec", load.options)
    names = ", ".join(quote(place.name) for place in places)
    into = f"COPY {staging.quoted()} ({names}) FROM STDIN"
    if codec != "portable" and wire.available():
        return _write_native(session, load, f"{into} (FORMAT binary)", places, batches)
    return _write_portable(session, load, f"{into} (FORMAT csv)", batches)


def _write_native(
    session: PostgresSession, load: Load, sql: str, places: Sequence[Place], batches: Iterator[pa.RecordBatch]
) -> Written:
    fields = []
    for place, column in zip(places, load.columns, strict=True):
        if place.form is None:
            kind = pa.list_(pa.string()) if place.declared.element else pa.string()
            fields.append(wire.Field(column.name, "text[]" if place.declared.element else "text", kind))
        else:
            fields.append(wire.Field(column.name, place.form[0], _field_type(column.type), element_oid=place.form[1]))
    size_bytes = 0
    with wire.CopyWriter(session.writing, sql, fields, session.cancelled) as writer:
        for batch in batches:
            session.stop_if_cancelled(f"cannot write into table {load.table}")
            with _naming(load):
                writer.write(_ready(batch, load, places))
            size_bytes += batch.nbytes
        return Written(writer.finish(), size_bytes)


def _field_type(kind: pa.DataType) -> pa.DataType:
    """The type that the encoder is told: what `in_microseconds` makes of nanoseconds, values behind dictionaries."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_float16(kind):
        return pa.float32()
    return micro_type(kind)


def _ready(batch: pa.RecordBatch, load: Load, places: Sequence[Place]) -> pa.RecordBatch:
    """The batch as staging takes it: text where the server casts later."""
    arrays = []
    for array, place, column in zip(batch.columns, places, load.columns, strict=True):
        if place.form is not None:
            arrays.append(in_microseconds(array))
        elif place.declared.element:
            arrays.append(array.cast(pa.list_(pa.string())))
        else:
            arrays.append(_text(array, column.name))
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in load.columns])


@contextlib.contextmanager
def _naming(load: Load) -> Iterator[None]:
    """A value that cannot be stored is named with its table."""
    try:
        yield
    except DataError as error:
        raise DataError(f"cannot write into table {load.table}: {error.what}", error.hint) from error


def _text(array: pa.Array, name: str) -> pa.Array:
    from penstock.connectors.postgres.texts import as_text

    try:
        return as_text(array)
    except (DataError, pa.ArrowException) as error:
        raise DataError(f"column {name!r}: {error}") from error


def _plain(array: pa.Array, name: str) -> pa.Array:
    """Text for CSV. The server would refuse a NUL character as well, but not say in which column."""
    import pyarrow.compute as pc

    text = _text(array, name)
    if pc.any(pc.match_substring(text, "\0")).as_py():
        raise DataError(f"column {name!r}: text holds a NUL character, which PostgreSQL cannot store")
    return text


def _write_portable(session: PostgresSession, load: Load, sql: str, batches: Iterator[pa.RecordBatch]) -> Written:
    """Everything as text in CSV: the server reads each value in its column's own type. Quoted empty text is no NULL."""
    from pyarrow import csv

    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    rows = size_bytes = 0
    connection = session.writing
    with connection.cursor() as cursor:
        with cursor.copy(sql) as copy:
            for batch in batches:
                session.stop_if_cancelled(f"cannot write into table {load.table}")
                if batch.num_rows:
                    with _naming(load):
                        arrays = [_plain(a, c.name) for a, c in zip(batch.columns, load.columns, strict=True)]
                    sink = pa.BufferOutputStream()
                    csv.write_csv(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), sink, options)
                    copy.write(sink.getvalue().to_pybytes())
                rows += batch.num_rows
                size_bytes += batch.nbytes
        if cursor.rowcount != rows:
            raise CountMismatch(
                f"the server counted {cursor.rowcount} rows in COPY into table {load.table}; {rows} were sent"
            )
    return Written(rows, size_bytes)
