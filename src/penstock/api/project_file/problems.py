"""Everything wrong in a document, gathered, with wording that names the key, the value and the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from penstock.api.project_file.document import Document, Path, Problem, ProjectErrors
from penstock.core.secret import MASK, mask

_SECRET_WORDS = ("password", "secret", "token", "salt", "api_key", "access_key")


class Problems:
    """The problems of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: list[Problem] = []

    def at(self, path: Path, what: str, hint: str = "") -> None:
        """A problem with the value at `path`, or with what is missing there; none, if it could not be read at all."""
        if path not in self.document.broken:
            self.found.append(Problem(self.document.place(path), what, hint))

    def at_key(self, path: Path, what: str, hint: str = "") -> None:
        """A problem with the key at the end of `path`."""
        self.found.append(Problem(self.document.key_place(path), what, hint))

    def unknown_key(self, path: Path, known: Iterable[str]) -> None:
        where = f"in {dotted(path[:-1])}" if path[:-1] else "at the top of the file"
        self.at_key(path, f'unknown key "{path[-1]}" {where}', suggest(str(path[-1]), known, "known keys"))

    def raise_if_any(self, file: str) -> None:
        """Raises ProjectErrors with one line for each problem, in the order of the file."""
        if self.found:
            raise ProjectErrors("\n".join(problem.line(file) for problem in sorted(set(self.found))))

    def wrong_choice(self, path: Path, value: Any, choices: Sequence[str]) -> None:
        what = f"{dotted(path)} is {self.shown(path, value)}, but must be one of {', '.join(choices)}"
        near = difflib.get_close_matches(str(value), choices, 1)
        self.at(path, what, f'did you mean "{near[0]}"?' if near else "")

    def shown(self, path: Path, value: Any) -> str:
        """A value as a message may show it: as it was written, and never a secret."""
        if path in self.document.written:
            return f'"{self.document.written[path]}"'
        if any(word in str(part).lower() for part in path for word in _SECRET_WORDS):
            return MASK
        if value is None:
            return "empty"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (dict, list)):
            return "a list" if isinstance(value, list) else "a mapping"
        return f'"{mask(value)}"' if isinstance(value, str) else str(value)


def dotted(path: Path) -> str:
    """A path as people write it: jobs.raw.tables[0]."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            text = part if part and not set(part) & set(". []") else f'"{part}"'
            out += f".{text}" if out else text
    return out


def suggest(word: str, known: Iterable[str], label: str) -> str:
    """A hint with the nearest known word, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, 1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"{label}: {', '.join(words)}" if words else f"there are no {label}"
