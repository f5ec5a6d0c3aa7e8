"""What each mode does to an existing target, as set-based statements; the plan that is shown and the one that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.connectors.mysql.relation import Target
from penstock.connectors.mysql.select import cursor_value
from penstock.connectors.mysql.stored import Stored
from penstock.connectors.mysql.types import MARK
from penstock.core.errors import SpecError
from penstock.core.load import CursorValue, Load, Mode
from penstock.core.names import quote

KEPT = quote("_penstock_kept", MARK)
# Bytes of text or binary columns that an index of a helping table takes.
_PREFIX = 191


@dataclass(frozen=True)
class Step:
    """One statement of a publish. `counts` says what its rows are: "inserted", "updated", "deleted" or ""."""

    sql: str
    counts: str = ""

    def __str__(self) -> str:
        return self.sql.strip()


@dataclass(frozen=True)
class Merge:
    """A load, its existing target after schema changes, and the table whose rows go in."""

    load: Load
    target: Target
    staging: str
    stored: tuple[Stored, ...]

    @property
    def table(self) -> str:
        return self.target.text

    @property
    def columns(self) -> tuple[Stored, ...]:
        """Columns that are written: all but those the target generates."""
        return tuple(each for each in self.stored if not (each.held and each.held.is_generated))

    @property
    def names(self) -> list[str]:
        return [each.quoted for each in self.columns]

    @property
    def others(self) -> list[str]:
        """Columns of the target that the load does not write and the server does not generate."""
        written = {each.name for each in self.columns}
        return [quote(c.name, MARK) for c in self.target.columns if c.name not in written and not c.is_generated]

    def key(self, names: Sequence[str] = ()) -> list[Stored]:
        wanted = names or self.load.key
        by_name = {each.column.name: each for each in self.stored} | {each.name: each for each in self.stored}
        return [by_name[name] for name in wanted]

    def alike(self, names: Sequence[str] = ()) -> str:
        """Equal keys; a NULL equals a NULL."""
        return " AND ".join(f"t.{each.quoted} <=> s.{each.quoted}" for each in self.key(names))

    def insert(self, where: str = "") -> str:
        listed = ", ".join(f"s.{name}" for name in self.names)
        tail = f" WHERE {where}" if where else ""
        return f"INSERT INTO {self.table} ({', '.join(self.names)}) SELECT {listed} FROM {self.staging} AS s{tail}"


def steps(merge: Merge) -> tuple[str, list[Step]]:
    """In words how the target changes, and the statements."""
    mode = merge.load.mode
    if mode is Mode.REPLACE:
        return _replace(merge)
    if mode is Mode.APPEND:
        return _append(merge)
    if mode is Mode.DELETE_INSERT:
        delete = f"DELETE t FROM {merge.table} AS t JOIN {merge.staging} AS s ON {merge.alike()}"
        return "deleted the rows of the loaded keys and inserted all rows", [
            Step(delete, "deleted"),
            Step(merge.insert(), "inserted"),
        ]
    if mode is Mode.INSERT_ONLY:
        return "inserted the rows of new keys", _insert_missing(merge)
    return _upsert(merge)


# ---- replace and append


def _replace(merge: Merge) -> tuple[str, list[Step]]:
    if merge.target.referenced_by:
        return _replace_referenced(merge)
    return "deleted all rows and inserted the new ones", [
        Step(f"DELETE FROM {merge.table}", "deleted"),
        Step(merge.insert(), "inserted"),
    ]


def in_place_key(load: Load, target: Target) -> tuple[str, ...]:
    """The key by which a table that foreign keys point to is replaced: deleting its rows would delete, or be refused for,
    those that point to them."""
    return load.key or target.primary_key


def _replace_referenced(merge: Merge) -> tuple[str, list[Step]]:
    key = in_place_key(merge.load, merge.target)
    loaded = {each.name for each in merge.columns} | {each.column.name for each in merge.columns}
    if not key or not loaded.issuperset(key):
        raise SpecError(
            f"table {merge.load.table} cannot be replaced: foreign keys point to it ({', '.join(merge.target.referenced_by)}),"
            " and it has no loaded primary key by which rows could be updated in place",
            "name a key, load its primary key, or use mode upsert",
        )
    alike = merge.alike(key)
    absent = f"DELETE t FROM {merge.table} AS t WHERE NOT EXISTS (SELECT 1 FROM {merge.staging} AS s WHERE {alike})"
    missing = merge.insert(f"NOT EXISTS (SELECT 1 FROM {merge.table} AS t WHERE {alike})")
    return "updated, inserted and deleted by key, since foreign keys point to the table", [
        _update(merge, key),
        Step(missing, "inserted"),
        Step(absent, "deleted"),
    ]


def _append(merge: Merge) -> tuple[str, list[Step]]:
    mark = merge.load.reread_to
    if mark is None or not merge.load.cursor:
        return "inserted all rows", [Step(merge.insert(), "inserted")]
    cursor = merge.key([merge.load.cursor])[0]
    value = cursor_value(CursorValue(cursor.final.text, mark.text))
    # The comparison comes first, so that it sees old rows only.
    return "inserted the rows that the table did not hold", [
        Step(_unheld(merge, cursor, value), "inserted"),
        Step(merge.insert(f"s.{cursor.quoted} > {value}"), "inserted"),
    ]


def _unheld(merge: Merge, cursor: Stored, mark: str) -> str:
    """Of the rows at or below the mark, or without a cursor, as many of each as the target lacks: with h rows held, a
    staged row is number h + 1 or later among its equals."""
    compared = [each for each in merge.columns if each.column.name not in merge.load.volatile]
    terms = [f"{_comparable(each)} AS _penstock_{at}" for at, each in enumerate(compared)]
    same = [f"_penstock_{at}" for at in range(len(compared))]
    again = f"({cursor.quoted} <= {mark} OR {cursor.quoted} IS NULL)"
    names = ", ".join(merge.names)
    staged = f"SELECT {names}, {', '.join(terms)} FROM {merge.staging} WHERE {again}"
    numbered = f"SELECT *, ROW_NUMBER() OVER (PARTITION BY {', '.join(same)}) AS _penstock_nth FROM ({staged}) AS s0"
    held = f"SELECT {', '.join(terms)} FROM {merge.table} WHERE {again}"
    counted = f"SELECT {', '.join(same)}, COUNT(*) AS _penstock_held FROM ({held}) AS t0 GROUP BY {', '.join(same)}"
    alike = " AND ".join(f"s.{name} <=> t.{name}" for name in same)
    listed = ", ".join(f"s.{name}" for name in merge.names)
    return (
        f"INSERT INTO {merge.table} ({names}) SELECT {listed} FROM ({numbered}) AS s LEFT JOIN ({counted}) AS t ON {alike}"
        " WHERE s._penstock_nth > COALESCE(t._penstock_held, 0)"
    )


def _comparable(stored: Stored) -> str:
    """A value that equals another only where they are the same: text by its bytes, not by its collation."""
    name = stored.quoted
    if stored.final.is_text or stored.final.name in ("json", "enum", "set"):
        return f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
    return name


# ---- by key


def winners(load: Load, staging: str, made: str, stored: Sequence[Stored]) -> str:
    """A table of one row a key: the greatest cursor, then the greatest row column by column, a value before NULL. Which
    row wins depends on the rows alone, never on the order in which parts arrived."""
    names = ", ".join(each.quoted for each in stored)
    key = [each for name in load.key for each in stored if each.column.name == name]
    first = [each for each in stored if each.column.name == load.cursor]
    rest = [each for each in stored if each.column.name not in {*load.key, load.cursor}]
    terms = [f"{each.quoted} DESC" for each in first] + [f"{_comparable(each)} DESC" for each in [*first, *rest, *key]]
    ranked = f"ROW_NUMBER() OVER (PARTITION BY {', '.join(each.quoted for each in key)} ORDER BY {', '.join(terms)})"
    return (
        f"INSERT INTO {made} ({names}) SELECT {names} FROM (SELECT {names}, {ranked} AS _penstock_nth FROM {staging}) AS ranked"
        " WHERE _penstock_nth = 1"
    )


def index_on(table: str, key: Sequence[Stored]) -> str:
    """An index that finds staged rows by key, where the target has none."""
    return f"ALTER TABLE {table} ADD INDEX ({', '.join(_indexed(each) for each in key)})"


def _indexed(stored: Stored) -> str:
    kind = stored.staged
    size = (*kind.mods, 0)[0]
    wide = (
        (kind.is_text and not 0 < size <= _PREFIX) or kind.name.endswith("blob") or kind.name in ("json", "varbinary")
    )
    return f"{stored.quoted}({_PREFIX})" if wide else stored.quoted


def _update(merge: Merge, names: Sequence[str] = ()) -> Step:
    """Rows whose key the target holds take the staged values; columns that the load lacks stay."""
    key = {each.name for each in merge.key(names)}
    rest = [each.quoted for each in merge.columns if each.name not in key] or [each.quoted for each in merge.key(names)]
    taken = ", ".join(f"t.{name} = s.{name}" for name in rest)
    return Step(f"UPDATE {merge.table} AS t JOIN {merge.staging} AS s ON {merge.alike(names)} SET {taken}", "updated")


def _insert_missing(merge: Merge) -> list[Step]:
    if merge.target.has_index_on(tuple(each.name for each in merge.key())):
        return [Step(merge.insert(f"NOT EXISTS (SELECT 1 FROM {merge.table} AS t WHERE {merge.alike()})"), "inserted")]
    keys = ", ".join(f"s.{each.quoted}" for each in merge.key())
    return [*_keep(merge, keys), _insert_unkept(merge), Step(f"DROP TEMPORARY TABLE {KEPT}")]


def _keep(merge: Merge, listed: str) -> list[Step]:
    """A temporary table of what the target holds of the staged keys, found by one scan of the target."""
    index = ", ".join(_indexed(each) for each in merge.key())
    # STRAIGHT_JOIN reads the target first and looks staging up by its index.
    joined = f"SELECT {listed} FROM {merge.table} AS t STRAIGHT_JOIN {merge.staging} AS s ON {merge.alike()}"
    return [
        Step(f"DROP TEMPORARY TABLE IF EXISTS {KEPT}"),
        Step(f"CREATE TEMPORARY TABLE {KEPT} (INDEX ({index})) ENGINE = InnoDB AS {joined}"),
    ]


def _insert_unkept(merge: Merge) -> Step:
    return Step(merge.insert(f"NOT EXISTS (SELECT 1 FROM {KEPT} AS t WHERE {merge.alike()})"), "inserted")


def _upsert(merge: Merge) -> tuple[str, list[Step]]:
    """An UPDATE checks unique indexes row by row and trips when two rows swap values, so a table with more than the key to
    keep unique gets its rows deleted and inserted, with the columns that the load lacks; and so does one whose key no
    index finds. Where foreign keys point to the table its rows have to stay."""
    key = {each.name for each in merge.key()}
    only_key = all(unique == key for unique in merge.target.unique_keys)
    finds = merge.target.has_index_on(tuple(key))
    if merge.target.referenced_by or (only_key and finds):
        missing = merge.insert(f"NOT EXISTS (SELECT 1 FROM {merge.table} AS t WHERE {merge.alike()})")
        return "updated and inserted by key", [_update(merge), Step(missing, "inserted")]
    listed = ", ".join([f"s.{name}" for name in merge.names] + [f"t.{name}" for name in merge.others])
    names = ", ".join([*merge.names, *merge.others])
    return "deleted and inserted the rows of the loaded keys, and inserted those of new keys", [
        *_keep(merge, listed),
        Step(f"DELETE t FROM {merge.table} AS t JOIN {merge.staging} AS s ON {merge.alike()}", "updated"),
        Step(f"INSERT INTO {merge.table} ({names}) SELECT {names} FROM {KEPT}"),
        _insert_unkept(merge),
        Step(f"DROP TEMPORARY TABLE {KEPT}"),
    ]
