"""Rows of a result in binary form as Arrow batches: by the compiled codec, or by its twin in Python with equal values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pyarrow as pa

from penstock.connectors.mysql import _codes
from penstock.core.errors import DataError, NotSupported, SourceChanged
from penstock.core.load import BatchSize

if TYPE_CHECKING:
    from penstock.connectors.mysql.protocol import FieldInfo

# A column of a batch: its buffers (nulls, validity, offsets or None, values), or the array itself.
Part: TypeAlias = Any


class Decoder(Protocol):
    """Takes bytes of a result, gives columns. `run` decodes at most to the end of a batch and says how it went; after `skip`
    it passes over rows to the end of the result."""

    @property
    def rows(self) -> int: ...

    @property
    def refused(self) -> bytes: ...

    def feed(self, data: bytes, /) -> None: ...

    def run(self) -> int: ...

    def skip(self) -> None: ...

    def take(self) -> tuple[int, list[Part]]: ...


@cache
def why_not() -> str:
    """The reason why the compiled codec cannot be used here, or "" when it can."""
    try:
        from penstock.connectors.mysql import _rows  # noqa: F401
    except ImportError as error:
        return f"the compiled module is missing (no C compiler when penstock was installed?): {error}"
    return ""


def uses_native(wish: str) -> bool:
    """Whether the compiled codec is used under the option codec. Raises NotSupported where it is asked for in vain."""
    if wish == "native" and why_not():
        raise NotSupported(f"option codec is native, but the codec is not usable: {why_not()}", "set codec to auto")
    return wish != "portable" and not why_not()


@dataclass(frozen=True)
class Rows:
    """How to decode a result: the schema that batches have, the wire's columns, and who it is for (in messages)."""

    what: str
    schema: pa.Schema
    fields: Sequence[FieldInfo]
    null_zero_dates: bool
    is_native: bool

    def decoder(self, size: BatchSize, sequence: int) -> Decoder:
        """Raises SourceChanged where a column comes in a type that does not go into its carrier."""
        if len(self.fields) != len(self.schema):
            raise SourceChanged(
                f"cannot read {self.what}: it gives {len(self.fields)} columns, not {len(self.schema)}",
                "its columns were changed since it was described: copy it while they stay as they are",
            )
        columns = []
        for field, info in zip(self.schema, self.fields, strict=True):
            found = _codes.carrier(field.type)
            assert found is not None
            columns.append((info.wire, *found, int(info.is_unsigned), int(self.null_zero_dates)))
        try:
            make = _native if self.is_native else _portable
            return make(columns, size, sequence)
        except ValueError as error:
            at = int(str(error).split()[1])
            name = self.schema.field(at).name
            raise SourceChanged(
                f"cannot read {self.what}: column {name!r} comes as type {self.fields[at].wire} of the protocol, which does not"
                f" go into {self.schema.field(at).type}",
                "the column was changed since it was described: copy it while its columns stay as they are",
            ) from error

    def wrong(self, error: ValueError) -> DataError:
        """What a decoder refused, in words: its error's text are three numbers, the kind, the column and the row."""
        found = re.fullmatch(r"(\d+) (\d+) (\d+)", str(error))
        if found is None:
            raise error
        kind, at, row = (int(part) for part in found.groups())
        if kind == _codes.MALFORMED:
            return DataError(f"cannot read {self.what}: the server sent row {row + 1} in a form that is not understood")
        field = self.schema.field(at)
        said, hint = _SAID[kind]
        return DataError(
            f"cannot read {self.what}: column {field.name!r} of row {row + 1} {said.format(field.type)}", hint
        )


_SAID = {
    _codes.RANGE: ("holds a value outside {}", "cast it in the job"),
    _codes.ZERO_DATE: (
        "holds a date that does not exist, such as 0000-00-00",
        "set zero_dates: as_null on the connection to read such dates as NULL, or exclude the rows with where",
    ),
    _codes.NOT_UTF8: ("holds text that is no UTF-8", "repair the text in the source, or cast the column to binary"),
    _codes.NOT_DECIMAL: ("holds no number", ""),
    _codes.NOT_UUID: ("holds no uuid", ""),
    _codes.WIDTH: ("holds a value of another length than {}", "cast it in the job"),
}


def _native(columns: list[tuple[int, int, int, int, int]], size: BatchSize, sequence: int) -> Decoder:
    from penstock.connectors.mysql import _rows

    return _rows.Decoder(columns, size.rows, size.size_bytes, sequence)


def _portable(columns: list[tuple[int, int, int, int, int]], size: BatchSize, sequence: int) -> Decoder:
    from penstock.connectors.mysql.portable_rows import PortableDecoder

    return PortableDecoder(columns, size.rows, size.size_bytes, sequence)


def batches(rows: Rows, decoder: Decoder, pieces: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
    """All rows of the result that `pieces` bring; ends with the result. A server's error is left in decoder.refused."""
    while True:
        try:
            outcome = decoder.run()
        except ValueError as error:
            raise rows.wrong(error) from error
        if outcome == _codes.MORE:
            decoder.feed(next(pieces))
        elif outcome == _codes.BATCH:
            yield record_batch(rows.schema, *decoder.take())
        else:
            if outcome == _codes.END and decoder.rows:
                yield record_batch(rows.schema, *decoder.take())
            return


def pass_over(decoder: Decoder, pieces: Iterator[bytes]) -> None:
    """Take the rest of a result that nobody wants."""
    decoder.skip()
    while decoder.run() == _codes.MORE:
        decoder.feed(next(pieces))


def record_batch(schema: pa.Schema, count: int, parts: Sequence[Part]) -> pa.RecordBatch:
    """The columns that a decoder gave, without a copy of their data."""
    arrays = [_array(field.type, count, part) for field, part in zip(schema, parts, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(kind: pa.DataType, count: int, part: Part) -> pa.Array:
    if isinstance(part, pa.Array):
        return part
    nulls, *memory = part
    validity, offsets, values = (None if each is None else pa.py_buffer(each) for each in memory)
    buffers = [validity if nulls else None, *([] if offsets is None else [offsets]), values]
    if isinstance(kind, pa.BaseExtensionType):
        storage = pa.Array.from_buffers(kind.storage_type, count, buffers, nulls)
        return pa.ExtensionArray.from_storage(kind, storage)
    return pa.Array.from_buffers(kind, count, buffers, nulls)
