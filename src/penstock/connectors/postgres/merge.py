"""What each mode does to an existing target, as set-based statements; the plan that is shown and the one that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from penstock.connectors.postgres.fit import shape
from penstock.connectors.postgres.relation import Target
from penstock.connectors.postgres.select import type_name
from penstock.connectors.postgres.staging import Staged
from penstock.core.errors import SpecError
from penstock.core.load import Load, Mode
from penstock.core.names import TableName, quote

# Conditions that only the staged rows can tell.
NULL_KEYS = "a key holds NULL"
REPEATED_KEYS = "a key comes more than once"
TRUE_KEY = "the key is filled and unique"
CAME_AS_TEXT = "rows came with values as text"
NULLS_IN = "a row brings no value for "


@dataclass(frozen=True)
class Step:
    """One statement of a publish. `counts` says what its rows are: "inserted", "updated", "deleted", "merged" (it
    returns rows inserted and rows updated) or "". With `only_if` it runs when the staged rows make that true."""

    sql: str
    values: tuple[object, ...] = ()
    counts: str = ""
    only_if: str = ""
    note: str = ""

    def __str__(self) -> str:
        bound = "".join(f"\n-- ${number} = {value!r}" for number, value in enumerate(self.values, 1))
        return (f"-- only if {self.only_if}\n" if self.only_if else "") + self.sql.strip() + bound


@dataclass(frozen=True)
class Merge:
    """A load, its existing target after schema changes, and staging with the columns in the order of the load."""

    load: Load
    target: Target
    staging: TableName
    staged: tuple[Staged, ...]

    @property
    def table(self) -> str:
        return self.target.name.quoted()

    @property
    def columns(self) -> tuple[Staged, ...]:
        """Columns that are written: all but those the target generates."""
        generated = {column.name for column in self.target.columns if column.is_generated}
        return tuple(column for column in self.staged if column.name not in generated)

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(quote(name) for name in self.load.key)

    def rows(self, names: Sequence[str] = ()) -> str:
        """Staged rows in the target's types, as a table expression; all columns unless names are given."""
        chosen = [column for column in self.columns if not names or column.name in names]
        listed = ", ".join(f"{column.expression()} AS {column.stored.quoted}" for column in chosen)
        return f"(SELECT {listed} FROM {self.staging.quoted()})"

    def into(self) -> str:
        names = ", ".join(column.stored.quoted for column in self.columns)
        loaded = {column.name for column in self.columns}
        has_identity = any(column.identity for column in self.target.columns if column.name in loaded)
        return f"INSERT INTO {self.table} ({names}){' OVERRIDING SYSTEM VALUE' if has_identity else ''}"

    def insert(self, where: str = "", tail: str = "") -> str:
        values = ", ".join(f"s.{column.stored.quoted}" for column in self.columns)
        kept = f"\nWHERE {where}" if where else ""
        return f"{self.into()}\nSELECT {values} FROM {self.rows()} AS s{kept}{tail}"

    def updates(self) -> list[str]:
        """Quoted columns that an update sets: not the key, and not what only the server may set. Where nothing is left,
        the key is set to itself, so that the row counts as updated."""
        fixed = {column.name for column in self.target.columns if column.identity == "a"}
        names = [column.name for column in self.columns if column.name not in fixed]
        return [quote(name) for name in names if name not in self.load.key] or [quote(name) for name in names]

    # ---- key comparisons

    def has_null(self, side: str) -> str:
        return "(" + " OR ".join(f"{side}.{name} IS NULL" for name in self.key) + ")"

    def alike(self, same: str = "{0} = {1}") -> str:
        return " AND ".join(same.format(f"t.{name}", f"s.{name}") for name in self.key)

    def alike_with_null(self) -> str:
        """Keys that hold a NULL equal each other. No index and no hash helps there, so it is kept to those rows."""
        return f"{self.has_null('s')} AND {self.has_null('t')} AND {self.alike('{0} IS NOT DISTINCT FROM {1}')}"


def steps(merge: Merge, replace_with: str) -> tuple[str, list[Step]]:
    """In words how the target changes, and the statements."""
    return _MODES[merge.load.mode](merge, replace_with)


# ---- replace and append


def _replace(merge: Merge, replace_with: str) -> tuple[str, list[Step]]:
    if merge.target.referenced_by:
        return _replace_referenced(merge)
    insert = Step(merge.insert(), counts="inserted")
    if replace_with == "delete":
        lock = Step(f"LOCK TABLE {merge.table} IN SHARE ROW EXCLUSIVE MODE")
        return "deleted all rows and inserted the new ones", [
            lock,
            Step(f"DELETE FROM {merge.table}", (), "deleted"),
            insert,
        ]
    lock = Step(f"LOCK TABLE {merge.table} IN ACCESS EXCLUSIVE MODE")
    # TRUNCATE does not say how many rows it removes; nobody else sees the table from the lock on.
    count = Step(f"SELECT count(*) FROM {merge.table}", (), "emptied")
    return "truncated and inserted in one transaction", [lock, count, Step(f"TRUNCATE {merge.table}"), insert]


def _replace_referenced(merge: Merge) -> tuple[str, list[Step]]:
    """Other tables' foreign keys forbid to truncate, or to delete rows that stay: upsert, then delete what is absent."""
    key = merge.load.key or merge.target.primary_key
    loaded = {column.name for column in merge.columns}
    if not key or not loaded.issuperset(key):
        raise SpecError(
            f"table {merge.target.name} cannot be replaced: foreign keys point to it ({', '.join(merge.target.referenced_by)}),"
            " and it has no loaded primary key by which rows could be updated in place",
            "name a key, load its primary key, or use mode upsert",
        )
    keyed = Merge(_with_key(merge.load, key), merge.target, merge.staging, merge.staged)
    absent = f"""
DELETE FROM {merge.table} AS t
WHERE NOT EXISTS (SELECT FROM {keyed.rows(key)} AS s WHERE {keyed.alike()})
"""
    lock = Step(f"LOCK TABLE {merge.table} IN SHARE ROW EXCLUSIVE MODE")
    written = _by_key(keyed, update=True)
    return "updated, inserted and deleted by key, since foreign keys point to the table", [
        lock,
        *written,
        Step(absent, counts="deleted"),
    ]


def _with_key(load: Load, key: Sequence[str]) -> Load:
    return replace(load, key=tuple(key))


def _append(merge: Merge, _: str) -> tuple[str, list[Step]]:
    if merge.load.reread_to is None or not merge.load.cursor:
        return "inserted all rows", [Step(merge.insert(), counts="inserted")]
    value = merge.load.reread_to.text
    mark = f"$1::{_cursor_type(merge)}"
    cursor = quote(merge.load.cursor)
    newer = Step(merge.insert(f"s.{cursor} > {mark}"), (value,), "inserted")
    return "inserted the rows that the table did not hold", [
        Step(_unheld(merge, cursor, mark), (value,), "inserted"),
        newer,
    ]


def _cursor_type(merge: Merge) -> str:
    column = next(c for c in merge.columns if c.name == merge.load.cursor)
    return type_name(column.stored.final)


def _unheld(merge: Merge, cursor: str, mark: str) -> str:
    """Of the rows at or below the mark, or without a cursor, as many of each as the target lacks.

    Both sides are sorted into groups of equal rows (NULL equals NULL), the target's first: with h rows held, a staged row
    is number h + 1 or later, and the first h staged ones are there already.
    """
    names = [column.stored.quoted for column in merge.columns]
    same = ", ".join(_comparable(column) for column in merge.columns if column.name not in merge.load.volatile)
    listed = ", ".join(names)
    low = f"(SELECT min({cursor}) FROM {merge.rows([merge.load.cursor])} AS s)"
    return f"""
{merge.into()}
SELECT {listed}
FROM (
    SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY _penstock_side) AS _penstock_nth,
        count(*) FILTER (WHERE _penstock_side = 0) OVER (PARTITION BY {same}) AS _penstock_held
    FROM (
        SELECT 0 AS _penstock_side, {listed} FROM {merge.table}
        WHERE {cursor} BETWEEN {low} AND {mark} OR {cursor} IS NULL
        UNION ALL
        SELECT 1, {listed} FROM {merge.rows()} AS s WHERE {cursor} <= {mark} OR {cursor} IS NULL
    ) AS both_sides
) AS ranked
WHERE _penstock_side = 1 AND _penstock_nth > 2 * _penstock_held
"""


_TEXTS = ("text", "varchar", "bpchar", "name")
# Types whose equality is that of their values. Others (json, xml, points, case-insensitive text) compare as text.
_EQUAL = {
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "bytea"),
    *_TEXTS,
    *("date", "time", "timetz", "timestamp", "timestamptz", "uuid", "inet", "cidr", "macaddr", "jsonb"),
}


def _comparable(column: Staged) -> str:
    final = shape(column.stored.final)
    return column.stored.quoted if final.name in _EQUAL else f"{column.stored.quoted}::text"


# ---- by key


def _delete_insert(merge: Merge, _: str) -> tuple[str, list[Step]]:
    keys = ", ".join(merge.key)
    staged = f"(SELECT DISTINCT {keys} FROM {merge.rows(merge.load.key)} AS s) AS s"
    delete = f"DELETE FROM {merge.table} AS t\nUSING {staged}\nWHERE {merge.alike()}"
    with_null = f"DELETE FROM {merge.table} AS t\nUSING {staged}\nWHERE {merge.alike_with_null()}"
    return "deleted the rows of the loaded keys and inserted all rows", [
        Step(delete, counts="deleted"),
        Step(with_null, counts="deleted", only_if=NULL_KEYS),
        Step(merge.insert(), counts="inserted"),
    ]


def _upsert(merge: Merge, _: str) -> tuple[str, list[Step]]:
    return "updated and inserted by key", [
        drop_losers(merge.load, merge.staging, merge.staged),
        *_by_key(merge, update=True),
    ]


def _insert_only(merge: Merge, _: str) -> tuple[str, list[Step]]:
    return "inserted the rows of new keys", [
        drop_losers(merge.load, merge.staging, merge.staged),
        *_by_key(merge, update=False),
    ]


def drop_losers(load: Load, staging: TableName, staged: Sequence[Staged]) -> Step:
    """Leave one staged row a key: the greatest cursor, then the greatest row column by column; a value before NULL.
    Which row wins depends on the rows alone, never on the order in which parts arrived."""
    first = [column for column in staged if column.name == load.cursor]
    rest = [column for column in staged if column.name not in {*load.key, load.cursor}]
    order = ", ".join(f"{_ordered(column)} DESC NULLS LAST" for column in [*first, *rest])
    by = f" ORDER BY {order}" if order else ""
    sql = f"""
DELETE FROM {staging.quoted()} WHERE ctid IN (
    SELECT id FROM (
        SELECT ctid AS id, row_number() OVER (PARTITION BY {key_expressions(load, staged)}{by}) AS nth
        FROM {staging.quoted()}
    ) AS ranked WHERE nth > 1
)
"""
    return Step(sql, only_if=REPEATED_KEYS, note="{0} rows of the load gave way to another row of the same key")


def key_expressions(load: Load, staged: Sequence[Staged]) -> str:
    return ", ".join(column.expression() for name in load.key for column in staged if column.name == name)


def _ordered(column: Staged) -> str:
    """By value, and text by its bytes: the same order on every server."""
    final = shape(column.stored.final)
    by_value = final.name in _EQUAL and not final.is_array and final.name not in _TEXTS
    return column.expression() if by_value else f'({column.expression()})::text COLLATE "C"'


def _by_key(merge: Merge, update: bool) -> list[Step]:
    """Rows whose key the target holds are updated (or left), the others inserted.

    With a unique index the server decides by ON CONFLICT, safe against writers beside; a partitioned table cannot tell
    which rows it updated, so it takes the same way as one without an index: under a lock, by join.
    """
    has_index = frozenset(merge.load.key) in merge.target.unique_keys and not merge.target.is_partitioned
    found = [_on_conflict(merge, update)] if has_index else _by_join(merge, update, merge.alike(), "")
    lock = Step(f"LOCK TABLE {merge.table} IN SHARE ROW EXCLUSIVE MODE", only_if=NULL_KEYS if has_index else "")
    return [lock, *found, *_by_join(merge, update, merge.alike_with_null(), NULL_KEYS)]


def _on_conflict(merge: Merge, update: bool) -> Step:
    filled = f"NOT {merge.has_null('s')}"
    keys = ", ".join(merge.key)
    taken = ", ".join(f"{name} = excluded.{name}" for name in merge.updates())
    if not update or not taken:
        return Step(merge.insert(filled, f"\nON CONFLICT ({keys}) DO NOTHING"), counts="inserted")
    tail = f"\nON CONFLICT ({keys}) DO UPDATE SET {taken}"
    sql = f"""
WITH merged AS (
{merge.insert(filled, tail)}
RETURNING xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM merged
"""
    return Step(sql, counts="merged")


def _by_join(merge: Merge, update: bool, alike: str, only_if: str) -> list[Step]:
    rows, found = merge.rows(), []
    if update and merge.updates():
        taken = ", ".join(f"{name} = s.{name}" for name in merge.updates())
        sql = f"UPDATE {merge.table} AS t SET {taken}\nFROM {rows} AS s\nWHERE {alike}"
        found.append(Step(sql, counts="updated", only_if=only_if))
    side = merge.has_null("s") if only_if else f"NOT {merge.has_null('s')}"
    missing = f"{side} AND NOT EXISTS (SELECT FROM {merge.table} AS t WHERE {alike})"
    found.append(Step(merge.insert(missing), counts="inserted", only_if=only_if))
    return found


_MODES: dict[Mode, Callable[[Merge, str], tuple[str, list[Step]]]] = {
    Mode.REPLACE: _replace,
    Mode.APPEND: _append,
    Mode.UPSERT: _upsert,
    Mode.DELETE_INSERT: _delete_insert,
    Mode.INSERT_ONLY: _insert_only,
}
