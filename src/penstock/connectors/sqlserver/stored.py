"""How each column of a load is stored: its type in staging, the type it should have, the type the target gives it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.connectors.sqlserver.fit import Fit, Way, fit
from penstock.connectors.sqlserver.mapping import mapped, native, staged
from penstock.connectors.sqlserver.relation import Target, TargetColumn, check_name
from penstock.connectors.sqlserver.server import Server
from penstock.connectors.sqlserver.types import NATIVE, SPATIAL, TEXTS, Declared, value_text
from penstock.core.errors import SchemaChanged
from penstock.core.load import Load
from penstock.core.names import TableName, quote
from penstock.core.schema import Column, Fidelity, TypeChoice

_ORDER = (Fidelity.LOSSLESS, Fidelity.WIDENING, Fidelity.TEXT, Fidelity.LOSSY)
_KEPT = {Way.TEXT: Fidelity.TEXT, Way.LOSSY: Fidelity.LOSSY, Way.KEEP: Fidelity.WIDENING}


@dataclass(frozen=True)
class Stored:
    """One column: `staged` is its type in staging, `final` what the target declares after the publish.

    `widens` says that the target's column must be altered to `final`; `is_new`, that it must be added; `is_measured`, that
    its size follows the values.
    """

    column: Column
    staged: Declared
    final: Declared
    fidelity: Fidelity
    note: str = ""
    widens: bool = False
    is_new: bool = False
    is_measured: bool = False

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def quoted(self) -> str:
        return quote(self.column.name)

    def choice(self) -> TypeChoice:
        return TypeChoice(self.column, NATIVE + self.final.full, self.fidelity, self.note)

    def expression(self, side: str = "") -> str:
        """The staged value in the target's type. What an assignment would refuse to cut is left to the assignment."""
        own = f"{side}{self.quoted}"
        here, there = self.staged, self.final
        if here.name in TEXTS and there.name in SPATIAL:
            return (
                f"{there.name}::STGeomFromText(SUBSTRING({own}, CHARINDEX(N';', {own}) + 1, LEN({own})),"
                f" CAST(SUBSTRING({own}, 6, CHARINDEX(N';', {own}) - 6) AS int))"
            )
        if here.name in TEXTS and there.name not in TEXTS:
            return own if there.name == "sql_variant" else f"CAST({own} AS {there.text})"
        if there.name in TEXTS and here.name not in TEXTS:
            return value_text(here, own)
        return own

    @property
    def is_code_page(self) -> bool:
        """Whether letters could be lost, since the target's code page does not have them."""
        return self.staged.name == "nvarchar" and self.final.name in ("char", "varchar", "text")


def stored_columns(load: Load, where: TableName, target: Target | None, server: Server) -> list[Stored]:
    """The columns of a load in order. The database's own collation is not named in their types. Raises SchemaChanged where an existing column's type does not fit and the policy
    forbids adapting, SpecError for a carrier that SQL Server has no type for."""
    found = []
    for column in load.columns:
        check_name(column.name, "column")
        wanted = _wanted(column, server.has_json_type)
        held = target.column(column.name) if target is not None else None
        one = _into(load, where, wanted, held) if held is not None else wanted
        if one.final.collation.lower() == server.collation.lower():
            one = replace(one, final=replace(one.final, collation=""))
        found.append(one)
    return found


def _wanted(column: Column, has_json: bool) -> Stored:
    how = native(column, has_json)
    if how is None:
        how = mapped(column)
    return Stored(column, staged(column), how.declared, how.fidelity, how.note, False, True, how.is_measured)


def _into(load: Load, where: TableName, wanted: Stored, held: TargetColumn) -> Stored:
    there = held.declared
    found = fit(wanted.final, there, wanted.is_measured)
    facts = f"column {held.name!r} of table {where} is {there.text}, and the load brings {wanted.final.text}"
    if held.is_generated:
        return replace(wanted, final=there, note="given by the target itself", is_new=False, is_measured=False)
    if found.way is Way.NEVER or (found.way is Way.WIDEN and held.declared.alias):
        raise SchemaChanged(f"{facts}, which does not convert", "cast or exclude the column, or change the table")
    if found.way is Way.WIDEN and found.wider is not None:
        allow(load, "widened", facts)
        after = fit(wanted.final, found.wider)
        fidelity = wanted.fidelity if after.way is Way.SAME else _worse(wanted.fidelity, Fidelity.WIDENING)
        note = f"the table's {there.text} becomes {found.wider.text}"
        return replace(wanted, final=found.wider, fidelity=fidelity, note=note, widens=True, is_new=False)
    if _is_narrower(found, wanted, there):
        allow(load, "narrowed", facts)
    kept = _worse(wanted.fidelity, _KEPT.get(found.way, Fidelity.LOSSLESS))
    if found.way is Way.KEEP and wanted.final.name in TEXTS and there.name in TEXTS:
        kept = wanted.fidelity
    if wanted.fidelity is Fidelity.TEXT and found.way is Way.PARSE:
        kept = Fidelity.LOSSLESS
    return replace(wanted, final=there, fidelity=kept, note=found.note or wanted.note, is_new=False)


def _is_narrower(found: Fit, wanted: Stored, there: Declared) -> bool:
    """Whether the source declares less than the table holds: only kinds of type count, and declared sizes."""
    if found.way is not Way.KEEP or found.note or wanted.is_measured:
        return False
    return wanted.final.name != there.name or wanted.final.size != there.size


def allow(load: Load, change: str, facts: str) -> None:
    """Raises SchemaChanged unless the policy lets the table change so."""
    policy = getattr(load.policy, change)
    if policy != "evolve":
        raise SchemaChanged(facts, f"schema_changes.{change} is {policy}: set it to evolve, or adapt the table")


def _worse(one: Fidelity, other: Fidelity) -> Fidelity:
    return max(one, other, key=_ORDER.index)
