"""Which statements publish a load into a DuckDB table, by mode and by what the table has."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.connectors._sql.publish import (
    Dialect,
    Mark,
    Sides,
    Step,
    delete_all,
    delete_held,
    delete_unstaged,
    drop_losers,
    insert_all,
    insert_missing,
    insert_unheld,
    keep_other_columns,
    update_held,
)
from penstock.connectors.duckdb.incoming import Placed
from penstock.connectors.duckdb.target import Target
from penstock.connectors.duckdb.text import bound
from penstock.core.load import Load, Mode
from penstock.core.names import quote

_DIALECT = Dialect()
_KEPT = "_penstock_kept"
# Modes that bring one row a key, so that a new table may get the key as its primary key.
ONE_A_KEY = frozenset({Mode.UPSERT, Mode.INSERT_ONLY})
_UNIQUE_KEY = frozenset({*ONE_A_KEY, Mode.REPLACE})


def sides(load: Load, target: str, staging: str, columns: Sequence[Placed]) -> Sides:
    names = {placed.source: quote(placed.name) for placed in columns}
    return Sides(
        target,
        staging,
        tuple(names.values()),
        tuple(names[name] for name in load.key),
        names[load.cursor] if load.cursor else "",
        tuple(names[placed.source] for placed in columns if placed.source not in load.volatile),
    )


def steps(load: Load, target: Target, both: Sides, columns: Sequence[Placed]) -> tuple[list[Step], str]:
    """What brings staging into a table that exists, in place, and in words which way was taken."""
    if load.mode is Mode.REPLACE:
        return _replace(target, both)
    if load.mode is Mode.DELETE_INSERT:
        return [delete_held(both, _DIALECT), insert_all(both)], "delete and insert by key, in place"
    if load.mode is Mode.INSERT_ONLY:
        return [drop_losers(both, _DIALECT), insert_missing(both, _DIALECT)], "insert of new keys, in place"
    if load.mode is Mode.UPSERT:
        way, how = _upsert(target, both)
        return [drop_losers(both, _DIALECT), *way], how
    if load.reread_to is None or not load.cursor:
        return [insert_all(both)], "append, in place"
    kind = next(placed.type for placed in columns if placed.source == load.cursor)
    value = f"CAST(? AS {kind})"
    mark = Mark(f"{both.cursor} <= {value}", f"{both.cursor} > {value}", (bound(load.reread_to, kind),))
    return insert_unheld(both, _DIALECT, mark), "append of rows not held yet, in place"


def winners(both: Sides) -> list[Step]:
    """One row a key out of staging into a new, empty target. The staging table itself will not do: an index that DuckDB
    builds in the transaction which deleted rows finds them still."""
    return [drop_losers(both, _DIALECT), insert_all(both), Step(f"DROP TABLE {both.staging}")]


def wants_key(load: Load) -> bool:
    """Whether a new table gets the load's key as primary key, if the rows allow one. An append adds rows of a key again
    and again, and a slice has many."""
    return bool(load.key) and load.mode in _UNIQUE_KEY


def _replace(target: Target, both: Sides) -> tuple[list[Step], str]:
    """By primary key where there is one: DuckDB deletes and inserts rows of an index five times slower than it updates
    them (2.9 against 0.6 CPU seconds for a million rows on 1.5.5), and a row that a foreign key points at cannot go even
    for a moment. Otherwise all rows are deleted and inserted."""
    key = tuple(quote(name) for name in target.key)
    others = [quote(held.name) for held in target.columns if quote(held.name) not in both.columns]
    is_plain = len(target.uniques) == 1 and not others
    if not key or not set(key) <= set(both.columns) or not (is_plain or target.is_referenced):
        return [delete_all(both), insert_all(both)], "delete and insert of all rows, in place"
    by_key = Sides(both.target, both.staging, both.columns, key)
    names = ", ".join(key)
    repeated = f"SELECT count(*) FROM (SELECT 1 FROM {both.staging} GROUP BY {names} HAVING count(*) > 1)"
    return [
        Step(repeated, refuses="{0} values of the target's primary key occur in more than one row of the load"),
        delete_unstaged(by_key, _DIALECT),
        update_held(by_key, _DIALECT, others),
        insert_missing(by_key, _DIALECT),
    ], "delete, update and insert by primary key, in place"


def _upsert(target: Target, both: Sides) -> tuple[list[Step], str]:
    """An UPDATE checks unique indexes row by row and trips when two rows swap values, so a table with more than the key
    to keep unique gets its rows deleted and inserted, with the columns that the load lacks."""
    only_key = all(set(map(quote, unique)) == set(both.key) for unique in target.uniques)
    if only_key or target.is_referenced:
        return [update_held(both, _DIALECT), insert_missing(both, _DIALECT)], "update and insert by key, in place"
    others = [quote(held.name) for held in target.columns if quote(held.name) not in both.columns]
    names = ", ".join([*both.columns, *others])
    back = f"INSERT INTO {both.target} ({names}) SELECT {names} FROM {_KEPT}"
    deleted = delete_held(both, _DIALECT)
    return [
        keep_other_columns(both, _DIALECT, others, _KEPT),
        Step(deleted.sql, counts="updated"),
        Step(back),
        insert_missing(both, _DIALECT),
        Step(f"DROP TABLE {_KEPT}"),
    ], "delete and insert of changed rows, insert of new ones, in place, since the table has more unique columns"
