"""A command loads what it uses: the fixed cost of a run is what is imported, so what is not needed must not be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.parts.postgres import PostgresServer

SOURCE = Path(__file__).parents[2] / "src"

# Libraries that none of the commands below has a use for.
NEVER = (
    "adbc_driver_manager",
    "duckdb",
    "multiprocessing",
    "polars",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.json",
    "rich",
)
# Parts of Penstock for other modes, formats, executors and commands than a quiet first load into Parquet.
NOT_FOR_A_LOAD = (
    "penstock.api.checking",
    "penstock.api.records",
    "penstock.api.project_file.json_schema",
    "penstock.cli.render.page",
    "penstock.cli.render.picture",
    "penstock.cli.render.plans",
    "penstock.cli.render.runs",
    "penstock.connectors._formats.csv",
    "penstock.connectors._formats.cursor",
    "penstock.connectors._formats.infer",
    "penstock.connectors._formats.interval",
    "penstock.connectors._formats.ndjson",
    "penstock.connectors._formats.parse",
    "penstock.connectors._formats.texts",
    "penstock.connectors.duckdb",
    "penstock.connectors.files.matching",
    "penstock.connectors.files.reader",
    "penstock.connectors.files.rows",
    "penstock.connectors.postgres.portable_read",
    "penstock.connectors.postgres.writer",
    "penstock.connectors.sqlite",
    "penstock.engine.dead_letters",
    "penstock.engine.executors.processes",
    "penstock.engine.history",
    "penstock.jobs.copy.casts",
    "penstock.jobs.copy.compiled",
    "penstock.jobs.copy.preview",
    "penstock.testing",
)
# How many modules of Penstock may be loaded: what there is, and a few more for what is to come.
MOST_FOR_HELP = 12
MOST_FOR_A_LOAD = 145


def loaded(home: Path, *args: str) -> set[str]:
    """The modules that a command imports from its first line to its last."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "penstock", *args],
        env={**kept, "HOME": str(home), "PYTHONPATH": str(SOURCE)},
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE))


def below(modules: set[str], *names: str) -> set[str]:
    """Those of the modules that are one of `names` or lie in it."""
    return {module for module in modules for name in names if f"{module}.".startswith(f"{name}.")}


def folder(home: Path) -> str:
    """The URL of a folder with a table of one row."""
    (home / "in").mkdir()
    pq.write_table(pa.table({"id": [1], "name": ["one"]}), home / "in" / "one.parquet")
    return "file:in"


@pytest.fixture(scope="module")
def source(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database with a table of one row."""
    postgres_server.start()
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
        connection.execute("CREATE TABLE one AS SELECT 1 AS id, 'one' AS name, now() AS at, 1.5::numeric(9,2) AS price")
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


def test_help_loads_no_library_and_hardly_a_module(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "--help")

    assert below(modules, *NEVER, "asyncio", "psycopg", "pyarrow", "ruamel", "sqlite3") == set()
    assert len(below(modules, "penstock")) <= MOST_FOR_HELP


@pytest.mark.native
def test_a_copy_of_one_table_loads_what_it_uses(source: str, tmp_path: Path) -> None:
    modules = loaded(tmp_path, "copy", source, "file:out", "--table", "public.one", "--quiet")

    assert (tmp_path / "out").is_dir()
    assert below(modules, *NEVER, *NOT_FOR_A_LOAD, "ruamel") == set()
    assert len(below(modules, "penstock")) <= MOST_FOR_A_LOAD


@pytest.mark.native
def test_a_run_of_a_project_loads_no_more_than_a_copy_and_what_reads_yaml(source: str, tmp_path: Path) -> None:
    (tmp_path / "penstock.yml").write_text(
        f'version: 1\nconnections:\n  db: {{url: "{source}"}}\n  lake: {{url: "file:out"}}\n'
        'jobs:\n  one: {kind: copy, source: db, target: lake, tables: ["public.one"]}\n'
    )

    modules = loaded(tmp_path, "run", "--quiet")

    assert (tmp_path / "out").is_dir()
    assert below(modules, *NEVER, *NOT_FOR_A_LOAD) == set()
    assert len(below(modules, "penstock")) <= MOST_FOR_A_LOAD


@pytest.mark.native
@pytest.mark.parametrize("origin", ["database", "folder"])
def test_a_load_into_a_database_loads_no_kernel(
    postgres_server: PostgresServer, source: str, tmp_path: Path, origin: str
) -> None:
    target = postgres_server.create_database()
    tables = ["--table", "public.one"] if origin == "database" else []

    modules = loaded(
        tmp_path, "copy", source if origin == "database" else folder(tmp_path), postgres_server.dsn(target), *tables
    )

    assert (
        below(modules, *NEVER, "penstock.connectors.postgres.texts", "penstock.connectors.postgres.portable_read")
        == set()
    )
    postgres_server.drop_database(target)


def test_a_copy_between_folders_loads_no_driver_of_a_database(tmp_path: Path) -> None:
    modules = loaded(tmp_path, "copy", folder(tmp_path), "file:out", "--quiet")

    assert (tmp_path / "out").is_dir()
    assert (
        below(
            modules,
            "asyncio",
            "email",
            "importlib.metadata",
            "importlib.resources",
            "psycopg",
            "duckdb",
            "adbc_driver_manager",
        )
        == set()
    )
    assert below(modules, "penstock.connectors.postgres", "penstock.connectors.sqlite") == set()
