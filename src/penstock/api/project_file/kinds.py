"""Kinds of values that a key may hold: each checks what was written, and describes it as JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from penstock.api.project_file.document import Path
from penstock.api.project_file.problems import Problems, dotted

if TYPE_CHECKING:
    from penstock.api.project_file.keys import Keys

T = TypeVar("T")
U = TypeVar("U")
Schema = Mapping[str, Any]

_WHOLE = re.compile(r"\s*([+-]?\d+(?:_\d+)*)(?:\.0*)?\s*\Z")
_FLAGS = {"true": True, "yes": True, "on": True, "t": True, "y": True, "1": True,
          "false": False, "no": False, "off": False, "f": False, "n": False, "0": False}  # fmt: skip


class Wrong(Exception):
    """A value that does not fit; why stands among the problems already."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """`check` gives the value that is meant by what was written, or raises Wrong. `below` is the mapping inside, if any."""

    check: Callable[[Any, Path, Problems], T]
    schema: Schema
    below: type[Keys] | None = None


def refused(value: Any, path: Path, problems: Problems, expected: object, hint: str = "") -> Wrong:
    """The error of a value that does not fit, once its problem is noted."""
    problems.at(path, f"{dotted(path)} is {problems.shown(path, value)}, but {expected}", hint)
    return Wrong()


def read(function: Callable[[Any], T], schema: Schema) -> Kind[T]:
    """What a function reads that raises ValueError with what the value must be."""

    def check(value: Any, path: Path, problems: Problems) -> T:
        try:
            return function(value)
        except ValueError as error:
            raise refused(value, path, problems, error) from error

    return Kind(check, schema)


def text(shortest: int = 0) -> Kind[str]:
    """Text of at least so many characters. A number is refused, since it may not read as it was written: 007, 1e3."""

    def check(value: Any, path: Path, problems: Problems) -> str:
        if not isinstance(value, str):
            hint = "put it in quotes" if isinstance(value, (int, float)) else ""
            raise refused(value, path, problems, "must be text", hint)
        if len(value) < shortest:
            raise refused(value, path, problems, "must not be empty")
        return value

    return Kind(check, {"type": "string"} | ({"minLength": shortest} if shortest else {}))


def whole(least: int) -> Kind[int]:
    """A whole number, also as text: a reference such as ${N} gives text."""

    def function(value: Any) -> int:
        found = _WHOLE.match(str(value))
        if found is None or isinstance(value, bool):
            is_endless = isinstance(value, float) and not abs(value) < float("inf")
            raise ValueError("must be a finite number" if is_endless else "must be a whole number")
        if int(found[1]) < least:
            raise ValueError(f"must be at least {least}")
        return int(found[1])

    return read(function, {"type": "integer", "minimum": least})


def number(above: int) -> Kind[float]:
    """A number greater than `above`, also as text."""

    def function(value: Any) -> float:
        try:
            if isinstance(value, bool):
                raise TypeError
            found = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError("must be a number") from error
        if not found > above:
            raise ValueError(f"must be more than {above}")
        return found

    return read(function, {"type": "number", "exclusiveMinimum": above})


def flag() -> Kind[bool]:
    """True or false, or a word for one of them."""

    def function(value: Any) -> bool:
        word = str(value).lower() if isinstance(value, (bool, int, str)) else ""
        if word not in _FLAGS:
            raise ValueError("must be true or false")
        return _FLAGS[word]

    return read(function, {"type": "boolean"})


def one_of(*words: str) -> Kind[str]:
    """One of some words."""

    def check(value: Any, path: Path, problems: Problems) -> str:
        if not isinstance(value, str) or value not in words:
            problems.wrong_choice(path, value, [word for word in words if word])
            raise Wrong
        return value

    return Kind(check, ({"const": words[0]} if len(words) == 1 else {"enum": list(words)}) | {"type": "string"})


def or_none(kind: Kind[T]) -> Kind[T | None]:
    """Like `kind`; nothing at all stands for None."""

    def check(value: Any, path: Path, problems: Problems) -> T | None:
        return None if value is None else kind.check(value, path, problems)

    return Kind(check, {"anyOf": [kind.schema, {"type": "null"}]}, kind.below)


def short(convert: Callable[[Any], Any], schema: Schema, kind: Kind[T]) -> Kind[T]:
    """Like `kind`, with a short form besides: `convert` makes the long form, `schema` describes the short one."""

    def check(value: Any, path: Path, problems: Problems) -> T:
        try:
            long = convert(value)
        except ValueError as error:
            raise refused(value, path, problems, error) from error
        return kind.check(long, path, problems)

    return Kind(check, {"anyOf": [schema, kind.schema]}, kind.below)


def list_of(kind: Kind[T]) -> Kind[list[T]]:
    """A list whose values are all of one kind."""

    def check(value: Any, path: Path, problems: Problems) -> list[T]:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise refused(value, path, problems, "must be a list")
        return list(all_checked({at: (kind, one) for at, one in enumerate(value)}, path, problems).values())

    return Kind(check, {"items": kind.schema, "type": "array"}, kind.below)


def map_of(kind: Kind[T]) -> Kind[dict[str, T]]:
    """Names, and for each a value of one kind."""

    def check(value: Any, path: Path, problems: Problems) -> dict[str, T]:
        if not isinstance(value, Mapping):
            raise refused(value, path, problems, "must hold keys and values")
        nameless = [key for key in value if not isinstance(key, str) or not key]
        for key in nameless:
            problems.at_key((*path, key), f"a key in {dotted(path)} is empty", "name it")
        found: dict[str, T] = all_checked({key: (kind, one) for key, one in value.items()}, path, problems)
        if nameless:
            raise Wrong
        return found

    schema = {"additionalProperties": kind.schema, "propertyNames": {"minLength": 1}, "type": "object"}
    return Kind(check, schema, kind.below)


def all_checked(parts: Mapping[Any, tuple[Kind[Any], Any]], path: Path, problems: Problems) -> dict[Any, Any]:
    """Each part's value by its own kind; all of them are looked at before Wrong is raised for any."""
    found: dict[Any, Any] = {}
    for at, (kind, value) in parts.items():
        try:
            found[at] = kind.check(value, (*path, at), problems)
        except Wrong:
            continue
    if len(found) < len(parts):
        raise Wrong
    return found
