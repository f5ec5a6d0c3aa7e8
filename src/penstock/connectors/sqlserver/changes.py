"""What a publish changes about tables themselves: an existing target adapted to the load, or a table that comes to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from penstock.connectors.sqlserver.mapping import MOST_BYTES, MOST_TEXT, step
from penstock.connectors.sqlserver.merge import Step, keep_winners
from penstock.connectors.sqlserver.relation import Target
from penstock.connectors.sqlserver.staging import ATTEMPT
from penstock.connectors.sqlserver.stored import Stored, allow
from penstock.connectors.sqlserver.types import MAX, Declared
from penstock.core.errors import SchemaChanged
from penstock.core.load import Load, Mode
from penstock.core.names import TableName, quote
from penstock.core.spec import digest

_ONE_ROW_A_KEY = (Mode.UPSERT, Mode.INSERT_ONLY)
_MOST_KEY_BYTES = 900
_FIXED_BYTES = 20  # more than any number, date or uniqueidentifier takes in a key


@dataclass(frozen=True)
class Measured:
    """What only the staged rows can tell: the longest value of sized columns, columns that hold NULL, whether the load's
    key is filled and unique."""

    sizes: Mapping[str, int]
    nulls: frozenset[str] = frozenset()
    has_true_key: bool = False
    repeats_key: bool = True


# ---- an existing target


def adapt(load: Load, target: Target, stored: Sequence[Stored], measured: Measured | None) -> list[Step]:
    """Statements that make room for the load in an existing target; without `measured`, those that are sure. Raises
    SchemaChanged where the policy forbids them, or where a column that rows need is not loaded."""
    _check_absent(load, target, {one.name for one in stored})
    found = []
    for one in stored:
        held = target.column(one.name)
        if one.is_new or held is None:
            allow(load, "new_column", f"table {target.name} does not fit: column {one.name!r} is new")
            declared = fitted(one, measured)
            sql = f"ALTER TABLE {target.name.quoted()} ADD {one.quoted} {declared.full} NULL"
            found.append(Step(sql, note=f"added column {one.name!r} {declared.text}"))
            continue
        if held.is_generated:
            continue
        final, empties = _grown(load, target, one, measured), _emptied(load, target, one, measured)
        if one.widens or empties or final != one.final:
            # Without a word a column that is altered may be NULL.
            nullable = "" if held.nullable or empties else " NOT NULL"
            sql = f"ALTER TABLE {target.name.quoted()} ALTER COLUMN {one.quoted} {final.full}{nullable}"
            found.append(Step(sql, note=f"changed column {one.name!r} to {final.text}{nullable or ' NULL'}"))
    return found


def _grown(load: Load, target: Target, one: Stored, measured: Measured | None) -> Declared:
    """The column's type, large enough for the longest value that came."""
    longest = measured.sizes.get(one.name, 0) if measured is not None else 0
    if one.final.size == MAX or one.final.size == 0 or longest <= one.final.size or not one.is_measured:
        return one.final
    facts = f"column {one.name!r} of table {target.name} is {one.final.text}, and a value has {longest}"
    allow(load, "widened", facts)
    name = {"char": "varchar", "nchar": "nvarchar", "binary": "varbinary"}.get(one.final.name, one.final.name)
    return replace(one.final, name=name, size=step(longest, MOST_TEXT if name.startswith("n") else MOST_BYTES))


def _emptied(load: Load, target: Target, one: Stored, measured: Measured | None) -> bool:
    """Whether the column must let go of its NOT NULL. The policy is asked before any row moves."""
    held = target.column(one.name)
    if held is None or held.nullable or not one.column.nullable or one.name in target.primary_key or held.is_identity:
        return False
    facts = f"table {target.name} does not fit: column {one.name!r} is NOT NULL, and the load may bring NULL"
    allow(load, "nullability", facts)
    return measured is not None and one.name in measured.nulls


def _check_absent(load: Load, target: Target, loaded: set[str]) -> None:
    for column in target.columns:
        if column.name in loaded or column.fills_itself:
            continue
        allow(
            load, "dropped_column", f"table {target.name} does not fit: column {column.name!r} is not loaded any more"
        )
        if not column.nullable:
            raise SchemaChanged(
                f"column {column.name!r} of table {target.name} is NOT NULL without a default, and the load does not bring it",
                "load the column, give it a default, or drop its NOT NULL",
            )


def absent(target: Target, loaded: set[str]) -> list[str]:
    """Columns that stay empty in new rows, since the load does not bring them."""
    return [column.name for column in target.columns if column.name not in loaded and not column.fills_itself]


# ---- a new table


def fitted(one: Stored, measured: Measured | None) -> Declared:
    """The type of a new column: as wide as the longest value that came, rounded up."""
    if not one.is_measured or measured is None:
        return one.final
    longest = measured.sizes.get(one.name, 0)
    return replace(one.final, size=step(longest, MOST_TEXT if one.final.name == "nvarchar" else MOST_BYTES))


def becomes(
    load: Load, where: TableName, staging: TableName, stored: Sequence[Stored], measured: Measured | None
) -> list[Step]:
    """Statements that make staging the target. Where its columns have their final types already, but for sizes, the table
    itself is kept; else, and where a column of the key has to become NOT NULL, its rows go into a new one."""
    found = []
    if load.mode in _ONE_ROW_A_KEY and (measured is None or measured.repeats_key):
        found += keep_winners(load, staging, stored)
    if all(_is_kept(one, measured) and not _is_filled_now(load, one, measured) for one in stored):
        found.append(Step(f"ALTER TABLE {staging.quoted()} DROP COLUMN {quote(ATTEMPT)}"))
        for one in stored:
            final = fitted(one, measured)
            if final.full != one.staged.full:
                filled = "" if one.column.nullable else " NOT NULL"
                found.append(Step(f"ALTER TABLE {staging.quoted()} ALTER COLUMN {one.quoted} {final.full}{filled}"))
        return [*found, Step("EXEC sp_rename ?, ?, N'OBJECT'", (staging.quoted(), where.table))]
    are_filled = [not one.column.nullable or _is_filled_now(load, one, measured) for one in stored]
    columns = [
        f"{one.quoted} {fitted(one, measured).full}{' NOT NULL' if is_filled else ''}"
        for one, is_filled in zip(stored, are_filled, strict=True)
    ]
    names = ", ".join(one.quoted for one in stored)
    values = ", ".join(one.expression() for one in stored)
    return [
        *found,
        Step(f"CREATE TABLE {where.quoted()} ({', '.join(columns)})"),
        Step(f"INSERT INTO {where.quoted()} WITH (TABLOCK) ({names})\nSELECT {values} FROM {staging.quoted()}"),
        Step(f"DROP TABLE {staging.quoted()}"),
    ]


def _is_kept(one: Stored, measured: Measured | None) -> bool:
    """Whether the staged column becomes the final one by a change of its size at most."""
    final = fitted(one, measured)
    if final.name != one.staged.name or final.collation:
        return False
    return bool(final.size) or (final.precision, final.scale) == (one.staged.precision, one.staged.scale)


def _is_filled_now(load: Load, one: Stored, measured: Measured | None) -> bool:
    """Whether the column may be NULL in staging and not in the new table: a column of its primary key."""
    is_true = measured is None or measured.has_true_key
    return is_true and one.column.nullable and one.name in load.key and has_primary_key(load)


def shaped(load: Load, where: TableName, stored: Sequence[Stored], kind: str, measured: Measured | None) -> list[Step]:
    """Indexes of a new table: a columnstore, or a primary key where the key is filled and unique."""
    found = []
    if kind == "columnstore":
        name = quote(f"ccsi_{digest([str(where)], 6)}")
        found.append(
            Step(f"CREATE CLUSTERED COLUMNSTORE INDEX {name} ON {where.quoted()}", note="clustered columnstore index")
        )
    if (
        not has_primary_key(load)
        or (measured is not None and not measured.has_true_key)
        or not _fits_key(load, stored, measured)
    ):
        return found
    cluster = "CLUSTERED" if kind == "rowstore" else "NONCLUSTERED"
    keys = ", ".join(quote(name) for name in load.key)
    sql = f"ALTER TABLE {where.quoted()} ADD PRIMARY KEY {cluster} ({keys})"
    return [*found, Step(sql, note=f"primary key ({', '.join(load.key)})")]


def _fits_key(load: Load, stored: Sequence[Stored], measured: Measured | None) -> bool:
    """Whether the key is short enough for an index."""
    total = 0
    for one in stored:
        if one.name in load.key:
            final = fitted(one, measured)
            if final.size == MAX and measured is not None:
                return False
            total += final.size * (2 if final.name.startswith("n") else 1) if final.size > 0 else _FIXED_BYTES
    return total <= _MOST_KEY_BYTES


def has_primary_key(load: Load) -> bool:
    """Whether a new table gets the key as primary key: where rows have one key each. DELETE_INSERT's key names a slice of
    many rows, and APPEND may bring a key again."""
    return bool(load.key) and load.mode in (Mode.REPLACE, *_ONE_ROW_A_KEY)
