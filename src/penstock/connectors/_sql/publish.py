"""The set-based statements by which a staging table becomes part of its target, the same for every SQL target.

Used by the DuckDB and the SQLite writer; a system differs by its Dialect only. Modes mean what core/load.py says: a NULL
in a key equals a NULL, and UPSERT and INSERT_ONLY bring one row a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """What differs between systems: `same` compares two values with NULL equal to NULL ({0} and {1} stand for them),
    `row_id` names a row of a table while it is not changed."""

    same: str = "{0} IS NOT DISTINCT FROM {1}"
    row_id: str = "rowid"


@dataclass(frozen=True)
class Sides:
    """A target and its staging table. All names are quoted; columns are those of the load, and have the same names and
    types on both sides. `compared` are the columns by which an APPEND recognises rows that it reads again."""

    target: str
    staging: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    cursor: str = ""
    compared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One statement of a publish. `counts` says what its number of rows means: "inserted", "updated", "deleted" or "".

    `refuses` makes it a question instead: it returns one number, and a number other than 0 refuses the publish with that
    text ({0} stands for the number).
    """

    sql: str
    values: tuple[object, ...] = ()
    counts: str = ""
    refuses: str = ""


def insert_all(sides: Sides) -> Step:
    """All staged rows."""
    names = ", ".join(sides.columns)
    return Step(f"INSERT INTO {sides.target} ({names}) SELECT {names} FROM {sides.staging}", counts="inserted")


def delete_all(sides: Sides) -> Step:
    return Step(f"DELETE FROM {sides.target}", counts="deleted")


@dataclass(frozen=True)
class Mark:
    """A watermark as SQL: conditions on the cursor that bind `values` once each."""

    at_or_below: str
    above: str
    values: tuple[object, ...]


def insert_unheld(sides: Sides, dialect: Dialect, mark: Mark) -> list[Step]:
    """All staged rows above the watermark, and of those at or below it, or without a value, as many of each as the target
    lacks. The comparison comes first, so that it sees old rows only."""
    names, compared = ", ".join(sides.columns), ", ".join(sides.compared)
    again = f"{mark.at_or_below} OR {sides.cursor} IS NULL"
    alike = " AND ".join(dialect.same.format(f"s.{name}", f"t.{name}") for name in sides.compared)
    unheld = f"""
INSERT INTO {sides.target} ({names})
SELECT {", ".join(f"s.{name}" for name in sides.columns)}
FROM (
    SELECT {names}, row_number() OVER (PARTITION BY {compared}) AS _penstock_nth FROM {sides.staging} WHERE {again}
) AS s
LEFT JOIN (
    SELECT {compared}, count(*) AS _penstock_held FROM {sides.target} WHERE {again} GROUP BY {compared}
) AS t ON {alike}
WHERE s._penstock_nth > coalesce(t._penstock_held, 0)""".strip()
    newer = f"INSERT INTO {sides.target} ({names}) SELECT {names} FROM {sides.staging} WHERE {mark.above}"
    return [Step(unheld, (*mark.values, *mark.values), "inserted"), Step(newer, mark.values, "inserted")]


def drop_losers(sides: Sides, dialect: Dialect, first: Sequence[str] = ()) -> Step:
    """Leave one staged row a key: the greatest cursor, then the greatest row column by column, a value before NULL.

    Which row wins depends on the rows alone, never on the order in which parts arrived. `first` are the terms that sort
    the cursor where its column does not do so itself.
    """
    rest = [name for name in sides.columns if name not in {*sides.key, sides.cursor}]
    by_cursor = [f"{sides.cursor} DESC NULLS LAST"] if sides.cursor else []
    order = [*(first or by_cursor), *(f"{name} DESC NULLS LAST" for name in rest)]
    # A key over all columns leaves nothing to order by; then the rows of a key are equal.
    by = f" ORDER BY {', '.join(order)}" if order else ""
    ranked = f"row_number() OVER (PARTITION BY {', '.join(sides.key)}{by})"
    losers = f"SELECT {dialect.row_id} AS id, {ranked} AS nth FROM {sides.staging}"
    return Step(
        f"DELETE FROM {sides.staging} WHERE {dialect.row_id} IN (SELECT id FROM ({losers}) AS ranked WHERE nth > 1)"
    )


def update_held(sides: Sides, dialect: Dialect, others: Sequence[str] = ()) -> Step:
    """Rows whose key the target holds take the staged values. Columns that the load lacks stay, but for `others`, which
    get their default. Where there is nothing to set, the rows are only counted."""
    rest = [name for name in sides.columns if name not in sides.key]
    if not rest and not others:
        return Step(f"SELECT count(*) FROM {sides.target} AS t WHERE {_staged(sides, dialect)}", counts="updated")
    taken = ", ".join([f"{name} = s.{name}" for name in rest] + [f"{name} = DEFAULT" for name in others])
    return Step(
        f"UPDATE {sides.target} AS t SET {taken} FROM {sides.staging} AS s WHERE {_alike(sides, dialect)}",
        counts="updated",
    )


def insert_missing(sides: Sides, dialect: Dialect) -> Step:
    """Staged rows whose key the target lacks. A join, since SQLite would search the target anew for each row of a
    NOT EXISTS when no index helps."""
    names = ", ".join(sides.columns)
    held = f"SELECT {', '.join(sides.key)}, 1 AS _penstock_held FROM {sides.target}"
    return Step(
        f"INSERT INTO {sides.target} ({names}) SELECT {', '.join(f's.{name}' for name in sides.columns)}"
        f" FROM {sides.staging} AS s LEFT JOIN ({held}) AS t ON {_alike(sides, dialect)}"
        " WHERE t._penstock_held IS NULL",
        counts="inserted",
    )


def delete_held(sides: Sides, dialect: Dialect) -> Step:
    """Target rows whose key occurs in staging."""
    return Step(f"DELETE FROM {sides.target} AS t WHERE {_staged(sides, dialect)}", counts="deleted")


def delete_unstaged(sides: Sides, dialect: Dialect) -> Step:
    """Target rows whose key does not occur in staging."""
    return Step(f"DELETE FROM {sides.target} AS t WHERE NOT {_staged(sides, dialect)}", counts="deleted")


def keep_other_columns(sides: Sides, dialect: Dialect, others: Sequence[str], kept: str) -> Step:
    """Make the temporary table `kept`: for every target row whose key is staged, the staged columns and the target's own
    `others`. With delete_held it stands in for an UPDATE where that would trip over a unique index half way."""
    names = ", ".join([f"s.{name}" for name in sides.columns] + [f"t.{name}" for name in others])
    return Step(
        f"CREATE TEMPORARY TABLE {kept} AS SELECT {names} FROM {sides.target} AS t"
        f" JOIN {sides.staging} AS s ON {_alike(sides, dialect)}"
    )


def _alike(sides: Sides, dialect: Dialect) -> str:
    return " AND ".join(dialect.same.format(f"t.{name}", f"s.{name}") for name in sides.key)


def _staged(sides: Sides, dialect: Dialect) -> str:
    return f"EXISTS (SELECT 1 FROM {sides.staging} AS s WHERE {_alike(sides, dialect)})"
