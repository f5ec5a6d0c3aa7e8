"""Moving many tables: how fast and with how much memory, by volume, number of tables, workers and size of chunks.

    python -m bench.movement [volumes|tables|workers|chunks ...] [--target file|duckdb] [--most-rows N]

volumes: one table of 100, 100,000, 1 and 10 million rows. tables: 1, 10, 50 and 200 tables of 20,000 rows. workers: 16 tables of
500,000 rows with 1, 2, 4, 8 and 16 workers. chunks: 5 million rows in chunks of 1 to 256 MiB. Without a name all are run. Rows
have 5 numbers, and go from Parquet to Parquet or to DuckDB. Each line is one `penstock run` in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench import measure
from tests.movement.moving import counted

MAKE = (
    "copy (select range as id, range * 31 % 1000003 as a, range / 7.0 as b, range % 97 as c, sqrt(range) as d "
    "from range({rows})) to '{file}' (format parquet)"
)


@dataclass(frozen=True)
class Case:
    """One run: `tables` tables of `rows` rows each."""

    name: str
    rows: int
    tables: int = 1
    workers: int | str = "auto"
    chunk_size: str = "64MiB"


def cases(names: list[str], most_rows: int) -> Iterator[Case]:
    found = {
        "volumes": [Case("volumes", rows) for rows in (100, 100_000, 1_000_000, 10_000_000)],
        "tables": [Case("tables", 20_000, tables) for tables in (1, 10, 50, 200)],
        "workers": [Case("workers", 500_000, 16, workers) for workers in (1, 2, 4, 8, 16)],
        "chunks": [Case("chunks", 5_000_000, chunk_size=f"{size}MiB") for size in (1, 4, 16, 64, 256)],
    }
    for name in names or found:
        yield from (case for case in found[name] if case.rows * case.tables <= most_rows)


def make(folder: Path, case: Case) -> None:
    with duckdb.connect() as connection:
        for number in range(case.tables):
            (folder / f"t{number:03}").mkdir(parents=True)
            connection.execute(MAKE.format(rows=case.rows, file=folder / f"t{number:03}" / "1.parquet"))


def run(case: Case, scheme: str, folder: Path) -> measure.Measured:
    """One measured run, its rows counted."""
    make(folder / "in", case)
    target = f"{scheme}:{folder}/out"
    job = {"kind": "copy", "source": "a", "target": "b", "tables": ["*"]}
    job |= {"workers": case.workers, "chunk_size": case.chunk_size}
    connections = {"a": {"url": f"file:{folder}/in"}, "b": {"url": target}}
    (folder / "penstock.yml").write_text(json.dumps({"version": 1, "connections": connections, "jobs": {"all": job}}))
    command = [sys.executable, "-m", "penstock", "run", "--quiet", "--project", str(folder / "penstock.yml")]
    found = measure.run(command, None)
    if found.exit_code:
        raise SystemExit(found.output)
    rows = sum(counted(target, f"t{number:03}") for number in range(case.tables))
    if rows != case.rows * case.tables:
        raise SystemExit(f"{case} brought {rows:,} rows")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="volumes|tables|workers|chunks")
    parser.add_argument("--target", choices=["file", "duckdb"], default="file")
    parser.add_argument("--most-rows", type=int, default=sys.maxsize, help="leave out what is larger")
    given = parser.parse_args()
    print("| case | tables | rows each | workers | chunk | wall s | CPU s | rows/s | memory MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in cases(given.names, given.most_rows):
        folder = Path(tempfile.mkdtemp(prefix="penstock-movement-"))
        try:
            found = run(case, given.target, folder)
        finally:
            shutil.rmtree(folder)
        speed = case.rows * case.tables / found.wall_s
        print(
            f"| {case.name} | {case.tables} | {case.rows:,} | {case.workers} | {case.chunk_size} | {found.wall_s:.2f} |"
            f" {found.cpu_s:.2f} | {speed:,.0f} | {found.peak_bytes / 1e6:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
