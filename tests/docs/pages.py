"""Pages of the documentation as things that can be run: files to write, commands to type, output to see.

An HTML comment in front of a fenced block says what it is; readers do not see it.

    <!-- file: penstock.yml -->   the block is written to this file
    <!-- run -->                  the block is typed into bash; it must end with exit code 0
    <!-- run: exit 3 -->          it must end with 3
    <!-- output -->               what the block before it showed on stdout; a line of ... stands for any lines
    <!-- output: varies -->       what it showed once; it differs from run to run and is not compared

Blocks without a comment are only read. What differs from run to run (ids, times, sizes) is not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>file|run|output)(?:: (?P<value>[^\n]+?))? -->\n+)?"
    r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `mark` is "file", "run", "output" or ""; `start` and `end` are where its text stands in the page."""

    page: str
    line: int
    mark: str
    value: str
    language: str
    text: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def exit_code(self) -> int:
        """The exit code a run block must end with."""
        return int(self.value.removeprefix("exit ")) if self.value else 0


def pages() -> list[Path]:
    """All pages that people read, but for those that are made from code."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if "Made by docs/generate.py" not in page.read_text(encoding="utf-8")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order."""
    return list(_blocks(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))))


def _blocks(text: str, name: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        yield Block(
            page=name,
            line=text.count("\n", 0, found.start("fence")) + 1,
            mark=found["mark"] or "",
            value=found["value"] or "",
            language=found["language"].strip(),
            text=found["text"],
            start=found.start("text"),
            end=found.end("text"),
        )


# ---- output

_UNIT = r"(?:B|kB|MB|GB)"
_VARYING = (
    (r"\d{8}-\d{6}-[0-9a-f]{4}", "RUN"),
    (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?= +(?:workers|resume|takeover|snapshot|stop|retry|[a-z]+ ?:)| UTC|, took|  )",
        "MOMENT",
    ),
    (r"\(process \d+\)|\bpid \d+\b", "PROCESS"),
    (r"\bon \S+ PROCESS", "on HOST PROCESS"),
    (r"\bhost '[^']+'", "host HOST"),
    (rf"~?\d[\d,]*(?:\.\d+)? {_UNIT}(?:/s)?\b", "SIZE"),
    (r"\d[\d,]*(?:\.\d+)? (?:rows|items)/s", "RATE"),
    (r"\b\d+:\d\d(?::\d\d)?\b", "TIME"),
    (r"\b\d[\d,]*(?:\.\d+)? (?:ms|s|min|h)\b", "TIME"),
    (r"\b\d+ items? (done|reopened)\b", r"N items \1"),
    (r"\b\d+ workers?\b(?: \(auto: \d+ CPUs?\))?", "WORKERS"),
    (r"_penstock_[0-9a-f]{16}", "STAGING"),
    (r"\bcopy-[0-9a-f]{12}\b", "ONE-OFF"),
    (r"(?:PostgreSQL|DuckDB|SQLite|penstock|python|pyarrow) v?\d[\w.]*(?: \([^)]*\))?", "VERSION"),
    (r"system Linux \w+", "SYSTEM"),
    (r"TIME +-(?=\s|$)|TIME +RATE", "TIME RATE"),
    (r"[-–]{3,}|─{3,}", "---"),
)


def settled(output: str) -> list[str]:
    """The lines of an output with what varies replaced by a word, blanks folded, and no empty lines."""
    lines = []
    for line in output.splitlines():
        for pattern, word in _VARYING:
            line = re.sub(pattern, word, line)
        line = " ".join(line.split())
        if line:
            lines.append(line)
    return lines


def leaves_out(expected: str) -> bool:
    """Whether some lines stand for any."""
    return "..." in settled(expected)


def differs(expected: str, actual: str) -> str:
    """Where `actual` is not what `expected` shows, in words; "" where it is."""
    wanted, found = settled(expected), settled(actual)
    position = 0
    skipping = False
    for line in wanted:
        if line == "...":
            skipping = True
            continue
        if skipping:
            while position < len(found) and found[position] != line:
                position += 1
        if position >= len(found) or found[position] != line:
            there = found[position] if position < len(found) else "the end of the output"
            return f"expected: {line}\n     got: {there}"
        position += 1
        skipping = False
    if position < len(found) and not skipping:
        return f"more than expected: {found[position]}"
    return ""
