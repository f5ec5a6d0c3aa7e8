"""What a publish changes about tables themselves: an existing target adapted to the load, or staging made the target."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.connectors.postgres.merge import CAME_AS_TEXT, NULLS_IN, TRUE_KEY, Step, drop_losers
from penstock.connectors.postgres.relation import Target
from penstock.connectors.postgres.staging import Staged
from penstock.core.errors import SchemaChanged
from penstock.core.load import Load, Mode
from penstock.core.names import TableName, quote

_ONE_ROW_A_KEY = (Mode.UPSERT, Mode.INSERT_ONLY)


def adapt(load: Load, target: Target, staged: Sequence[Staged]) -> list[Step]:
    """Statements that make room for the load in an existing target. Raises SchemaChanged where the policy forbids them,
    or where rows could not be inserted without a column that the load lacks."""
    _check_absent(load, target, {column.name for column in staged})
    actions = []
    for column in staged:
        if column.stored.is_new:
            _allow(load, target, "new_column", f"column {column.name!r} is new")
            actions.append(f"ADD COLUMN {column.stored.quoted} {column.stored.final}")
        elif column.stored.widens:
            actions.append(f"ALTER COLUMN {column.stored.quoted} TYPE {column.stored.final}")
    steps = [_alter(target.name, actions, f"changed the table: {', '.join(actions)}")] if actions else []
    return steps + [_drop_not_null(load, target, column) for column in nullable_now(target, staged)]


def nullable_now(target: Target, staged: Sequence[Staged]) -> list[Staged]:
    """Columns that may come without a value and that the target fills always. The primary key stays filled."""
    filled = {column.name for column in target.columns if column.is_filled} - set(target.primary_key)
    return [column for column in staged if column.name in filled and column.stored.column.nullable]


def _drop_not_null(load: Load, target: Target, column: Staged) -> Step:
    _allow(load, target, "nullability", f"column {column.name!r} is NOT NULL, and the load may bring NULL")
    sql = f"ALTER TABLE {target.name.quoted()} ALTER COLUMN {column.stored.quoted} DROP NOT NULL"
    return Step(sql, only_if=NULLS_IN + column.name, note=f"column {column.name!r} may be NULL now")


def _check_absent(load: Load, target: Target, loaded: set[str]) -> None:
    for column in target.columns:
        if column.name in loaded or column.fills_itself:
            continue
        _allow(load, target, "dropped_column", f"column {column.name!r} is not loaded any more")
        if column.is_filled:
            raise SchemaChanged(
                f"column {column.name!r} of table {target.name} is NOT NULL without a default, and the load does not bring it",
                "load the column, give it a default, or drop its NOT NULL",
            )


def _allow(load: Load, target: Target, change: str, facts: str) -> None:
    policy = getattr(load.policy, change)
    if policy != "evolve":
        raise SchemaChanged(
            f"table {target.name} does not fit: {facts}",
            f"schema_changes.{change} is {policy}: set it to evolve, or adapt the table",
        )


def _alter(table: TableName, actions: Sequence[str], note: str = "") -> Step:
    return Step(f"ALTER TABLE {table.quoted()}\n    " + ",\n    ".join(actions), note=note)


def become(load: Load, where: TableName, staging: TableName, staged: Sequence[Staged]) -> list[Step]:
    """Statements that make the staging table the target: final types, name, NOT NULL, primary key."""
    steps = [drop_losers(load, staging, staged)] if load.mode in _ONE_ROW_A_KEY else []
    always = [column for column in staged if not column.is_final]
    sometimes = [column for column in staged if column.is_final and column.twin]
    for columns, only_if in ((always, ""), (sometimes, CAME_AS_TEXT)):
        if columns:
            cast = [f"ALTER COLUMN {c.stored.quoted} TYPE {c.stored.final} USING {c.expression()}" for c in columns]
            steps.append(Step(_alter(staging, cast).sql, only_if=only_if))
    twins = [f"DROP COLUMN {quote(column.twin)}" for column in staged if column.twin]
    steps += [_alter(staging, twins)] if twins else []
    steps.append(Step(f"ALTER TABLE {staging.quoted()} RENAME TO {quote(where.table)}"))
    late = [column for column in staged if not column.stored.column.nullable and not column.is_filled]
    filled = [f"ALTER COLUMN {column.stored.quoted} SET NOT NULL" for column in late]
    steps += [_alter(where, filled)] if filled else []
    if has_primary_key(load):
        key = ", ".join(quote(name) for name in load.key)
        sql = f"ALTER TABLE {where.quoted()} ADD PRIMARY KEY ({key})"
        steps.append(Step(sql, only_if=TRUE_KEY, note=f"primary key ({', '.join(load.key)})"))
    return steps


def has_primary_key(load: Load) -> bool:
    """Whether a new table gets the key as primary key: where rows have one key each. DELETE_INSERT's key names a slice of
    many rows, and APPEND may bring a key again."""
    return bool(load.key) and load.mode in (Mode.REPLACE, *_ONE_ROW_A_KEY)
