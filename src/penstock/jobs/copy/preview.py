"""What a copy job would do, with numbers, writing nothing: the answer of `penstock plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.core.item import Json
from penstock.core.schema import TypeChoice
from penstock.jobs.copy.facts import TablePlan
from penstock.jobs.copy.planner import CopyJob, item_count
from penstock.jobs.copy.survey import Surveyed


@dataclass(frozen=True)
class TablePreview:
    """One table: estimates are None where the source has none; `window` is (low, high) of an incremental read."""

    source: str
    target: str
    mode: str
    rows_estimate: int | None
    size_bytes: int | None
    chunks: int
    items: int
    pass_through: bool
    types: tuple[TypeChoice, ...]
    statements: tuple[str, ...]
    cursor: str = ""
    window: tuple[str | None, str | None] | None = None


@dataclass(frozen=True)
class CopyPreview:
    """A whole job; tables are in the order in which they start, largest first."""

    job: str
    source: str
    target: str
    one_snapshot: bool
    tables: tuple[TablePreview, ...]

    @property
    def items(self) -> int:
        return sum(table.items for table in self.tables)


def preview(job: CopyJob, state: Mapping[str, Json]) -> CopyPreview:
    """Plan the job against the saved `state` without writing anything anywhere. Closes the job."""
    try:
        tables = []
        for table in job.survey():
            plan, chunks = job.plan_table(table, state)
            tables.append(_preview_table(table, plan, len(chunks), tuple(job.statements(plan))))
        return CopyPreview(job.name, job.spec.source, job.spec.target, bool(job.shared()), tuple(tables))
    finally:
        job.close()


def _preview_table(table: Surveyed, plan: TablePlan, chunks: int, statements: tuple[str, ...]) -> TablePreview:
    window = plan.source.window
    return TablePreview(
        source=str(plan.source),
        target=str(plan.load.table),
        mode=plan.load.mode.value,
        rows_estimate=table.schema.rows_estimate,
        size_bytes=table.schema.size_bytes,
        chunks=chunks,
        items=item_count(plan),
        pass_through=plan.raw,
        types=table.types,
        statements=statements,
        cursor=window.column if window else "",
        window=(window.low.text if window.low else None, window.high.text if window.high else None) if window else None,
    )
