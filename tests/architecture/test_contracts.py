"""The import contracts hold, and an import that breaks one is caught by the contract meant for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = [
    each["name"] for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]

# For each contract a module and an import that it must not have.
PLANTED = {
    "layers: cli > testing > api > jobs > engine | connectors > core": (
        "core/names.py",
        "import penstock.engine.clock",
    ),
    "testing stands beside engine, connectors and core": ("testing/values.py", "import penstock.api"),
    "connectors know each other only through what they share": (
        "connectors/duckdb/types.py",
        "import penstock.connectors.files.options",
    ),
    "connectors are reached through the registry": ("api/abilities.py", "import penstock.connectors.duckdb.connector"),
    "core rests on the standard library and pyarrow": ("core/spec.py", "import polars"),
    "the engine never sees a row": ("engine/clock.py", "import pyarrow"),
    "psycopg only in the PostgreSQL connector": ("jobs/__init__.py", "import psycopg"),
    "duckdb only in the DuckDB connector": ("connectors/files/options.py", "import duckdb"),
    "adbc_driver_sqlite only in the SQLite connector": ("connectors/files/options.py", "import adbc_driver_sqlite"),
    "mssql_python only in the SQL Server connector": ("connectors/files/options.py", "import mssql_python"),
    "pymysql only in the MySQL connector": ("connectors/files/options.py", "import pymysql"),
    "clients of object stores only in their connectors": ("connectors/files/options.py", "import obstore"),
    "click and rich only in the command line": ("api/options.py", "import click"),
    "rich only in cli.render": ("cli/main.py", "import rich"),
    "ruamel only where the project file is read": ("jobs/__init__.py", "import ruamel.yaml"),
}


def _verdicts(source: Path) -> dict[str, str]:
    """KEPT or BROKEN for each contract over the package in folder `source`."""
    told = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as go; go()", "--no-cache"],
        cwd=source.parent,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)$", told.stdout, re.M))
    assert found, told.stdout + told.stderr
    return found


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("planted")
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.h")
    shutil.copytree(ROOT / "src" / "penstock", folder / "src" / "penstock", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for module, statement in PLANTED.values():
        with (folder / "src" / "penstock" / module).open("a") as file:
            file.write(f"\n{statement}\n")
    return _verdicts(folder / "src")


def test_every_contract_is_kept() -> None:
    assert _verdicts(ROOT / "src") == dict.fromkeys(CONTRACTS, "KEPT")


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_planted_import_breaks_its_contract(planted: dict[str, str], name: str) -> None:
    assert name in PLANTED
    assert planted[name] == "BROKEN"
