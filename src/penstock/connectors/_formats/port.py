"""What a store must offer a format, and what a format offers a connector: binary streams in, record batches out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from penstock.connectors._formats.settings import FormatSettings
from penstock.core.load import BatchSize
from penstock.core.schema import Column, TypeChoice


class Blob(Protocol):
    """One stored object. `name` identifies it in messages; `open` may be called many times, each stream is closed by
    its caller. The stream is seekable and raises DataError when the object is no longer the one that was planned."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def open(self) -> Any: ...


class Sink(Protocol):
    """Where an encoder puts its bytes, in order and without seeking."""

    def write(self, data: Any, /) -> int: ...


class Encoder(Protocol):
    """Turns batches into the bytes of one file. Batches have the columns the encoder was made for."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None:
        """Write what is buffered and the footer; the sink stays open."""
        ...

    def flush(self) -> None:
        """Write what is buffered, ending a row group early."""
        ...

    @property
    def held_bytes(self) -> int:
        """What is buffered and not handed to the sink yet."""
        ...

    @property
    def is_cuttable(self) -> bool:
        """Whether every line break written so far ends a row, so that the file may be read from any of them on."""
        ...


@dataclass(frozen=True)
class Span:
    """A piece of one file in the format's own units: row groups, record batches or bytes, [start, stop).

    `rows` is None where only reading tells.
    """

    start: int
    stop: int
    size_bytes: int
    rows: int | None = None


@dataclass(frozen=True)
class Refused:
    """A row that does not fit: 1-based `row` among the data rows of the file (0 when only the place in the chunk is
    known), `column` and `value` where one value is the cause, `text` the row as it stands."""

    row: int
    column: str
    value: str
    reason: str
    text: str


class Refusals(Protocol):
    """Takes rows that do not fit. Raises DataError where the rows are not to be set aside."""

    def refuse(self, blob: Blob, refused: Refused) -> None: ...


@dataclass(frozen=True)
class Ends:
    """Ends of a wanted range of a column, both included, as the integers that its type (`kind`) is made of; None is open.
    `nulls` says whether rows without a value are wanted too. A format may leave out what lies outside for certain."""

    column: str
    kind: pa.DataType
    low: int | None
    high: int | None
    nulls: bool


@dataclass(frozen=True)
class Request:
    """What is wanted from one file: a span (None is all), columns by name with their carriers, the batch size.

    `file_columns` is what the whole table declares, needed where the file does not say it itself.
    """

    columns: tuple[Column, ...]
    file_columns: tuple[Column, ...]
    settings: FormatSettings
    refusals: Refusals
    batch: BatchSize = BatchSize()
    span: Span | None = None
    ends: Ends | None = None


class Format(Protocol):
    """A file format. `typed` says whether a file carries its own exact schema."""

    @property
    def name(self) -> str: ...

    @property
    def typed(self) -> bool: ...

    def type_choice(self, column: Column) -> TypeChoice:
        """How the format holds a column, and how faithfully. Raises NotSupported for a type it cannot hold."""
        ...

    def encoder(self, sink: Sink, columns: tuple[Column, ...], settings: FormatSettings) -> Encoder: ...

    def columns(self, blobs: Sequence[Blob], settings: FormatSettings) -> list[tuple[Column, ...]]:
        """The columns of each file: read from metadata, or inferred from all of them for a format that has none."""
        ...

    def spans(self, blob: Blob, settings: FormatSettings, size_bytes: int) -> list[Span]:
        """Pieces of about `size_bytes` that cover the file, at least one."""
        ...

    def rows(self, blob: Blob) -> int | None:
        """Rows from metadata alone; None where only reading tells."""
        ...

    def read(self, blob: Blob, request: Request) -> Iterator[pa.RecordBatch]:
        """The wanted columns of the file that it has, with the carriers it was written with."""
        ...
