"""Mappings with declared keys: a class names its keys, each with its kind, meaning and default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar, overload

from penstock.api.project_file.document import Path
from penstock.api.project_file.kinds import Kind, Schema, Wrong, all_checked, refused
from penstock.api.project_file.problems import Problems, dotted

T = TypeVar("T")
Own = TypeVar("Own", bound="Keys")

# Stands for "there is no default": such a key must be given.
REQUIRED: Any = object()


class Key(Generic[T]):
    """One key, declared in the body of a class of Keys; read from an instance, its value or its default."""

    def __init__(self, kind: Kind[T], help: str, default: T = REQUIRED) -> None:
        self.name = ""
        self.kind = kind
        self.help = help
        self.default = default

    def __set_name__(self, owner: type[Keys], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, keys: None, owner: type[Keys]) -> Key[T]: ...
    @overload
    def __get__(self, keys: Keys, owner: type[Keys]) -> T: ...
    def __get__(self, keys: Keys | None, owner: type[Keys]) -> Key[T] | T:
        if keys is None:
            return self
        found: T = keys.given.get(self.name, self.default)
        return found

    def schema(self) -> Schema:
        about = {"description": self.help}
        # A mapping's default is what its own keys say.
        if self.default is REQUIRED or isinstance(self.default, Keys):
            return {**self.kind.schema, **about}
        return {**self.kind.schema, **about, "default": self.default}


class Keys:
    """A mapping whose keys are declared; one that is `is_open` takes others too, for somebody else to check.

    `given` holds the values of declared keys that were written, in the order of declaration, `other` what else was.
    """

    known: ClassVar[Mapping[str, Key[Any]]] = {}
    is_open: ClassVar[bool] = False

    def __init_subclass__(cls, *, is_open: bool = False) -> None:
        cls.known = {
            name: key for kind in reversed(cls.__mro__) for name, key in vars(kind).items() if isinstance(key, Key)
        }
        cls.is_open = is_open

    def __init__(self, given: Mapping[str, Any] | None = None, other: Mapping[str, Any] | None = None) -> None:
        self.given = given or {}
        self.other = other or {}

    @classmethod
    def check(cls: type[Own], value: Any, path: Path, problems: Problems) -> Own:
        """The mapping that was written; raises Wrong when there is a problem with it."""
        if not isinstance(value, Mapping):
            raise refused(value, path, problems, "must hold keys and values")
        other = {key: one for key, one in value.items() if key not in cls.known}
        lacking = [name for name, key in cls.known.items() if key.default is REQUIRED and name not in value]
        for key in () if cls.is_open else other:
            problems.unknown_key((*path, key), cls.known)
        for name in lacking:
            problems.at((*path, name), f'{dotted(path) or "the file"} lacks the key "{name}"', "add it")
        parts = {name: (key.kind, value[name]) for name, key in cls.known.items() if name in value}
        given = all_checked(parts, path, problems)
        if lacking or (other and not cls.is_open):
            raise Wrong
        return cls(given, other)


def section(kind: type[Own]) -> Kind[Own]:
    """A mapping with keys of its own."""
    return Kind(kind.check, {"$ref": f"#/$defs/{kind.__name__}"}, kind)


def checked(kind: type[Own], path: Path, value: Any, problems: Problems) -> Own | None:
    """`value` as a mapping of that kind, or None with a problem for everything that does not fit."""
    try:
        return kind.check(value, path, problems)
    except Wrong:
        return None


def definitions(kind: type[Keys]) -> dict[str, Any]:
    """JSON schemas of a mapping and of all that are reached from it, by name."""
    found: dict[str, Any] = {}
    waiting = [kind]
    while waiting:
        one = waiting.pop()
        if one.__name__ not in found:
            found[one.__name__] = _definition(one)
            waiting += [key.kind.below for key in one.known.values() if key.kind.below]
    return found


def _definition(kind: type[Keys]) -> dict[str, Any]:
    required = [name for name, key in kind.known.items() if key.default is REQUIRED]
    return {
        "additionalProperties": kind.is_open,
        "description": (kind.__doc__ or "").strip(),
        "properties": {name: _sorted(key.schema()) for name, key in kind.known.items()},
        **({"required": required} if required else {}),
        "title": kind.__name__,
        "type": "object",
    }


def _sorted(part: Any) -> Any:
    """A copy with the words of the schema in order of the alphabet."""
    if isinstance(part, Mapping):
        return {name: _sorted(one) for name, one in sorted(part.items())}
    return [_sorted(one) for one in part] if isinstance(part, (list, tuple)) else part
