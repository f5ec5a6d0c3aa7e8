from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.files.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def memory_dir() -> Iterator[Path]:
    """A folder in memory where the system has one: for tests of many loads, whose cost is waiting for the disk."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(dir=shared))
    yield path
    shutil.rmtree(path)
