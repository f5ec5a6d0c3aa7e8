"""The same rows make the same files for any number of writers and any order in which parts arrive."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.load import Expected, Mode
from tests.files.lake import Lake, batches, rows_of

PARTS = 24


def _part(number: int) -> pa.Table:
    ids = [number * 1000 + at for at in range(500 + number)]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "text": [f"text {at % 13} of {number}" for at in ids],
            "at": pa.array(ids, pa.int64()).cast(pa.timestamp("us", "UTC")),
            "group": [("a", "b", None)[at % 3] for at in ids],
        }
    )


def _load(root: Path, workers: int, options: dict[str, Any]) -> dict[str, bytes]:
    lake = Lake(root / str(workers))
    lake.root.mkdir(parents=True)
    load = lake.load(_part(0), load_id="same", options=options)
    lake.session().writer().prepare(load)
    numbers = list(range(PARTS))
    random.Random(workers).shuffle(numbers)

    def write(number: int) -> None:
        lake.session().writer().write(load, f"{number:06d}", batches(_part(number), 100))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, numbers))
    lake.session().writer().publish(load, Expected(PARTS, sum(_part(number).num_rows for number in numbers)))
    return lake.files()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"format": "parquet", "compression": "gzip", "row_group_rows": 100},
        {"format": "csv", "compression": "gzip"},
        {"format": "ndjson", "compression": "zstd"},
        {"format": "arrow"},
        {"layout": "hive", "partition_by": "group"},
    ],
    ids=str,
)
def test_1_2_and_8_writers_make_the_same_bytes(memory_dir: Path, options: dict[str, Any]) -> None:
    made = [_load(memory_dir, workers, options) for workers in (1, 2, 8)]

    assert made[0].keys() == made[1].keys() == made[2].keys()
    assert made[0] == made[1] == made[2]
    assert len(made[0]) >= PARTS


def test_chunks_read_by_many_workers_give_every_row_once(lake: Lake) -> None:
    data = pa.concat_tables([_part(number) for number in range(6)])
    lake.put(data, options={"row_group_rows": 100})
    source = lake.source()
    chunks = lake.session().reader().split(source, 10_000)

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda chunk: rows_of(lake.session(), source, [chunk]), chunks))

    assert len(chunks) >= 8
    assert pa.concat_tables(parts).equals(data)


def test_loads_of_two_tables_do_not_meet(memory_dir: Path) -> None:
    from penstock.core.names import TableName

    lake = Lake(memory_dir)

    def load(number: int) -> None:
        for _ in range(3):
            lake.put(_part(number), table=TableName((f"table {number}",)))
            lake.put(_part(number), mode=Mode.APPEND, table=TableName((f"table {number}",)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, range(8)))

    for number in range(8):
        assert lake.get(TableName((f"table {number}",))).num_rows == 2 * _part(number).num_rows
