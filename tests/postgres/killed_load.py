"""A load that tells each point it reaches and waits there to be killed: `python -m tests.postgres.killed_load URL MODE`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pyarrow as pa

from penstock.core.load import Expected, Load, Mode, Published
from tests.postgres.loading import load_of, session

PARTS = 4
SCHEMA = pa.schema([("id", pa.int64()), ("v", pa.string())])


def part(number: int) -> pa.Table:
    ids = range(number * 1000, (number + 1) * 1000)
    return pa.table({"id": pa.array(ids, pa.int64()), "v": [f"new {at}" for at in ids]}, schema=SCHEMA)


def load(mode: str) -> Load:
    keyed = mode in ("upsert", "insert_only", "delete_insert")
    return load_of("public.t", SCHEMA, Mode(mode), load_id="the-load", key=("id",) if keyed else ())


def whole(dsn: str, mode: str, reach: Callable[[str], None] = lambda point: None) -> Published:
    """The load from beginning to end; `reach` is told each point."""

    def half() -> Iterator[pa.RecordBatch]:
        batches = part(1).to_batches(max_chunksize=500)
        yield batches[0]
        reach("half a part")
        yield batches[1]

    with session(dsn) as opened:
        writer = opened.writer()
        writer.claim(load(mode))
        writer.prepare(load(mode))
        reach("prepared")
        for number in range(PARTS):
            writer.write(load(mode), f"{number:06d}", half() if number == 1 else iter(part(number).to_batches()))
            reach(f"part {number}")
        reach("in publish")
        published = writer.publish(load(mode), Expected(PARTS, PARTS * 1000))
        reach("published")
        return published


def _tell_and_wait(point: str) -> None:
    sys.stdout.write(f"{point}\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    whole(sys.argv[1], sys.argv[2], _tell_and_wait)
