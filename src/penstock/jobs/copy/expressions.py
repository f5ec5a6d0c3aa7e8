"""Column expressions bound to a source: what to read, and which columns arrive at the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from penstock.core.errors import SpecError
from penstock.core.schema import Column
from penstock.core.spec import ColumnsSpec

ADDS = ("value", "now", "run", "hash")
MASKS = ("hash", "null", "keep", "constant")


@dataclass(frozen=True)
class RunFacts:
    """What added columns may show: the load's moment (ISO 8601, UTC), fixed once for a whole load, and the job's name."""

    now: str
    load: str


@dataclass(frozen=True)
class Expressions:
    """Column expressions bound to a source: `read` is what the source must give, `columns` what arrives at the target."""

    spec: ColumnsSpec
    read: tuple[Column, ...]
    columns: tuple[Column, ...]
    volatile: tuple[str, ...]

    @property
    def identity(self) -> bool:
        """Whether batches pass unchanged, so that a raw stream may be passed through."""
        return self.read == self.columns

    def renamed(self, source_name: str) -> str:
        """The target's name of a source column; '' when the column is not copied."""
        return dict(zip((c.name for c in self.read), (c.name for c in self.columns), strict=False)).get(source_name, "")


def bind(spec: ColumnsSpec, source: Sequence[Column], where: str) -> Expressions:
    """Check `spec` against the source's columns. Raises SpecError naming the column that does not exist."""
    names = [column.name for column in source]
    _must_exist(spec, names, where)
    read = tuple(c for c in source if (not spec.include or c.name in spec.include) and c.name not in spec.exclude)
    if not read:
        raise SpecError(f"{where} has no column left to copy", "check columns.include and columns.exclude")
    chosen = {column.name for column in read}
    hashed = [name for what in spec.add.values() for name in what.get("hash", ())]
    for setting, used in (("cast", spec.cast), ("mask", spec.mask), ("rename", spec.rename), ("add.hash", hashed)):
        gone = [name for name in used if name not in chosen]
        if gone:
            raise SpecError(f"columns.{setting} of {where} names {gone[0]!r}, which is not copied", "remove it")
    both = sorted(set(spec.cast) & set(spec.mask))
    if both:
        raise SpecError(
            f"{where} has both a cast and a mask for {both[0]!r}", "a masked column is text: remove the cast"
        )
    out = [_masked(_cast_column(column, spec), spec) for column in read]
    out += [_added(name, what, where) for name, what in spec.add.items()]
    out_names = [spec.rename.get(column.name, column.name) for column in out]
    if spec.case:
        from penstock.jobs.copy.case_styles import restyle_all

        styled = restyle_all([n for c, n in zip(out, out_names, strict=True) if c.name not in spec.rename], spec.case)
        renamed = iter(styled)
        out_names = [n if c.name in spec.rename else next(renamed) for c, n in zip(out, out_names, strict=True)]
    _must_differ(out_names, where)
    columns = tuple(replace(column, name=name) for column, name in zip(out, out_names, strict=True))
    volatile = tuple(
        column.name
        for column, given in zip(columns[len(read) :], spec.add.values(), strict=True)
        if "now" in given or "run" in given
    )
    return Expressions(spec, read, columns, volatile)


def _must_exist(spec: ColumnsSpec, names: Sequence[str], where: str) -> None:
    hashed = [name for what in spec.add.values() for name in what.get("hash", ())]
    for setting, used in (
        ("include", spec.include),
        ("exclude", spec.exclude),
        ("rename", spec.rename),
        ("cast", spec.cast),
        ("mask", spec.mask),
        ("add.hash", hashed),
    ):
        for name in used:
            if name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"columns are {', '.join(names[:20])}"
                raise SpecError(f"columns.{setting} of {where} names {name!r}, which the source lacks", hint)


def _must_differ(names: Sequence[str], where: str) -> None:
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) != len(names) else set()
    if twice:
        raise SpecError(f"{where} would have two columns {min(twice)!r}", "rename one of them under columns.rename")


def _cast_column(column: Column, spec: ColumnsSpec) -> Column:
    if column.name not in spec.cast:
        return column
    from penstock.jobs.copy.casts import parse_type

    kind, logical = parse_type(spec.cast[column.name])
    return Column(column.name, kind, column.nullable, logical, "", column.fidelity, f"cast to {spec.cast[column.name]}")


def _masked(column: Column, spec: ColumnsSpec) -> Column:
    mask = spec.mask.get(column.name)
    if mask is None:
        return column
    if mask.how not in MASKS:
        raise SpecError(f"mask {mask.how!r} of column {column.name!r} is unknown", f"use {', '.join(MASKS)}")
    if mask.how == "null":
        return replace(column, nullable=True, note="masked: null")
    return Column(column.name, pa.string(), column.nullable, note=f"masked: {mask.how}")


def _added(name: str, what: Mapping[str, Any], where: str) -> Column:
    kinds = [kind for kind in what if kind in ADDS]
    if len(kinds) != 1 or len(what) != 1:
        raise SpecError(f"columns.add.{name} of {where} must have one of {', '.join(ADDS)}", f"got {sorted(what)}")
    if kinds[0] == "now":
        return Column(name, pa.timestamp("us", "UTC"), False, note="added: moment of the load")
    if kinds[0] in ("run", "hash"):
        return Column(name, pa.string(), False, note=f"added: {kinds[0]}")
    value = what["value"]
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise SpecError(f"columns.add.{name} of {where} has a value of type {type(value).__name__}", "use a scalar")
    return Column(name, pa.string() if value is None else pa.scalar(value).type, value is None, note="added: constant")


def compile_batches(bound: Expressions, facts: RunFacts) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """One function from a batch as read to the batch that is written."""
    if bound.identity:
        return lambda batch: batch
    from penstock.jobs.copy.compiled import one_pass  # kernels that most copies never use

    return one_pass(bound, facts)
