"""Types of text columns from their values: only a type that gives every value back exactly is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from penstock.connectors._formats.declared import declared_column
from penstock.connectors._formats.parse import misfits, parse
from penstock.connectors._formats.settings import Dialect, FormatSettings
from penstock.core.schema import Column

# Leading zeros mean something (postcodes, article numbers), so `007` is no integer; neither is `-0`.
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_FLOAT = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$|^NaN$|^-?Infinity$"
_BOOLEAN = r"(?i)^(true|false)$"
_PATTERNS = {"integer": _INTEGER, "decimal": _DECIMAL, "float": _FLOAT, "boolean": _BOOLEAN}
_TIMES = {
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_ns": pa.timestamp("ns"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamptz_ns": pa.timestamp("ns", "UTC"),
}
# What a double holds of any decimal number (IEEE 754: 15 significant digits survive).
DOUBLE_DIGITS = 15
_DECIMAL128_DIGITS, _DECIMAL256_DIGITS = 38, 76
_FIRST = 64


@dataclass
class _Guess:
    """What one column can still be, and how many digits its numbers have."""

    can_be: list[str] = field(default_factory=lambda: [*_PATTERNS, *_TIMES])
    seen: bool = False
    is_int64: bool = True
    is_double: bool = True
    whole_digits: int = 1
    scale: int = 0
    digits: int = 0


class Guesses:
    """Guesses for the columns of one table by name, over all its files. Declared columns are not guessed."""

    def __init__(self, settings: FormatSettings) -> None:
        self._dialect = settings.dialect
        self._declared = dict(settings.types)
        self._guesses: dict[str, _Guess] = {}

    def open(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the names whose values still matter."""
        for name in names:
            if name not in self._declared:
                self._guesses.setdefault(name, _Guess())
        return tuple(name for name in names if name in self._guesses and self._guesses[name].can_be)

    def look(self, batch: pa.RecordBatch) -> None:
        """Take raw values (binary columns by name) into account."""
        for name in batch.schema.names:
            guess = self._guesses[name]
            if guess.can_be:
                _look(guess, batch.column(name).drop_null(), self._dialect)

    def column(self, name: str) -> Column:
        if name in self._declared:
            return declared_column(name, self._declared[name])
        return Column(name, _chosen(self._guesses[name]))


def _look(guess: _Guess, raw: pa.Array, dialect: Dialect) -> None:
    if not len(raw):
        return
    guess.seen = True
    try:
        texts = raw.cast(pa.string())
    except pa.ArrowInvalid:
        guess.can_be = []
        return
    numbers = texts
    if dialect.decimal_comma:
        numbers = pc.replace_substring(pc.replace_substring(texts, ".", "?"), ",", ".")
    guess.can_be = [kind for kind in guess.can_be if _fits(kind, texts, numbers, dialect)]
    if "float" in guess.can_be:
        _measure(guess, numbers)


def _fits(kind: str, texts: pa.Array, numbers: pa.Array, dialect: Dialect) -> bool:
    if kind in _PATTERNS:
        return bool(pc.all(pc.match_substring_regex(numbers, _PATTERNS[kind])).as_py())
    column = Column("", _TIMES[kind])
    # Parsing times is dear, and nearly every column that is no time shows it within its first values.
    return all(misfits(part, parse(part, column, dialect)) is None for part in (texts.slice(0, _FIRST), texts))


def _measure(guess: _Guess, numbers: pa.Array) -> None:
    """Digits before and after the point, and all that are written."""
    if guess.is_int64 and "integer" in guess.can_be:
        try:
            numbers.cast(pa.int64())
        except pa.ArrowInvalid:
            guess.is_int64 = False
    mantissa = pc.replace_substring_regex(numbers, r"^-|[eE].*$", "")
    lengths = pc.utf8_length(mantissa)
    points = pc.find_substring(mantissa, ".")
    has_point = pc.greater_equal(points, 0)
    whole = pc.if_else(has_point, points, lengths)
    scale = pc.if_else(has_point, pc.subtract(pc.subtract(lengths, points), 1), 0)
    guess.whole_digits = max(guess.whole_digits, pc.max(whole).as_py())
    guess.scale = max(guess.scale, pc.max(scale).as_py())
    digits = pc.max(pc.add(whole, scale)).as_py()
    guess.digits = max(guess.digits, digits)
    guess.is_double = guess.is_double and (digits <= DOUBLE_DIGITS or survives_double(numbers))


def survives_double(numbers: pa.Array) -> bool:
    """Whether the shortest text of each number as a double is the same number: true of numbers that were doubles."""
    shortest = numbers.cast(pa.float64()).cast(pa.string())
    return bool(pc.all(pc.equal(_significant(numbers), _significant(shortest))).as_py())


def _significant(numbers: pa.Array) -> pa.Array:
    """The digits without sign, point, exponent and the zeros at both ends."""
    return pc.utf8_trim(pc.replace_substring_regex(numbers, r"[eE].*$|[-.]", ""), "0")


def _chosen(guess: _Guess) -> pa.DataType:
    if not guess.seen or not guess.can_be:
        return pa.string()
    first = guess.can_be[0]
    if first == "decimal" and guess.digits > DOUBLE_DIGITS and guess.is_double:
        return pa.float64()
    if first in ("integer", "decimal"):
        if first == "integer" and guess.is_int64:
            return pa.int64()
        digits = guess.whole_digits + guess.scale
        if digits > _DECIMAL256_DIGITS:
            return pa.string()
        make = pa.decimal128 if digits <= _DECIMAL128_DIGITS else pa.decimal256
        return make(digits, guess.scale)
    if first == "float":
        return pa.float64() if guess.is_double else pa.string()
    return pa.bool_() if first == "boolean" else _TIMES[first]
