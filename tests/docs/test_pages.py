"""What the pages say holds: links lead somewhere, project files are valid, commands do and show what is written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import penstock
from tests.docs.pages import ROOT, Block, blocks, differs, pages
from tests.docs.running import needs_postgres, run
from tests.parts.native import has_native_codec
from tests.parts.postgres import PostgresServer

# Connections that fragments of project files name without declaring them.
KNOWN = {
    "shop": "postgresql://app@localhost:5432/shop",
    "dwh": "postgresql://app@localhost:5432/dwh",
    "lake": "file:./lake",
    "house": "duckdb:./house.duckdb",
}
PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
RUNNABLE = [name for name, page in PAGES.items() if any(block.mark == "run" for block in blocks(page))]
# Pages whose commands wait on purpose, or copy enough to be caught at it.
SLOW = {"docs/tutorial/index.md", "docs/how-to/resume-and-repair.md"}
YAML_BLOCKS = [block for page in PAGES.values() for block in blocks(page) if block.language == "yaml"]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|mailto:)([^)\s]*)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```[ ]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


# ---- links


def _anchors(page: Path) -> set[str]:
    """The names that headings get: lower case, words joined by hyphens, other characters left out."""
    headings = _HEADING.findall(
        _CODE.sub(lambda found: found.group() if "\n" not in found.group() else "", page.read_text())
    )
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = PAGES[name]
    broken = []
    for link, image in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = (link or image).partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in _anchors(place)):
            broken.append(link or image)

    assert not broken


def test_how_to_pages_are_listed() -> None:
    folder = ROOT / "docs" / "how-to"
    listed = folder.joinpath("index.md").read_text(encoding="utf-8")

    assert not [page.name for page in folder.glob("*.md") if page.name != "index.md" and f"({page.name})" not in listed]


# ---- project files


def _whole(fragment: Mapping[str, Any]) -> dict[str, Any]:
    """A fragment as a project: with a version and with the connections that its jobs name."""
    connections = dict(fragment.get("connections") or {})
    for job in (fragment.get("jobs") or {}).values():
        for side in ("source", "target"):
            connections.setdefault(job[side], {"url": KNOWN.get(job[side], "")})
    return {"version": 1, **fragment, "connections": connections}


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=str)
def test_project_files_are_valid(block: Block, tmp_path: Path) -> None:
    yaml = YAML()
    document = yaml.load(block.text)
    if "version" not in document:
        document = _whole(document)
    with (tmp_path / "penstock.yml").open("w") as file:
        yaml.dump(document, file)
    variables = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)", block.text), "x")

    project = penstock.load_project(tmp_path, environ=variables)

    assert penstock.check(project, offline=True).exit_code == 0


# ---- commands


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in RUNNABLE]
)
def test_commands_do_and_show_what_is_written(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    page = PAGES[name]
    typed = " ".join(block.text for block in blocks(page) if block.mark == "run")
    lacking = [program for program in ("sqlite3", "psql") if f"{program} " in typed and not shutil.which(program)]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} is not installed")
    if "in the wire format" in page.read_text(encoding="utf-8") and not has_native_codec():
        pytest.skip("native wire codec: not built")
    server: PostgresServer | None = request.getfixturevalue("postgres_server") if needs_postgres(page) else None

    shown = run(page, tmp_path, server)

    outputs = {one.block.start: one for one in shown}
    last = None
    for block in blocks(page):
        if block.mark == "run":
            last = outputs[block.start]
            assert last.code == block.exit_code, f"{block}\n{block.text}\n{last.out}{last.err}"
        elif block.mark == "output" and block.value != "varies":
            assert last is not None, f"{block} shows the output of nothing"
            assert not (found := differs(block.text, last.out)), f"{block}\n{found}\nwhole output:\n{last.out}"
