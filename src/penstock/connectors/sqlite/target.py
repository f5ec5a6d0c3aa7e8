"""A target table as it is, and how a load fits it: names, declared types, and what must be altered first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from penstock.connectors._sql.publish import Step
from penstock.connectors.sqlite.catalog import Held, HeldColumn, described, held_tables, local_name
from penstock.connectors.sqlite.database import Connection
from penstock.connectors.sqlite.forms import (
    BLOB,
    EXACT_INTEGERS,
    INTEGER,
    REAL,
    TEXT,
    form_of,
    is_text,
    own_carrier,
    reformed,
    storage_of,
)
from penstock.connectors.sqlite.probe import NATIVE, affinity
from penstock.core.errors import NotSupported, SchemaChanged, SpecError
from penstock.core.load import Load, Mode
from penstock.core.names import TableName, quote
from penstock.core.schema import Column, Fidelity, TypeChoice

_KEYED = frozenset({Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY})
_MOST_COLUMNS = 2000
_REAL_DIGITS = 15

# The stored spelling and kind of a table or view, found in any case, as SQLite compares names.
_FIND = """
SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?)
"""
# One row for each unique index or constraint besides a row id: its columns as JSON, NULL for an expression among them.
_UNIQUE = """
SELECT (SELECT json_group_array(i.name ORDER BY i.seqno) FROM pragma_index_info(l.name) AS i), l.partial
FROM pragma_index_list(?) AS l WHERE l."unique"
"""


@dataclass(frozen=True)
class Placed:
    """A column of a load at its place in the target: the name as the target spells it, the declared type there, and how
    the target's column is read."""

    source: str
    name: str
    declared: str
    read_as: Column


@dataclass(frozen=True)
class Target:
    """A table that exists. `read_as` are its columns as a reader sees them; `uniques` the columns of everything that must
    be unique, () where an index has expressions or a condition."""

    held: Held
    read_as: tuple[Column, ...]
    uniques: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        return self.held.name


@dataclass(frozen=True)
class Shape:
    """How a load fits: its columns at their places, how each is stored, the statements that adapt the target, and the
    columns to remember afterwards (name, declared type, column)."""

    columns: tuple[Placed, ...]
    choices: tuple[TypeChoice, ...]
    alterations: tuple[Step, ...] = ()
    remembered: tuple[tuple[str, str, Column], ...] = ()


def target_name(table: TableName, connection: Connection) -> tuple[str, bool]:
    """The table's name as stored if it exists, else as given. Raises SpecError for a view or virtual table."""
    name = local_name(table)
    rows = connection.ask(_FIND, (name,))
    if not rows:
        return name, False
    if rows[0][1] != "table":
        raise SpecError(f"target {table} is a {rows[0][1]}", "load into a table")
    return str(rows[0][0]), True


def inspect(table: TableName, connection: Connection) -> Target | None:
    """The table, or None if there is none. Reads it once where Penstock did not write it. Raises SpecError for a view."""
    name, is_there = target_name(table, connection)
    if not is_there:
        return None
    held = held_tables(connection, [name])[name]
    uniques = [((held.alias,) if held.alias else held.key)] if held.key else []
    for columns, is_partial in connection.ask(_UNIQUE, (name,)):
        names = _names(columns)
        uniques.append(() if is_partial or None in names else tuple(str(each) for each in names))
    return Target(held, described(connection, quote(name), held), tuple(uniques))


def _names(columns: str) -> list[str | None]:
    found = json.loads(columns)
    return found if isinstance(found, list) else [None]


# ---- how a load fits


def check_load(load: Load) -> None:
    """Raises SpecError for a key or cursor that is not loaded, names that SQLite cannot tell apart, too many columns."""
    names = [column.name for column in load.columns]
    if load.mode in _KEYED and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "name the key columns: key: [id]")
    for wanted in (*load.key, *([load.cursor] if load.cursor else [])):
        if wanted not in names:
            raise SpecError(f"column {wanted!r} of table {load.table} is not loaded", "key and cursor must be loaded")
    lower = [_folded(name) for name in names]
    double = next((name for name in names if lower.count(_folded(name)) > 1), None)
    if double is not None:
        raise SpecError(
            f"table {load.table} would get two columns named {double!r} but for the case, which SQLite does not tell apart",
            "rename one of them in the job",
        )
    if len(names) > _MOST_COLUMNS:
        raise SpecError(
            f"table {load.table} would get {len(names)} columns", f"SQLite takes {_MOST_COLUMNS}: leave some out"
        )


def _folded(name: str) -> str:
    """SQLite compares names without regard to case in ASCII only."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def fit(load: Load, target: Target | None) -> Shape:
    """Raises SchemaChanged where target and load do not fit and the policy forbids to adapt, SpecError, NotSupported."""
    check_load(load)
    if target is None:
        choices = [choice_of(load, column) for column in load.columns]
        columns = [Placed(each.column.name, each.column.name, each.native, each.column) for each in choices]
        remembered = [(each.column.name, each.native, each.column) for each in choices]
        return Shape(tuple(columns), tuple(choices), (), tuple(remembered))
    held = {_folded(column.name): column for column in target.held.columns}
    fitted = [_fit_column(load, target, column, held.get(_folded(column.name))) for column in load.columns]
    loaded = {_folded(column.name) for column in load.columns}
    alterations = [step for one in fitted for step in one.alterations]
    for column in target.held.columns:
        if _folded(column.name) not in loaded:
            alterations += _without(load, target, column)
    return Shape(
        tuple(one.columns[0] for one in fitted),
        tuple(one.choices[0] for one in fitted),
        tuple(alterations),
        tuple(entry for one in fitted for entry in one.remembered),
    )


def choice_of(load: Load, column: Column) -> TypeChoice:
    """How a column of a new table is stored: as it was declared in another SQLite file, if that keeps its values."""
    form = form_of(column)
    if form is None:
        raise NotSupported(
            f"column {column.name!r} of table {load.table} is {column.type}, which SQLite cannot hold",
            "cast it in the job, or leave it out",
        )
    declared = column.native.removeprefix(NATIVE)
    if column.native.startswith(NATIVE) and keeps(declared, column.type) and own_carrier(declared) is None:
        return TypeChoice(column, declared, form.fidelity, form.note)
    return TypeChoice(column, form.declared, form.fidelity, form.note)


def keeps(declared: str, kind: pa.DataType) -> bool:
    """Whether a column declared so keeps values of a carrier, given what its affinity does to them."""
    storage, found = storage_of(kind), affinity(declared)
    if storage == BLOB or found == "BLOB":
        return True
    if storage == INTEGER:
        return found in ("INTEGER", "NUMERIC")
    if storage == REAL:
        # Whole numbers become integers there, which read back as the same doubles.
        return found in ("REAL", "NUMERIC", "INTEGER")
    if storage == TEXT and found == "TEXT":
        return True
    if pa.types.is_decimal(kind):
        return found == "NUMERIC" and kind.precision <= _REAL_DIGITS
    # Text that does not look like a number stays text.
    return bool(pa.types.is_temporal(kind)) and found == "NUMERIC"


def _fit_column(load: Load, target: Target, column: Column, held: HeldColumn | None) -> Shape:
    choice = choice_of(load, column)
    if held is None:
        _allow(load, "new_column", f"column {column.name!r} is new")
        add = Step(f"ALTER TABLE {quote(target.name)} ADD COLUMN {quote(column.name)} {choice.native}".rstrip())
        entry = (column.name, choice.native, column)
        return Shape((Placed(column.name, column.name, choice.native, column),), (choice,), (add,), (entry,))
    now = next(each for each in target.read_as if each.name == held.name)
    read_as, steps = _meeting(load, target, choice, now, held)
    if column.nullable and held.required:
        _allow(load, "nullability", f"column {column.name!r} may be NULL now")
        steps += _nullable(target, held)
    is_same = read_as.type == column.type
    fitted = TypeChoice(column, held.declared, choice.fidelity if is_same else Fidelity.WIDENING, choice.note)
    placed = Placed(column.name, held.name, held.declared, read_as)
    remembered = ((held.name, held.declared, read_as),) if held.remembered is not None else ()
    return Shape((placed,), (fitted,), tuple(steps), remembered)


def _meeting(
    load: Load, target: Target, choice: TypeChoice, now: Column, held: HeldColumn
) -> tuple[Column, list[Step]]:
    """The column as which old and new values read together, and what must be checked first."""
    column = choice.column
    wanted = column.type if _same(now.type, column.type) else _common(now.type, column.type)
    what = f"column {held.name!r} is {column.type} now and {now.type} in the target"
    if wanted is None or not keeps(held.declared, wanted):
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}, and {held.declared or 'no type'} does not hold the values of both",
            "cast it in the job, or load into another table",
        )
    if _same(now.type, column.type):
        return replace(column, name=held.name), []
    is_wider = wanted != now.type
    _allow(load, "widened" if is_wider else "narrowed", what)
    if is_wider and held.remembered is None and not _reads_wider(held, wanted):
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}, and its declared type {held.declared} says {now.type}",
            "cast it in the job, or load into another table",
        )
    steps, name = [], quote(held.name)
    if storage_of(wanted) == TEXT and is_wider and (form := reformed(name, now.type, wanted)):
        steps.append(Step(f"UPDATE {quote(target.name)} SET {name} = {form} WHERE {name} IS NOT NULL"))
    if pa.types.is_floating(wanted) and pa.types.is_integer(now.type):
        wide = (
            f"SELECT count(*) FROM {quote(target.name)} WHERE {name} > {EXACT_INTEGERS} OR {name} < -{EXACT_INTEGERS}"
        )
        steps.append(Step(wide, refuses=f"{{0}} numbers of column {held.name!r} have more digits than a double"))
    return replace(now, type=wanted, nullable=True), steps


def _same(held: pa.DataType, given: pa.DataType) -> bool:
    """Equal, or two texts: what a text means is the load's business."""
    return bool(held == given or (is_text(held) and is_text(given)))


def _reads_wider(held: HeldColumn, wanted: pa.DataType) -> bool:
    """Whether a column that Penstock did not write is judged by its values, so that it widens by itself."""
    return own_carrier(held.declared) is None and storage_of(wanted) in (INTEGER, REAL)


def _common(held: pa.DataType, given: pa.DataType) -> pa.DataType | None:
    """The smallest carrier of both, None where there is none that keeps every value."""
    if pa.types.is_decimal(held) and pa.types.is_decimal(given):
        scale = max(held.scale, given.scale)
        precision = max(held.precision - held.scale, given.precision - given.scale) + scale
        return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale) if precision <= 76 else None
    if storage_of(held) == TEXT and is_text(held) != is_text(given):
        return None
    try:
        two = [pa.schema([("v", held)]), pa.schema([("v", given)])]
        wanted = pa.unify_schemas(two, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return None
    numbers = pa.types.is_decimal(held) or pa.types.is_decimal(given)
    return None if numbers and not pa.types.is_decimal(wanted) else wanted


def _nullable(target: Target, held: HeldColumn) -> list[Step]:
    if held.place:
        return []
    return [Step(f"ALTER TABLE {quote(target.name)} ALTER COLUMN {quote(held.name)} DROP NOT NULL")]


def _without(load: Load, target: Target, held: HeldColumn) -> list[Step]:
    """A column that the load lacks stays, with its default or NULL in new rows."""
    _allow(load, "dropped_column", f"column {held.name!r} is not read any more")
    return _nullable(target, held) if held.required and not held.has_default and not held.is_generated else []


def _allow(load: Load, change: str, what: str) -> None:
    if getattr(load.policy, change) != "evolve":
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}", f"set schema_changes.{change} to evolve, or adapt the table"
        )


def create(table: str, columns: Sequence[Placed], required: frozenset[str], key: Sequence[str] = ()) -> str:
    """CREATE TABLE; a key of one integer column becomes the row id."""
    parts = []
    for placed in columns:
        is_rowid = list(key) == [placed.name] and placed.declared == "INTEGER"
        suffix = " PRIMARY KEY" if is_rowid else " NOT NULL" if placed.source in required else ""
        parts.append(f"{quote(placed.name)} {placed.declared}{suffix}")
    if key and not any(part.endswith(" PRIMARY KEY") for part in parts):
        parts.append(f"PRIMARY KEY ({', '.join(quote(name) for name in key)})")
    return f"CREATE TABLE {quote(table)} ({', '.join(parts)})"
