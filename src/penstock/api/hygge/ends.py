"""Where tables come from and go to: places of the old project as named connections, each made once."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote as percent

from penstock.api.hygge.notes import Notes
from penstock.api.hygge.references import carried, default_of

_BAD_IN_NAME = re.compile(r"[^\w.-]+")
_REFERENCE = re.compile(r"\$\{[^{}]*(?:\$\{[^{}]*\}[^{}]*)*\}")
_HIDDEN = re.compile("\0(\\d+)\0")
_SUFFIX = re.compile(r"\.(parquet|csv|ndjson|jsonl)(\.(gz|zst))?\Z", re.I)


def tidy(name: str, fallback: str) -> str:
    """`name` as the name of a connection or job: letters, digits, _, - and ., beginning with a letter or _."""
    found = _BAD_IN_NAME.sub("_", name).strip("_.-") or fallback
    return found if found[0].isascii() and found[0].isalpha() else f"_{found}"


# How long Fabric gets to see that a folder was removed.
WAIT = "folder_wait_s"


@dataclass(frozen=True)
class Place:
    """A folder, a database or a lake: a URL without secrets, and the options that stand beside it."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.url, repr(sorted((name, value) for name, value in self.options.items() if name != WAIT))

    def with_wait_of(self, other: Place) -> Place:
        """This place with the longer wait of the two: it is one for all tables of a connection."""
        waits = [one.options[WAIT] for one in (self, other) if isinstance(one.options.get(WAIT), int)]
        return Place(self.url, {**self.options, WAIT: max(waits)}) if waits else self


@dataclass
class Connections:
    """The connections of the new project by name, in the order in which they were met."""

    places: dict[str, Place] = field(default_factory=dict)
    patterns: dict[str, dict[str, str]] = field(default_factory=dict)

    def declare(self, connection: str, table: str, pattern: str) -> None:
        """Say which files of a folder make a table, where its name does not."""
        self.patterns.setdefault(connection, {})[table] = pattern

    def take_over(self, other: Connections) -> None:
        """Become what `other` is: a copy of this to which something was added."""
        self.places, self.patterns = other.places, other.patterns

    def add(self, name: str, place: Place) -> str:
        """The name of the connection for a place: the one it has, or a new one like `name`."""
        for known, other in list(self.places.items()):
            if other.key == place.key:
                self.places[known] = other.with_wait_of(place)
                return known
        new = unique(tidy(name, "files"), self.places)
        self.places[new] = place
        return new


def unique(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, or with a number where that is taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


@dataclass(frozen=True)
class FilePath:
    """A path of the old project cut in two: the root of a connection, and what lies below it."""

    root: str
    below: str

    @property
    def stem(self) -> str:
        """The name of the table that a file or folder at the path is."""
        return _SUFFIX.sub("", posixpath.basename(self.below))

    @property
    def is_file(self) -> bool:
        return bool(_SUFFIX.search(self.below))


def cut(path: str) -> FilePath:
    """A path at its last step. A last step that is known only when references are filled in stays in the root."""
    steps = _steps(path)
    if steps in ([], ["/"]) or "${" in steps[-1]:
        return FilePath(_path(steps), "")
    return FilePath(_path(steps[:-1]), steps[-1])


def below(root: str, path: str) -> FilePath | None:
    """`path` seen from `root`; None where it lies elsewhere."""
    base, whole = _steps(root), _steps(path)
    rest = whole[len(base) :]
    if whole[: len(base)] != base or not rest or rest[0] in ("..", "/") or "${" in "".join(rest):
        return None
    return FilePath(_path(base), "/".join(rest))


def joined(*parts: str) -> str:
    """Paths behind one another, as the old tool joined them: only the first may be absolute."""
    return _path([*_steps(parts[0]), *(step for part in parts[1:] for step in _steps(part.strip("/")))])


def _steps(path: str) -> list[str]:
    """The steps of a path, `.` and `..` worked out where that needs no look at the disk; a reference is one step or part
    of one, whatever its default holds. The first step of an absolute path is `/`."""
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found[0])
        return f"\0{len(hidden) - 1}\0"

    whole = posixpath.normpath(_REFERENCE.sub(hide, path.replace("\\", "/")) or ".")
    steps = [step for step in whole.split("/") if step not in ("", ".")]
    shown = [_HIDDEN.sub(lambda found: hidden[int(found[1])], step) for step in steps]
    return ["/", *shown] if whole.startswith("/") else shown


def _path(steps: Sequence[str]) -> str:
    return ("/".join(steps).replace("//", "/", 1) if steps[:1] == ["/"] else "/".join(steps)) or "."


def file_url(root: str, from_folder: str, place: str, notes: Notes) -> str:
    """The URL of a folder. `from_folder` leads from the new project file to the old project."""
    if not root.startswith(("/", "${")):
        root = posixpath.normpath(posixpath.join(from_folder, root))
        root = root if root.startswith("..") else f"./{root}"
    return "file:" + carried(root, place, notes, lambda text: percent(text, safe="/:~ ,;=@&+$!*'()[]{}"))


def root_name(root: str) -> str:
    """A connection's name for a folder."""
    last = posixpath.basename(default_of(root).rstrip("/")) or posixpath.basename(root.rstrip("/}"))
    return tidy(last if last not in (".", "..") else "", "files")
