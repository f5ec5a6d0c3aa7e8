"""How values of one declared type go into a column of another: the same, kept, parsed, rounded, after widening, never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from penstock.connectors.sqlserver.types import BYTES, INTEGERS, LEAST_FINE, MAX, TEXTS, Declared


class Way(Enum):
    SAME = "same"
    KEEP = "keep"
    WIDEN = "widen"
    TEXT = "text"
    PARSE = "parse"
    LOSSY = "lossy"
    NEVER = "never"


@dataclass(frozen=True)
class Fit:
    """The way, the type the column must get first (WIDEN), and what a user should know."""

    way: Way
    wider: Declared | None = None
    note: str = ""


SAME, KEEP, NEVER = Fit(Way.SAME), Fit(Way.KEEP), Fit(Way.NEVER)
MOST_DIGITS = 38
_RANK = {"bit": 0, "tinyint": 1, "smallint": 2, "int": 3, "bigint": 4}
_SAFE_DIGITS = {"tinyint": 2, "smallint": 4, "int": 9, "bigint": 18}  # every number of so many digits fits
_MONEY = {"money": (14, 4), "smallmoney": (5, 4)}  # whole digits that always fit, and digits of the fraction
_WRITTEN = {"money": (15, 4), "smallmoney": (6, 4)}  # most whole digits that come
_CLOCKS = {"date", "time", "datetime", "smalldatetime", "datetime2", "datetimeoffset"}
_PARSED_EXACTLY = {
    "uniqueidentifier",
    "xml",
    "json",
    "bit",
    "hierarchyid",
    "geography",
    "geometry",
    "sql_variant",
    *INTEGERS,
}


def fit(wanted: Declared, target: Declared, is_measured: bool = False) -> Fit:
    """How values declared as `wanted` go into a column declared as `target`. `is_measured`: the size of `wanted` is not
    declared anywhere; the publish looks at the values themselves."""
    if wanted.text == target.text:
        return SAME if wanted.name not in TEXTS or wanted.collation == target.collation else KEEP
    if wanted.name in TEXTS and target.name in TEXTS:
        return _text(wanted, target, is_measured)
    if wanted.name in BYTES and target.name in BYTES:
        return _sizes(wanted, target, is_measured, Declared("varbinary", wanted.size))
    if target.name in TEXTS:
        return Fit(Way.TEXT, note=f"{wanted.text} as text")
    if target.name == "sql_variant":
        return KEEP
    if wanted.name in TEXTS:
        return _parsed(target)
    rule = _RULES.get(wanted.name)
    return rule(wanted, target) if rule else NEVER


def _parsed(target: Declared) -> Fit:
    if target.name in BYTES:
        return NEVER
    if target.name in _PARSED_EXACTLY or (
        target.name in ("datetime2", "datetimeoffset", "time") and target.scale == LEAST_FINE
    ):
        return Fit(Way.PARSE, note=f"text read as {target.text}; what cannot be read is an error")
    return Fit(Way.LOSSY, note=f"text read as {target.text}, which rounds what it cannot hold")


def _text(wanted: Declared, target: Declared, is_measured: bool) -> Fit:
    found = _sizes(wanted, target, is_measured, Declared(target.name, wanted.size, collation=target.collation))
    is_narrower = not target.name.startswith("n") and (
        wanted.name.startswith("n") or wanted.collation != target.collation
    )
    if is_narrower and found.way is Way.KEEP:
        return Fit(Way.KEEP, note=f"a letter that {target.collation or 'the code page'} does not have is an error")
    return found


def _sizes(wanted: Declared, target: Declared, is_measured: bool, wider: Declared) -> Fit:
    if target.size == MAX or target.name in ("text", "ntext", "image") or is_measured:
        return KEEP
    if wanted.size != MAX and 0 < wanted.size <= target.size:
        fixed = target.name in ("char", "nchar", "binary")
        return Fit(Way.KEEP, note=f"padded to {target.size}") if fixed and wanted.size < target.size else KEEP
    if target.name in ("char", "nchar", "binary"):
        wider = Declared(
            {"char": "varchar", "nchar": "nvarchar"}.get(target.name, "varbinary"),
            wanted.size,
            collation=target.collation,
        )
    limit = 4000 if wider.name.startswith("n") else 8000
    return Fit(Way.WIDEN, wider if 0 < wider.size <= limit else Declared(wider.name, MAX, collation=wider.collation))


def _integer(wanted: Declared, target: Declared) -> Fit:
    if target.name in _RANK:
        return KEEP if _RANK[target.name] > _RANK[wanted.name] else Fit(Way.WIDEN, Declared(wanted.name))
    digits = INTEGERS.get(wanted.name, 1)
    if target.name in _MONEY or target.name == "decimal":
        return _into_decimal(digits, 0, target)
    if target.name == "float":
        return Fit(Way.LOSSY, note="float rounds large numbers") if wanted.name == "bigint" else KEEP
    if target.name == "real":
        return (
            Fit(Way.WIDEN, Declared("float"))
            if wanted.name == "int"
            else (Fit(Way.LOSSY, note="real rounds large numbers") if wanted.name == "bigint" else KEEP)
        )
    return NEVER


def _into_decimal(whole: int, scale: int, target: Declared) -> Fit:
    """Numbers of `whole` digits before the point and `scale` after it into decimal or money."""
    held_whole, held_scale = _MONEY.get(target.name) or (target.precision - target.scale, target.scale)
    if held_whole >= whole and held_scale >= scale:
        return KEEP
    wide, fraction = max(whole, held_whole), max(scale, held_scale)
    if wide + fraction > MOST_DIGITS:
        return Fit(Way.LOSSY, note=f"{target.text} rounds what it cannot hold, and decimal has {MOST_DIGITS} digits")
    return Fit(Way.WIDEN, Declared("decimal", 0, wide + fraction, fraction))


def _decimal(wanted: Declared, target: Declared) -> Fit:
    whole, scale = _WRITTEN.get(wanted.name) or (wanted.precision - wanted.scale, wanted.scale)
    if target.name == "decimal" or target.name in _MONEY:
        return KEEP if target.name == wanted.name == "money" else _into_decimal(whole, scale, target)
    if target.name in INTEGERS:
        if scale == 0 and whole <= _SAFE_DIGITS[target.name]:
            return KEEP
        wide = max(whole, INTEGERS[target.name])
        if wide + scale > MOST_DIGITS:
            return Fit(Way.LOSSY, note=f"{target.text} rounds what it cannot hold")
        return Fit(Way.WIDEN, Declared("decimal", 0, wide + scale, scale))
    return Fit(Way.LOSSY, note=f"{target.text} rounds") if target.name in ("float", "real") else NEVER


def _float(wanted: Declared, target: Declared) -> Fit:
    if target.name in ("float", "real"):
        return KEEP if wanted.name == "real" else Fit(Way.WIDEN, Declared("float"))
    if target.name in INTEGERS or target.name in ("decimal", "money", "smallmoney"):
        return Fit(Way.LOSSY, note=f"{wanted.text} is rounded as {target.text}")
    return NEVER


def _moment(wanted: Declared, target: Declared) -> Fit:
    if target.name not in _CLOCKS or (wanted.name == "time") != (target.name == "time"):
        return NEVER
    here, there = (_fraction(one) for one in (wanted, target))
    if wanted.name == "date":
        return Fit(Way.KEEP, note="midnight UTC" if target.name == "datetimeoffset" else "midnight")
    if target.name == "date":
        return Fit(Way.WIDEN, wanted)
    if target.name in ("datetime", "smalldatetime"):
        exact = wanted.name == "smalldatetime" or wanted.name == target.name
        return (
            KEEP
            if exact
            else Fit(
                Way.LOSSY, note=f"{target.name} rounds, and begins in {1753 if target.name == 'datetime' else 1900}"
            )
        )
    if here > there:
        return Fit(Way.WIDEN, Declared(target.name, scale=here))
    return Fit(
        Way.KEEP,
        note="as time in UTC" if (wanted.name == "datetimeoffset") != (target.name == "datetimeoffset") else "",
    )


def _fraction(declared: Declared) -> int:
    return {"datetime": 3, "smalldatetime": 0, "date": 0}.get(declared.name, declared.scale)


_RULES: dict[str, Callable[[Declared, Declared], Fit]] = {
    **dict.fromkeys(_RANK, _integer),
    **dict.fromkeys(("decimal", "money", "smallmoney"), _decimal),
    **dict.fromkeys(("real", "float"), _float),
    **dict.fromkeys(_CLOCKS, _moment),
}
