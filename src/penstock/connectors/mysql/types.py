"""Declared types of MySQL and MariaDB: taken apart, and as the columns that reading gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from penstock.core.errors import NotSupported
from penstock.core.names import quote
from penstock.core.schema import Column

if TYPE_CHECKING:
    from penstock.connectors.mysql.protocol import FieldInfo

NATIVE = "mysql:"
MARK = "`"

INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
TEXTS = {"tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1}
BLOBS = {"tinyblob": 255, "blob": 65_535, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1}
GEOMETRIES = frozenset(
    (
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
    )
)
BINARY_CHARSET = 63
_SYNONYMS = {"integer": "int", "numeric": "decimal", "dec": "decimal", "geomcollection": "geometrycollection"}
_TYPE = re.compile(r"(?P<name>[a-z0-9_]+)(?:\((?P<mods>.*?)\))?(?P<rest>(?: unsigned| zerofill)*)", re.I | re.S)
_NO_SCALE = 31


@dataclass(frozen=True)
class Declared:
    """A declared type: `text` as COLUMN_TYPE writes it, in small letters but for names in quotes, with a collation where
    it is text. `name` without modifiers; `mods` are its numbers."""

    text: str
    name: str
    mods: tuple[int, ...] = ()
    is_unsigned: bool = False
    collation: str = ""

    @property
    def charset(self) -> str:
        return self.collation.partition("_")[0]

    @property
    def is_text(self) -> bool:
        return self.name in TEXTS or self.name in ("char", "varchar")

    @property
    def ddl(self) -> str:
        """As a column's definition writes it."""
        if not self.collation:
            return self.text
        return f"{self.text} CHARACTER SET {self.charset} COLLATE {self.collation}"

    @property
    def native(self) -> str:
        return NATIVE + self.text + (f" collate {self.collation}" if self.collation else "")


def declare(text: str, collation: str = "") -> Declared:
    """`text` as COLUMN_TYPE or a native type writes it."""
    text, _, given = text.partition(" collate ")
    match = _TYPE.match(text)
    name = (match["name"] if match else text).lower()
    name = _SYNONYMS.get(name, name)
    mods = match["mods"] if match and name not in ("enum", "set") else None
    numbers = tuple(int(part) for part in mods.split(",")) if mods and re.fullmatch(r"[\d, ]+", mods) else ()
    return Declared(text, name, numbers, " unsigned" in text.lower(), collation or given)


def declared_of(info: FieldInfo) -> Declared:
    """The type of a column of a result, as far as the protocol tells it."""
    unsigned = " unsigned" if info.is_unsigned else ""
    whole = {1: "tinyint", 2: "smallint", 9: "mediumint", 3: "int", 8: "bigint"}.get(info.wire)
    if whole:
        shown = "tinyint(1)" if whole == "tinyint" and info.length == 1 else whole
        return declare(shown + unsigned)
    if info.wire in (0, 246):
        digits = info.length - (info.decimals > 0) - (not info.is_unsigned)
        return declare(f"decimal({max(1, digits, info.decimals)},{info.decimals}){unsigned}")
    if info.wire in (7, 11, 12):
        name = {7: "timestamp", 11: "time", 12: "datetime"}[info.wire]
        return declare(f"{name}({info.decimals})" if 0 < info.decimals <= 6 else name)
    plain = {4: "float", 5: "double", 10: "date", 13: "year", 16: f"bit({info.length})", 245: "json", 255: "geometry"}
    if info.wire in plain:
        return declare(plain[info.wire])
    is_binary = info.charset == BINARY_CHARSET and info.wire != 6
    if info.wire == 254 and is_binary and 0 < info.length <= 255:
        return declare(f"binary({info.length})")
    return declare("longblob" if is_binary else "longtext")


# ---- reading


@dataclass(frozen=True)
class Reading:
    """Options that say how types are read."""

    tinyint1_is_bool: bool = False
    time_is_clock: bool = False
    zero_dates_are_null: bool = False


def to_column(name: str, declared: Declared, nullable: bool, how: Reading) -> Column:
    """The column that reading gives. Raises NotSupported for a type that is not known."""
    make = _CARRIERS.get(declared.name)
    if make is None:
        raise NotSupported(f"column {name!r} has type {declared.text}, which is not known", "exclude the column")
    kind, logical = make(declared, how)
    note = ""
    if declared.name in ("date", "datetime", "timestamp") and how.zero_dates_are_null:
        nullable, note = True, "dates that do not exist are read as NULL"
    return Column(name, kind, nullable, logical, declared.native, note=note)


_Found = tuple[pa.DataType, str]


def _integer(declared: Declared, how: Reading) -> _Found:
    if declared.name == "tinyint" and declared.mods == (1,) and not declared.is_unsigned and how.tinyint1_is_bool:
        return pa.bool_(), ""
    bits = {24: 32}.get(INTEGERS[declared.name], INTEGERS[declared.name])
    return getattr(pa, f"{'u' if declared.is_unsigned else ''}int{bits}")(), ""


def _decimal(declared: Declared, _: Reading) -> _Found:
    precision, scale = (*declared.mods, 0)[:2] if declared.mods else (10, 0)
    return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale), ""


def _bit(declared: Declared, _: Reading) -> _Found:
    return (pa.bool_(), "") if declared.mods in ((), (1,)) else (pa.uint64(), "bit")


def _time(_: Declared, how: Reading) -> _Found:
    return (pa.time64("us") if how.time_is_clock else pa.duration("us")), ""


def _fixed(kind: pa.DataType, logical: str = "") -> Callable[[Declared, Reading], _Found]:
    return lambda _declared, _how: (kind, logical)


_CARRIERS: Mapping[str, Callable[[Declared, Reading], _Found]] = {
    **dict.fromkeys(INTEGERS, _integer),
    "decimal": _decimal,
    "bit": _bit,
    "time": _time,
    "float": _fixed(pa.float32()),
    "double": _fixed(pa.float64()),
    "year": _fixed(pa.int16(), "year"),
    "date": _fixed(pa.date32()),
    "datetime": _fixed(pa.timestamp("us")),
    "timestamp": _fixed(pa.timestamp("us", "UTC")),
    **dict.fromkeys((*TEXTS, "char", "varchar"), _fixed(pa.string())),
    "enum": _fixed(pa.string(), "enum"),
    "set": _fixed(pa.string(), "set"),
    "json": _fixed(pa.string(), "json"),
    "uuid": _fixed(pa.uuid()),
    "inet4": _fixed(pa.string(), "inet"),
    "inet6": _fixed(pa.string(), "inet"),
    **dict.fromkeys((*BLOBS, "varbinary"), _fixed(pa.binary())),
    "binary": lambda declared, _: (pa.binary((*declared.mods, 1)[0]), ""),
    "vector": _fixed(pa.binary(), "vector"),
    **dict.fromkeys(GEOMETRIES, _fixed(pa.binary(), "geometry")),
}


def fetched(column: Column) -> str:
    """The expression that selects a column in the form its carrier is decoded from.

    A geometry is stored as its reference system and WKB; it is read as WKB, or as EWKB where the system is not 0.
    """
    name = quote(column.name, MARK)
    native = declare(column.native.removeprefix(NATIVE)) if column.native.startswith(NATIVE) else None
    if native is not None and native.name in GEOMETRIES and pa.types.is_binary(column.type):
        bare = f"SUBSTR({name}, 5)"
        extended = f"CONCAT(SUBSTR({name}, 5, 4), x'20', SUBSTR({name}, 1, 4), SUBSTR({name}, 10))"
        return f"IF(SUBSTR({name}, 1, 4) = x'00000000', {bare}, {extended}) AS {name}"
    return name


def geometry_from(expression: str) -> str:
    """The server's own form of a geometry, from WKB or EWKB in little-endian order."""
    has_system = f"ORD(SUBSTR({expression}, 5, 1)) & 0x20"
    extended = f"CONCAT(SUBSTR({expression}, 6, 4), SUBSTR({expression}, 1, 4), x'00', SUBSTR({expression}, 10))"
    return f"IF({has_system}, {extended}, CONCAT(x'00000000', {expression}))"


def reading(option: Callable[[str], Any]) -> Reading:
    """The options of a connection that say how types are read."""
    return Reading(option("tinyint1") == "boolean", option("time") == "clock", option("zero_dates") == "as_null")
