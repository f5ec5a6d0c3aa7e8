"""A publish, step by step: what the staged rows are like, what adapts the target, the statements, what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.connectors.mysql.mapping import Server
from penstock.connectors.mysql.merge import Merge, Step, in_place_key, index_on, steps, winners
from penstock.connectors.mysql.protocol import Connection
from penstock.connectors.mysql.relation import Target, definition_of, nullable, text_of, with_type
from penstock.connectors.mysql.session import execute, query
from penstock.connectors.mysql.stored import Stored, create
from penstock.connectors.mysql.types import MARK
from penstock.core.errors import CountMismatch, DataError, SchemaChanged
from penstock.core.load import Load, Mode, Published
from penstock.core.names import quote

ONE_A_KEY = frozenset({Mode.UPSERT, Mode.INSERT_ONLY})
KEYED = frozenset({*ONE_A_KEY, Mode.DELETE_INSERT})
_KEY_MODES = frozenset({*ONE_A_KEY, Mode.REPLACE})
# A text that is a key becomes a varchar of so many characters, which an index has room for.
_KEY_CHARACTERS = 255
_MAX_KEY_BYTES = 3072


@dataclass(frozen=True)
class Publication:
    """A load on its way into `place`: `target` is None while there is no such table. `staging` and `won` are quoted: the
    table that parts are written to, and that of one row a key which stands in for it where keys repeat."""

    load: Load
    place: tuple[str, str]
    target: Target | None
    stored: tuple[Stored, ...]
    server: Server
    staging: str
    won: str

    def key(self) -> list[Stored]:
        """The columns by which rows are recognised: of the load, or of a table that is replaced in place."""
        names = self.load.key
        if self.target is not None and self.target.referenced_by and self.load.mode is Mode.REPLACE:
            names = in_place_key(self.load, self.target)
        by_name = {each.name: each for each in self.stored} | {each.column.name: each for each in self.stored}
        return [by_name[name] for name in names if name in by_name]

    def create(self, table: str) -> str:
        return create(table, self.stored, self.server, with_null=self.target is not None)

    def merge(self, source: str) -> Merge:
        assert self.target is not None
        return Merge(self.load, self.target, source, self.stored)

    def plan(self) -> list[str]:
        """Raises SchemaChanged where the policy forbids a change."""
        if self.target is None:
            made = f"RENAME TABLE {self.staging} TO {text_of(self.place)}"
            key = [_key_of(self.staging, self.key())] if wants_key(self.load) else []
            return [self.create(self.staging), *key, made]
        adapted = [f"ALTER TABLE {self.target.text} {part}" for part in adapting(None, self)]
        merged = [str(step) for step in steps(self.merge(self.staging))[1]]
        return [self.create(self.staging), *adapted, *merged, f"DROP TABLE {self.staging}"]


def wants_key(load: Load) -> bool:
    """Whether a new table gets the load's key as primary key, if the rows allow one."""
    return bool(load.key) and load.mode in _KEY_MODES


# ---- what the staged rows are like


@dataclass(frozen=True)
class Facts:
    """`rows` in staging; columns among them with NULLs, and whether a key comes more than once."""

    rows: int
    with_null: frozenset[str]
    is_repeated: bool


def facts(connection: Connection, publication: Publication) -> Facts:
    """One scan of staging, and one of its keys where repetition matters. Raises DataError for a NULL that the target's
    primary key cannot take, or a repeated key of a table that is replaced in place."""
    key, load = publication.key(), publication.load
    strict = [each for each in publication.stored if each.held and not each.held.is_nullable]
    asked = list(dict.fromkeys([*(each.quoted for each in key), *(each.quoted for each in strict)]))
    sums = [f"COALESCE(SUM({name} IS NULL), 0)" for name in asked]
    row = query(connection, f"SELECT {', '.join(['COUNT(*)', *sums])} FROM {publication.staging}")[0]
    nulls = {name for name, count in zip(asked, row[1:], strict=True) if count}
    with_null = frozenset(each.name for each in publication.stored if each.quoted in nulls)
    fixed = set(publication.target.primary_key) if publication.target else set()
    for name in with_null & fixed:
        raise DataError(
            f"rows for table {load.table} have no value in {name!r}, a column of its primary key",
            "exclude such rows with where, or choose another target",
        )
    in_place = publication.target is not None and bool(publication.target.referenced_by) and load.mode is Mode.REPLACE
    matters = load.mode in ONE_A_KEY or in_place or (publication.target is None and wants_key(load))
    is_repeated = matters and bool(key) and _repeats(connection, publication, key)
    if is_repeated and in_place:
        raise DataError(
            f"rows for table {load.table} repeat the key ({', '.join(each.name for each in key)}), which must be unique",
            "name another key, or make the source's rows unique",
        )
    return Facts(int(row[0]), with_null, is_repeated)


def _repeats(connection: Connection, publication: Publication, key: Sequence[Stored]) -> bool:
    names = ", ".join(each.quoted for each in key)
    sql = f"SELECT 1 FROM {publication.staging} GROUP BY {names} HAVING COUNT(*) > 1 LIMIT 1"
    return bool(query(connection, sql))


# ---- adapting the target


def adapting(connection: Connection | None, publication: Publication, found: Facts | None = None) -> list[str]:
    """The parts of one ALTER TABLE that make the target take the load; without a connection in short. Raises SchemaChanged
    where the policy forbids one."""
    load, target = publication.load, publication.target
    assert target is not None
    parts = []
    for each in publication.stored:
        if each.held is None:
            _allow(load, "new_column", f"column {each.name!r} is new")
            parts.append(f"ADD COLUMN {each.definition(False, publication.server)}")
            continue
        loosens = each.column.nullable and not each.held.is_nullable and not each.held.is_generated
        loosens = loosens and each.name not in target.primary_key and not each.held.is_auto_increment
        if loosens:
            _allow(load, "nullability", f"column {each.name!r} may be NULL now")
        loosens = loosens and (found is None or each.name in found.with_null)
        if each.widens or (loosens and found is not None):
            parts.append(_modified(connection, target, each, loosens))
    loaded = {each.name for each in publication.stored}
    for held in target.columns:
        if held.name in loaded or held.is_generated:
            continue
        _allow(load, "dropped_column", f"column {held.name!r} is not read any more")
        if (
            not held.is_nullable
            and not held.has_default
            and not held.is_auto_increment
            and held.name not in target.primary_key
        ):
            definition = (
                nullable(definition_of(connection, target, held)) if connection else f"{held.declared.text} NULL"
            )
            parts.append(f"MODIFY COLUMN {quote(held.name, MARK)} {definition}")
    return parts


def _modified(connection: Connection | None, target: Target, stored: Stored, loosens: bool) -> str:
    assert stored.held is not None
    if connection is None:
        return f"MODIFY COLUMN {stored.quoted} {stored.final.text}"
    definition = definition_of(connection, target, stored.held)
    if stored.widens:
        definition = with_type(definition, stored.held, stored.final.text)
    return f"MODIFY COLUMN {stored.quoted} {nullable(definition) if loosens else definition}"


def _allow(load: Load, change: str, what: str) -> None:
    if getattr(load.policy, change) != "evolve":
        raise SchemaChanged(
            f"table {load.table} does not fit: {what}",
            f"schema_changes.{change} is {getattr(load.policy, change)}: set it to evolve, or adapt the table",
        )


# ---- doing it


@dataclass
class Tally:
    """What the statements did, counted by the server."""

    counts: dict[str, int] = field(default_factory=lambda: {"inserted": 0, "updated": 0, "deleted": 0})

    def run(self, connection: Connection, step: Step) -> None:
        done = execute(connection, step.sql)
        if step.counts:
            self.counts[step.counts] += done.rows


def get_ready(connection: Connection, publication: Publication, found: Facts) -> tuple[str, list[str]]:
    """All that MySQL commits by itself, before the transaction that publishes: the target adapted, one row a key, an index
    to find staged rows. May be repeated. Returns the table whose rows go in, and notes."""
    source, notes = publication.staging, []
    if publication.target is not None:
        parts = adapting(connection, publication, found)
        if parts:
            execute(connection, f"ALTER TABLE {publication.target.text} {', '.join(parts)}")
    if found.is_repeated and publication.load.mode in ONE_A_KEY:
        source = publication.won
        execute(connection, f"DROP TABLE IF EXISTS {source}")
        execute(connection, publication.create(source))
        kept = execute(connection, winners(publication.load, publication.staging, source, publication.stored)).rows
        notes.append(f"{found.rows - kept} rows of the load gave way to another row of the same key")
    if publication.target is not None and publication.key():
        wanted = publication.load.mode in KEYED or bool(publication.target.referenced_by)
        if wanted and not query(connection, f"SHOW INDEX FROM {source}"):
            execute(connection, index_on(source, publication.key()))
    return source, notes


def carry_out(connection: Connection, publication: Publication, source: str, found: Facts) -> Published:
    """Run the statements within the open transaction. Raises CountMismatch when the table took fewer rows than came."""
    how, planned = steps(publication.merge(source))
    tally = Tally()
    for step in planned:
        tally.run(connection, step)
    load, target = publication.load, publication.target
    assert target is not None
    takes_all = load.mode is Mode.APPEND and load.reread_to is None
    takes_all = takes_all or (load.mode is Mode.REPLACE and not target.referenced_by)
    inserted, updated, deleted = (tally.counts[name] for name in ("inserted", "updated", "deleted"))
    if takes_all and inserted != found.rows:
        raise CountMismatch(
            f"table {load.table} took {inserted} of {found.rows} rows, and is as it was",
            "a trigger of the table drops rows; disable it for the load",
        )
    after = int(query(connection, f"SELECT COUNT(*) FROM {target.text}")[0][0])
    before = after - inserted + deleted
    return Published(found.rows, inserted, updated, deleted, before, after, how, notes=tuple(_notes(publication)))


def _notes(publication: Publication) -> list[str]:
    assert publication.target is not None
    loaded = {each.name for each in publication.stored}
    generated = [each.name for each in publication.stored if each.held and each.held.is_generated]
    absent = [c.name for c in publication.target.columns if c.name not in loaded and not c.is_generated]
    notes = [f"generated by the target itself: {', '.join(generated)}"] if generated else []
    return notes + ([f"kept, though not loaded: {', '.join(absent)}"] if absent else [])


# ---- a new table


def make_new(connection: Connection, publication: Publication, source: str, found: Facts) -> Published:
    """Give the staged table its key, if the rows allow one; returns what renaming it will have done."""
    notes = []
    if wants_key(publication.load):
        why_not = _add_key(connection, publication, source, found)
        notes += [why_not] if why_not else []
    rows = int(query(connection, f"SELECT COUNT(*) FROM {source}")[0][0])
    return Published(found.rows, rows, 0, 0, 0, rows, "created the table", notes=tuple(notes))


def _add_key(connection: Connection, publication: Publication, source: str, found: Facts) -> str:
    """Why there is no primary key; "" where there is one, perhaps from a try before."""
    names = ", ".join(publication.load.key)
    if found.with_null & {each.name for each in publication.key()}:
        return f"no primary key: ({names}) holds NULL"
    if found.is_repeated and publication.load.mode not in ONE_A_KEY:
        return f"no primary key: ({names}) repeats"
    if query(connection, f"SHOW INDEX FROM {source} WHERE Key_name = 'PRIMARY'"):
        return ""
    key = [_narrowed(connection, source, each) for each in publication.key()]
    if any(each is None for each in key) or sum(_bytes_of(each) for each in key if each) > _MAX_KEY_BYTES:
        return f"no primary key: ({names}) is longer than an index of MySQL"
    execute(connection, _key_of(source, [each for each in key if each], publication.server))
    return ""


def _narrowed(connection: Connection, source: str, stored: Stored) -> Stored | None:
    """A text as varchar, bytes as varbinary; None for one that no index has room for."""
    if stored.final.name not in ("longtext", "longblob", "text", "mediumtext", "blob", "mediumblob"):
        return stored
    is_text = stored.final.is_text
    size = f"MAX({'CHAR_LENGTH' if is_text else 'LENGTH'}({stored.quoted}))"
    longest = query(connection, f"SELECT COALESCE({size}, 0) FROM {source}")[0][0]
    if longest > _KEY_CHARACTERS:
        return None
    text = f"{'varchar' if is_text else 'varbinary'}({_KEY_CHARACTERS})"
    return replace(stored, final=replace(stored.final, text=text, name=text.partition("(")[0], mods=(_KEY_CHARACTERS,)))


def _bytes_of(stored: Stored) -> int:
    size = (*stored.final.mods, 0)[0]
    return size * 4 if stored.final.is_text else size if stored.final.name in ("binary", "varbinary") else 8


def _key_of(table: str, key: Sequence[Stored], server: Server | None = None) -> str:
    parts = [
        f"MODIFY COLUMN {each.definition(True, server)}" for each in key if server and each.final.name.startswith("var")
    ]
    names = ", ".join(each.quoted for each in key)
    return f"ALTER TABLE {table} {', '.join([*parts, f'ADD PRIMARY KEY ({names})'])}"
