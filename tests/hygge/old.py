"""Small old projects for tests of one option each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from penstock.api.hygge.convert import Imported, import_hygge

FLOW: dict[str, Any] = {"home": {"type": "parquet", "path": "in"}, "store": {"type": "parquet", "path": "out"}}
SERVER = {"type": "mssql", "server": "db", "database": "sales"}


def write(folder: Path, files: dict[str, Any]) -> None:
    """Each file's text, or its values as YAML."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            with path.open("w", encoding="utf-8") as out:
                YAML(typ="safe").dump(content, out)


def project(folder: Path, flow: dict[str, Any] | None = None, top: dict[str, Any] | None = None) -> Imported:
    """The import of a project of one flow, `main`, whose keys lie over those of FLOW."""
    write(folder, {"hygge.yml": {"name": "one", **(top or {})}, "flows/main/flow.yml": {**FLOW, **(flow or {})}})
    return import_hygge(folder)


def values(made: Imported) -> dict[str, Any]:
    """The project file as values."""
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(made.text)
    return found


def job(made: Imported, name: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = values(made)["jobs"][name]
    return found


def told(made: Imported, option: str) -> list[str]:
    """The kinds of the notes about an option."""
    return [note.kind for note in made.notes if note.option == option]
