"""YAML text as plain values, where each value knows its line and column and whether it was written with ${...}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import SpecError

# The keys and list positions that lead from the top of the document to a value.
Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, order=True)
class Place:
    """Line and column, both counted from 1; (0, 0) is no place in the file."""

    line: int = 0
    column: int = 0


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in the file, where it stands and what to do."""

    place: Place
    what: str
    hint: str = ""

    def line(self, file: str) -> str:
        """`file:line:column: what; hint`, or without numbers where the problem has no place."""
        where = f"{file}:{self.place.line}:{self.place.column}" if self.place.line else file
        return f"{where}: {self.what}" + (f"; {self.hint}" if self.hint else "")


class ProjectErrors(SpecError):
    """Everything wrong in a project file: `what` holds one line for each problem."""


@dataclass(frozen=True)
class Document:
    """Values as plain Python objects, and for each path where its value and its key stand.

    `written` holds the text of each value that contained ${...}, as it stands in the file; `broken` are the paths of
    values that could not be read and stand here as None.
    """

    values: Any
    places: Mapping[Path, Place] = field(default_factory=dict)
    key_places: Mapping[Path, Place] = field(default_factory=dict)
    written: Mapping[Path, str] = field(default_factory=dict)
    broken: frozenset[Path] = frozenset()

    def place(self, path: Path) -> Place:
        """Where the value at `path` stands; of a value that is missing, where the nearest one around it stands."""
        for size in range(len(path), -1, -1):
            found = self.places.get(path[:size])
            if found:
                return self.key_places.get(path[:size], found) if size < len(path) else found
        return Place()

    def key_place(self, path: Path) -> Place:
        """Where the key of `path` stands, or its value where it has no key."""
        return self.key_places.get(path) or self.place(path)


def read_yaml(text: str, expand: Callable[[str], str]) -> tuple[Document, list[Problem]]:
    """The one YAML 1.2 document in `text`, each text value passed through `expand`, and all problems found on the way.

    A key that stands twice is a problem. `<<` merges mappings. Keys are always text. Dates stay text.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        return Document(None), [_syntax_problem(error)]
    except YAMLError as error:
        return Document(None), [Problem(Place(1, 1), f"is no YAML: {str(error).splitlines()[0]}")]
    if node is None:
        return Document(None), []
    walk = _Walk(expand)
    values = walk.value(node, ())
    return Document(values, walk.places, walk.key_places, walk.written, frozenset(walk.broken)), walk.problems


def _syntax_problem(error: Any) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    parts = [str(part) for part in (error.context, error.problem) if part]
    return Problem(place, f"is no YAML: {', '.join(parts)}", "mind indentation (no tabs), colons and closing quotes")


class _Walk:
    """One pass over the node tree that gathers values, places and problems."""

    def __init__(self, expand: Callable[[str], str]) -> None:
        self.expand = expand
        self.places: dict[Path, Place] = {}
        self.key_places: dict[Path, Place] = {}
        self.written: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self.broken: set[Path] = set()
        self.open: list[int] = []

    def value(self, node: Any, path: Path) -> Any:
        is_empty = node.start_mark.index == node.end_mark.index
        self.places[path] = self.key_places.get(path, _place(node)) if is_empty else _place(node)
        if node.id == "scalar":
            return self.scalar(node, path)
        if id(node) in self.open:
            return self.fail(node, path, "an anchor refers to itself", "take the alias out")
        self.open.append(id(node))
        made = self.mapping(node, path) if node.id == "mapping" else self.sequence(node, path)
        self.open.pop()
        return made

    def fail(self, node: Any, path: Path, what: str, hint: str) -> None:
        self.problems.append(Problem(_place(node), what, hint))
        self.broken.add(path)

    def sequence(self, node: Any, path: Path) -> list[Any]:
        return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]

    def mapping(self, node: Any, path: Path) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == _MERGE:
                merged |= {key: value for key, value in self.merged(value_node, path).items() if key not in merged}
                continue
            key = self.key(key_node)
            if key is None:
                continue
            if key in own:
                first = self.key_places[*path, key]
                what = f'key "{key}" stands twice, first in line {first.line}'
                self.problems.append(Problem(_place(key_node), what, "keep one of them"))
                continue
            self.key_places[*path, key] = _place(key_node)
            own[key] = self.value(value_node, (*path, key))
        return merged | own

    def merged(self, node: Any, path: Path) -> dict[str, Any]:
        if node.id == "sequence":
            found: dict[str, Any] = {}
            for child in node.value:
                found = self.merged(child, path) | found
            return found
        if node.id == "mapping":
            return self.mapping(node, path)
        self.problems.append(Problem(_place(node), "<< takes a mapping or a list of mappings", "write <<: *anchor"))
        return {}

    def key(self, node: Any) -> str | None:
        if node.id == "scalar" and node.value:
            return str(node.value)
        self.problems.append(Problem(_place(node), "a key must be plain text", "put it in quotes"))
        return None

    def scalar(self, node: Any, path: Path) -> Any:
        text = str(node.value)
        if "${" in text:
            self.written[path] = text
            try:
                return self.expand(text)
            except SpecError as error:
                return self.fail(node, path, error.what, error.hint)
        try:
            return _typed(str(node.tag).removeprefix(_TAG), text)
        except ValueError:
            return self.fail(node, path, f"the YAML tag {node.tag} is not understood", "take it out")


def _place(node: Any) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _typed(tag: str, text: str) -> Any:
    """A scalar by its YAML 1.2 type; a date stays text, since nothing in a project is a date."""
    if tag in ("str", "timestamp"):
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return _WORDS[text.lower()]
    digits = text.replace("_", "")
    if tag == "int":
        return int(digits, 0 if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)
    if tag == "float":
        return float(digits.replace(".inf", "inf").replace(".nan", "nan").replace(".Inf", "inf").replace(".NaN", "nan"))
    raise ValueError(tag)
