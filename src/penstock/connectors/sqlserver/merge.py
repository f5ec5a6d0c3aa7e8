"""What each mode does to an existing target, as set-based statements: the plan that is shown and the one that runs.

No MERGE: its known defects touch triggers, filtered indexes and concurrent writers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from penstock.connectors.sqlserver.relation import Target
from penstock.connectors.sqlserver.staging import ATTEMPT
from penstock.connectors.sqlserver.stored import Stored
from penstock.connectors.sqlserver.types import BYTES, TEXTS, Declared, text_value
from penstock.core.errors import SpecError
from penstock.core.load import Load, Mode
from penstock.core.names import TableName, quote

_EXACT = "Latin1_General_100_BIN2"
_LARGE = {"xml", "json", "geography", "geometry", "hierarchyid", "sql_variant", "text", "ntext", "image", "vector"}


@dataclass(frozen=True)
class Step:
    """One statement of a publish. `counts` says what its rows are: "inserted", "updated", "deleted", "kept" (of
    the staged rows), "emptied" and "matched" (it returns a count) or "". Values are bound as `?`. `note` tells what it did;
    {0} in it stands for the rows that were not kept."""

    sql: str
    values: tuple[object, ...] = ()
    counts: str = ""
    note: str = ""

    def __str__(self) -> str:
        bound = "".join(f"\n-- ? = {value!r}" for value in self.values)
        return self.sql.strip() + bound


@dataclass(frozen=True)
class Merge:
    """A load, its existing target after schema changes, and staging with the columns in the order of the load.

    `by_collation`: keys are compared as the target's unique index compares them, since it would refuse others.
    `repeats_key`: staging may hold a key more than once.
    """

    load: Load
    target: Target
    staging: TableName
    stored: tuple[Stored, ...]
    by_collation: bool = False
    repeats_key: bool = True

    @property
    def table(self) -> str:
        return self.target.name.quoted()

    @property
    def columns(self) -> tuple[Stored, ...]:
        """Columns that are written: all but those the server alone gives values."""
        generated = {column.name for column in self.target.columns if column.is_generated}
        return tuple(stored for stored in self.stored if stored.name not in generated)

    def rows(self, names: Sequence[str] = ()) -> str:
        """Staged rows in the target's types, as a table expression; all columns unless names are given."""
        chosen = [stored for stored in self.columns if not names or stored.name in names]
        listed = ", ".join(f"{stored.expression()} AS {stored.quoted}" for stored in chosen)
        return f"(SELECT {listed} FROM {self.staging.quoted()})"

    def insert(self, where: str = "") -> str:
        names = ", ".join(stored.quoted for stored in self.columns)
        values = ", ".join(f"s.{stored.quoted}" for stored in self.columns)
        kept = f"\nWHERE {where}" if where else ""
        return f"INSERT INTO {self.table} ({names})\nSELECT {values} FROM {self.rows()} AS s{kept}"

    def inserting(self, sql: str, values: tuple[object, ...] = ()) -> list[Step]:
        """An INSERT, which may bring values of the identity column."""
        step = Step(sql, values, "inserted")
        if self.target.identity not in {stored.name for stored in self.columns} or not self.target.identity:
            return [step]
        on, off = (Step(f"SET IDENTITY_INSERT {self.table} {state}") for state in ("ON", "OFF"))
        return [on, step, off]

    def updates(self) -> list[str]:
        """Quoted columns that an update sets: neither the key nor the identity."""
        fixed = {*self.load.key, self.target.identity}
        return [stored.quoted for stored in self.columns if stored.name not in fixed]

    def declared(self, name: str) -> Declared:
        return next(stored.final for stored in self.stored if stored.name == name)

    def nullable(self, name: str) -> bool:
        held = self.target.column(name)
        return held is None or held.nullable

    def alike(self) -> str:
        """Rows t and s have the same key; a NULL equals a NULL."""
        return " AND ".join(
            same(f"t.{quote(name)}", f"s.{quote(name)}", self.declared(name), self.nullable(name), self.by_collation)
            for name in self.load.key
        )


def same(one: str, other: str, declared: Declared, nullable: bool, by_collation: bool = False) -> str:
    """SQL that compares two values exactly. Collations take letters for equal that are not, and all of them ignore spaces
    at the end; the plain comparison comes first, since an index may serve it."""
    equal = f"{one} = {other}"
    if declared.name in TEXTS and not by_collation:
        exact = f"{one} COLLATE {_EXACT} = {other} COLLATE {_EXACT}"
        equal = f"{equal} AND {exact} AND DATALENGTH({one}) = DATALENGTH({other})"
    elif declared.name in BYTES:
        equal = f"{equal} AND DATALENGTH({one}) = DATALENGTH({other})"
    return f"({equal} OR {one} IS NULL AND {other} IS NULL)" if nullable else f"({equal})"


def grouped(expression: str, declared: Declared, by_collation: bool = False) -> str:
    """What PARTITION BY takes so that exactly equal values, and they alone, come together."""
    if declared.name in _LARGE:
        expression, declared = f"CAST({expression} AS nvarchar(max))", Declared("nvarchar", -1)
    if declared.name in TEXTS and not by_collation:
        return f"{expression} COLLATE {_EXACT}, DATALENGTH({expression})"
    return f"{expression}, DATALENGTH({expression})" if declared.name in BYTES else expression


def ordered(expression: str, declared: Declared) -> str:
    """What ORDER BY takes, the greatest first and a value before NULL; text by its code points, the same everywhere."""
    if declared.name in _LARGE:
        return f"CAST({expression} AS nvarchar(max)) COLLATE {_EXACT} DESC"
    if declared.name in TEXTS:
        return f"{expression} COLLATE {_EXACT} DESC, DATALENGTH({expression}) DESC"
    return f"{expression} DESC"


def steps(merge: Merge, replace_with: str) -> tuple[str, list[Step]]:
    """In words how the target changes, and the statements."""
    return _MODES[merge.load.mode](merge, replace_with)


# ---- replace and append


def _replace(merge: Merge, replace_with: str) -> tuple[str, list[Step]]:
    if merge.target.referenced_by:
        return _replace_referenced(merge)
    insert = merge.inserting(merge.insert())
    if replace_with == "delete":
        delete = Step(f"DELETE FROM {merge.table} WITH (TABLOCK)", (), "deleted")
        return "deleted all rows and inserted the new ones", [delete, *insert]
    # TRUNCATE does not say how many rows it removes; nobody else changes the table from the count on.
    count = Step(f"SELECT COUNT_BIG(*) FROM {merge.table} WITH (TABLOCKX, HOLDLOCK)", (), "emptied")
    return "truncated and inserted in one transaction", [count, Step(f"TRUNCATE TABLE {merge.table}"), *insert]


def _replace_referenced(merge: Merge) -> tuple[str, list[Step]]:
    """Other tables' foreign keys forbid to delete rows that stay: upsert, then delete what is absent."""
    key = merge.load.key or merge.target.primary_key
    if not key or not {stored.name for stored in merge.columns}.issuperset(key):
        raise SpecError(
            f"table {merge.target.name} cannot be replaced: foreign keys point to it ({', '.join(merge.target.referenced_by)}),"
            " and it has no loaded primary key by which rows could be updated in place",
            "name a key, load its primary key, or use mode upsert",
        )
    keyed = replace(merge, load=replace(merge.load, key=tuple(key)))
    absent = f"DELETE t FROM {merge.table} AS t\nWHERE NOT EXISTS (SELECT 1 FROM {keyed.rows(key)} AS s WHERE {keyed.alike()})"
    return "updated, inserted and deleted by key, since foreign keys point to the table", [
        *_by_key(keyed, update=True),
        Step(absent, counts="deleted"),
    ]


def _append(merge: Merge, _: str) -> tuple[str, list[Step]]:
    if merge.load.reread_to is None or not merge.load.cursor:
        return "inserted all rows", merge.inserting(merge.insert())
    value = merge.load.reread_to.text
    mark = text_value(merge.load.reread_to.type)
    cursor = quote(merge.load.cursor)
    return "inserted the rows that the table did not hold", [
        *merge.inserting(_unheld(merge, cursor, mark), (value,) * 2),
        *merge.inserting(merge.insert(f"s.{cursor} > {mark}"), (value,)),
    ]


def _unheld(merge: Merge, cursor: str, mark: str) -> str:
    """Of the rows at or below the mark, or without a cursor, as many of each as the target lacks.

    Both sides are sorted into groups of equal rows (NULL equals NULL), the target's first: with h rows held, a staged row
    is number h + 1 or later, and the first h staged ones are there already.
    """
    names = ", ".join(stored.quoted for stored in merge.columns)
    alike = [grouped(stored.quoted, stored.final) for stored in merge.columns if stored.name not in merge.load.volatile]
    by = f"PARTITION BY {', '.join(alike)}" if alike else "PARTITION BY 1"
    return f"""
INSERT INTO {merge.table} ({names})
SELECT {names} FROM (
    SELECT both_sides.*, ROW_NUMBER() OVER ({by} ORDER BY _penstock_side) AS _penstock_nth,
        SUM(CASE _penstock_side WHEN 0 THEN 1 ELSE 0 END) OVER ({by}) AS _penstock_held
    FROM (
        SELECT 0 AS _penstock_side, {names} FROM {merge.table} WITH (HOLDLOCK) WHERE {cursor} <= {mark} OR {cursor} IS NULL
        UNION ALL
        SELECT 1, {names} FROM {merge.rows()} AS s WHERE {cursor} <= {mark} OR {cursor} IS NULL
    ) AS both_sides
) AS ranked WHERE _penstock_side = 1 AND _penstock_nth > 2 * _penstock_held
"""


# ---- by key


def _delete_insert(merge: Merge, _: str) -> tuple[str, list[Step]]:
    held = f"SELECT 1 FROM {merge.rows(merge.load.key)} AS s WHERE {merge.alike()}"
    return "deleted the rows of the loaded keys and inserted all rows", [
        Step(f"DELETE t FROM {merge.table} AS t\nWHERE EXISTS ({held})", counts="deleted"),
        *merge.inserting(merge.insert()),
    ]


def _upsert(merge: Merge, _: str) -> tuple[str, list[Step]]:
    return "updated and inserted by key", [*_winners(merge), *_by_key(merge, update=True)]


def _insert_only(merge: Merge, _: str) -> tuple[str, list[Step]]:
    return "inserted the rows of new keys", [*_winners(merge), *_by_key(merge, update=False)]


def _winners(merge: Merge) -> list[Step]:
    """Nothing to do where the keys are known not to repeat."""
    return keep_winners(merge.load, merge.staging, merge.stored, merge.by_collation) if merge.repeats_key else []


def keep_winners(load: Load, staging: TableName, stored: Sequence[Stored], by_collation: bool = False) -> list[Step]:
    """Leave one staged row a key: the greatest cursor, then the greatest row column by column. Which row wins depends on
    the rows alone, never on the order in which parts arrived. Winners are copied, which logs less than deleting."""
    named = {one.name: one for one in stored}
    keys = [grouped(named[name].quoted, named[name].staged, by_collation) for name in load.key]
    first = [named[load.cursor]] if load.cursor else []
    # Under a collation several spellings are one key; then which spelling wins must not be chance either.
    again = [named[name] for name in load.key] if by_collation else []
    rest = [one for one in stored if one.name not in {*load.key, load.cursor}]
    order = [ordered(one.quoted, one.staged) for one in [*first, *rest, *again]]
    by = f" ORDER BY {', '.join(order) or '(SELECT 1)'}"
    names = ", ".join([*(one.quoted for one in stored), quote(ATTEMPT)])
    winners = TableName((staging.schema, f"{staging.table}_kept"))
    sql = f"""
SELECT {names} INTO {winners.quoted()} FROM (
    SELECT {names}, ROW_NUMBER() OVER (PARTITION BY {", ".join(keys)}{by}) AS _penstock_nth FROM {staging.quoted()}
) AS ranked WHERE _penstock_nth = 1
"""
    return [
        Step(sql, counts="kept", note="{0} rows of the load gave way to another row of the same key"),
        Step(f"DROP TABLE {staging.quoted()}"),
        Step("EXEC sp_rename ?, ?, N'OBJECT'", (winners.quoted(), staging.table)),
    ]


def _by_key(merge: Merge, update: bool) -> list[Step]:
    """Rows whose key the target holds are updated (or left), the others inserted; what was not found stays locked."""
    found = []
    taken = merge.updates()
    if update and taken:
        listed = ", ".join(f"{name} = s.{name}" for name in taken)
        sql = f"UPDATE t SET {listed}\nFROM {merge.table} AS t WITH (UPDLOCK, HOLDLOCK) JOIN {merge.rows()} AS s ON {merge.alike()}"
        found.append(Step(sql, counts="updated"))
    elif update:
        held = f"SELECT 1 FROM {merge.rows(merge.load.key)} AS s WHERE {merge.alike()}"
        found.append(Step(f"SELECT COUNT_BIG(*) FROM {merge.table} AS t WHERE EXISTS ({held})", counts="matched"))
    missing = f"NOT EXISTS (SELECT 1 FROM {merge.table} AS t WITH (UPDLOCK, HOLDLOCK) WHERE {merge.alike()})"
    return [*found, *merge.inserting(merge.insert(missing))]


_MODES: dict[Mode, Callable[[Merge, str], tuple[str, list[Step]]]] = {
    Mode.REPLACE: _replace,
    Mode.APPEND: _append,
    Mode.UPSERT: _upsert,
    Mode.DELETE_INSERT: _delete_insert,
    Mode.INSERT_ONLY: _insert_only,
}
