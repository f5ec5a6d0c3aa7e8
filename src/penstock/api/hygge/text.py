"""The new project as YAML text with its notes as comments: the same for the same input, byte by byte."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.api.hygge.notes import KINDS, Note, shown_places

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*\Z")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_WIDTH = 118


def scalar(value: Any) -> str:
    """One value as YAML reads it back, whatever version of YAML reads it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)


def mapping_lines(keys: Mapping[str, Any], indent: int) -> Iterator[str]:
    """A mapping, one key a line; short lists and flat mappings on one line, long texts as blocks."""
    pad = " " * indent
    for key, value in keys.items():
        start = f"{pad}{scalar(key)}:"
        if isinstance(value, str) and "\n" in value and _fits_block(value):
            yield f"{start} |-"
            yield from (f"{pad}  {line}" if line else "" for line in value.split("\n"))
        elif isinstance(value, (Mapping, list)) and not (_is_flat(value) and len(f"{start} {_flow(value)}") <= _WIDTH):
            yield start
            yield from _block(value, indent + 2)
        else:
            yield f"{start} {_flow(value)}"


def _fits_block(text: str) -> bool:
    lines = text.split("\n")
    return not lines[0].startswith((" ", "\t")) and text == text.rstrip() and text.replace("\n", "").isprintable()


def _is_flat(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value
    return not any(isinstance(one, Mapping) for one in inner) or len(value) == 1


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return scalar(value)


def _block(value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from mapping_lines(value, indent)
    else:
        yield from (f"{' ' * indent}- {_flow(one)}" for one in value)


def comment(text: str, indent: int = 0) -> list[str]:
    """A text as lines of comment."""
    pad = " " * indent
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}#   ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def note_lines(notes: Sequence[Note], indent: int) -> Iterator[str]:
    """Notes as comments, in their groups."""
    for kind, title in KINDS.items():
        found = [note for note in notes if note.kind == kind]
        if found:
            yield from comment(f"{title}:", indent)
        for note in found:
            places = f" ({shown_places(note.places)})" if note.places else ""
            yield from comment(f"- {note.option}{places}: {note.text}", indent)
