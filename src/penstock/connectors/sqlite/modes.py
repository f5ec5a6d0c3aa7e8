"""Which statements publish a load into a SQLite table, by mode and by what the table has."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from penstock.connectors._sql.publish import (
    Dialect,
    Mark,
    Sides,
    Step,
    delete_all,
    delete_held,
    drop_losers,
    insert_all,
    insert_missing,
    insert_unheld,
    keep_other_columns,
    update_held,
)
from penstock.connectors.sqlite import cursors
from penstock.connectors.sqlite.forms import TEXT, storage_of
from penstock.connectors.sqlite.probe import affinity
from penstock.connectors.sqlite.target import Placed, Target
from penstock.core.load import Load, Mode
from penstock.core.names import quote

_DIALECT = Dialect(same="{0} IS {1}")
_KEPT = "_penstock_kept"
ONE_A_KEY = frozenset({Mode.UPSERT, Mode.INSERT_ONLY})
_UNIQUE_KEY = frozenset({*ONE_A_KEY, Mode.REPLACE})


def sides(load: Load, target: str, staging: str, columns: Sequence[Placed]) -> Sides:
    names = {placed.source: quote(placed.name) for placed in columns}
    return Sides(
        quote(target),
        quote(staging),
        tuple(names.values()),
        tuple(names[name] for name in load.key),
        names[load.cursor] if load.cursor else "",
        tuple(names[placed.source] for placed in columns if placed.source not in load.volatile),
    )


def order_of(load: Load, columns: Sequence[Placed]) -> cursors.Order | None:
    """How the load's cursor sorts; None without a cursor. Raises SpecError for one that does not."""
    placed = next((each for each in columns if each.source == load.cursor), None)
    if placed is None:
        return None
    kind = placed.read_as.type
    is_text = storage_of(kind) == TEXT and affinity(placed.declared) in ("TEXT", "BLOB")
    return cursors.order_of(quote(placed.name), kind, placed.read_as.logical, is_text)


def steps(load: Load, target: Target, both: Sides, columns: Sequence[Placed]) -> tuple[list[Step], str]:
    """What brings staging into a table that exists, in place, and in words which way was taken."""
    if load.mode is Mode.REPLACE:
        return [delete_all(both), insert_all(both)], "delete and insert of all rows, in place"
    if load.mode is Mode.DELETE_INSERT:
        way = [_key_index(both), delete_held(both, _DIALECT), insert_all(both)]
        return way, "delete and insert by key, in place"
    if load.mode is Mode.INSERT_ONLY:
        return [*winners(load, both, columns), insert_missing(both, _DIALECT)], "insert of new keys, in place"
    if load.mode is Mode.UPSERT:
        way, how = _upsert(target, both)
        return [*winners(load, both, columns), _key_index(both), *way], how
    ordered = order_of(load, columns)
    if load.reread_to is None or ordered is None:
        return [insert_all(both)], "append, in place"
    order, values = ordered, tuple(cursors.bound(load.reread_to, ordered))
    terms, marks = ", ".join(order.terms), ", ".join("?" * len(values))
    mark = Mark(f"({terms}) <= ({marks})", f"({terms}) > ({marks})", values)
    return insert_unheld(both, _DIALECT, mark), "append of rows not held yet, in place"


def winners(load: Load, both: Sides, columns: Sequence[Placed]) -> list[Step]:
    """One staged row a key, by the greatest cursor."""
    order = order_of(load, columns)
    if order is None:
        return [drop_losers(both, _DIALECT)]
    by = [f"{term} DESC NULLS LAST" for term in order.terms]
    check = []
    if pa.types.is_temporal(order.kind) and storage_of(order.kind) == TEXT:
        old = f"SELECT count(*) FROM {both.staging} WHERE {both.cursor} LIKE '-%' AND {both.cursor} <> '-infinity'"
        check = [
            Step(old, refuses=f"{{0}} values of the cursor {both.cursor} lie before year 1, which do not sort as text")
        ]
    return [*check, drop_losers(both, _DIALECT, by)]


def wants_key(load: Load) -> bool:
    """Whether a new table gets the load's key as primary key, if the rows allow one. An append adds rows of a key again
    and again, and a slice has many."""
    return bool(load.key) and load.mode in _UNIQUE_KEY


def _key_index(both: Sides) -> Step:
    """An index on staging, which goes with it: SQLite would search it anew for every row of the target."""
    name = quote(f"{both.staging.strip(chr(34))}_key")
    return Step(f"CREATE INDEX {name} ON {both.staging} ({', '.join(both.key)})")


def _upsert(target: Target, both: Sides) -> tuple[list[Step], str]:
    """An UPDATE checks unique indexes row by row and trips when two rows swap values, so a table with more than the key
    to keep unique gets its rows deleted and inserted, with the columns that the load lacks."""
    if all(set(map(quote, unique)) == set(both.key) for unique in target.uniques):
        return [update_held(both, _DIALECT), insert_missing(both, _DIALECT)], "update and insert by key, in place"
    others = [
        quote(held.name)
        for held in target.held.columns
        if quote(held.name) not in both.columns and not held.is_generated
    ]
    names = ", ".join([*both.columns, *others])
    deleted = delete_held(both, _DIALECT)
    return [
        keep_other_columns(both, _DIALECT, others, _KEPT),
        Step(deleted.sql, counts="updated"),
        Step(f"INSERT INTO {both.target} ({names}) SELECT {names} FROM {_KEPT}"),
        insert_missing(both, _DIALECT),
        Step(f"DROP TABLE {_KEPT}"),
    ], "delete and insert of changed rows, insert of new ones, in place, since the table has more unique columns"
