"""A publish, step by step: what the staged rows are like, the statements, what they did; one transaction of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock.connectors.postgres.changes import adapt, become, has_primary_key, nullable_now
from penstock.connectors.postgres.merge import (
    CAME_AS_TEXT,
    NULL_KEYS,
    NULLS_IN,
    REPEATED_KEYS,
    TRUE_KEY,
    Merge,
    Step,
    steps,
)
from penstock.connectors.postgres.relation import Target
from penstock.connectors.postgres.session import Connection, query
from penstock.connectors.postgres.staging import Staged, staging_table
from penstock.core.errors import CountMismatch, DataError
from penstock.core.load import Load, Mode, Published
from penstock.core.names import TableName, quote


@dataclass(frozen=True)
class Publication:
    """A load on its way into `where`: `target` is None while there is no such table."""

    load: Load
    where: TableName
    target: Target | None
    staged: tuple[Staged, ...]
    replace_with: str
    count_by: str

    @property
    def staging(self) -> TableName:
        return staging_table(self.load, self.where)

    @property
    def is_keyed(self) -> bool:
        return self.load.mode in (Mode.UPSERT, Mode.INSERT_ONLY, Mode.DELETE_INSERT)

    def key(self) -> tuple[str, ...]:
        """The columns by which rows are recognised: of the load, or of a table that is replaced in place."""
        if not self.load.key and self.target is not None and self.target.referenced_by:
            return self.target.primary_key
        return self.load.key

    def plan(self) -> tuple[str, list[Step]]:
        """In words which way is taken, and the statements in order. Raises SchemaChanged where the policy forbids one."""
        if self.target is None:
            return "created the table", become(self.load, self.where, self.staging, self.staged)
        adapted = adapt(self.load, self.target, self.staged)
        merge = Merge(self.load, self.target, self.staging, self.staged)
        how, merged = steps(merge, self.replace_with)
        return how, [*adapted, *merged, *self._sequences(), Step(f"DROP TABLE {self.staging.quoted()}")]

    def _sequences(self) -> list[Step]:
        """Sequences of loaded columns go past the greatest value, never back."""
        assert self.target is not None
        loaded = {column.name for column in self.staged}
        return [
            Step(f"""
SELECT setval('{column.sequence.replace("'", "''")}', top)
FROM (SELECT max({quote(column.name)})::bigint AS top FROM {self.where.quoted()}) AS loaded, {column.sequence}
WHERE top >= last_value
""")
            for column in self.target.columns
            if column.sequence and column.name in loaded
        ]


# ---- what the staged rows are like


@dataclass(frozen=True)
class Facts:
    """`rows` in staging; `true` are the conditions of steps that hold. `counted_by` is as in Published."""

    rows: int
    true: frozenset[str]
    counted_by: str


def facts(connection: Connection, publication: Publication, acknowledged: int | None) -> Facts:
    """At most one scan of staging, and one of its keys where repetition matters. `acknowledged` is the number of rows
    that the server confirmed, None where they must be counted. Raises DataError for a NULL that the target's primary key
    cannot take, or a repeated key of a table that is replaced in place."""
    staged, target = publication.staged, publication.target
    keys = [column for name in publication.key() for column in staged if column.name == name]
    loose = nullable_now(target, staged) if target is not None else []
    seen = _seen(connection, publication, [*keys, *loose], acknowledged)
    null_keys = [column.name for column in keys if seen.nulls[column.name]]
    _check_key_filled(publication, {name: seen.nulls[name] for name in null_keys})
    true = {NULLS_IN + column.name for column in loose if seen.nulls[column.name]}
    true |= {CAME_AS_TEXT} if seen.has_text else set()
    true |= {NULL_KEYS} if null_keys else set()
    true |= _key_facts(connection, publication, keys, bool(null_keys))
    return Facts(seen.rows, frozenset(true), seen.counted_by)


@dataclass(frozen=True)
class _Seen:
    """Rows in staging, of them those without a value by column, whether any came with a value as text."""

    rows: int
    nulls: dict[str, int]
    has_text: bool
    counted_by: str


def _seen(connection: Connection, publication: Publication, asked: Sequence[Staged], acknowledged: int | None) -> _Seen:
    """One scan of staging, or none where the server's word is enough: for columns that staging itself keeps filled, and
    for the number of rows where they were acknowledged."""
    nulls = {column.name: 0 for column in asked}
    unsure = [column for column in asked if not column.is_filled]
    twins = [f"bool_or({quote(column.twin)} IS NOT NULL)" for column in publication.staged if column.twin]
    if acknowledged is not None and not unsure and not twins:
        return _Seen(acknowledged, nulls, False, "acknowledged")
    listed = ["count(*)", *(f"count(*) FILTER (WHERE {_is_null(column)})" for column in unsure), *twins]
    row = query(connection, f"SELECT {', '.join(listed)} FROM {publication.staging.quoted()}")[0]
    nulls |= zip([column.name for column in unsure], row[1 : 1 + len(unsure)], strict=True)
    return _Seen(row[0], nulls, any(row[1 + len(unsure) :]), "scan")


def _is_null(column: Staged) -> str:
    twin = f" AND {quote(column.twin)} IS NULL" if column.twin else ""
    return f"{column.stored.quoted} IS NULL{twin}"


def _check_key_filled(publication: Publication, nulls: dict[str, int]) -> None:
    fixed = set(publication.target.primary_key) if publication.target is not None else set()
    for name, count in nulls.items():
        if name in fixed:
            raise DataError(
                f"{count} rows for table {publication.where} have no value in {name!r}, a column of its primary key",
                "exclude such rows with where, or choose another target",
            )


def _key_facts(connection: Connection, publication: Publication, keys: Sequence[Staged], has_null: bool) -> set[str]:
    in_place = publication.target is not None and bool(publication.target.referenced_by)
    new = publication.target is None and has_primary_key(publication.load)
    one_row = publication.load.mode in (Mode.UPSERT, Mode.INSERT_ONLY)
    if not keys or not (one_row or new or in_place):
        return set()
    expressions = ", ".join(column.expression() for column in keys)
    sql = f"SELECT {expressions}, count(*) FROM {publication.staging.quoted()} GROUP BY {expressions} HAVING count(*) > 1 LIMIT 1"
    found = query(connection, sql)
    if found and publication.load.mode is Mode.REPLACE and in_place:
        *example, count = found[0]
        raise DataError(
            f"{count} rows for table {publication.where} have the key {tuple(map(str, example))}, which must be unique",
            "name another key, or make the source's rows unique",
        )
    if found:
        return {REPEATED_KEYS} | ({TRUE_KEY} if one_row and not has_null else set())
    return set() if has_null else {TRUE_KEY}


# ---- doing it


@dataclass
class Tally:
    """What the statements did, counted by the server."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    notes: list[str] = field(default_factory=list)


def carry_out(connection: Connection, publication: Publication, found: Facts) -> Published:
    """Run the statements within the open transaction. Raises CountMismatch when the table took fewer rows than came."""
    how, planned = publication.plan()
    tally = Tally(notes=_notes(publication, found))
    for step in planned:
        if not step.only_if or step.only_if in found.true:
            _run(connection, step, tally)
    if publication.target is None:
        rows = _rows_of_new(connection, publication, found)
        return Published(found.rows, rows, 0, 0, 0, rows, how, notes=tuple(tally.notes), counted_by=found.counted_by)
    load = publication.load
    takes_all = load.mode is Mode.APPEND and load.reread_to is None
    takes_all = takes_all or (load.mode is Mode.REPLACE and not publication.target.referenced_by)
    if takes_all and tally.inserted != found.rows:
        raise CountMismatch(
            f"table {publication.where} took {tally.inserted} of {found.rows} rows, and is as it was",
            "a trigger or rule of the table drops or redirects rows; disable it for the load",
        )
    after = _rows_after(connection, publication, publication.target, tally)
    before = None if after is None else after - tally.inserted + tally.deleted
    counted = (tally.inserted, tally.updated, tally.deleted)
    return Published(found.rows, *counted, before, after, how, notes=tuple(tally.notes), counted_by=found.counted_by)


# A table up to this size is counted after a load in about 0.02 s of CPU; the cost for larger ones has no bound.
_SMALL_BYTES = 64 * 2**20

# Of the table $1: whether an INSERT adds just the rows that it reports (no trigger or rule may add or remove others), and
# the bytes of its heap, partitions included.
_AFTER = """
SELECT c.relkind = 'r' AND NOT c.relhasrules AND NOT c.relhassubclass
    AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    greatest(pg_relation_size(c.oid), (SELECT sum(pg_relation_size(p.relid)) FROM pg_partition_tree(c.oid) AS p))::bigint
FROM pg_class AS c WHERE c.oid = $1
"""


def _rows_of_new(connection: Connection, publication: Publication, found: Facts) -> int:
    """Staging that became the table as it was counted needs no second count, unless rows of equal keys were dropped."""
    return _counted(connection, publication) if REPEATED_KEYS in found.true else found.rows


def _rows_after(connection: Connection, publication: Publication, target: Target, tally: Tally) -> int | None:
    """The rows of a table that was there before: counted where that is cheap, asked for, or what a replace is proven by;
    None for a large table of which a load changed a part."""
    if publication.count_by == "scan":
        return _counted(connection, publication)
    is_plain, size_bytes = query(connection, _AFTER, [target.oid])[0]
    is_replaced = publication.load.mode is Mode.REPLACE
    if is_replaced and is_plain and not target.referenced_by:
        return tally.inserted
    return _counted(connection, publication) if is_replaced or size_bytes <= _SMALL_BYTES else None


def _counted(connection: Connection, publication: Publication) -> int:
    return int(query(connection, f"SELECT count(*) FROM {publication.where.quoted()}")[0][0])


def _run(connection: Connection, step: Step, tally: Tally) -> None:
    cursor = connection.execute(step.sql, step.values or None)
    if step.counts == "merged":
        row = cursor.fetchone()
        assert row is not None
        tally.inserted += row[0]
        tally.updated += row[1]
    elif step.counts == "emptied":
        row = cursor.fetchone()
        assert row is not None
        tally.deleted += row[0]
    elif step.counts:
        setattr(tally, step.counts, getattr(tally, step.counts) + max(cursor.rowcount, 0))
    if step.note:
        tally.notes.append(step.note.replace("{0}", str(cursor.rowcount)))


def _notes(publication: Publication, found: Facts) -> list[str]:
    """What was adapted without a statement of its own."""
    notes = []
    if publication.target is None:
        if has_primary_key(publication.load) and TRUE_KEY not in found.true:
            notes.append(f"no primary key: ({', '.join(publication.load.key)}) holds NULL or repeats")
        return notes
    held = {column.name: column for column in publication.target.columns}
    loaded = {column.name for column in publication.staged}
    generated = [name for name in held if name in loaded and held[name].is_generated]
    absent = [name for name in held if name not in loaded and not held[name].fills_itself]
    notes += [f"generated by the target itself: {', '.join(generated)}"] if generated else []
    notes += [f"kept, though not loaded: {', '.join(absent)}"] if absent else []
    fixed = [
        name for name in held if name in loaded and held[name].identity == "a" and name not in publication.load.key
    ]
    if fixed and publication.load.mode is Mode.UPSERT:
        notes.append(f"identity columns are never updated: {', '.join(fixed)}")
    return notes
