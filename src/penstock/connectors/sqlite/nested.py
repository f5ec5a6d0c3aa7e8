"""Lists, structs and maps as JSON text and back: leaves that JSON does not know become text inside it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors.sqlite.texts import from_text, to_text
from penstock.core.errors import DataError

_HEAD, _TAIL = '{"v":', "}"


def is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def can_hold(kind: pa.DataType) -> bool:
    """Whether `kind` has a JSON form that comes back."""
    return _plain(kind) is not None


def to_json(array: pa.Array, name: str) -> pa.Array:
    """One JSON document a value, NULL for NULL. Raises DataError for a NaN or an infinity, which JSON does not know."""
    import polars as pl

    plain = _convert(array, _leaf_to_plain(name))
    column = pl.Series("v", plain).to_frame().select(pl.struct("v").struct.json_encode().alias("v"))
    width = pl.col("v").str.len_chars().cast(pl.Int64) - len(_HEAD) - len(_TAIL)
    text = column.select(pl.col("v").str.slice(len(_HEAD), width)).to_series().to_arrow().cast(pa.string())
    return pc.if_else(array.is_valid(), text, pa.scalar(None, pa.string()))


def from_json(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """The inverse. Raises DataError for text that is no such document."""
    import polars as pl

    plain = _plain(kind)
    assert plain is not None
    wrapped = (
        pl.Series(array.cast(pa.large_string()))
        .to_frame("t")
        .select(pl.concat_str(pl.lit(_HEAD), pl.col("t"), pl.lit(_TAIL)))
    )
    dtype = pl.Series("v", pa.array([], plain)).dtype
    try:
        decoded = wrapped.to_series().str.json_decode(pl.Struct({"v": dtype})).struct.field("v").to_arrow()
        found = _convert(decoded.cast(plain), _leaf_from_plain(name), kind)
    except (pl.exceptions.PolarsError, pa.ArrowInvalid) as error:
        raise DataError(f"column {name!r} holds text that is no JSON of {kind}: {error}", "correct it") from error
    _check_same(array, to_json(found, name), kind, name)
    return found


def _check_same(array: pa.Array, again: pa.Array, kind: pa.DataType, name: str) -> None:
    """The decoder takes 1.5 for an integer and 5 for a list; what it understood, written again, must say the same.

    Only documents that differ are compared one by one: those of other programs, with other spaces or escapes.
    """
    same = pc.if_else(array.is_null(), again.is_null(), pc.fill_null(pc.equal(array.cast(pa.string()), again), False))
    if pc.all(same).as_py() is not False:
        return
    differs = pc.invert(same)
    for given, understood in zip(array.filter(differs).to_pylist(), again.filter(differs).to_pylist(), strict=True):
        if given is None or understood is None or json.loads(given) != json.loads(understood):
            raise DataError(f"column {name!r} holds {given!r}, which is no {kind}", "correct it, or cast the column")


# ---- types


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The type with leaves that JSON knows; None where a leaf has no text form."""
    if pa.types.is_map(kind):
        return _plain(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return pa.large_list(inner) if inner is not None else None
    if pa.types.is_struct(kind):
        parts = [(field.name, _plain(field.type)) for field in kind]
        names = {name for name, _ in parts}
        is_whole = bool(parts) and len(names) == len(parts) and all(part is not None for _, part in parts)
        return pa.struct(parts) if is_whole else None
    return _plain_leaf(kind)


def _plain_leaf(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or kind in (pa.float32(), pa.float64()):
        return kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or _has_text(kind):
        return pa.large_string()
    return None


def _has_text(kind: pa.DataType) -> bool:
    return bool(kind == pa.uuid() or pa.types.is_temporal(kind) or pa.types.is_decimal(kind)) and not (
        pa.types.is_duration(kind) or pa.types.is_interval(kind)
    )


# ---- values

Leaf = Callable[[pa.Array, pa.DataType], pa.Array]


def _convert(array: pa.Array, leaf: Leaf, kind: pa.DataType | None = None) -> pa.Array:
    """`array` with its leaves converted; with `kind`, the containers become those of `kind`."""
    source = array.type
    if pa.types.is_map(source):
        dense = pa.concat_arrays([array])
        entries = pa.StructArray.from_arrays([dense.keys, dense.items], names=["key", "value"])
        lists = pa.ListArray.from_arrays(dense.offsets, entries, mask=dense.is_null())
        return _convert(lists, leaf)
    if pa.types.is_fixed_size_list(source):
        return _convert(array.cast(pa.list_(source.value_type)), leaf)
    if pa.types.is_list(source) or pa.types.is_large_list(source):
        return _convert_list(array, leaf, kind)
    if pa.types.is_struct(source):
        fields = [kind.field(at).type if kind is not None else None for at in range(source.num_fields)]
        parts = [_convert(array.field(at), leaf, fields[at]) for at in range(source.num_fields)]
        names = [field.name for field in source]
        made = pa.StructArray.from_arrays(parts, names=names, mask=array.is_null())
        return made if kind is None else made.cast(kind)
    return leaf(array, kind or source)


def _convert_list(array: pa.Array, leaf: Leaf, kind: pa.DataType | None) -> pa.Array:
    dense = pa.concat_arrays([array])  # offsets of a slice need not begin at 0
    inner_kind = kind
    if kind is not None:
        is_map = pa.types.is_map(kind)
        inner_kind = pa.struct([("key", kind.key_type), ("value", kind.item_type)]) if is_map else kind.value_type
    inner = _convert(dense.values, leaf, inner_kind)
    offsets = dense.offsets.cast(pa.int32())
    empty = dense.is_null()
    if kind is not None and pa.types.is_map(kind):
        made = pa.MapArray.from_arrays(offsets, inner.field(0), inner.field(1), mask=empty)
    else:
        made = pa.ListArray.from_arrays(offsets, inner, mask=empty)
    return made if kind is None else made.cast(kind)


def _leaf_to_plain(name: str) -> Leaf:
    import polars as pl

    def convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
        if _has_text(kind):
            return to_text(array)
        if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
            return pl.Series(array.cast(pa.large_binary())).bin.encode("hex").to_arrow().cast(pa.string())
        if pa.types.is_floating(kind) and pc.all(pc.is_finite(array)).as_py() is False:
            raise DataError(f"column {name!r} has NaN or infinity inside a list or struct", "JSON knows neither")
        return array

    return convert


def _leaf_from_plain(name: str) -> Leaf:
    import polars as pl

    def convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
        if _has_text(kind):
            return from_text(array.cast(pa.string()), kind, name)
        if pa.types.is_binary(kind):
            return pl.Series(array.cast(pa.large_string())).str.decode("hex").to_arrow().cast(kind)
        return array.cast(kind)

    return convert
