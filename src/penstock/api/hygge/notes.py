"""What an import has to say: where the new project differs from the old tool, what has no counterpart, what to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# In the order in which they are told.
KINDS = {
    "lacking": "could not be taken over",
    "secret": "stood in clear and was replaced by a reference",
    "decide": "needs a decision",
    "differs": "is done now as it was written, which the old tool did not do",
    "dropped": "has no counterpart",
}


@dataclass(frozen=True)
class Note:
    """One thing to know. `kind` is a key of KINDS; `about` is "connections.NAME", "jobs.NAME" or "" for the whole project;
    `option` is the old key; `places` are `file:line` of the old project, in the order found."""

    kind: str
    about: str
    option: str
    text: str
    places: tuple[str, ...] = ()


class Notes:
    """Gathers notes; one that is said of several places becomes one note with all of them."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str, str, str], list[str]] = {}

    def add(self, kind: str, option: str, text: str, place: str = "", about: str = "") -> None:
        """`kind` is a key of KINDS."""
        places = self._places.setdefault((kind, about, option, text), [])
        if place and place not in places:
            places.append(place)

    def all(self) -> tuple[Note, ...]:
        """The notes, whole project first, then by kind."""
        found = [
            Note(kind, about, option, text, tuple(places))
            for (kind, about, option, text), places in self._places.items()
        ]
        order = list(KINDS)
        return tuple(sorted(found, key=lambda note: (bool(note.about), order.index(note.kind))))


def shown_places(places: Sequence[str]) -> str:
    """The first places and how many more there are."""
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(places[:3]) + more
