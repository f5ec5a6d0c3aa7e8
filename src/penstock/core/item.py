"""Items and what happens to them: one unit of work, its progress, and the events the engine sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Plain JSON values only: items and cursors are kept in the journal and sent to other processes.
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One unit of work; identifiers only, never live objects or connections.

    `key` is unique within a job's plan and stable between plans. An item is ready when every item of the same group in a
    lower stage is done; an item of group "" waits for all items of lower stages. Heavier items (weight, usually bytes)
    start first. `timeout_s` limits the time without progress; None is the job's default.
    """

    key: str
    kind: str
    stage: int = 0
    group: str = ""
    payload: Json = field(default_factory=dict)
    weight: int = 0
    timeout_s: float | None = None


@dataclass(frozen=True)
class Progress:
    """Yielded by a handler each time its work so far is safe at the target.

    `rows` and `size_bytes` count since the last Progress. `cursor` is where to go on after a crash; None leaves
    the one before in force, and what came after that one is repeated and counted anew. A cursor that differs from the one
    before starts the count of attempts anew, and is where a stop may leave the item. `result` is kept with the item (last
    one wins, merged key by key).
    """

    rows: int = 0
    size_bytes: int = 0
    cursor: Json | None = None
    result: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Spawn:
    """Yielded by a handler that found more work: items journalled together with the progress so far.

    They belong to the group of the item that found them, at its stage or a higher one, or to a group the plan does not
    have. An item whose key is planned already is left out, so a repeated attempt may find the same again.
    """

    items: tuple[Item, ...]


@dataclass(frozen=True)
class PlannedGroup:
    """A planner's unit: items that are journalled in one transaction, so a group is planned wholly or not at all.

    `facts` (JSON) are kept with the group: what a resumed run must know without planning it again.
    """

    group: str
    items: tuple[Item, ...]
    facts: Json = field(default_factory=dict)
