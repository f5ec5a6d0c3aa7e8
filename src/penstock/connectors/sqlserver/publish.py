"""A publish, step by step: what the staged rows are like, the statements, what they did; one transaction of the caller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from penstock.connectors.sqlserver.changes import Measured, absent, adapt, becomes, has_primary_key, shaped
from penstock.connectors.sqlserver.errors import of_driver
from penstock.connectors.sqlserver.ledger import SqlServerLedger
from penstock.connectors.sqlserver.line import Line
from penstock.connectors.sqlserver.merge import Merge, Step, grouped, steps
from penstock.connectors.sqlserver.relation import Target
from penstock.connectors.sqlserver.staging import ATTEMPT, staging_table
from penstock.connectors.sqlserver.stored import Stored
from penstock.connectors.sqlserver.types import TEXTS
from penstock.core.errors import CountMismatch, DataError
from penstock.core.load import Expected, Load, Mode, Published
from penstock.core.names import TableName, quote

_ONE_ROW_A_KEY = (Mode.UPSERT, Mode.INSERT_ONLY)
_EXACT = "Latin1_General_100_BIN2"


@dataclass(frozen=True)
class Publication:
    """A load on its way into `where`: `target` is None while there is no such table."""

    load: Load
    where: TableName
    target: Target | None
    stored: tuple[Stored, ...]
    replace_with: str
    table_kind: str

    @property
    def staging(self) -> TableName:
        return staging_table(self.load, self.where)

    @property
    def by_collation(self) -> bool:
        """Whether the target's own unique index decides which keys are equal: it takes some letters for each other."""
        if self.target is None or frozenset(self.load.key) not in self.target.unique_keys:
            return False
        keys = [column.declared for column in self.target.columns if column.name in self.load.key]
        return any(key.name in TEXTS and "_BIN" not in key.collation.upper() for key in keys)

    def plan(self, measured: Measured | None = None) -> tuple[str, list[Step]]:
        """In words which way is taken, and the statements in order. Raises SchemaChanged where the policy forbids one."""
        if self.target is None:
            made = becomes(self.load, self.where, self.staging, self.stored, measured)
            return "created the table", [*made, *shaped(self.load, self.where, self.stored, self.table_kind, measured)]
        adapted = adapt(self.load, self.target, self.stored, measured)
        repeats = measured is None or measured.repeats_key
        merge = Merge(self.load, self.target, self.staging, self.stored, self.by_collation, repeats)
        how, merged = steps(merge, self.replace_with)
        return how, [*adapted, *merged, Step(f"DROP TABLE {self.staging.quoted()}")]


# ---- what the staged rows are like


def clean(line: Line, publication: Publication, ledger: SqlServerLedger, expected: Expected) -> None:
    """Lock staging and leave the rows of marked attempts only. Raises CountMismatch when an attempt's rows are not those
    that were counted when it was marked, or when they are not what is expected."""
    load, table = publication.load, publication.staging.quoted()
    marked = ledger.attempts(load)
    sql = f"SELECT {quote(ATTEMPT)}, COUNT_BIG(*) FROM {table} WITH (TABLOCKX, HOLDLOCK) GROUP BY {quote(ATTEMPT)}"
    held = {int(row[0]): int(row[1]) for row in line.query(sql)}
    wrong = [attempt for attempt, rows in marked.items() if held.get(attempt, 0) != rows]
    rows = sum(held.get(attempt, 0) for attempt in marked)
    if wrong or Expected(len(marked), rows) != expected:
        raise CountMismatch(
            f"staging of table {load.table} holds {rows} rows, of {sum(marked.values())} noted in {len(marked)} parts;"
            f" expected {expected.rows} rows in {expected.parts} parts",
            "the table is as it was; run the job again with --fresh",
        )
    for attempt in sorted(held.keys() - marked.keys()):
        line.execute(f"DELETE FROM {table} WHERE {quote(ATTEMPT)} = ?", [attempt])


def measure(line: Line, publication: Publication, ledger: SqlServerLedger) -> Measured:
    """One scan of staging, and one of its keys where repetition matters. Raises DataError for a NULL that the target's key
    cannot take, a repeated key of a table that is replaced in place, or a letter that its code page lacks."""
    nulls = _nulls(line, publication)
    _check_letters(line, publication)
    repeats, is_true = _key_facts(line, publication, bool(nulls & set(publication.load.key)))
    return Measured(ledger.sizes(publication.load), frozenset(nulls), is_true, repeats)


def _nulls(line: Line, publication: Publication) -> set[str]:
    target = publication.target
    fixed = {column.name for column in target.columns if not column.nullable} if target is not None else set()
    asked = [one for one in publication.stored if one.name in fixed or one.name in publication.load.key]
    if not asked:
        return set()
    counts = ", ".join(f"SUM(CASE WHEN {one.quoted} IS NULL THEN CAST(1 AS bigint) ELSE 0 END)" for one in asked)
    row = line.query(f"SELECT {counts} FROM {publication.staging.quoted()}")[0]
    found = {one.name: int(count) for one, count in zip(asked, row, strict=True) if count}
    for name in found:
        if target is not None and name in target.primary_key:
            raise DataError(
                f"{found[name]} rows for table {publication.where} have no value in {name!r}, a column of its primary key",
                "exclude such rows with where, or choose another target",
            )
    return set(found)


def _check_letters(line: Line, publication: Publication) -> None:
    """A conversion to another code page writes ? for letters that it does not have, and says nothing."""
    for one in publication.stored:
        if not one.is_code_page:
            continue
        collation = f" COLLATE {one.final.collation}" if one.final.collation else ""
        kept = f"CAST(CAST({one.quoted}{collation} AS varchar(max)) AS nvarchar(max))"
        lost = f"CAST({one.quoted} AS nvarchar(max)) COLLATE {_EXACT} <> {kept} COLLATE {_EXACT}"
        count = int(line.query(f"SELECT COUNT_BIG(*) FROM {publication.staging.quoted()} WHERE {lost}")[0][0])
        if count:
            raise DataError(
                f"{count} rows for table {publication.where} have letters in {one.name!r} that {one.final.full} cannot hold",
                "make the column nvarchar, or exclude such rows",
            )


def _key_facts(line: Line, publication: Publication, has_null: bool) -> tuple[bool, bool]:
    """Whether staging holds a key more than once, and whether a new table may have the key as primary key."""
    load, target = publication.load, publication.target
    in_place = target is not None and bool(target.referenced_by) and load.mode is Mode.REPLACE
    key = load.key or (target.primary_key if in_place and target is not None else ())
    if not key or not (load.mode in _ONE_ROW_A_KEY or in_place or (target is None and has_primary_key(load))):
        return False, False
    named = {one.name: one for one in publication.stored}
    by_collation = publication.by_collation or in_place
    repeats = _repeats(line, publication, key, by_collation)
    if repeats and in_place:
        raise DataError(
            f"rows for table {publication.where} have the same key ({', '.join(key)}), which must be unique",
            "name another key, or make the source's rows unique",
        )
    if target is not None or has_null:
        return repeats, False
    if repeats and load.mode is Mode.REPLACE:
        return True, False
    # A primary key compares by the collation: keys that are exactly unique may still be equal to it.
    has_text = any(named[name].staged.name in TEXTS for name in key)
    return repeats, not (has_text and _repeats(line, publication, key, True, distinct=True))


def _repeats(
    line: Line, publication: Publication, key: Sequence[str], by_collation: bool, distinct: bool = False
) -> bool:
    """Whether a key comes more than once; with `distinct`, in more than one spelling."""
    named = {one.name: one for one in publication.stored}
    groups = ", ".join(grouped(named[name].quoted, named[name].staged, by_collation) for name in key)
    rows = publication.staging.quoted()
    if distinct:
        exact = ", ".join(grouped(named[name].quoted, named[name].staged) for name in key)
        spelt = [f"MIN({named[name].quoted}) AS {named[name].quoted}" for name in key]
        rows = f"(SELECT {', '.join(spelt)} FROM {rows} GROUP BY {exact})"
    sql = f"SELECT TOP (1) 1 FROM {rows} AS s GROUP BY {groups} HAVING COUNT_BIG(*) > 1"
    return bool(line.query(sql))


# ---- doing it


@dataclass
class Tally:
    """What the statements did, counted by the server."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    notes: list[str] = field(default_factory=list)


def carry_out(line: Line, publication: Publication, measured: Measured, rows: int) -> Published:
    """Run the statements within the open transaction. Raises CountMismatch when the table took fewer rows than came."""
    how, planned = publication.plan(measured)
    tally = Tally(notes=_notes(publication, measured))
    with _identity_off(line, publication):
        for step in planned:
            _run(line, step, tally, rows)
    after = int(line.query(f"SELECT COUNT_BIG(*) FROM {publication.where.quoted()}")[0][0])
    if publication.target is None:
        return Published(rows, after, 0, 0, 0, after, how, notes=tuple(tally.notes))
    load = publication.load
    takes_all = load.mode is Mode.DELETE_INSERT or (load.mode is Mode.APPEND and load.reread_to is None)
    takes_all = takes_all or (load.mode is Mode.REPLACE and not publication.target.referenced_by)
    if takes_all and tally.inserted != rows:
        raise CountMismatch(
            f"table {publication.where} took {tally.inserted} of {rows} rows, and is as it was",
            "a trigger of the table drops or redirects rows; disable it for the load",
        )
    before = after - tally.inserted + tally.deleted
    counted = (tally.inserted, tally.updated, tally.deleted)
    return Published(rows, *counted, before, after, how, notes=tuple(tally.notes))


@contextlib.contextmanager
def _identity_off(line: Line, publication: Publication) -> Iterator[None]:
    """IDENTITY_INSERT belongs to the session, not to the transaction: an error must not leave it on."""
    try:
        yield
    except BaseException:
        if publication.target is not None and publication.target.identity and not line.is_broken:
            with contextlib.suppress(*of_driver()):
                line.execute(f"SET IDENTITY_INSERT {publication.where.quoted()} OFF")
        raise


def _run(line: Line, step: Step, tally: Tally, rows: int) -> None:
    count = 0
    if step.counts in ("emptied", "matched"):
        count = int(line.query(step.sql, step.values)[0][0])
        tally.deleted += count if step.counts == "emptied" else 0
        tally.updated += count if step.counts == "matched" else 0
    elif step.counts == "kept":
        count = rows - line.changed(step.sql, step.values)
    elif step.counts:
        count = line.changed(step.sql, step.values)
        setattr(tally, step.counts, getattr(tally, step.counts) + count)
    else:
        line.execute(step.sql, step.values)
    if step.note and (count or "{0}" not in step.note):
        tally.notes.append(step.note.replace("{0}", str(count)))


def _notes(publication: Publication, measured: Measured) -> list[str]:
    """What was adapted or left without a statement of its own."""
    load, target = publication.load, publication.target
    if target is None:
        if has_primary_key(load) and not measured.has_true_key:
            return [f"no primary key: ({', '.join(load.key)}) holds NULL or repeats"]
        return []
    held = {column.name: column for column in target.columns}
    loaded = {one.name for one in publication.stored}
    generated = [name for name in held if name in loaded and held[name].is_generated]
    notes = [f"given by the target itself: {', '.join(generated)}"] if generated else []
    kept = absent(target, loaded)
    notes += [f"kept, though not loaded: {', '.join(kept)}"] if kept else []
    if publication.by_collation:
        notes.append(f"keys are equal as the table's unique index takes them: {', '.join(load.key)}")
    if target.identity in loaded and target.identity not in load.key and load.mode is Mode.UPSERT:
        notes.append(f"identity columns are never updated: {target.identity}")
    return notes


def with_sizes(publication: Publication, wide: dict[str, object]) -> Publication:
    """The publication with staging's columns as they are now."""
    stored = tuple(replace(one, staged=wide.get(one.name, one.staged)) for one in publication.stored)  # type: ignore[arg-type]
    return replace(publication, stored=stored)
