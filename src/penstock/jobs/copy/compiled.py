"""Column expressions as one pass over each batch that casts, masks, adds and renames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.schema import Column
from penstock.core.spec import ColumnsSpec, Mask
from penstock.jobs.copy.casts import cast, hexadecimal, uuid_text
from penstock.jobs.copy.expressions import Expressions, RunFacts


def one_pass(bound: Expressions, facts: RunFacts) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """One function from a batch as read to the batch that is written."""
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
