"""The handler of copy items: prepare, load, count and publish one table, in items of their own or in one for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from penstock.core.errors import CountMismatch, DataError
from penstock.core.item import Item, Progress
from penstock.core.load import BatchSize, Chunk, Expected, Mode, Published, Written
from penstock.core.ports import RawReader, RawWriter, Reader, Session, Snapshots
from penstock.core.secret import Secret
from penstock.core.spec import plain
from penstock.engine.job import GroupDone, WorkerContext
from penstock.jobs.copy.expressions import compile_batches
from penstock.jobs.copy.facts import TablePlan, decode

SOURCE = "source"
TARGET = "target"
SNAPSHOT = "snapshot"
PREPARE, LOAD, COUNT, PUBLISH = "prepare", "load", "count", "publish"
# A table of one chunk: prepared, loaded and published by one worker without a break.
COPY = "copy"
# A load of so many bytes is noted before its publish, so that a stop may come in between and attempts count anew. The
# publish of a smaller one takes no longer than the note.
_NOTED_BYTES = 16 * 2**20


class CopyHandler:
    """Runs one item of a copy job. Picklable; keeps only a cache of plans: those it was told of, and those it decoded."""

    def __init__(self, salts: Sequence[Secret], batch: BatchSize) -> None:
        self._salts = tuple(salts)
        self._batch = batch
        self._told: dict[str, TablePlan] = {}
        self._plans: dict[str, TablePlan] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_told": {}, "_plans": {}}

    def tell(self, plan: TablePlan) -> None:
        """A plan made in this very process, so that its facts need not be decoded. From any thread."""
        self._told[_name(plan.load.load_id, plan.first_part)] = plan

    def __call__(self, item: Item, context: WorkerContext) -> Iterator[Progress]:
        plan = self._plan(context)
        if item.kind == PREPARE:
            writer = context.session(TARGET).writer()
            if plan.first_part:
                # Parts of an earlier plan of this load: nothing has been written for the new one yet.
                writer.discard(plan.load)
            writer.prepare(plan.load)
            yield Progress()
        elif item.kind == LOAD:
            yield self._load(plan, item, context)
        elif item.kind == COUNT:
            count = _reader(plan, context).count(plan.source)
            yield Progress(result={"count": count, f"counted:{_snapshot(context)}": True})
        elif item.kind == COPY:
            yield from self._copy(plan, item, context)
        else:
            yield _publish(plan, context.done, context)

    def _plan(self, context: WorkerContext) -> TablePlan:
        name = _name(context.facts["load"]["load_id"], context.facts.get("first_part", 0))
        if name not in self._plans:
            # A worker mostly stays with one table at a time; a few plans are enough and keep memory flat.
            if len(self._plans) >= 8:
                self._plans.clear()
            told = self._told.pop(name, None)
            self._plans[name] = decode(context.facts, self._salts) if told is None else told
        return self._plans[name]

    def _copy(self, plan: TablePlan, item: Item, context: WorkerContext) -> Iterator[Progress]:
        """All of a table. A try after the load repeats what the target has done already, which changes nothing there;
        its rows were counted with the cursor."""
        context.session(TARGET).writer().prepare(plan.load)
        loaded = self._load(plan, item, context)
        before = context.cursor or {"rows": 0, "size_bytes": 0}
        rows, size_bytes = loaded.rows - before["rows"], loaded.size_bytes - before["size_bytes"]
        if loaded.size_bytes >= _NOTED_BYTES:
            yield Progress(rows, size_bytes, cursor={"rows": loaded.rows, "size_bytes": loaded.size_bytes})
            rows = size_bytes = 0
        published = _publish(plan, GroupDone(1, loaded.rows, loaded.size_bytes, loaded.result), context)
        yield replace(published, rows=rows, size_bytes=size_bytes)

    def _load(self, plan: TablePlan, item: Item, context: WorkerContext) -> Progress:
        chunk = Chunk(int(item.payload["ordinal"]), item.payload["bounds"])
        part = f"{chunk.ordinal:06d}"
        writer = context.session(TARGET).writer()
        reader = _reader(plan, context)
        if plan.raw and isinstance(reader, RawReader) and isinstance(writer, RawWriter):
            written = writer.write_raw(plan.load, part, reader.raw(plan.source, chunk))
        else:
            written = writer.write(plan.load, part, self._batches(plan, reader, chunk, context))
        return _loaded(written, context)

    def _batches(
        self, plan: TablePlan, reader: Reader, chunk: Chunk, context: WorkerContext
    ) -> Iterator[pa.RecordBatch]:
        apply = compile_batches(plan.expressions, plan.run)
        batches = reader.read(plan.source, chunk, self._batch)
        try:
            for batch in batches:
                out = apply(batch)
                context.moved(out.num_rows, out.nbytes)
                yield out
        finally:
            # A writer that fails leaves this generator early; closing the reader's frees its cursor at once.
            close = getattr(batches, "close", None)
            if close is not None:
                close()


def _name(load_id: str, first_part: int) -> str:
    """The name of a plan: a load that was planned anew keeps its id, and its parts have other numbers."""
    return f"{load_id} {first_part}"


def _reader(plan: TablePlan, context: WorkerContext) -> Reader:
    session: Session = context.session(SOURCE)
    if plan.snapshot and isinstance(session, Snapshots):
        session.use_snapshot(context.shared[SNAPSHOT])
    return session.reader()


def _snapshot(context: WorkerContext) -> str:
    return context.shared.get(SNAPSHOT, "")


def _loaded(written: Written, context: WorkerContext) -> Progress:
    """A part written by an earlier try was read in the snapshot of that time, which nobody remembers."""
    seen = "unknown" if written.again else _snapshot(context)
    return Progress(written.rows, written.size_bytes, result={f"read:{seen}": True})


def _publish(plan: TablePlan, done: GroupDone, context: WorkerContext) -> Progress:
    _compare_with_source(plan, done)
    writer = context.session(TARGET).writer()
    if plan.load.mode is Mode.REPLACE and done.rows == 0 and plan.on_empty != "publish":
        if plan.on_empty == "fail":
            raise DataError(
                f"nothing was read from {plan.source}, and on_empty is fail; {plan.load.table} is as it was",
                "check the source, or set on_empty to publish (empty the target) or keep",
            )
        writer.discard(plan.load)
        return Progress(result={"kept": True, "notes": ["the source gave no rows: the target was left as it was"]})
    published = writer.publish(plan.load, Expected(plan.chunks, done.rows))
    _compare_with_target(plan, done, published)
    return Progress(result={**plain(published), "proof": proof(done), "watermark": plan.watermark})


def _compare_with_source(plan: TablePlan, done: GroupDone) -> None:
    """Rows loaded against rows the source counted, where both saw one moment."""
    if "count" not in done.results or not comparable(done):
        return
    count = done.results["count"]
    if count != done.rows:
        raise CountMismatch(
            f"{plan.source} counts {count} rows but {done.rows} were read; {plan.load.table} is as it was",
            "the source changed while it was read without a snapshot: run again"
            if not plan.snapshot
            else "this is a defect of the split: run with `split: false` and report it",
        )


def comparable(done: GroupDone) -> bool:
    """Whether all parts and the count come from one snapshot (or from a source without snapshots)."""
    read = {key.removeprefix("read:") for key in done.results if key.startswith("read:")}
    counted = {key.removeprefix("counted:") for key in done.results if key.startswith("counted:")}
    return len(read | counted) == 1


def proof(done: GroupDone) -> dict[str, object]:
    """What the report says about how the rows were proven."""
    moments = sorted(key.removeprefix("read:") for key in done.results if key.startswith("read:"))
    return {
        "rows_read": done.rows,
        "source_count": done.results.get("count"),
        "snapshots": len(moments),
        "compared": "count" in done.results and comparable(done),
    }


def _compare_with_target(plan: TablePlan, done: GroupDone, published: Published) -> None:
    """What the target holds after the publish against what was sent; a difference fails the item."""
    expected: int | None = done.rows
    if plan.load.mode is not Mode.REPLACE:
        before = published.rows_before
        expected = None if before is None else before + published.rows_inserted - published.rows_deleted
    if published.rows_staged != done.rows or published.rows_after != expected:
        raise CountMismatch(
            f"{plan.load.table} holds {published.rows_after} rows after the load, expected {expected} "
            f"({done.rows} read, {published.rows_staged} staged)",
            "another program wrote to the table, or a trigger changed rows; compare the table with its source",
        )
