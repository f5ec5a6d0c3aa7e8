"""How each column of a load is stored: the type it should have, the type the target gives it, and what staging holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg
import pyarrow as pa

from penstock.connectors.postgres.catalog import declare, types_of
from penstock.connectors.postgres.encode import wire_form
from penstock.connectors.postgres.fit import Fit, Shape, Way, fit, shape
from penstock.connectors.postgres.mapping import is_text, mapped
from penstock.connectors.postgres.relation import Target, TargetColumn
from penstock.connectors.postgres.session import Connection, query
from penstock.connectors.postgres.types import NATIVE, Declared, numeric_size, to_column
from penstock.core.errors import SchemaChanged
from penstock.core.load import Load
from penstock.core.names import TableName, quote
from penstock.core.schema import Column, Fidelity, TypeChoice, TypePolicy

# Modifiers that a type may have beside names: nothing that could end the type and begin something else.
_SAFE_TYPE = re.compile(r'[\w ."$,()\[\]-]+\Z')
# Decimals of the largest size there is, so that only the kind of type matters.
_ANY = TypePolicy()


@dataclass(frozen=True)
class Stored:
    """One column: `wanted` is its own type in this database, `final` what the target declares after the publish.

    `widens` says that the target's column must be altered to `final`; `is_new`, that it must be added; `is_native`, that
    the column comes with the very type it has in a source of the same system.
    """

    column: Column
    wanted: Declared
    final: str
    fidelity: Fidelity
    note: str = ""
    widens: bool = False
    is_new: bool = False
    is_native: bool = False

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def quoted(self) -> str:
        return quote(self.column.name)

    @property
    def is_typed(self) -> bool:
        """Whether batches are staged in the wanted type; else as text that the publish casts."""
        return wire_form(self.column, self.wanted) is not None

    def choice(self) -> TypeChoice:
        return TypeChoice(self.column, NATIVE + self.final, self.fidelity, self.note)


def stored_columns(connection: Connection, load: Load, where: TableName, target: Target | None) -> list[Stored]:
    """The columns of a load in order. Raises SchemaChanged where an existing column's type does not fit and the policy
    forbids adapting, SpecError for a carrier that PostgreSQL has no type for."""
    natives = {c.name: c.native.removeprefix(NATIVE) for c in load.columns if c.native.startswith(NATIVE)}
    others = {column.name: _mapped_text(column) for column in load.columns}
    known = known_types(connection, [*natives.values(), *others.values()], where.schema)
    found = []
    for column in load.columns:
        native = known.get(natives.get(column.name, ""))
        if native is not None and _carries(column, native):
            wanted = Stored(column, native, native.text, Fidelity.LOSSLESS, is_new=True, is_native=True)
        else:
            wanted = _from_carrier(column, known, natives.get(column.name, ""))
        held = target.column(column.name) if target is not None else None
        found.append(_into(load, where, wanted, held) if held is not None else wanted)
    return found


def _mapped_text(column: Column) -> str:
    return mapped(column).text


def _from_carrier(column: Column, known: dict[str, Declared], native: str) -> Stored:
    how = mapped(column)
    fidelity, note = how.fidelity, how.note
    if native and native not in known:
        fidelity, note = Fidelity.TEXT, f"type {native} does not exist in the target"
    elif is_text(column.type) and how.text == "text" and column.logical not in ("", "citext"):
        fidelity = Fidelity.TEXT
    return Stored(column, known[how.text], how.text, fidelity, note, is_new=True)


def _carries(column: Column, native: Declared) -> bool:
    """Whether the column still is what its native type says: column expressions may have made something else of it."""
    if is_text(column.type):
        return True
    natural = to_column(column.name, native, True, _ANY).type
    both_decimal = native.base.name == "numeric" and pa.types.is_decimal(column.type)
    return bool(natural == column.type or both_decimal or (pa.types.is_list(natural) and pa.types.is_list(column.type)))


# ---- into an existing column


def _into(load: Load, where: TableName, wanted: Stored, held: TargetColumn) -> Stored:
    column, there = wanted.column, held.declared.text
    found = _fit(wanted.wanted, held.declared)
    facts = f"column {column.name!r} of table {where} is {there}, and the load brings {wanted.wanted.text}"
    if found.way is Way.NEVER or (found.way is Way.WIDEN and held.declared.type.kind == "d"):
        raise SchemaChanged(f"{facts}, which does not convert", "cast or exclude the column, or change the table")
    if found.way is Way.WIDEN:
        _allow(load, "widened", facts)
        _check_views(facts, held, found.wider)
        after = fit(_shape(wanted.wanted), shape(found.wider))
        fidelity = wanted.fidelity if after.way is Way.SAME else _worse(wanted.fidelity, Fidelity.WIDENING)
        note = f"the table's {there} becomes {found.wider}"
        return replace(wanted, final=found.wider, fidelity=fidelity, note=note, widens=True, is_new=False)
    if found.way is Way.KEEP and not found.note and _is_narrower(wanted.wanted, held.declared):
        _allow(load, "narrowed", facts)
    kept = _worse(wanted.fidelity, _KEPT.get(found.way, Fidelity.LOSSLESS))
    if wanted.fidelity is Fidelity.TEXT and found.way is Way.PARSE:
        kept = Fidelity.LOSSLESS
    return replace(wanted, final=there, fidelity=kept, note=found.note or wanted.note, is_new=False)


_KEPT = {Way.TEXT: Fidelity.TEXT, Way.LOSSY: Fidelity.LOSSY, Way.KEEP: Fidelity.WIDENING}


def _is_narrower(wanted: Declared, held: Declared) -> bool:
    return _shape(wanted).name != _shape(held).name or bool(_shape(wanted).mods)


def _check_views(facts: str, held: TargetColumn, wider: str) -> None:
    if held.views:
        raise SchemaChanged(
            f"{facts}; it cannot become {wider} while {', '.join(held.views)} uses it",
            "drop the view, run, and create it again; or cast the column in the job",
        )


def _allow(load: Load, change: str, facts: str) -> None:
    policy = getattr(load.policy, change)
    if policy != "evolve":
        raise SchemaChanged(facts, f"schema_changes.{change} is {policy}: set it to evolve, or adapt the table")


_ORDER = (Fidelity.LOSSLESS, Fidelity.WIDENING, Fidelity.TEXT, Fidelity.LOSSY)


def _worse(one: Fidelity, other: Fidelity) -> Fidelity:
    return max(one, other, key=_ORDER.index)


def _fit(wanted: Declared, held: Declared) -> Fit:
    return Fit(Way.SAME) if wanted.text == held.text else fit(_shape(wanted), _shape(held))


def _shape(declared: Declared) -> Shape:
    """The shape behind domains; an enum or another type of the user's own is known by its name."""
    if declared.type.kind != "d":
        return shape(declared.text)
    base, typmod = declared.base, declared.typmod
    mods: tuple[int, ...] = ()
    if base.name == "numeric":
        mods = numeric_size(typmod) or ()
    elif typmod >= 0:
        mods = (typmod - 4,) if base.name in ("varchar", "bpchar") else (typmod,)
    return Shape(base.text, base.name if base.is_built_in else base.text, mods)


# ---- types by name


def known_types(connection: Connection, texts: Iterable[str], schema: str) -> dict[str, Declared]:
    """Types of this database by how DDL of a server writes them. One of the user's own that is not in the schema it came
    from is looked for in `schema` and the search path."""
    known = connection.types_by_name
    wanted = [text for text in dict.fromkeys(texts) if _SAFE_TYPE.match(text) and "--" not in text]
    found = _look_up(connection, [text for text in wanted if text not in known])
    known |= {text: one for text, one in found.items() if one.type.is_built_in}
    found |= {text: known[text] for text in wanted if text in known}
    moved = {text: _elsewhere(text, schema) for text in wanted if text not in found and "." in text}
    again = _look_up(connection, [name for names in moved.values() for name in names])
    for text, names in moved.items():
        here = next((again[name] for name in names if name in again), None)
        if here is not None:
            found[text] = here
    return found


def _elsewhere(text: str, schema: str) -> list[str]:
    name = text[text.rindex(".") + 1 :]
    return [f"{quote(schema)}.{name}", name]


def _look_up(connection: Connection, texts: Sequence[str]) -> dict[str, Declared]:
    """One question for all; a text that is no type at all makes the server refuse the question, then one for each."""
    if not texts:
        return {}
    try:
        with connection.transaction():
            rows = query(connection, _BY_NAME, [list(texts)])
    except psycopg.errors.SyntaxError:
        if len(texts) == 1:
            return {}
        return {text: declared for one in texts for text, declared in _look_up(connection, [one]).items()}
    types = types_of(connection, {oid for _, oid in rows})
    return {text: declare(types, oid, -1, _canonical(text, types[oid].text)) for text, oid in rows}


_BY_NAME = (
    "SELECT w.text, to_regtype(w.text)::oid FROM unnest($1::text[]) AS w (text) WHERE to_regtype(w.text) IS NOT NULL"
)


def _canonical(text: str, plain: str) -> str:
    """The server's own name of a type with the modifiers of `text`; those of built-in names stand in the middle."""
    mods = re.search(r'\([^()"]*\)', text)
    if not mods:
        return plain
    return plain + mods[0] if "." in plain else text
