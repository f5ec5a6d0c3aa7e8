"""Secrets: values that never show, and the one function that masks them in text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_URL_PASSWORD = re.compile(r"(?P<head>[A-Za-z][\w+.-]*:(?://)?[^\s/@:]*:)(?P<secret>[^\s@/]+)(?P<tail>@)")
_PAIR = re.compile(
    r"(?P<head>\b[\w-]*(?:password|passwd|pwd|secret|token|api_?key|access_?key|client_secret|authorization)[\"']?\s*[=:]\s*[\"']?)"
    r"(?P<secret>[^\s\"'&;,}]+)",
    re.IGNORECASE,
)


class Secret:
    """A text that shows as *** wherever it is printed; `reveal()` gives it to the driver that needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __bool__(self) -> bool:
        return bool(self._text)


def mask(text: str, known: Mapping[str, Any] | None = None) -> str:
    """`text` with passwords of URLs, key=value secrets and every known Secret value replaced by ***."""
    for value in (known or {}).values():
        if isinstance(value, Secret) and value.reveal():
            text = text.replace(value.reveal(), MASK)
    text = _URL_PASSWORD.sub(rf"\g<head>{MASK}\g<tail>", text)
    return _PAIR.sub(rf"\g<head>{MASK}", text)
