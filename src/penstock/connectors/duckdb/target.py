"""A target table as it is, and how a load fits it: names, types, and what must be altered first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from penstock.connectors._sql.publish import Step
from penstock.connectors.duckdb import memory
from penstock.connectors.duckdb.catalog import HeldColumn, Place, columns_of, keys_of, place_of, place_text
from penstock.connectors.duckdb.cursors import check_order
from penstock.connectors.duckdb.incoming import Placed, exact_integers
from penstock.connectors.duckdb.instance import literal
from penstock.connectors.duckdb.session import ask
from penstock.connectors.duckdb.types import common, holds, is_text, read_column, stored
from penstock.core.errors import NotSupported, SchemaChanged, SpecError
from penstock.core.load import Load, Mode
from penstock.core.names import TableName, quote
from penstock.core.schema import Column, Fidelity, TypeChoice, TypePolicy

_KEYED = frozenset({Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY})

# One row: kind and stored spelling of a table or view, found in any case, as DuckDB finds it. $1 schema, $2 name.
_FIND = """
SELECT 'table', schema_name, table_name FROM duckdb_tables()
WHERE database_name = current_database() AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2)
UNION ALL
SELECT 'view', schema_name, view_name FROM duckdb_views()
WHERE database_name = current_database() AND lower(schema_name) = lower($1) AND lower(view_name) = lower($2)
"""
# One row for each unique constraint: its columns.
_UNIQUE = """
SELECT constraint_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ? AND constraint_type = 'UNIQUE'
"""
# One row for each index made by CREATE INDEX: is it unique.
_INDEXES = """
SELECT is_unique FROM duckdb_indexes()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ?
"""
# One row: foreign keys that point here, foreign keys of this table. $1 schema, $2 table; they stay within a schema.
_REFERENCES = """
SELECT count(*) FILTER (referenced_table = $2), count(*) FILTER (table_name = $2) FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = $1 AND constraint_type = 'FOREIGN KEY'
"""
_DEFAULTS = """
SELECT column_name FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ? AND column_default IS NOT NULL
"""


@dataclass(frozen=True)
class Target:
    """A table that exists. `uniques` are the columns of the primary key, of each unique constraint, and () for each unique
    index. `is_bound`: an index or a foreign key keeps DuckDB from altering columns."""

    place: Place
    columns: tuple[HeldColumn, ...]
    key: tuple[str, ...]
    uniques: tuple[tuple[str, ...], ...]
    defaults: frozenset[str]
    is_bound: bool
    is_referenced: bool

    @property
    def text(self) -> str:
        return place_text(self.place)


@dataclass(frozen=True)
class Shape:
    """How a load fits: its columns at their places, how each is stored, and the statements that adapt the target."""

    columns: tuple[Placed, ...]
    choices: tuple[TypeChoice, ...]
    alterations: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


def target_place(name: TableName, cursor: duckdb.DuckDBPyConnection) -> tuple[Place, bool]:
    """Schema and table as the database spells them if they exist (in any case, as DuckDB compares), else as given."""
    place = place_of(name, cursor)
    found = ask(cursor, _FIND, place)
    if not found:
        return place, False
    kind, schema, table = found[0]
    if kind == "view":
        raise SpecError(f"target {name} is a view", "load into a table")
    return (schema, table), True


def inspect(name: TableName, cursor: duckdb.DuckDBPyConnection) -> Target | None:
    """The table, or None if there is none. Raises SpecError for a view."""
    place, is_there = target_place(name, cursor)
    if not is_there:
        return None
    indexes = ask(cursor, _INDEXES, place)
    key = keys_of(cursor, [place]).get(place, ())
    uniques = [*([key] if key else []), *(tuple(row[0]) for row in ask(cursor, _UNIQUE, place))]
    uniques += [() for row in indexes if row[0]]
    pointing, pointed = ask(cursor, _REFERENCES, place)[0]
    return Target(
        place,
        tuple(columns_of(cursor, [place])[place]),
        key,
        tuple(uniques),
        frozenset(row[0] for row in ask(cursor, _DEFAULTS, place)),
        bool(indexes or pointing or pointed),
        bool(pointing),
    )


# ---- how a load fits


def check_load(load: Load) -> None:
    """Raises SpecError for a key or cursor that is not loaded, or names that DuckDB cannot tell apart."""
    names = [column.name for column in load.columns]
    if load.mode in _KEYED and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "name the key columns: key: [id]")
    for wanted in (*load.key, *([load.cursor] if load.cursor else [])):
        if wanted not in names:
            raise SpecError(f"column {wanted!r} of table {load.table} is not loaded", "key and cursor must be loaded")
    lower = [name.lower() for name in names]
    double = next((name for name in names if lower.count(name.lower()) > 1), None)
    if double is not None:
        raise SpecError(
            f"table {load.table} would get two columns named {double!r} but for the case, which DuckDB does not tell apart",
            "rename one of them in the job",
        )


def fit(load: Load, target: Target | None) -> Shape:
    """Raises SchemaChanged where target and load do not fit and the policy forbids to adapt, SpecError, NotSupported."""
    check_load(load)
    shape = _fit_new(load) if target is None else _fit_held(load, target)
    placed = next((each for each in shape.columns if each.source == load.cursor), None)
    if placed is not None:
        logical = next(column.logical for column in load.columns if column.name == load.cursor)
        check_order(load.cursor, placed.type, logical)
    return shape


def _fit_new(load: Load) -> Shape:
    choices = [_choice(load, column) for column in load.columns]
    columns = [_placed(choice, choice.column.name, choice.native) for choice in choices]
    return Shape(tuple(columns), tuple(choices))


def _fit_held(load: Load, target: Target) -> Shape:
    held = {column.name.lower(): column for column in target.columns}
    fitted = [_fit_column(load, target, column, held.get(column.name.lower())) for column in load.columns]
    loaded = {column.name.lower() for column in load.columns}
    lacking = [column for column in target.columns if column.name.lower() not in loaded]
    alterations = [step for one in fitted for step in one.alterations]
    alterations += [step for column in lacking for step in _without(load, target, column)]
    return Shape(
        tuple(one.columns[0] for one in fitted),
        tuple(one.choices[0] for one in fitted),
        tuple(alterations),
        tuple(note for one in fitted for note in one.notes),
    )


def _choice(load: Load, column: Column) -> TypeChoice:
    found = stored(column)
    if found is None:
        raise NotSupported(
            f"column {column.name!r} of table {load.table} is {column.type}, which DuckDB cannot hold",
            "cast it in the job, or leave it out",
        )
    return TypeChoice(column, found.native, found.fidelity, found.note)


def _placed(choice: TypeChoice, name: str, kind: str) -> Placed:
    return Placed(choice.column.name, name, kind, choice.native, choice.column.type)


def _fit_column(load: Load, target: Target, column: Column, held: HeldColumn | None) -> Shape:
    choice = _choice(load, column)
    if held is None:
        _allow(load, "new_column", f"column {column.name!r} is new")
        add = Step(f"ALTER TABLE {target.text} ADD COLUMN {quote(column.name)} {choice.native}")
        return Shape((_placed(choice, column.name, choice.native),), (choice,), (add, *remember(target.text, [choice])))
    kind, alterations = held.type, list[Step]()
    if held.type != choice.native and not _takes_text(held, column):
        kind, alterations = _meeting(load, target, choice, held)
    if column.nullable and not held.nullable:
        _allow(load, "nullability", f"column {column.name!r} may be NULL now")
        alterations += _nullable(target, held)
    fidelity = choice.fidelity if kind == choice.native else Fidelity.WIDENING
    fitted = replace(choice, native=kind, fidelity=fidelity)
    if memory.is_own(held.comment):
        alterations += remember(target.text, [replace(fitted, column=replace(column, name=held.name))])
    return Shape((_placed(choice, held.name, kind),), (fitted,), tuple(alterations))


def _takes_text(held: HeldColumn, column: Column) -> bool:
    """A column of a type with a strict text form takes text as it comes; a text that is none is an error."""
    strict = held.type in ("JSON", "UUID", "INTERVAL", "TIME WITH TIME ZONE", "BIT", "BIGNUM") or held.kind.id == "enum"
    return is_text(column.type) and (strict or held.type == "VARCHAR")


def _meeting(load: Load, target: Target, choice: TypeChoice, held: HeldColumn) -> tuple[str, list[Step]]:
    """The type in which the values of a column and its target meet, and the step there."""
    wanted = common(held.type, choice.native)
    what = f"column {held.name!r} is {choice.native} now and {held.type} in the target"
    if not wanted:
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}, and no type holds the values of both",
            "cast it in the job, or load into another table",
        )
    if wanted == held.type:
        _allow(load, "narrowed", what)
        return wanted, []
    _allow(load, "widened", what)
    if target.is_bound or any(held.name in columns for columns in target.uniques):
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}, and DuckDB cannot alter it under an index, key or foreign key",
            "cast it in the job, or drop the index and run again",
        )
    name = quote(held.name)
    alter = Step(f"ALTER TABLE {target.text} ALTER COLUMN {name} SET DATA TYPE {wanted}")
    if holds(wanted, held.type):
        return wanted, [alter]
    refuses = f"{{0}} numbers of column {held.name!r} have more digits than a double"
    return wanted, [Step(exact_integers(target.text, name), refuses=refuses), alter]


def _nullable(target: Target, held: HeldColumn) -> list[Step]:
    """DuckDB cannot alter a column of a table with an index; then a NULL is refused when it comes."""
    if target.is_bound or held.name in target.key:
        return []
    return [Step(f"ALTER TABLE {target.text} ALTER COLUMN {quote(held.name)} DROP NOT NULL")]


def _without(load: Load, target: Target, held: HeldColumn) -> list[Step]:
    """A column that the load lacks stays, with its default or NULL in new rows."""
    _allow(load, "dropped_column", f"column {held.name!r} is not read any more")
    return [] if held.nullable or held.name in target.defaults else _nullable(target, held)


def _allow(load: Load, change: str, what: str) -> None:
    if getattr(load.policy, change) != "evolve":
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}", f"set schema_changes.{change} to evolve, or adapt the table"
        )


# ---- tables that are made


def create(table: str, columns: Sequence[Placed], required: frozenset[str] = frozenset()) -> str:
    parts = [
        f"{quote(placed.name)} {placed.type}{' NOT NULL' if placed.source in required else ''}" for placed in columns
    ]
    return f"CREATE TABLE {table} ({', '.join(parts)})"


def remember(table: str, choices: Sequence[TypeChoice]) -> list[Step]:
    """Comments that keep what the types alone do not say."""
    steps = []
    for choice in choices:
        plain = read_column(choice.column.name, duckdb.sqltype(choice.native), choice.column.nullable, TypePolicy())
        text = memory.comment_of(choice.column, choice.native, plain)
        if text:
            steps.append(Step(f"COMMENT ON COLUMN {table}.{quote(choice.column.name)} IS {literal(text)}"))
    return steps
