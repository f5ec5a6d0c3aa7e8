"""Loading tables into folders of files: parts into staging, marked one by one, and one publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from penstock.connectors._formats.registry import format_named
from penstock.connectors.files import staging as stage
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.partwriter import PartWriter
from penstock.connectors.files.publish import publish, recover
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.stop import StopFlag
from penstock.connectors.files.target import Target, target_of
from penstock.connectors.files.whole import WholeLoads, is_whole
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.schema import TypeChoice


class FilesWriter:
    """The Writer port of a file connection. `lock` holds a load's table."""

    def __init__(self, options: FileOptions, stop: StopFlag, lock: Callable[[Load], None]) -> None:
        self._options = options
        self._stop = stop
        self._lock = lock
        self._whole = WholeLoads(options, stop.check)

    def types(self, load: Load) -> list[TypeChoice]:
        target = self._target(load)
        own = {column.name: column for column in target.columns}
        stored = format_named(target.settings.format)
        return [stored.type_choice(replace(column, type=own[column.name].type)) for column in load.columns]

    def plan(self, load: Load) -> list[str]:
        return self._target(load).steps()

    def prepare(self, load: Load) -> None:
        root = self._options.root
        with named_errors(f"prepare table {load.table}"):
            for leftover in stage.leftovers(root, load):
                recover(root, leftover, load.table)
                stage.remove(leftover)
            if is_whole(self._options, load):
                return
            target = self._target(load)
            if target.delivered is None:
                stage.create(stage.staging_of(root, load), target.plan())

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        staging = stage.staging_of(self._options.root, load)
        with self._stop.running(), named_errors(f"write part {part!r} of table {load.table}"):
            if is_whole(self._options, load):
                return self._whole.write(load, part, batches)
            mark = stage.read_mark(staging.mark(part))
            if mark is not None:
                return Written(mark.rows, mark.size_bytes, again=True)
            if stage.plan_of(staging) is None:
                published = self._target(load).published_part(part)
                if published:
                    return published
            plan = stage.prepared(staging, load)
            with PartWriter(self._options.root, staging, plan, part) as writer:
                for batch in batches:
                    self._stop.check()
                    writer.add(batch)
                mark = writer.finish()
            stage.write_mark(staging.mark(part), mark)
        return Written(mark.rows, mark.size_bytes)

    def publish(self, load: Load, expected: Expected) -> Published:
        root = self._options.root
        with self._stop.running(), named_errors(f"publish table {load.table}"):
            if is_whole(self._options, load):
                return self._whole.publish(load, expected)
            recover(root, stage.staging_of(root, load), load.table)
            return publish(self._target(load), load, expected, self._stop.check)

    def discard(self, load: Load) -> None:
        root = self._options.root
        with named_errors(f"discard load {load.load_id} of table {load.table}"):
            staging = stage.staging_of(root, load)
            recover(root, staging, load.table)
            stage.remove(staging)

    def claim(self, load: Load) -> None:
        self._lock(load)

    def _target(self, load: Load) -> Target:
        return target_of(self._options, load)
