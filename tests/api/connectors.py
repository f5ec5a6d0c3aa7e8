"""Connectors that only declare themselves: options of every kind and scope, to test what the project file does with them."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.core.ports import Ability, Option


@dataclass(frozen=True)
class Declared:
    """What a connector says of itself."""

    name: str
    schemes: tuple[str, ...]
    options: tuple[Option, ...]
    abilities: frozenset[Ability] = frozenset({Ability.CATALOG, Ability.READ, Ability.WRITE, Ability.CALLS})
    one_process: bool = False

    def limits(self, spec: object) -> dict[str, object]:
        return {}

    def open(self, spec: object) -> object:
        raise AssertionError("nothing is opened in these tests")


SHELF = Declared(
    "shelf",
    ("shelf",),
    (
        Option("account", "text", "who pays"),
        Option("pages", "integer", "pages at a time", 10),
        Option("patience", "number", "how slow it may be", 0.5),
        Option("strict", "boolean", "refuse odd rows", False),
        Option("badge", "secret", "what opens the door"),
        Option("ledger", "path", "a file with the keys"),
        Option("corner", "choice", "which side", "left", ("left", "right")),
        Option("peek", "choice", "how to read", "slow", ("slow", "fast"), scope="source"),
        Option("shape", "choice", "form of the files", "flat", ("flat", "deep"), scope="target"),
        Option("seal", "secret", "what closes the files", scope="target"),
    ),
)
