"""The command in a subprocess, as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


Penstock = Callable[..., Done]


def until(condition: Callable[[], object]) -> None:
    """Wait for something another process does; the limit is for what never happens."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user at `home` who has set nothing of Penstock's but `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "XDG_"))}
    kept.pop("NO_COLOR", None)
    return {**kept, "HOME": str(home), "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error", **variables}


def start(*args: str, cwd: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """The command, running."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", *args],
        cwd=cwd,
        env=env,
        stdout=pipe,
        stderr=pipe,
        stdin=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture
def penstock(tmp_path: Path) -> Penstock:
    """Run the command in `tmp_path` (or `cwd`) with variables of its own; kills it after 120 s."""

    def run(*args: str, cwd: Path = tmp_path, **variables: str) -> Done:
        with start(*args, cwd=cwd, env=environment(tmp_path, **variables)) as process:
            try:
                out, err = process.communicate(timeout=120)
            except BaseException:
                process.kill()
                raise
        return Done(process.returncode, out, err)

    return run
