"""Writing the rows of one part into staging: one file, or one for each hive partition."""

from __future__ import annotations

import os
from types import TracebackType

import pyarrow as pa

from penstock.connectors._formats.batches import fitted
from penstock.connectors._formats.suffixes import written_suffix
from penstock.connectors.files.manifest import DataFile, Manifest
from penstock.connectors.files.naming import part_name
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.partition import partition_folder, split
from penstock.connectors.files.staging import STAGED, Mark, Staging
from penstock.core.errors import DataError

_MOST_PARTITIONS = 2_000


class PartWriter:
    """The open files of one part. `finish` makes them durable and returns the part's mark, which the caller writes;
    leaving the context without it removes them."""

    def __init__(self, staging: Staging, plan: Manifest, part: str) -> None:
        self._staging = staging
        self._plan = plan
        self._part = part
        self._name = part_name(part) + written_suffix(plan.settings.format, plan.settings.written_compression)
        self._columns = tuple(c for c in plan.columns if c.name not in plan.partition_by)
        self._open: dict[tuple[str | None, ...], OutFile] = {}
        if not plan.partition_by:
            self._file(())

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open.values():
            file.abandon()

    def add(self, batch: pa.RecordBatch) -> None:
        whole = fitted(batch, self._plan.columns, f"part {self._part!r} of table {self._plan.table}")
        if not self._plan.partition_by:
            self._file(()).add(whole)
            return
        for values, rows in split(whole, self._plan.partition_by):
            self._file(values).add(rows)

    def finish(self) -> Mark:
        found = []
        for values, file in sorted(self._open.items(), key=lambda pair: [(v is None, v or "") for v in pair[0]]):
            file.finish()
            path = self._path(values)
            cuttable = file.is_cuttable
            found.append(DataFile(path, file.rows, file.size_bytes, file.checksum, values, is_cuttable=cuttable))
        self._open = {}
        return Mark(self._part, tuple(found))

    def _path(self, values: tuple[str | None, ...]) -> str:
        return "/".join((*partition_folder(self._plan.partition_by, values), self._name))

    def _file(self, values: tuple[str | None, ...]) -> OutFile:
        if values not in self._open:
            if len(self._open) >= _MOST_PARTITIONS:
                raise DataError(
                    f"part {self._part!r} of table {self._plan.table} has more than {_MOST_PARTITIONS} partitions by "
                    f"{', '.join(self._plan.partition_by)}",
                    "partition by columns with fewer values",
                )
            path = os.path.join(self._staging.parts, *f"{self._path(values)}{STAGED}".split("/"))
            self._open[values] = OutFile(path, self._columns, self._plan.settings)
        return self._open[values]
