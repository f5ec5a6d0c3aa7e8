"""An installed connector is found by the command line, listed, and copied from, like a built-in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def penstock(installed: Path, tmp_path: Path):
    """Runs the command in an empty folder, with the example package on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT / "src")])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def test_the_command_lists_it_with_its_abilities(penstock) -> None:
    told = penstock("connectors", "--json")

    assert told.returncode == 0, told.stderr
    assert '"tabs"' in told.stdout
    assert "penstock-tabs" in told.stdout
    json.loads(told.stdout)


def test_a_copy_reads_through_it(penstock, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "birds.tabs").write_text("id:int64\tname:string\n1\theron\n2\t\\N\n")

    done = penstock("copy", "tabs:in", "file:./out")

    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for file in (tmp_path / "out").rglob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert rows == [{"id": 1, "name": "heron"}, {"id": 2, "name": None}]


def test_a_missing_folder_is_said_by_name(penstock) -> None:
    failed = penstock("copy", "tabs:nowhere", "file:./out")

    assert failed.returncode == 10
    assert "nowhere is no folder" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
