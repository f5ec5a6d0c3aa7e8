"""How each column of a load is stored: the type it should have, the type the target gives it, and what staging holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.connectors.mysql.catalog import HeldColumn
from penstock.connectors.mysql.encode import UNICODE, Form
from penstock.connectors.mysql.fit import Fit, Way, fit
from penstock.connectors.mysql.mapping import Mapped, Server, mapped
from penstock.connectors.mysql.relation import Target
from penstock.connectors.mysql.session import literal
from penstock.connectors.mysql.types import MARK, Declared, declare
from penstock.core.errors import NotSupported, PenstockError, SchemaChanged, SpecError
from penstock.core.load import Load
from penstock.core.names import quote
from penstock.core.schema import Column, Fidelity, TypeChoice

_MAX_NAME = 64


@dataclass(frozen=True)
class Stored:
    """One column: `final` is what the target declares after the publish, `held` its column there (None for a new one).

    `widens` says that the target's column must be altered to `final`.
    """

    column: Column
    final: Declared
    fidelity: Fidelity
    note: str = ""
    comment: str = ""
    held: HeldColumn | None = None
    widens: bool = False

    @property
    def name(self) -> str:
        """The target's spelling of the name."""
        return self.held.name if self.held else self.column.name

    @property
    def quoted(self) -> str:
        return quote(self.name, MARK)

    @property
    def staged(self) -> Declared:
        """The type in staging: the target's own, but for text of a charset that cannot take UTF-8, and for lists of
        values, which compare by their numbers."""
        if self.held is None:
            return self.final
        if self.final.name in ("enum", "set") or (self.final.is_text and self.final.charset not in UNICODE):
            return replace(declare("longtext"), collation="")
        return self.final

    def form(self) -> Form:
        return Form(replace(self.column, name=self.name), self.staged)

    def choice(self) -> TypeChoice:
        return TypeChoice(self.column, self.final.native, self.fidelity, self.note)

    def definition(self, is_filled: bool, server: Server) -> str:
        """As CREATE TABLE writes it, in staging and so in a new table."""
        kind = self.staged
        if kind.name == "json" and not server.is_mariadb and not self.column.native.startswith("mysql:"):
            text = f"longtext CHARACTER SET utf8mb4 COLLATE {server.collation} CHECK (json_valid({self.quoted}))"
            return f"{self.quoted} {text}{' NOT NULL' if is_filled else ''}{self._commented()}"
        if kind.is_text and not kind.collation:
            kind = replace(kind, collation=server.collation)
        # Some servers give a timestamp without NULL a default and an ON UPDATE of their own.
        filled = " NULL" if kind.name == "timestamp" else " NOT NULL" if is_filled else ""
        return f"{self.quoted} {kind.ddl}{filled}{self._commented()}"

    def _commented(self) -> str:
        return f" COMMENT {literal(self.comment)}" if self.comment else ""


def stored_columns(load: Load, server: Server, target: Target | None) -> list[Stored]:
    """The columns of a load in order. Raises SchemaChanged where an existing column's type does not fit and the policy
    forbids adapting, SpecError for names that MySQL cannot hold or tell apart."""
    _check_names(load)
    found = []
    for column in load.columns:
        try:
            how = mapped(column, server)
        except PenstockError as error:
            raise type(error)(f"table {load.table}: {error.what}", error.hint) from error
        wanted = Stored(column, how.declared, how.fidelity, how.note, how.comment)
        held = target.column(column.name) if target is not None else None
        found.append(wanted if held is None or target is None else _into(load, target, wanted, how, held))
    return found


def _check_names(load: Load) -> None:
    names = [column.name for column in load.columns]
    lower = [name.lower() for name in names]
    for name in names:
        if len(name) > _MAX_NAME or name != name.rstrip(" ") or any(ord(c) > 0xFFFF for c in name):
            raise SpecError(
                f"column {name!r} of table {load.table} has a name that MySQL does not take: more than {_MAX_NAME} characters,"
                " spaces at the end, or characters beyond its own",
                "rename it in the job: columns.rename",
            )
        if lower.count(name.lower()) > 1:
            raise SpecError(
                f"table {load.table} would get two columns named {name!r} but for the case, which MySQL does not tell apart",
                "rename one of them in the job",
            )


def _into(load: Load, target: Target, wanted: Stored, how: Mapped, held: HeldColumn) -> Stored:
    column, there = wanted.column, held.declared
    if held.is_generated:
        return replace(wanted, final=there, held=held, note="generated by the target itself", comment="")
    found = _fit(how, there)
    facts = f"column {column.name!r} of table {load.table} is {there.text}, and the load brings {how.declared.text}"
    if found.way is Way.NEVER:
        raise SchemaChanged(f"{facts}, which does not convert", "cast or exclude the column, or change the table")
    if found.way is Way.WIDEN and held.name in target.indexed and declare(found.wider).name in ("longtext", "longblob"):
        # An index has no room for it; what is too long is an error of its own.
        found = Fit(Way.PARSE, note="under an index: values that are too long are an error")
    if found.way is Way.WIDEN:
        _allow(load, "widened", facts)
        wider = declare(found.wider, there.collation if declare(found.wider).is_text else "")
        after = fit(how.declared, wider)
        fidelity = wanted.fidelity if after.way is Way.SAME else _worse(wanted.fidelity, Fidelity.WIDENING)
        note = f"the table's {there.text} becomes {found.wider}"
        return replace(wanted, final=wider, fidelity=fidelity, note=note, held=held, widens=True)
    if found.way is Way.KEEP and not found.note:
        _allow(load, "narrowed", facts)
    kept = _worse(wanted.fidelity, _KEPT.get(found.way, Fidelity.LOSSLESS))
    return replace(wanted, final=there, fidelity=kept, note=found.note or wanted.note, held=held, comment="")


def _fit(how: Mapped, there: Declared) -> Fit:
    """A column that Penstock wrote before comes back in the same type; so does one whose type the server spells its way."""
    if how.declared.name == "binary" and there.name == "uuid":
        return Fit(Way.SAME)
    if how.declared.name == "uuid" and there.text == "binary(16)":
        return Fit(Way.KEEP, note="the uuid's 16 bytes")
    if how.declared.name == "json" and there.is_text:
        return Fit(Way.KEEP, note="json as text")
    return fit(how.declared, there)


_KEPT = {Way.TEXT: Fidelity.TEXT, Way.LOSSY: Fidelity.LOSSY, Way.KEEP: Fidelity.WIDENING}
_ORDER = (Fidelity.LOSSLESS, Fidelity.WIDENING, Fidelity.TEXT, Fidelity.LOSSY)


def _worse(one: Fidelity, other: Fidelity) -> Fidelity:
    return max(one, other, key=_ORDER.index)


def _allow(load: Load, change: str, facts: str) -> None:
    policy = getattr(load.policy, change)
    if policy != "evolve":
        raise SchemaChanged(facts, f"schema_changes.{change} is {policy}: set it to evolve, or adapt the table")


def create(table: str, columns: Sequence[Stored], server: Server, with_null: bool) -> str:
    """CREATE TABLE of staging; NOT NULL where the source has none, unless `with_null`."""
    if not columns:
        raise NotSupported(f"table {table} would have no columns", "leave it out")
    parts = [each.definition(not each.column.nullable and not with_null, server) for each in columns]
    return f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(parts)}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"
