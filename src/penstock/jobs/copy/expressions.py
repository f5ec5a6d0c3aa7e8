"""Column expressions: what to read, and one pass over each batch that casts, masks, adds and renames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.errors import SpecError
from penstock.core.schema import Column
from penstock.core.spec import ColumnsSpec, Mask
from penstock.jobs.copy.case_styles import restyle_all
from penstock.jobs.copy.casts import cast, hexadecimal, parse_type, uuid_text

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
    schema = pa.schema([column.to_field() for column in bound.columns])
    salt = bound.spec.salt.reveal() if bound.spec.salt else ""
    steps = [_step(column, out, bound.spec, salt) for column, out in zip(bound.read, bound.columns, strict=False)]
    adds = [_adder(what, bound.read, salt, facts) for what in bound.spec.add.values()]

    def apply(batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [step(values) for step, values in zip(steps, batch.columns, strict=True)]
        arrays += [add(batch) for add in adds]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return apply


def _step(column: Column, out: Column, spec: ColumnsSpec, salt: str) -> Callable[[pa.Array], pa.Array]:
    mask = spec.mask.get(column.name)
    if mask is not None:
        return lambda values: _apply_mask(values, mask, salt, out)
    if column.name in spec.cast:
        return lambda values: cast(values, column, out.type)
    return lambda values: values


def _apply_mask(values: pa.Array, mask: Mask, salt: str, out: Column) -> pa.Array:
    if mask.how == "null":
        return pa.nulls(len(values), out.type)
    if mask.how == "constant":
        return pc.if_else(values.is_valid(), mask.value, pa.scalar(None, pa.string()))
    text = as_text(values)
    if mask.how == "hash":
        return hash_text(_with_length(text), salt)
    # A value no longer than what may show would show whole: it is hidden whole instead.
    length = pc.utf8_length(text)
    shown = pc.if_else(pc.greater(length, mask.keep), mask.keep, 0)
    hidden = pc.binary_repeat("*", pc.subtract(length, shown))
    tail = pc.utf8_slice_codeunits(text, -mask.keep, 2**31 - 1) if mask.keep else pa.repeat("", len(text))
    tail = pc.if_else(pc.greater(shown, 0), tail, "")
    return pc.binary_join_element_wise(hidden, tail, "")


def _adder(
    what: Mapping[str, Any], read: Sequence[Column], salt: str, facts: RunFacts
) -> Callable[[pa.RecordBatch], pa.Array]:
    if "hash" in what:
        places = [[column.name for column in read].index(name) for name in what["hash"]]
        return lambda batch: hash_columns([batch.column(place) for place in places], salt)
    if "now" in what:
        moment = pa.scalar(facts.now).cast(pa.timestamp("us", "UTC"))
        return lambda batch: pa.repeat(moment, batch.num_rows)
    if "run" in what:
        return lambda batch: pa.repeat(pa.scalar(facts.load), batch.num_rows)
    value = pa.scalar(what["value"], pa.string()) if what["value"] is None else pa.scalar(what["value"])
    return lambda batch: pa.repeat(value, batch.num_rows)


def as_text(values: pa.Array) -> pa.Array:
    """Any scalar column as text, exactly and the same on every machine; binary as hexadecimal digits."""
    kind = values.type
    if isinstance(kind, pa.UuidType):
        return uuid_text(values)
    if pa.types.is_string(kind):
        return values
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return hexadecimal(values)
    return cast(values, Column("", kind), pa.string())


def _with_length(text: pa.Array) -> pa.Array:
    """Each value with its length in front, so that no two lists of values have one joined text; NULL is `~`."""
    length = pc.cast(pc.binary_length(text), pa.string())
    return pc.fill_null(pc.binary_join_element_wise(length, text, ":"), "~")


def hash_columns(columns: Sequence[pa.Array], salt: str) -> pa.Array:
    """SHA-256 (hexadecimal) over the length-prefixed texts of several columns; never NULL."""
    parts = [_with_length(as_text(column)) for column in columns]
    return hash_text(parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, ""), salt, keep_null=False)


def hash_text(text: pa.Array, salt: str, *, keep_null: bool = True) -> pa.Array:
    """SHA-256 of each distinct text, salted; `~` (NULL) stays NULL unless told otherwise.

    No Arrow kernel computes SHA-256, so this loops over the distinct values of a batch, not over its rows.
    """
    encoded = text.dictionary_encode()
    prefix = hashlib.sha256(salt.encode())
    digests: list[str | None] = []
    for value in encoded.dictionary.to_pylist():
        if keep_null and value == "~":
            digests.append(None)
            continue
        state = prefix.copy()
        state.update(value.encode())
        digests.append(state.hexdigest())
    return pa.array(digests, pa.string()).take(encoded.indices)
