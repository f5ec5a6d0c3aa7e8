"""Which rows of a batch are wanted: the user's `where` and the cursor window."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import polars.exceptions as plx
import pyarrow as pa

from penstock.core.errors import NotSupported, SpecError
from penstock.core.load import Source


@dataclass(frozen=True)
class Where:
    """A SQL expression over columns, evaluated by Polars; rows for which it is NULL are left out."""

    text: str
    expression: pl.Expr

    @classmethod
    def parse(cls, text: str) -> Where:
        try:
            return cls(text, pl.sql_expr(text))
        except (plx.PolarsError, ValueError) as error:
            raise SpecError(f"where {text!r} cannot be read as SQL expression: {error}") from error

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.expression.meta.root_names()))

    def mask(self, batch: pa.RecordBatch) -> pa.Array:
        """True for the wanted rows of `batch`, which holds at least `columns`."""
        series = []
        for name in self.columns:
            array = batch.column(name)
            if pa.types.is_decimal256(array.type) or pa.types.is_interval(array.type):
                raise NotSupported(f"where {self.text!r} uses column {name!r} of type {array.type}", "filter by another")
            if isinstance(array.type, pa.BaseExtensionType):
                array = array.storage
            series.append(pl.Series(name, array))
        frame = pl.DataFrame(series) if series else pl.DataFrame({"": [True]})
        try:
            found = frame.select(self.expression.alias("wanted")).to_series()
        except plx.PolarsError as error:
            raise SpecError(f"where {self.text!r} cannot be evaluated: {error}", "columns are those of the files") from error
        if found.dtype != pl.Boolean:
            raise SpecError(f"where {self.text!r} gives {found.dtype}, not true or false")
        if len(found) != batch.num_rows:
            found = pl.repeat(bool(found[0]), batch.num_rows, eager=True)
        return found.fill_null(False).rechunk().to_arrow()


@dataclass(frozen=True)
class Filter:
    """What a source wants of each batch."""

    where: Where | None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.where.columns if self.where else ()

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self.where is not None:
            batch = batch.filter(self.where.mask(batch))
        return batch


def filter_of(source: Source) -> Filter:
    return Filter(Where.parse(source.where) if source.where else None)
