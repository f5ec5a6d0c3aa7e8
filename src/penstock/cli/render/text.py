"""Lines of text: aligned columns, and colours where a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.secret import mask

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STATES = {
    "done": "green",
    "running": "cyan",
    "partial": "yellow",
    "stopped": "yellow",
    "skipped": "yellow",
    "failed": "red",
    "killed": "red",
    "abandoned": "dim",
}


@dataclass(frozen=True)
class Paint:
    """Colours, or nothing where there are none."""

    is_on: bool

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.is_on and text and style else text

    def state(self, state: str) -> str:
        """The word of a state in its colour."""
        return self(_STATES.get(state, ""), state)


@dataclass(frozen=True)
class Cell:
    """A cell of a table with a style; plain strings need none."""

    text: str
    style: str = ""


def table(
    rows: Sequence[Sequence[str | Cell]], paint: Paint, *, right: Sequence[int] = (), head: bool = True
) -> list[str]:
    """Rows as aligned lines, two blanks between columns; the first row is the head, columns of `right` flush right."""
    cells = [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [max(len(row[column].text) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for number, row in enumerate(cells):
        parts = []
        for column, cell in enumerate(row):
            padding = " " * (widths[column] - len(cell.text))
            painted = paint("bold" if head and number == 0 else cell.style, cell.text)
            parts.append(padding + painted if column in right else painted + padding)
        lines.append("  ".join(parts).rstrip())
    return lines


def indent(lines: Sequence[str], by: str = "  ") -> list[str]:
    return [f"{by}{line}" if line else line for line in lines]


def error_lines(what: str, hint: str, paint: Paint) -> list[str]:
    """An error as people read it: what on the first lines, the hint below; secrets masked, whoever wrote it."""
    return [*mask(what).splitlines(), *([paint("cyan", f"  -> {mask(hint)}")] if hint else [])]
