"""The projects of this folder and what their import gives: `python -m tests.hygge.golden` writes the expected files anew."""

from __future__ import annotations

from pathlib import Path

from penstock.api.hygge.convert import Imported, import_hygge

HERE = Path(__file__).parent
PROJECTS = tuple(sorted(folder.name for folder in (HERE / "projects").iterdir() if folder.is_dir()))


def imported(name: str) -> Imported:
    return import_hygge(HERE / "projects" / name)


def expected(name: str) -> Path:
    return HERE / "expected" / f"{name}.yml"


if __name__ == "__main__":
    for project in PROJECTS:
        expected(project).parent.mkdir(exist_ok=True)
        expected(project).write_text(imported(project).text, encoding="utf-8")
