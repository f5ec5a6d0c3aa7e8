"""The program chooses what Arrow takes memory from; who uses it may choose otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = """
from penstock.cli.config import choose_allocator
choose_allocator()
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(("given", "used"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")])
def test_memory_comes_from_the_system_unless_the_user_chose_otherwise(given: dict[str, str], used: str) -> None:
    others = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    done = subprocess.run([sys.executable, "-c", SHOW], env=others | given, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == used
