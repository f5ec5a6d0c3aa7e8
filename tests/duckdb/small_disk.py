"""A disk that is soon full: a small tmpfs, where the system lets us mount one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(size_mib: int) -> Iterator[Path]:
    """A folder of `size_mib` MiB. Skips the test, saying so, where mounting is not permitted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", folder]
        try:
            mounted = subprocess.run(mount, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("DISK FULL NOT TESTED: there is no mount command")
        if mounted.returncode:
            pytest.skip(f"DISK FULL NOT TESTED: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
