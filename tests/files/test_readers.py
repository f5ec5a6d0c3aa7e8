"""Other programs that read while tables are published: a whole version, or an error that says so; never half of one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from penstock.core.load import Mode
from tests.files.lake import Lake

PUBLISHES = 50
PARTS, ROWS = 4, 25


def _version(number: int, rows: int = ROWS) -> list[pa.Table]:
    return [pa.table({"version": [number] * rows, "part": [part] * rows}) for part in range(PARTS)]


def _by_arrow(folder: str) -> list[int]:
    found = ds.dataset(folder, format="parquet").to_table()
    if not found.column_names:
        raise FileNotFoundError("No such file: all were gone before they were looked at")
    return list(found.column("version").to_pylist())


def _by_duckdb(folder: str) -> list[int]:
    with duckdb.connect() as connection:
        return [row[0] for row in connection.execute(f"select version from '{folder}/*.parquet'").fetchall()]


def _by_polars(folder: str) -> list[int]:
    return pl.read_parquet(f"{folder}/*.parquet")["version"].to_list()


def _by_hand(folder: str) -> list[int]:
    """Lists first and opens later, as slowly as a reader may be."""
    paths = sorted(Path(folder).glob("*.parquet"))
    if not paths:
        raise FileNotFoundError("No such file: all were gone before they were looked at")
    threading.Event().wait(0.002)
    return [value for path in paths for value in pq.ParquetFile(path).read().column("version").to_pylist()]


@pytest.mark.parametrize("read", [_by_arrow, _by_duckdb, _by_polars, _by_hand])
def test_readers_never_see_half_of_a_version(memory_dir: Path, read: Callable[[str], list[int]]) -> None:
    lake = Lake(memory_dir)
    lake.put(*_version(0))
    seen: list[list[int]] = []
    missed: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                seen.append(read(f"{memory_dir}/public.orders"))
            except (OSError, duckdb.Error, pl.exceptions.PolarsError) as error:
                # The files that were listed went with their version: the reader hears of it and lists again.
                missed.append(str(error))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(1, PUBLISHES + 1):
            lake.put(*_version(number))
    finally:
        done.set()
        watcher.join()

    assert seen
    assert all(len(set(versions)) == 1 and len(versions) == PARTS * ROWS for versions in seen)
    assert not [text for text in missed if not _is_missing(text)]


def _is_missing(text: str) -> bool:
    words = (
        "No such file",
        "No files found",
        "not found",
        "os error 2",
        "cannot open",
        "Cannot open",
        "expanded paths were empty",
    )
    return any(word in text for word in words)


def test_readers_of_an_appended_table_see_whole_loads_only(memory_dir: Path) -> None:
    lake = Lake(memory_dir)
    lake.put(*_version(0))
    seen: list[list[int]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(_by_hand(f"{memory_dir}/public.orders"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(1, PUBLISHES + 1):
            lake.put(*_version(number, 2), mode=Mode.APPEND)
    finally:
        done.set()
        watcher.join()

    assert seen
    for versions in seen:
        assert versions.count(0) == PARTS * ROWS
        assert [versions.count(n) for n in range(1, max(versions) + 1)] == [PARTS * 2] * max(versions)


def test_of_the_files_of_an_old_version_all_are_there_or_none(lake: Lake) -> None:
    lake.put(*_version(1))
    old = {name for name in lake.files() if name.startswith("part")}

    lake.put(_version(2)[0], mode=Mode.APPEND)
    appended = {name for name in lake.files() if name.startswith("part")}
    lake.put(pa.table({"version": [1], "part": [3]}), mode=Mode.DELETE_INSERT, key=("version", "part"))
    changed = {name for name in lake.files() if name.startswith("part")}

    assert old < appended
    assert not changed & appended
    assert len(changed) == len(appended)


def test_recursive_searches_see_neither_staged_nor_old_rows(lake: Lake) -> None:
    lake.put(*_version(1))
    load = lake.load(_version(2)[0], Mode.APPEND)
    lake.stage(load, *_version(2))

    assert set(_by_duckdb(str(lake.root / "**"))) == set(_by_polars(str(lake.root / "**"))) == {1}
    lake.put(*_version(3))
    assert set(_by_duckdb(str(lake.root / "**"))) == set(_by_polars(str(lake.root / "**"))) == {3}


def test_a_reader_stopped_while_it_lists_still_gets_all_the_names(lake: Lake) -> None:
    lake.put(*_version(1))
    folder = os.open(lake.root / "public.orders", os.O_RDONLY)
    lake.put(*_version(2))

    names = sorted(name for name in os.listdir(folder) if name.endswith(".parquet"))
    os.close(folder)

    assert names == [f"part-000001-{part:06d}.parquet" for part in range(PARTS)]
    assert not any((lake.root / "public.orders" / name).exists() for name in names)
