"""Values of the old files with the place each stands at, handed out key by key so that none is passed over in silence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.api.hygge.notes import Notes
from penstock.api.project_file.document import Document, Path
from penstock.core.errors import SpecError

_WORDS = {"yes": True, "true": True, "on": True, "y": True, "no": False, "false": False, "off": False, "n": False}


@dataclass(frozen=True)
class Value:
    """A value of an old file: a scalar, a list of Value or a mapping of Value; `place` is `file:line`."""

    data: Any
    place: str

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        return [value.plain() for value in self.data] if isinstance(self.data, list) else self.data


def value_of(document: Document, file: str) -> Value:
    """The values of a document, each with its place in `file`."""

    def build(data: Any, path: Path) -> Value:
        if isinstance(data, dict):
            data = {key: build(value, (*path, key)) for key, value in data.items()}
        elif isinstance(data, list):
            data = [build(value, (*path, index)) for index, value in enumerate(data)]
        return Value(data, f"{file}:{document.key_place(path).line}")

    return build(document.values, ())


def mapping(value: Value | None, what: str) -> dict[str, Value]:
    """The keys of a mapping; none, where the value is missing or empty. Raises SpecError for anything else."""
    if value is None or value.data is None:
        return {}
    if not isinstance(value.data, dict):
        raise SpecError(f"{value.place}: {what} must hold keys and values", "write one key a line, indented")
    return dict(value.data)


def flag(data: Any) -> bool | None:
    """true or false as YAML 1.1, which the old tool read, has them (Yes, on, off); None for anything else."""
    return data if isinstance(data, bool) else _WORDS.get(str(data).lower())


class Section:
    """The keys of one mapping. `take` hands a key out once; `tell_rest` notes those that nobody took."""

    def __init__(self, values: Mapping[str, Value], name: str, place: str) -> None:
        self._left = dict(values)
        self._known: set[str] = set()
        self.name = name
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def take(self, *keys: str) -> Value | None:
        """The first of `keys` that is there with a value; all of them count as taken."""
        self._known |= set(keys)
        found = [self._left.pop(key) for key in keys if key in self._left]
        return next((value for value in found if value.data is not None), None)

    def text(self, *keys: str) -> str:
        """Like take, as text; "" where there is none. Raises SpecError for a list or mapping."""
        value = self.take(*keys)
        if value is None:
            return ""
        if isinstance(value.data, (dict, list)):
            raise SpecError(f"{value.place}: {self.name}.{keys[0]} must be text", "write one value")
        return {True: "true", False: "false"}[value.data] if isinstance(value.data, bool) else str(value.data)

    def section(self, key: str) -> Section:
        """The mapping under a key, empty where there is none."""
        value = self.take(key)
        name = f"{self.name}.{key}" if self.name else key
        return Section(mapping(value, name), name, value.place if value else self.place)

    def absorb(self, key: str) -> None:
        """Lay the mapping under a key over this one: the old tool took what stood there for the options themselves."""
        self._left |= mapping(self._left.pop(key, None), self.option(key))

    def option(self, key: str) -> str:
        """A key as notes name it."""
        return f"{self.name}.{key}" if self.name else key

    def rest(self) -> Iterator[tuple[str, Value]]:
        """The keys that nobody took, now taken."""
        while self._left:
            key = next(iter(self._left))
            yield key, self._left.pop(key)

    def left(self) -> tuple[str, ...]:
        """The keys that nobody took yet."""
        return tuple(self._left)

    def drop(self, meanings: Mapping[str, str], notes: Notes, about: str) -> None:
        """Note the keys that are known and have no counterpart, with what each meant and what to do now."""
        self._known |= set(meanings)
        for key, text in meanings.items():
            if key in self._left:
                notes.add("dropped", self.option(key), text, self._left.pop(key).place, about)

    def drop_section(self, key: str, known: Iterable[str], text: str, notes: Notes, about: str) -> None:
        """Note a whole mapping that has no counterpart, and apart from it the keys that it never had."""
        if key in self:
            inner = self.section(key)
            notes.add("dropped", self.option(key), text, inner.place, about)
            inner.take(*known)
            inner.tell_rest(notes, about)

    def tell_rest(self, notes: Notes, about: str) -> None:
        """Note every key that is left: it meant nothing to the old tool, and its value is not repeated."""
        for key, value in self.rest():
            near = difflib.get_close_matches(key, sorted(self._known), 1)
            meant = f"perhaps {near[0]} was meant: " if near else "if it was meant to do something, "
            text = (
                f"no option of the old tool, which ignored it; {meant}look for it in the reference of the project file"
            )
            notes.add("decide", self.option(key), text, value.place, about)
