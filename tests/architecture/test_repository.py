"""The repository's own text: no machine's paths, no registry addresses, changelog fragments named as agreed, links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written in pieces, so that this file does not find itself.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.~-])/" + "work/",
            r"(?<![\w.~-])/" + "root/",
            "--(?:extra-)?index" + "-url",
            "/sim" + "ple/?[\"'\\s]",
        ]
    )
)
KINDS = {"added", "changed", "fixed", "removed", "security"}
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _texts() -> dict[str, str]:
    texts = {}
    for path in _tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            texts[str(path.relative_to(ROOT))] = data.decode(errors="replace")
    return texts


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = {name: match.group() for name, text in _texts().items() if (match := FORBIDDEN.search(text))}

    assert not found


@pytest.mark.parametrize("text", ["see /" + "work/main", "pip install --index" + "-url x", "https://x/sim" + "ple/ "])
def test_a_planted_address_is_caught(text: str) -> None:
    assert FORBIDDEN.search(text)


def test_changelog_fragments_have_a_kind() -> None:
    names = [path.name for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md"]

    assert not [name for name in names if len(name.split(".")) != 3 or name.split(".")[1] not in KINDS]


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{name}: {link}"
        for name, text in _texts().items()
        if name.endswith(".md")
        for link in LINK.findall(re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S))
        if not (ROOT / name).parent.joinpath(link).exists()
    ]

    assert not broken
