"""Installs the example package as its users would, into a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.connectors import registry

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the installed package and its entry points."""
    project, target = tmp_path_factory.mktemp("project") / "tabs", tmp_path_factory.mktemp("site")
    shutil.copytree(HERE / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(HERE / name, project)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", target, project], check=True, capture_output=True, text=True)
    return target


@pytest.fixture
def discovered(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package on this process's path, found by the registry."""
    monkeypatch.syspath_prepend(str(installed))
    registry.outside.cache_clear()
    registry.connector.cache_clear()
    yield
    for name in [name for name in sys.modules if name.startswith("penstock_tabs")]:
        del sys.modules[name]
    registry.outside.cache_clear()
    registry.connector.cache_clear()
