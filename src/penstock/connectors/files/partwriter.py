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
from penstock.connectors.files.root import Root
from penstock.connectors.files.staging import STAGED, Mark, Staging
from penstock.core.errors import DataError

# Files of one part that are open at once, and that it may have in all.
_MOST_OPEN = 200
_MOST_FILES = 2_000

Values = tuple[str | None, ...]


class PartWriter:
    """The open files of one part. `finish` makes them durable and returns the part's mark, which the caller writes;
    leaving the context without it removes them.

    Memory is bounded by one row group for all partitions together. A part with very many partitions closes the file
    opened first and begins another when its partition comes again.
    """

    def __init__(self, root: Root, staging: Staging, plan: Manifest, part: str) -> None:
        self._root = root
        self._staging = staging
        self._plan = plan
        self._part = part
        self._suffix = written_suffix(plan.settings.format, plan.settings.written_compression)
        self._columns = tuple(c for c in plan.columns if c.name not in plan.partition_by)
        self._open: dict[Values, OutFile] = {}
        self._begun: dict[Values, int] = {}
        self._finished: list[DataFile] = []
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
            self._add((), whole)
            return
        for values, rows in split(whole, self._plan.partition_by):
            self._add(values, rows)
            if sum(file.held_bytes for file in self._open.values()) > self._plan.settings.row_group_bytes:
                max(self._open.values(), key=lambda file: file.held_bytes).flush()

    def _add(self, values: Values, rows: pa.RecordBatch) -> None:
        file = self._file(values)
        file.add(rows)
        most = self._root.most_file_bytes
        if most is not None and file.size_bytes >= most:
            self._close(values)

    def finish(self) -> Mark:
        for values in list(self._open):
            self._close(values)
        return Mark(self._part, tuple(sorted(self._finished, key=lambda file: file.path)))

    def _path(self, values: Values) -> str:
        number = self._begun[values]
        # No part's name has a + before a digit.
        name = part_name(self._part) + (f"+{number}" if number > 1 else "") + self._suffix
        return "/".join((*partition_folder(self._plan.partition_by, values), name))

    def _close(self, values: Values) -> None:
        file = self._open[values]
        file.finish()
        del self._open[values]
        cuttable = file.is_cuttable
        self._finished.append(
            DataFile(self._path(values), file.rows, file.size_bytes, file.checksum, values, is_cuttable=cuttable)
        )

    def _file(self, values: Values) -> OutFile:
        if values not in self._open:
            if len(self._finished) + len(self._open) >= _MOST_FILES:
                raise DataError(
                    f"part {self._part!r} of table {self._plan.table} makes more than {_MOST_FILES} files by "
                    f"{', '.join(self._plan.partition_by)}",
                    "partition by columns with fewer values, or sort the rows by them",
                )
            if len(self._open) >= _MOST_OPEN:
                self._close(next(iter(self._open)))
            self._begun[values] = self._begun.get(values, 0) + 1
            path = os.path.join(self._staging.parts, *f"{self._path(values)}{STAGED}".split("/"))
            self._open[values] = self._root.create(path, self._columns, self._plan.settings)
        return self._open[values]
