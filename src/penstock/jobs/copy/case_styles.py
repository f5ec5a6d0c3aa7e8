"""Case styles for column names: snake, camel, pascal, upper, lower."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.core.errors import SpecError

STYLES = ("snake", "camel", "pascal", "upper", "lower")

# A word is: capitals before a capitalised word (HTTPServer -> HTTP, Server), a word with one capital, or a run of
# letters and digits of one case. Everything that is neither letter nor digit separates words.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\dA-Z_]+\d*|[A-Z]+\d*|\d+|[^\W_]+")


def restyle(name: str, style: str) -> str:
    """`name` in a style; a name without letters or digits stays as it is."""
    if style == "upper":
        return name.upper()
    if style == "lower":
        return name.lower()
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return name
    if style == "snake":
        return "_".join(words)
    capital = [word[:1].upper() + word[1:] for word in words]
    return "".join(capital) if style == "pascal" else words[0] + "".join(capital[1:])


def restyle_all(names: Sequence[str], style: str) -> list[str]:
    """All names in a style. Raises SpecError when two names would become one."""
    if style not in STYLES:
        raise SpecError(f"case style {style!r} is unknown", f"use {', '.join(STYLES)}")
    styled = [restyle(name, style) for name in names]
    first: dict[str, str] = {}
    for name, new in zip(names, styled, strict=True):
        if new in first:
            raise SpecError(
                f"case style {style!r} gives columns {first[new]!r} and {name!r} one name, {new!r}",
                "rename one of them under columns.rename",
            )
        first[new] = name
    return styled
