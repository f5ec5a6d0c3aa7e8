"""Loading tables into prefixes of a bucket: parts into staging, marked one by one, and one publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from penstock.connectors._formats.registry import format_named
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.partwriter import PartWriter
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.stop import StopFlag
from penstock.connectors.files.target import Target
from penstock.connectors.objects import staging as stage
from penstock.connectors.objects.listing import PrefixListing
from penstock.connectors.objects.prefix import Prefix
from penstock.connectors.objects.publish import Look, Publish
from penstock.core.load import Expected, Load, Published, Written
from penstock.core.schema import TypeChoice


class ObjectsWriter:
    """The Writer port of an object store connection. `claim` holds a load's table."""

    def __init__(self, options: FileOptions, root: Prefix, stop: StopFlag, claim: Callable[[Load], None]) -> None:
        self._options = options
        self._root = root
        self._stop = stop
        self._claim = claim

    def types(self, load: Load) -> list[TypeChoice]:
        target = self._target(load)
        own = {column.name: column for column in target.columns}
        stored = format_named(target.settings.format)
        return [stored.type_choice(replace(column, type=own[column.name].type)) for column in load.columns]

    def plan(self, load: Load) -> list[str]:
        return self._target(load).steps()

    def prepare(self, load: Load) -> None:
        staging = stage.staging_of(self._root, load)
        for found in stage.staged_loads(self._root, load):
            if found == staging:
                # A run that died may have left uploads of this very load; nobody writes parts before prepare is through.
                self._root.bucket.abort_uploads(staging.path)
            else:
                stage.remove(self._root, found)
        target = self._target(load)
        if target.delivered is None:
            stage.create(self._root, staging, target.plan())

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        staging = stage.staging_of(self._root, load)
        # The spool is local: its disk may be full.
        with self._stop.running(), named_errors(f"write part {part!r} of table {load.table}"):
            key = staging.mark(part)
            mark = stage.read_mark(self._root, key)
            if mark is not None:
                return Written(mark.rows, mark.size_bytes, again=True)
            plan = stage.plan_of(self._root, staging)
            if plan is None:
                published = self._target(load).published_part(part)
                if published:
                    return published
                raise stage.not_prepared(load)
            attempt = stage.new_attempt(staging)
            with PartWriter(self._root, attempt, plan, part) as writer:
                for batch in batches:
                    self._stop.check()
                    writer.add(batch)
                made = writer.finish()
            mark = stage.write_mark(self._root, key, stage.ObjectMark(made.part, made.files, attempt.attempt))
        return Written(mark.rows, mark.size_bytes)

    def publish(self, load: Load, expected: Expected) -> Published:
        with self._stop.running(), named_errors(f"publish table {load.table}"):
            return Publish(self._root, self._options, load, self._stop.check).run(expected)

    def discard(self, load: Load) -> None:
        stage.remove(self._root, stage.staging_of(self._root, load))

    def claim(self, load: Load) -> None:
        self._claim(load)

    def _target(self, load: Load) -> Target:
        return Look(PrefixListing(self._options, self._root)).target(self._options, load)
