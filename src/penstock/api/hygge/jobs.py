"""Tables as copy jobs: one job a flow where its tables share both ends, what they share said once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.api.hygge.ends import tidy, unique
from penstock.api.hygge.moves import Move
from penstock.core.names import TableName

_PLAIN = re.compile(r"[^\W\d][\w$]*\Z")
# What a table says that goes without a setting which most of its job have.
_NONE: Mapping[str, Any] = {"cursor": None, "where": "", "key": []}
_ORDER = ("mode", "key", "cursor", "where", "columns", "format", "compression")


@dataclass(frozen=True)
class NewJob:
    """A copy job as its keys in the order in which they are written; `note_about` is what its notes are filed under."""

    name: str
    place: str
    note_about: str
    keys: Mapping[str, Any] = field(default_factory=dict)


def jobs_of(moves: Iterable[Move]) -> list[NewJob]:
    """The jobs of all flows. A table whose ends differ from its flow's others, or that is read twice, has its own."""
    groups: dict[str, list[Move]] = {}
    for move in moves:
        main = tidy(move.flow.name, "flow")
        alone = unique(tidy(f"{move.flow.name}_{move.entity}", "flow"), groups)
        groups.setdefault(main if _fits(move, groups.get(main, [])) else alone, []).append(move)
    return [_job(name, group) for name, group in groups.items()]


def _fits(move: Move, group: Sequence[Move]) -> bool:
    if not group:
        return True
    first = group[0]
    if "${" in _pattern(first) or "${" in _pattern(move):
        return False
    same = (first.flow.name, first.source.connection, first.target.connection)
    if same != (move.flow.name, move.source.connection, move.target.connection):
        return False
    return _name(move) not in [_name(other) for other in group]


def _name(move: Move) -> str:
    """What the job calls the table: the source's name for it, or the query's."""
    return written(move.source.table) if move.source.table else move.entity or move.flow.name


def _pattern(move: Move) -> str:
    """What names the table in overrides, where references are not filled in: the parts behind the last one with any."""
    if move.source.table is None:
        return _name(move)
    parts = move.source.table.parts
    known = [index for index, part in enumerate(parts) if "${" in part and index + 1 < len(parts)]
    return written(TableName(parts[known[-1] + 1 :] if known else parts))


def written(table: TableName) -> str:
    """A table's name as it stands in a project file; references stay as they are."""
    return ".".join(part if _PLAIN.match(part) or "${" in part else str(TableName((part,))) for part in table.parts)


def _job(name: str, group: Sequence[Move]) -> NewJob:
    first = group[0]
    each = {_pattern(move): _settings(move) for move in group}
    shared = _shared(list(each.values()))
    keys: dict[str, Any] = {"kind": "copy", "source": first.source.connection, "target": first.target.connection}
    tables = [_name(move) for move in group if move.source.table]
    queries = {_name(move): move.source.query for move in group if not move.source.table}
    keys |= ({"tables": tables} if tables else {}) | ({"queries": queries} if queries else {})
    keys |= _ordered(shared) | dict(first.run)
    overrides = {one: _ordered(_own(settings, shared)) for one, settings in each.items()}
    overrides = {one: own for one, own in overrides.items() if own}
    return NewJob(
        name,
        first.flow.place,
        f"jobs.{tidy(first.flow.name, 'flow')}",
        keys | ({"overrides": overrides} if overrides else {}),
    )


def _settings(move: Move) -> dict[str, Any]:
    return {"target_name": _template(move), **move.settings}


def _template(move: Move) -> str:
    """The target's name, with {table} for a last part that is the source's, so that many tables can share it."""
    source = move.source.table.table if move.source.table else _name(move)
    *front, last = move.target.table.parts
    parts = [_literal(part) for part in front] + ["{table}" if last == source else _literal(last)]
    return ".".join(parts)


def _literal(part: str) -> str:
    if "${" in part:
        return part
    shown = part.replace("{", "{{").replace("}", "}}")
    return shown if _PLAIN.match(part) else str(TableName((shown,)))


def _shared(all_settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What holds for most: a setting that every table has or can do without, at its most frequent value. Mappings only
    where all agree, since an override would be mixed with them."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for settings in all_settings for key in settings):
        if key not in _NONE and not all(key in settings for settings in all_settings):
            continue
        values = [settings.get(key, _NONE.get(key)) for settings in all_settings]
        counted = Counter(map(repr, values))
        top = max(counted.values())
        common = next(value for value in values if counted[repr(value)] == top)
        is_mixed = top < len(values) and (isinstance(common, Mapping) or (key == "target_name" and "{" not in common))
        if not is_mixed and (key not in _NONE or common != _NONE[key]):
            found[key] = common
    return found


def _own(settings: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in settings.items() if key not in shared or shared[key] != value}
    return own | {key: _NONE[key] for key in shared if key not in settings}


def _ordered(settings: Mapping[str, Any]) -> dict[str, Any]:
    first = [key for key in ("target_name", *_ORDER) if key in settings]
    return {key: settings[key] for key in [*first, *sorted(set(settings) - set(first))]}
