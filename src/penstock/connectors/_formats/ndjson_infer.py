"""Types of NDJSON fields from their values: texts stay texts, numbers get a type that holds all their digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from penstock.connectors._formats.declared import declared_column
from penstock.connectors._formats.infer import DOUBLE_DIGITS, survives_double
from penstock.connectors._formats.json_values import read_block
from penstock.connectors._formats.port import Blob
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.streams import TextInput
from penstock.connectors._formats.suffixes import compression_of
from penstock.connectors._formats.texts import decimal_text
from penstock.core.errors import DataError
from penstock.core.schema import Column

_BLOCK_BYTES = 4 * 2**20
_WIDEST = pa.decimal256(76, 38)
_DECIMAL128_DIGITS = 38


def inferred(blobs: Sequence[Blob], settings: FormatSettings) -> list[tuple[Column, ...]]:
    """The columns of each file, with types that hold the values of all files. Declared columns keep their type."""
    declared = dict(settings.types)
    found: dict[str, pa.DataType] = {}
    names: list[list[str]] = []
    for blob in blobs:
        mine: dict[str, None] = {}
        for block in _blocks(blob, settings):
            for field in _kinds(block):
                mine[field.name] = None
                if field.name not in declared:
                    found[field.name] = _joined(found.get(field.name, pa.null()), field.type, field.name, blob)
        names.append(list(mine))
    digits = _Digits({name: kind for name, kind in found.items() if _holds_float(kind)})
    for blob in blobs if digits.kinds else ():
        for block in _blocks(blob, settings):
            digits.look(block)
    exact = {name: _settled(digits.exact(name, kind)) for name, kind in found.items()}
    return [
        tuple(declared_column(n, declared[n]) if n in declared else Column(n, exact[n]) for n in mine) for mine in names
    ]


def _blocks(blob: Blob, settings: FormatSettings) -> Iterator[bytes]:
    """Blocks of lines, ending after `infer_rows` lines where that is set."""
    left = settings.infer_rows or None
    with closing(TextInput(blob, compression_of(blob.name), settings.dialect.encoding)) as stream:
        for block in stream.blocks(_BLOCK_BYTES):
            if not block.strip():
                continue
            if left is not None:
                lines = block.splitlines(keepends=True)[:left]
                left -= len(lines)
                block = b"".join(lines)
            yield block
            if left == 0:
                return


def _kinds(block: bytes) -> Iterator[pa.Field]:
    """The reader's own guesses for a block, one for each field and kind of value in it. Texts that look like times are
    texts: their zone would be lost. A broken line counts for nothing; reading names it."""
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        schema = pj.read_json(pa.BufferReader(block), options).schema
    except pa.ArrowInvalid:
        lines = block.splitlines(keepends=True)
        half = len(lines) // 2
        for part in (b"".join(lines[:half]), b"".join(lines[half:])):
            if half and part.strip():
                yield from _kinds(part)
        return
    for field in schema:
        yield field.with_type(_mapped(field.type, _untimed))


def _untimed(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _mapped(kind: pa.DataType, leaf: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """`kind` with every type that holds no others replaced by `leaf` of it."""
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_mapped(f.type, leaf)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(_mapped(kind.value_type, leaf))
    return leaf(kind)


def _joined(first: pa.DataType, second: pa.DataType, name: str, blob: Blob) -> pa.DataType:
    """A type for the values of both, as one block with both would have had."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if {first, second} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(first) and pa.types.is_list(second):
        return pa.list_(_joined(first.value_type, second.value_type, name, blob))
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        fields = {f.name: f.type for f in first}
        for field in second:
            fields[field.name] = _joined(fields.get(field.name, pa.null()), field.type, f"{name}.{field.name}", blob)
        return pa.struct(list(fields.items()))
    raise DataError(
        f"field {name!r} of {blob.name} is {second}, but {first} in rows before", "correct the file or declare the type"
    )


def _holds_float(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_float(f.type) for f in kind)
    return _holds_float(kind.value_type) if pa.types.is_list(kind) else bool(pa.types.is_floating(kind))


class _Digits:
    """How many digits the numbers of float columns are written with: whether a double would change them."""

    def __init__(self, kinds: dict[str, pa.DataType]) -> None:
        self.kinds = kinds
        self._whole = dict.fromkeys(kinds, 1)
        self._scale = dict.fromkeys(kinds, 0)
        self._changed: set[str] = set()

    def look(self, block: bytes) -> None:
        for name, kind in self.kinds.items():
            wide = _mapped(kind, lambda leaf: _WIDEST if pa.types.is_floating(leaf) else leaf)
            try:
                read = read_block(pa.py_buffer(block), pa.schema([(name, wide)]))
            except pa.ArrowInvalid:
                # Numbers with exponents that no decimal holds are doubles by their nature.
                continue
            for values in _decimals(read.column(name)):
                self._measure(name, decimal_text(values.drop_null()))

    def _measure(self, name: str, texts: pa.Array) -> None:
        if not len(texts):
            return
        plain = pc.replace_substring_regex(texts, r"^-|\.?0*$", "")
        points = pc.find_substring(plain, ".")
        lengths = pc.utf8_length(plain)
        # Zeros at the end of a whole number count, those behind the point do not.
        whole = pc.utf8_length(pc.replace_substring_regex(texts, r"^-|\..*$", ""))
        scale = pc.if_else(pc.greater_equal(points, 0), pc.subtract(pc.subtract(lengths, points), 1), 0)
        self._whole[name] = max(self._whole[name], pc.max(whole).as_py())
        self._scale[name] = max(self._scale[name], pc.max(scale).as_py())
        most = pc.max(pc.add(whole, scale)).as_py()
        if most > DOUBLE_DIGITS and not survives_double(texts):
            self._changed.add(name)

    def exact(self, name: str, kind: pa.DataType) -> pa.DataType:
        """`kind`, with decimals in place of doubles where doubles would change a number."""
        if name not in self._changed:
            return kind
        digits = self._whole[name] + self._scale[name]
        make = pa.decimal128 if digits <= _DECIMAL128_DIGITS else pa.decimal256
        return _mapped(kind, lambda leaf: make(digits, self._scale[name]) if pa.types.is_floating(leaf) else leaf)


def _decimals(values: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_decimal(values.type):
        yield values
    elif pa.types.is_list(values.type):
        yield from _decimals(values.flatten())
    elif pa.types.is_struct(values.type):
        for part in values.flatten():
            yield from _decimals(part)


def _settled(kind: pa.DataType) -> pa.DataType:
    """A field that is null in every row is text."""
    return _mapped(kind, lambda leaf: pa.string() if pa.types.is_null(leaf) else leaf)
