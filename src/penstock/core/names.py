"""Table names of one to three parts: parsing, quoting and patterns; the only place that quotes an identifier."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from penstock.core.errors import SpecError

_PLAIN = re.compile(r"[^\W\d][\w$]*\Z")


def quote(identifier: str, mark: str = '"') -> str:
    """Quote one identifier for SQL; `mark` is '"' (standard) or '`' (MySQL).

    Raises SpecError for an identifier no database can hold (empty, or with a NUL).
    """
    if not identifier or "\0" in identifier:
        raise SpecError(f"{identifier!r} is no identifier", "a name must be non-empty and free of NUL characters")
    return mark + identifier.replace(mark, mark + mark) + mark


@dataclass(frozen=True, order=True)
class TableName:
    """One to three name parts as the database stores them: (table), (schema, table) or (database, schema, table)."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read `a.b."c d"`; a part may be quoted with "…", `…` or […], the closing mark doubled inside."""
        parts = tuple(_split(text))
        if not 1 <= len(parts) <= 3:
            raise SpecError(
                f"table name {text!r} has {len(parts)} parts",
                "write one, two or three parts: [database.][schema.]table",
            )
        return cls(parts)

    @property
    def table(self) -> str:
        return self.parts[-1]

    @property
    def schema(self) -> str:
        """The schema, or '' where the name has one part."""
        return self.parts[-2] if len(self.parts) > 1 else ""

    def quoted(self, mark: str = '"') -> str:
        return ".".join(quote(part, mark) for part in self.parts)

    def __str__(self) -> str:
        return ".".join(part if _PLAIN.match(part) else quote(part) for part in self.parts)


def _split(text: str) -> Iterable[str]:
    closing = {'"': '"', "`": "`", "[": "]"}
    position, size = 0, len(text)
    while True:
        if position < size and text[position] in closing:
            part, position = _quoted_part(text, position, closing[text[position]])
        else:
            end = text.find(".", position)
            end = size if end < 0 else end
            part, position = text[position:end], end
        if not part:
            raise SpecError(f"table name {text!r} has an empty part", 'quote parts that hold dots: "a.b".c')
        yield part
        if position >= size:
            return
        if text[position] != ".":
            raise SpecError(f"table name {text!r} has text after a closing quote", "separate parts with one dot")
        position += 1


def _quoted_part(text: str, start: int, mark: str) -> tuple[str, int]:
    out: list[str] = []
    position = start + 1
    while position < len(text):
        if text[position] == mark:
            if text[position + 1 : position + 2] != mark:
                return "".join(out), position + 1
            position += 1
        out.append(text[position])
        position += 1
    raise SpecError(f"table name {text!r} has an open quote", f"close it with {mark}")


def select(names: Sequence[TableName], patterns: Sequence[str]) -> list[TableName]:
    """The names that the patterns choose, in the order of `names`.

    A pattern is a table name in which `*` and `?` match within one part; `!` in front excludes. Later patterns win. A
    pattern with fewer parts than a name is matched against the name's last parts. Matching is case-sensitive.
    """
    chosen: dict[TableName, bool] = {}
    for pattern in patterns:
        exclude = pattern.startswith("!")
        wanted = TableName.parse(pattern.removeprefix("!"))
        for name in names:
            if matches(name, wanted):
                chosen[name] = not exclude
    return [name for name in names if chosen.get(name, False)]


def matches(name: TableName, pattern: TableName) -> bool:
    """Whether the last parts of `name` match `pattern` part by part."""
    if len(pattern.parts) > len(name.parts):
        return False
    tail = name.parts[-len(pattern.parts) :]
    return all(_part_matches(part, wanted) for part, wanted in zip(tail, pattern.parts, strict=True))


def _part_matches(part: str, pattern: str) -> bool:
    return part == pattern or fnmatch.fnmatchcase(part, pattern.replace("[", "[[]"))
