"""Whatever the size of files, row groups, chunks and the number of workers: the same rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.movement.moving import copy, counted, mixed, numbers, put, read

ROWS = 20_000


@pytest.mark.parametrize("chunk_size", ["16 KiB", "256 KiB", "64 MiB"])
@pytest.mark.parametrize("row_group_rows", [64, 4_096, 1_000_000])
def test_rows_do_not_depend_on_the_size_of_chunks_and_row_groups(
    chunk_size: str, row_group_rows: int, tmp_path: Path
) -> None:
    table = mixed(ROWS)
    put(tmp_path / "in" / "t", table, row_group_size=1_000)

    copy(
        tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out", chunk_size=chunk_size, row_group_rows=row_group_rows
    ).run()

    files = sorted((tmp_path / "out" / "t").glob("*.parquet"))
    groups = [pq.read_metadata(file) for file in files]
    assert max(meta.row_group(i).num_rows for meta in groups for i in range(meta.num_row_groups)) <= row_group_rows
    assert read(tmp_path / "out" / "t").equals(table)
    assert (len(files) > 1) == (chunk_size == "16 KiB")


@pytest.mark.parametrize("scheme", ["file", "duckdb", "sqlite"])
@pytest.mark.parametrize("rows", [1, 100, 100_000])
def test_every_row_arrives_once_whatever_the_volume(scheme: str, rows: int, tmp_path: Path) -> None:
    put(tmp_path / "in" / "t", numbers(rows), row_group_size=10_000)
    target = f"{scheme}:{tmp_path}/out"

    result = copy(tmp_path, f"file:{tmp_path}/in", target, chunk_size="256 KiB").run()

    assert counted(target, "t") == rows
    assert result.jobs[0].counts.rows == rows


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
def test_sixteen_tables_are_the_same_for_any_number_at_once(workers: int, tmp_path: Path) -> None:
    for number in range(16):
        put(tmp_path / "in" / f"t{number:02}", mixed(500 * (number + 1)))

    copy(tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out", workers=workers, chunk_size="64 KiB").run()

    for number in range(16):
        assert read(tmp_path / "out" / f"t{number:02}").equals(mixed(500 * (number + 1))), number


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["file", "duckdb"])
def test_ten_million_rows_arrive_once(scheme: str, tmp_path: Path) -> None:
    put(tmp_path / "in" / "t", numbers(10_000_000))
    target = f"{scheme}:{tmp_path}/out"

    copy(tmp_path, f"file:{tmp_path}/in", target, workers=2).run()

    assert counted(target, "t") == 10_000_000
