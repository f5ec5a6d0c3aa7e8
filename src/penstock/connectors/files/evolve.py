"""What a load's columns mean for an existing table: which change each is, and whether the policy allows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.connectors._formats.unify import joined
from penstock.core.errors import SchemaChanged
from penstock.core.load import Load, Mode
from penstock.core.schema import Column

_HINT = "set schema_changes: {%s: evolve}, or load the table again with mode replace"


@dataclass(frozen=True)
class Change:
    """One difference: `kind` is a field of SchemaPolicy, or "type" where no type holds both."""

    kind: str
    text: str


def changes(table: tuple[Column, ...], load: tuple[Column, ...]) -> list[Change]:
    """The differences of `load` from the columns of the table."""
    mine = {column.name: column for column in table}
    found = []
    for column in load:
        before = mine.pop(column.name, None)
        if before is None:
            found.append(Change("new_column", f"column {column.name!r} {column.type} is new"))
            continue
        both = joined(before, column)
        if both is None:
            found.append(Change("type", f"column {column.name!r} was {before.type} and is {column.type}"))
        elif both.type != before.type:
            found.append(Change("widened", f"column {column.name!r} was {before.type} and becomes {both.type}"))
        elif column.type != before.type:
            found.append(Change("narrowed", f"column {column.name!r} is {before.type} and comes as {column.type}"))
        if column.nullable and not before.nullable:
            found.append(Change("nullability", f"column {column.name!r} may be NULL now"))
    found += [Change("dropped_column", f"column {name!r} does not come any more") for name in mine]
    return found


def evolved(load: Load, table: tuple[Column, ...] | None) -> tuple[Column, ...]:
    """The columns of the table after the load: the load's own for REPLACE or a new table, else both joined.

    Raises SchemaChanged where the load's policy forbids a change, or no type holds old and new values.
    """
    if table is None:
        return load.columns
    for change in changes(table, load.columns):
        if change.kind == "type":
            if load.mode is not Mode.REPLACE:
                raise SchemaChanged(
                    f"table {load.table}: {change.text}, and no type holds both",
                    "cast the column in the job, or load the table again with mode replace",
                )
        elif getattr(load.policy, change.kind) != "evolve":
            raise SchemaChanged(f"table {load.table}: {change.text}", _HINT % change.kind)
    if load.mode is Mode.REPLACE:
        return load.columns
    return _both(table, load.columns)


def _both(table: tuple[Column, ...], load: tuple[Column, ...]) -> tuple[Column, ...]:
    coming = {column.name: column for column in load}
    kept = []
    for column in table:
        other = coming.pop(column.name, None)
        both = joined(column, other) if other else replace(column, nullable=True)
        assert both is not None
        kept.append(both)
    return (*kept, *(replace(column, nullable=True) for column in coming.values()))
