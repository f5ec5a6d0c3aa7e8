"""Whether values of one declared type fit another: kept equal, in need of a wider column, parsed, changed, or impossible."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from penstock.connectors.postgres.types import plain_name


class Way(Enum):
    """SAME: equal declarations. KEEP: the target's type holds every value equal. WIDEN: the target must become `wider`.
    TEXT: kept as text. PARSE: text that the server reads as the target's type; what it cannot read is an error. LOSSY:
    some values change. NEVER: no conversion."""

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


@dataclass(frozen=True)
class Shape:
    """A type as DDL writes it, taken apart: pg_type.typname of a built-in type (of another, its whole name), modifiers."""

    text: str
    name: str
    mods: tuple[int, ...] = ()
    is_array: bool = False


SAME, KEEP, NEVER = Fit(Way.SAME), Fit(Way.KEEP), Fit(Way.NEVER)

_INTEGERS = {"int2": 5, "int4": 10, "int8": 19}  # most digits
_SAFE_DIGITS = {"int2": 4, "int4": 9, "int8": 18}  # every number of so many digits fits
_SQL = {"int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision"}
_TEXTS = {"text", "varchar", "bpchar", "citext"}
_CLOCKS = {"time", "timetz", "timestamp", "timestamptz", "interval"}
# Text that is read as one of these is either an error or the same value again.
_PARSED_EXACTLY = {
    "uuid",
    "json",
    "jsonb",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bool",
    "int2",
    "int4",
    "int8",
    "xml",
    "name",
}


def shape(text: str) -> Shape:
    """`text` as format_type writes it."""
    is_array = text.endswith("[]")
    inner = text.removesuffix("[]")
    mods = re.search(r"\(([\d, -]+)\)", inner)
    found = tuple(int(mod) for mod in mods[1].split(",")) if mods else ()
    name = plain_name(inner) if "." not in inner else inner
    return Shape(text, "citext" if name.endswith(".citext") else name, found, is_array)


def fit(wanted: Shape, target: Shape) -> Fit:
    """How values declared as `wanted` go into a column declared as `target`."""
    if wanted == target or wanted.text == target.text:
        return SAME
    if wanted.is_array or target.is_array:
        return _arrays(wanted, target)
    if target.name in _TEXTS and wanted.name not in _TEXTS:
        return Fit(Way.TEXT, note=f"{wanted.text} as text")
    rule = _RULES.get(wanted.name)
    found = rule(wanted, target) if rule else NEVER
    if found.way is Way.NEVER and wanted.name in _TEXTS | {"name"}:
        return _parsed(target)
    return found


def _arrays(wanted: Shape, target: Shape) -> Fit:
    if not target.is_array:
        return Fit(Way.TEXT, note="array as text") if target.name in _TEXTS else NEVER
    if not wanted.is_array:
        return _parsed(target) if wanted.name in _TEXTS else NEVER
    items = fit(shape(wanted.text.removesuffix("[]")), shape(target.text.removesuffix("[]")))
    return Fit(items.way, f"{items.wider}[]" if items.wider else "", items.note)


def _parsed(target: Shape) -> Fit:
    if target.name in _PARSED_EXACTLY or "." in target.name or target.is_array:
        return Fit(Way.PARSE, note=f"text read as {target.text}; what cannot be read is an error")
    return Fit(Way.LOSSY, note=f"text read as {target.text}, which rounds what it cannot hold")


def _integer(wanted: Shape, target: Shape) -> Fit:
    digits = _INTEGERS[wanted.name]
    if target.name in _INTEGERS:
        return KEEP if _INTEGERS[target.name] > digits else Fit(Way.WIDEN, wanted.text)
    if target.name == "numeric":
        return _into_numeric(digits, 0, target)
    if (wanted.name, target.name) in (("int2", "float4"), ("int2", "float8"), ("int4", "float8")):
        return KEEP
    if (wanted.name, target.name) == ("int4", "float4"):
        return Fit(Way.WIDEN, "double precision")
    if target.name in ("float4", "float8"):
        return Fit(Way.LOSSY, note=f"{target.text} rounds large numbers")
    return KEEP if (wanted.name, target.name) == ("int8", "oid") else NEVER


def _into_numeric(whole: int, scale: int, target: Shape) -> Fit:
    """Numbers of `whole` digits before the point and `scale` after it into numeric or numeric(p, s)."""
    if not target.mods:
        return KEEP
    precision, target_scale = (*target.mods, 0)[:2]
    if target_scale >= scale and precision - target_scale >= whole:
        return KEEP
    wider, widest = max(whole, precision - target_scale), max(scale, target_scale)
    return Fit(Way.WIDEN, f"numeric({wider + widest},{widest})")


def _numeric(wanted: Shape, target: Shape) -> Fit:
    if target.name == "numeric":
        if not wanted.mods:
            return Fit(Way.WIDEN, "numeric") if target.mods else KEEP
        precision, scale = (*wanted.mods, 0)[:2]
        return _into_numeric(precision - scale, scale, target)
    if target.name in _INTEGERS:
        precision, scale = (*wanted.mods, 0)[:2] if wanted.mods else (0, 0)
        if wanted.mods and scale == 0 and precision <= _SAFE_DIGITS[target.name]:
            return KEEP
        whole = max(precision - scale, _INTEGERS[target.name])
        return Fit(Way.WIDEN, f"numeric({whole + scale},{scale})" if wanted.mods else "numeric")
    return Fit(Way.LOSSY, note=f"{target.text} rounds") if target.name in ("float4", "float8") else NEVER


def _float(wanted: Shape, target: Shape) -> Fit:
    if target.name in ("float4", "float8"):
        return KEEP if wanted.name == "float4" else Fit(Way.WIDEN, "double precision")
    if target.name == "numeric" or target.name in _INTEGERS:
        return Fit(Way.LOSSY, note=f"{wanted.text} is rounded as {target.text}")
    return NEVER


def _text(wanted: Shape, target: Shape) -> Fit:
    if target.name not in _TEXTS:
        return NEVER
    most = wanted.mods[0] if wanted.mods else None
    limit = target.mods[0] if target.mods else None
    if target.name in ("text", "citext") or limit is None:
        return KEEP
    if most is not None and most <= limit:
        return Fit(Way.KEEP, note=f"padded to {limit} characters" if target.name == "bpchar" else "")
    return Fit(
        Way.WIDEN, "text" if most is None or "bpchar" in (target.name, wanted.name) else f"character varying({most})"
    )


def _moment(wanted: Shape, target: Shape) -> Fit:
    """date, time, timestamp and their kin; a missing precision means 6 digits."""
    here, there = (one.mods[0] if one.mods else 6 for one in (wanted, target))
    if wanted.name == target.name and wanted.name in _CLOCKS:
        return KEEP if here <= there else Fit(Way.WIDEN, wanted.text)
    pair = (wanted.name, target.name)
    if pair in (("date", "timestamp"), ("date", "timestamptz")):
        return Fit(Way.KEEP, note="midnight UTC" if target.name == "timestamptz" else "midnight")
    if pair in (("timestamp", "date"), ("timestamptz", "date")):
        return Fit(Way.WIDEN, wanted.text)
    if pair in (("timestamp", "timestamptz"), ("timestamptz", "timestamp")) and here <= there:
        return Fit(Way.KEEP, note="as time in UTC")
    return NEVER


def _json(wanted: Shape, target: Shape) -> Fit:
    if (wanted.name, target.name) == ("json", "jsonb"):
        return Fit(Way.KEEP, note="jsonb keeps neither white space, order nor repetition of keys")
    return KEEP if target.name == "json" else NEVER


def _network(_: Shape, target: Shape) -> Fit:
    return KEEP if target.name == "inet" else NEVER


_RULES: dict[str, Callable[[Shape, Shape], Fit]] = {
    **dict.fromkeys(_INTEGERS, _integer),
    "numeric": _numeric,
    "float4": _float,
    "float8": _float,
    **dict.fromkeys((*_TEXTS, "name"), _text),
    **dict.fromkeys(("date", *_CLOCKS), _moment),
    "json": _json,
    "jsonb": _json,
    "cidr": _network,
}
