"""Whether values of one declared type fit another: kept equal, in need of a wider column, parsed, changed, or impossible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from penstock.connectors.mysql.memory import plain_text
from penstock.connectors.mysql.types import BLOBS, INTEGERS, TEXTS, Declared


class Way(Enum):
    """SAME: equal declarations. KEEP: the target's type holds every value equal. WIDEN: the target must become `wider`.
    TEXT: kept as text. PARSE: what the server cannot read as the target's type is an error. LOSSY: some values change.
    NEVER: no conversion."""

    SAME = "same"
    KEEP = "keep"
    WIDEN = "widen"
    TEXT = "text"
    PARSE = "parse"
    LOSSY = "lossy"
    NEVER = "never"


@dataclass(frozen=True)
class Fit:
    way: Way
    wider: str = ""
    note: str = ""


SAME, KEEP, NEVER = Fit(Way.SAME), Fit(Way.KEEP), Fit(Way.NEVER)

_DIGITS = {8: 3, 16: 5, 24: 8, 32: 10, 64: 20}
_WIDE = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
_BYTES_A_CHARACTER = 4


def fit(wanted: Declared, held: Declared) -> Fit:
    """How values declared as `wanted` go into a column declared as `held`."""
    if plain_text(wanted.text).lower() == plain_text(held.text).lower():
        return SAME
    if held.is_text and not wanted.is_text:
        return Fit(Way.TEXT, note=f"{wanted.text} as text")
    rule = _RULES.get(wanted.name)
    return rule(wanted, held) if rule else NEVER


# ---- numbers


def _ends(declared: Declared) -> tuple[int, int]:
    bits = INTEGERS[declared.name]
    return (0, 2**bits - 1) if declared.is_unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _integer(wanted: Declared, held: Declared) -> Fit:
    bits = INTEGERS[wanted.name]
    if held.name in INTEGERS:
        low, high = _ends(wanted)
        held_low, held_high = _ends(held)
        if held_low <= low and high <= held_high:
            return KEEP
        return Fit(Way.WIDEN, _integer_type(min(low, held_low), max(high, held_high)))
    if held.name == "decimal":
        return _into_decimal(_DIGITS[bits], 0, held)
    if held.name == "double":
        return KEEP if bits <= 32 else Fit(Way.LOSSY, note="double rounds large numbers")
    if held.name == "float":
        return KEEP if bits <= 24 else Fit(Way.WIDEN, "double") if bits <= 32 else Fit(Way.LOSSY, note="float rounds")
    return Fit(Way.PARSE, note="numbers beyond the column are an error") if held.name in ("bit", "year") else NEVER


def _integer_type(low: int, high: int) -> str:
    for name, bits in _WIDE.items():
        if low >= 0 and high < 2**bits:
            return f"{name} unsigned"
        if -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1):
            return name
    return "decimal(20,0)"


def _size(held: Declared) -> tuple[int, int]:
    precision, scale, *_ = (*held.mods, 0) if held.mods else (10, 0)
    return precision, scale


def _into_decimal(whole: int, scale: int, held: Declared) -> Fit:
    """Numbers of `whole` digits before the point and `scale` after it."""
    precision, held_scale = _size(held)
    if held_scale >= scale and precision - held_scale >= whole:
        return KEEP
    most = max(scale, held_scale)
    digits = max(whole, precision - held_scale) + most
    return Fit(Way.WIDEN, f"decimal({digits},{most})") if digits <= 65 and most <= 38 else NEVER


def _decimal(wanted: Declared, held: Declared) -> Fit:
    precision, scale = _size(wanted)
    if held.name == "decimal":
        return _into_decimal(precision - scale, scale, held)
    if held.name in INTEGERS:
        whole = _DIGITS[INTEGERS[held.name]]
        if scale == 0 and precision < whole:
            return KEEP
        return Fit(Way.WIDEN, f"decimal({max(precision - scale, whole) + scale},{scale})")
    return Fit(Way.LOSSY, note=f"{held.text} rounds") if held.name in ("float", "double") else NEVER


def _float(wanted: Declared, held: Declared) -> Fit:
    if held.name in ("float", "double"):
        return KEEP if wanted.name == "float" else Fit(Way.WIDEN, "double")
    rounds = held.name == "decimal" or held.name in INTEGERS
    return Fit(Way.LOSSY, note=f"{wanted.text} is rounded as {held.text}") if rounds else NEVER


# ---- texts and bytes


def _room(declared: Declared) -> int:
    """Bytes that a text or bytes column holds."""
    if declared.name in TEXTS or declared.name in BLOBS:
        return (TEXTS | BLOBS)[declared.name]
    size = (*declared.mods, 1)[0]
    return size * _BYTES_A_CHARACTER if declared.is_text else size


def _text(wanted: Declared, held: Declared) -> Fit:
    if held.is_text:
        if _room(held) >= _room(wanted):
            return KEEP
        return Fit(Way.WIDEN, wanted.text if wanted.name != "char" else f"varchar({wanted.mods[0]})")
    if held.name in BLOBS or held.name == "varbinary":
        return Fit(Way.PARSE, note="text as its bytes in UTF-8")
    exact = held.name in ("json", "uuid", "enum", "set", "inet4", "inet6")
    return Fit(Way.PARSE if exact else Way.LOSSY, note=f"text read as {held.text}; what cannot be read is an error")


def _bytes(wanted: Declared, held: Declared) -> Fit:
    if held.name in BLOBS or held.name == "varbinary":
        return KEEP if _room(held) >= _room(wanted) else Fit(Way.WIDEN, "longblob")
    return Fit(Way.WIDEN, "longblob") if held.name == "binary" else NEVER


# ---- times and others


def _digits(declared: Declared) -> int:
    return (*declared.mods, 0)[0]


def _moment(wanted: Declared, held: Declared) -> Fit:
    if wanted.name == "date" and held.name in ("datetime", "timestamp"):
        return Fit(Way.KEEP if held.name == "datetime" else Way.PARSE, note="midnight")
    if held.name == "date":
        return Fit(Way.WIDEN, wanted.text)
    if held.name not in ("datetime", "timestamp"):
        return NEVER
    if _digits(held) < _digits(wanted):
        return Fit(Way.WIDEN, f"{held.name}({_digits(wanted)})")
    if wanted.name == "datetime" and held.name == "timestamp":
        return Fit(Way.PARSE, note="as time in UTC; what timestamp cannot hold is an error")
    return Fit(Way.KEEP, note="as time in UTC" if wanted.name != held.name else "")


def _time(wanted: Declared, held: Declared) -> Fit:
    if held.name != "time":
        return NEVER
    return KEEP if _digits(held) >= _digits(wanted) else Fit(Way.WIDEN, wanted.text)


def _listed(_: Declared, held: Declared) -> Fit:
    return (
        Fit(Way.PARSE, note="values that the column does not list are an error")
        if held.name in ("enum", "set")
        else NEVER
    )


def _bit(wanted: Declared, held: Declared) -> Fit:
    if held.name == "bit":
        return KEEP if (*held.mods, 1)[0] >= (*wanted.mods, 1)[0] else Fit(Way.WIDEN, wanted.text)
    return KEEP if held.name == "bigint" and held.is_unsigned else NEVER


def _geometry(_: Declared, held: Declared) -> Fit:
    return KEEP if held.name == "geometry" else Fit(Way.PARSE, note="other kinds of geometry are an error")


_RULES: dict[str, Callable[[Declared, Declared], Fit]] = {
    **dict.fromkeys(INTEGERS, _integer),
    "year": lambda _, held: _integer(Declared("smallint", "smallint"), held),
    "decimal": _decimal,
    **dict.fromkeys(("float", "double"), _float),
    **dict.fromkeys((*TEXTS, "char", "varchar"), _text),
    **dict.fromkeys((*BLOBS, "binary", "varbinary"), _bytes),
    **dict.fromkeys(("date", "datetime", "timestamp"), _moment),
    "time": _time,
    **dict.fromkeys(("enum", "set"), _listed),
    "bit": _bit,
    **dict.fromkeys(("point", "linestring", "polygon", "geometry"), _geometry),
}
