"""The example that `init` makes: a small shop in SQLite, copied to Parquet files and on into DuckDB."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from penstock.cli.config import PROJECT_FILE
from penstock.core.errors import SpecError

DATABASE = "shop.db"


@dataclass(frozen=True)
class Made:
    """The folder of a new project and the files in it."""

    folder: Path
    files: tuple[Path, ...]


def write_example(folder: Path) -> Made:
    """Write the example's project file and database. Raises SpecError, having written nothing, if one of them exists."""
    targets = (folder / PROJECT_FILE, folder / DATABASE)
    for file in targets:
        if file.exists():
            raise SpecError(f"{file} exists already", "choose another folder; init overwrites nothing")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_database(targets[1])
        targets[0].write_text(_text("example.yml"), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write to {folder}: {error.strerror}", "choose another folder") from error
    return Made(folder, targets)


def _write_database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript(_text("example.sql"))
        db.commit()


def _text(name: str) -> str:
    return files("penstock.cli").joinpath(name).read_text(encoding="utf-8")
