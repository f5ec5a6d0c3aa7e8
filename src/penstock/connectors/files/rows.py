"""Which rows of a batch are wanted: the user's `where` and the cursor window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.connectors._formats.port import Ends
from penstock.core.errors import NotSupported, SpecError
from penstock.core.load import Source, Window
from penstock.core.schema import Column

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Where:
    """A SQL expression over columns, evaluated by Polars; rows for which it is NULL are left out."""

    text: str
    expression: pl.Expr

    @classmethod
    def parse(cls, text: str) -> Where:
        import polars as pl
        import polars.exceptions as plx

        try:
            return cls(text, pl.sql_expr(text))
        except (plx.PolarsError, ValueError) as error:
            raise SpecError(
                f"where {text!r} cannot be read as SQL expression: {error}", "use SQL that Polars knows"
            ) from error

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.expression.meta.root_names()))

    def mask(self, batch: pa.RecordBatch) -> pa.Array:
        """True for the wanted rows of `batch`, which holds at least `columns`."""
        import polars as pl
        import polars.exceptions as plx

        frame = pl.DataFrame([_series(batch.column(name), name, self.text) for name in self.columns])
        try:
            found = frame.select(self.expression.alias("wanted")).to_series()
        except plx.PolarsError as error:
            raise SpecError(
                f"where {self.text!r} cannot be evaluated: {error}",
                "use the columns of the files, and SQL that Polars knows",
            ) from error
        if found.dtype != pl.Boolean:
            raise SpecError(f"where {self.text!r} gives {found.dtype}, not true or false", "write a condition")
        if len(found) != batch.num_rows:
            found = pl.repeat(bool(found[0]), batch.num_rows, eager=True)
        return found.fill_null(False).rechunk().to_arrow()


def _series(values: pa.Array, name: str, where: str) -> pl.Series:
    import polars as pl

    if pa.types.is_decimal256(values.type) or pa.types.is_interval(values.type) or pa.types.is_map(values.type):
        raise NotSupported(
            f"where {where!r} uses column {name!r}, whose type {values.type} cannot be compared here",
            "filter by another",
        )
    return pl.Series(name, values.storage if isinstance(values.type, pa.BaseExtensionType) else values)


@dataclass(frozen=True)
class Filter:
    """What a source wants of each batch. `cursor` is the column of the window with its type in the table."""

    where: Where | None
    window: Window | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it looks at."""
        cursor = (self.window.column,) if self.window else ()
        return tuple(dict.fromkeys((*(self.where.columns if self.where else ()), *cursor)))

    def ends(self, columns: Sequence[Column]) -> Ends | None:
        """The window's ends for formats that can leave out what lies outside."""
        if self.window is None:
            return None
        from penstock.connectors._formats.cursor import ends_of

        name = self.window.column
        column = next((column for column in columns if column.name == name), None)
        return ends_of(self.window, column) if column else None

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self.window is not None:
            from penstock.connectors._formats.cursor import in_window

            column = Column.from_field(batch.schema.field(self.window.column))
            inside = in_window(batch.column(column.name), self.window, column)
            if inside.true_count < len(inside):
                batch = batch.filter(inside)
        if self.where is not None and batch.num_rows:
            batch = batch.filter(self.where.mask(batch))
        return batch


def filter_of(source: Source) -> Filter:
    """The filter of a source; a window without ends that takes rows without a value filters nothing."""
    window = source.window
    if window is not None and window.low is None and window.high is None and window.nulls:
        window = None
    return Filter(Where.parse(source.where) if source.where else None, window)
