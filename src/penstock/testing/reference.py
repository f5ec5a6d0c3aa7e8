"""What a load does to a table, as plain algebra on Arrow tables: the meaning that every writer is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.errors import DataError, SchemaChanged, SpecError
from penstock.core.load import Load, Mode, SchemaPolicy
from penstock.core.schema import Column, arrow_schema
from penstock.testing.values import cursor_scalar, row_codes

KEYED = frozenset({Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY})


@dataclass(frozen=True)
class Outcome:
    """The table after a load and what changed: `updated` and `deleted` count rows the table held before."""

    columns: tuple[Column, ...]
    data: pa.Table
    inserted: int
    updated: int
    deleted: int


def apply(load: Load, columns: tuple[Column, ...], target: pa.Table | None, parts: Mapping[str, pa.Table]) -> Outcome:
    """The table that `load` makes of `target` (None: no such table) with these staged parts, whatever their order.

    Rows that stay keep their place; rows that come are appended in the order of part names. Raises SpecError for a key
    that does not fit, SchemaChanged where the policy forbids to adapt, DataError for a value the table cannot take.
    """
    check_key(load)
    staged = _staged(load, parts)
    if target is None or load.mode is Mode.REPLACE:
        shape = load.columns if target is None else replaced_columns(load, columns)
        old = arrow_schema(shape).empty_table()
        outcome = _merge(load, shape, old, _conform(staged, shape))
        return Outcome(shape, outcome.data, outcome.inserted, 0, target.num_rows if target is not None else 0)
    shape = merged_columns(load, columns)
    return _merge(load, shape, _conform(target, shape), _conform(staged, shape))


def check_key(load: Load) -> None:
    """Raises SpecError when a keyed mode has no key or a key names a column that the load lacks."""
    names = {column.name for column in load.columns}
    if load.mode in KEYED and not load.key:
        raise SpecError(f"mode {load.mode.value} of table {load.table} needs a key", "name the key columns: key: [id]")
    for wanted in (*load.key, *((load.cursor,) if load.cursor else ())):
        if wanted not in names:
            raise SpecError(f"column {wanted!r} of table {load.table} is not loaded", "key and cursor must be loaded")


def replaced_columns(load: Load, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns after a REPLACE: those of the load. Raises SchemaChanged where the policy forbids the difference."""
    merged_columns(load, columns)
    return load.columns


def merged_columns(load: Load, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The target's columns in their order, adapted to the load, then those only the load has (nullable)."""
    loaded = {column.name: column for column in load.columns}
    held = {column.name for column in columns}
    out = [_adapted(load, column, loaded.get(column.name)) for column in columns]
    for column in load.columns:
        if column.name not in held:
            _allow(load, "new_column", f"column {column.name!r} is new")
            out.append(Column(column.name, column.type, True, column.logical, column.native))
    return tuple(out)


def _adapted(load: Load, held: Column, loaded: Column | None) -> Column:
    if loaded is None:
        _allow(load, "dropped_column", f"column {held.name!r} is not read any more")
        return Column(held.name, held.type, True, held.logical, held.native)
    kind = held.type
    if held.type != loaded.type:
        kind = _common(load, held, loaded)
        _allow(load, "narrowed" if kind == held.type else "widened", f"{held.name!r} is {loaded.type}, was {held.type}")
    if loaded.nullable and not held.nullable:
        _allow(load, "nullability", f"column {held.name!r} may be NULL now")
    return Column(held.name, kind, held.nullable or loaded.nullable, held.logical, held.native)


def _common(load: Load, held: Column, loaded: Column) -> pa.DataType:
    two = [pa.schema([(held.name, held.type)]), pa.schema([(held.name, loaded.type)])]
    try:
        return pa.unify_schemas(two, promote_options="permissive").field(0).type
    except pa.ArrowTypeError as error:
        raise SchemaChanged(
            f"column {held.name!r} of table {load.table} is {loaded.type} now and was {held.type}",
            "cast it in the job, or load into another table",
        ) from error


def _allow(load: Load, change: str, what: str) -> None:
    policy: SchemaPolicy = load.policy
    if getattr(policy, change) != "evolve":
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}", f"set schema_changes.{change} to evolve, or adapt the table"
        )


def _staged(load: Load, parts: Mapping[str, pa.Table]) -> pa.Table:
    empty = arrow_schema(load.columns).empty_table()
    return pa.concat_tables([empty, *(parts[name] for name in sorted(parts))])


def _conform(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """`table` with these columns in this order: cast where the type differs, NULL where it has none."""
    arrays = []
    for column in columns:
        if column.name not in table.column_names:
            arrays.append(pa.nulls(table.num_rows, column.type))
            continue
        values = table.column(column.name)
        try:
            arrays.append(values if values.type == column.type else values.cast(column.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"column {column.name!r}: {error}", "its values do not fit the target's type") from error
    # Nullability is kept by the columns; the data itself may hold NULLs that an older shape forbade.
    return pa.table(arrays, names=[column.name for column in columns])


def _merge(load: Load, columns: tuple[Column, ...], old: pa.Table, staged: pa.Table) -> Outcome:
    both = pa.concat_tables([old.select(staged.column_names), staged])
    held, come = range(old.num_rows), range(old.num_rows, both.num_rows)
    if load.mode in (Mode.REPLACE, Mode.APPEND):
        added = _not_held(load, both, old.num_rows) if load.mode is Mode.APPEND and load.reread_to else list(come)
        return Outcome(columns, _take(both, [*held, *added]), len(added), 0, 0)
    keys = row_codes(both.select(list(load.key)))
    old_keys = set(keys[: old.num_rows])
    if load.mode is Mode.DELETE_INSERT:
        gone = set(keys[old.num_rows :])
        kept = [row for row in held if keys[row] not in gone]
        return Outcome(columns, _take(both, [*kept, *come]), len(come), 0, old.num_rows - len(kept))
    winners = _winners(load, both, keys, old.num_rows)
    new = [row for key, row in winners.items() if key not in old_keys]
    if load.mode is Mode.INSERT_ONLY:
        return Outcome(columns, _take(both, [*held, *new]), len(new), 0, 0)
    changed = [winners.get(keys[row], row) for row in held]
    data = _take(both, [*changed, *new])
    lacking = {column.name for column in columns} - {column.name for column in load.columns}
    for name in lacking:  # what the load does not bring stays with its row
        stays = pa.chunked_array([*old.column(name).chunks, pa.nulls(len(new), old.schema.field(name).type)])
        data = data.set_column(data.column_names.index(name), name, stays)
    return Outcome(columns, data, len(new), sum(row >= old.num_rows for row in changed), 0)


def _take(table: pa.Table, places: list[int]) -> pa.Table:
    return table.take(pa.array(places, pa.int64()))


def _winners(load: Load, both: pa.Table, keys: list[int], first: int) -> dict[int, int]:
    """For each key of the load the row that wins: the greatest cursor, then the greatest row."""
    names = [load.cursor] if load.cursor else []
    names += [column.name for column in load.columns if column.name not in {*load.key, *names}]
    order = pl.DataFrame({"key": keys}).with_row_index("row")
    for name in names:
        order = order.with_columns(pl.Series(name + "\0", _ranks(both.column(name)), pl.Int64))
    staged = order.slice(first).sort([name + "\0" for name in names] + ["row"])
    best = staged.unique("key", keep="last").sort("row")
    return dict(zip(best["key"].to_list(), best["row"].to_list(), strict=True))


def _ranks(values: pa.ChunkedArray) -> list[int]:
    """Dense ranks, NULL lowest; types without an order rank by their codes, which is fixed for equal data."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    try:
        ranks = pc.if_else(pc.is_null(values), 0, pc.rank(values, tiebreaker="dense"))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, TypeError):
        return row_codes(pa.table({"values": values}))
    return [int(rank) for rank in ranks.to_pylist()]


def _not_held(load: Load, both: pa.Table, first: int) -> list[int]:
    """Rows of the load an APPEND adds: those above `reread_to`, and of the others as many of each as the table lacks."""
    compared = [column.name for column in load.columns if column.name not in load.volatile]
    codes = row_codes(both.select(compared))
    have: dict[int, int] = {}
    for code in codes[:first]:
        have[code] = have.get(code, 0) + 1
    again = _reread(load, both.slice(first))
    added = []
    for offset, code in enumerate(codes[first:]):
        if again[offset] and have.get(code, 0) > 0:
            have[code] -= 1
        else:
            added.append(first + offset)
    return added


def _reread(load: Load, staged: pa.Table) -> list[bool]:
    if load.reread_to is None or not load.cursor:
        return [False] * staged.num_rows
    values = staged.column(load.cursor)
    at_or_below = pc.less_equal(values, cursor_scalar(load.reread_to, values.type))
    return [bool(flag) for flag in pc.fill_null(at_or_below, True).to_pylist()]
