"""Run as a program: load a table and say how far it came, to be killed from outside. `python -m … URL FOLDER LOAD MODE`."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from penstock.core.load import Expected, Load, Mode
from tests.duckdb.loading import load_of, opened, spec_of

PARTS, ROWS = 4, 40_000
SCHEMA = pa.schema([("id", pa.int64()), ("version", pa.int64()), ("text", pa.string())])


def load_named(load_id: str, mode: str) -> Load:
    return load_of("t", SCHEMA, Mode(mode), load_id=load_id, key=("id",))


def part(number: int, version: int) -> pa.Table:
    ids = range(number * ROWS, (number + 1) * ROWS)
    texts = [f"row {at} {'x' * (at % 50)}" for at in ids]
    return pa.table([pa.array(ids, pa.int64()), pa.array([version] * ROWS, pa.int64()), texts], schema=SCHEMA)


def main(url: str, folder: str, load_id: str, mode: str) -> None:
    load = load_named(load_id, mode)
    with opened(spec_of(url, Path(folder))) as session:
        writer = session.writer()
        writer.prepare(load)
        print("prepared", flush=True)  # noqa: T201
        for number in range(PARTS):
            written = writer.write(load, f"{number:06d}", iter(part(number, 2).to_batches(5000)))
            print("again" if written.again else "written", flush=True)  # noqa: T201
        sys.stdin.readline()
        print("publishing", flush=True)  # noqa: T201
        published = writer.publish(load, Expected(PARTS, PARTS * ROWS))
        print("published again" if published.again else "published", flush=True)  # noqa: T201
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:5])
