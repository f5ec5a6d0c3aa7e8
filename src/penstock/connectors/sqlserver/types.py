"""SQL Server's types as Arrow carriers: what each column declares, how it is selected, and what batches carry.

Exact by default: what microseconds cannot hold is text, money a decimal, a uniqueidentifier sixteen bytes in the order in
which its text shows them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from penstock.core.errors import SpecError
from penstock.core.schema import Column, Fidelity

NATIVE = "sqlserver:"
MAX = -1
LEAST_FINE = 7  # digits of a second's fraction that microseconds do not hold

_SIZED = {"char", "varchar", "nchar", "nvarchar", "binary", "varbinary"}
TEXTS = {"char", "varchar", "nchar", "nvarchar", "text", "ntext"}
BYTES = {"binary", "varbinary", "image"}
INTEGERS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
_SCALED = {"time", "datetime2", "datetimeoffset"}
SPATIAL = {"geography", "geometry"}


@dataclass(frozen=True)
class Declared:
    """The type of a column. `name` is the base type in small letters, "udt" for a CLR type of the user's own; `size` counts
    characters or bytes, -1 is max; `alias` is the name of a user's type, as DDL writes it."""

    name: str
    size: int = 0
    precision: int = 0
    scale: int = 0
    collation: str = ""
    alias: str = ""

    @property
    def text(self) -> str:
        """The type as DDL writes it, without the collation."""
        if self.name in _SIZED:
            return f"{self.name}({'max' if self.size == MAX else self.size})"
        if self.name == "decimal":
            return f"decimal({self.precision},{self.scale})"
        return f"{self.name}({self.scale})" if self.name in _SCALED else self.name

    @property
    def full(self) -> str:
        """The type with its collation, so that a target of the same kind restores it."""
        return f"{self.text} COLLATE {self.collation}" if self.collation and self.name in TEXTS else self.text


_PARSED = re.compile(
    r"(?P<name>[a-z_0-9]+)(?:\((?P<one>max|\d+)(?:,(?P<two>\d+))?\))?(?: COLLATE (?P<collation>\w+))?\Z"
)


def declare(name: str, max_length: int, precision: int, scale: int, collation: str = "", alias: str = "") -> Declared:
    """A type as sys.columns tells it: lengths in bytes."""
    name = {"numeric": "decimal", "timestamp": "rowversion", "sysname": "nvarchar"}.get(name.lower(), name.lower())
    size = 0
    if name in _SIZED:
        size = max_length // 2 if name.startswith("n") and max_length > 0 else max_length
    kept = (precision, scale) if name == "decimal" else (0, scale if name in _SCALED else 0)
    return Declared(name, size, *kept, collation or "", alias)


def parse(text: str) -> Declared | None:
    """A type as `full` or a server writes it; None for a text that is no plain type."""
    match = _PARSED.match(text)
    if not match:
        return None
    name, one, two = match["name"], match["one"], match["two"]
    name = {"numeric": "decimal", "timestamp": "rowversion", "integer": "int"}.get(name, name)
    collation = match["collation"] or ""
    if name in _SIZED:
        return Declared(name, MAX if one == "max" else int(one or 1), collation=collation)
    if name == "decimal":
        return Declared(name, 0, int(one or 18), int(two or 0))
    if name in _SCALED:
        return Declared(name, 0, 0, int(one) if one is not None else LEAST_FINE)
    if name == "float":
        return Declared("real" if one and int(one) <= 24 else "float")
    return Declared(name, collation=collation) if name in KNOWN or name in TEXTS else None


@dataclass(frozen=True)
class Reading:
    """The settings of a connection that decide carriers."""

    fine_times: str = "text"
    offsets: str = "utc"
    sql_variant: str = "typed"
    spatial: str = "text"


@dataclass(frozen=True)
class Carrier:
    type: pa.DataType
    logical: str = ""
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""


_US, _UTC = pa.timestamp("us"), pa.timestamp("us", "UTC")
# Base types whose carrier needs no more than their name.
_PLAIN = {
    "bit": Carrier(pa.bool_()),
    "tinyint": Carrier(pa.uint8()),
    "smallint": Carrier(pa.int16()),
    "int": Carrier(pa.int32()),
    "bigint": Carrier(pa.int64()),
    "real": Carrier(pa.float32()),
    "float": Carrier(pa.float64()),
    "money": Carrier(pa.decimal128(19, 4)),
    "smallmoney": Carrier(pa.decimal128(10, 4)),
    **dict.fromkeys(TEXTS, Carrier(pa.string())),
    **dict.fromkeys(BYTES, Carrier(pa.binary())),
    "date": Carrier(pa.date32()),
    "smalldatetime": Carrier(_US),
    "datetime": Carrier(_US, note="to the millisecond that it shows; stored in steps of 1/300 s"),
    "uniqueidentifier": Carrier(pa.uuid()),
    "rowversion": Carrier(pa.binary(), "rowversion"),
    "json": Carrier(pa.string(), "json"),
    "xml": Carrier(pa.string(), "xml", Fidelity.TEXT),
    "hierarchyid": Carrier(pa.string(), "hierarchyid", Fidelity.TEXT),
    "vector": Carrier(pa.string(), "vector", Fidelity.TEXT),
    "udt": Carrier(pa.binary(), "udt", Fidelity.TEXT, "the bytes in which the server stores it"),
}
KNOWN = {*_PLAIN, *SPATIAL, *_SCALED, "sql_variant", "decimal"}


def carrier(declared: Declared, how: Reading) -> Carrier:
    """What batches carry for a type. Raises SpecError for a type that has no carrier, or that the settings forbid."""
    name = declared.name
    if name in _PLAIN:
        return _PLAIN[name]
    if name == "decimal":
        return Carrier(pa.decimal128(declared.precision, declared.scale))
    if name == "time":
        return Carrier(pa.time64("us" if declared.scale < LEAST_FINE else "ns"))
    if name in ("datetime2", "datetimeoffset"):
        return _moment(declared, how)
    if name in SPATIAL:
        if how.spatial == "wkb":
            return Carrier(pa.binary(), "wkb", Fidelity.LOSSY, "WKB does not hold the SRID")
        return Carrier(pa.string(), name, Fidelity.TEXT)
    if name == "sql_variant" and how.sql_variant != "error":
        if how.sql_variant == "text":
            return Carrier(pa.string(), "sql_variant", Fidelity.LOSSY, "the type of each value is not kept")
        return Carrier(pa.string(), "sql_variant", Fidelity.TEXT, "each value with its type in front")
    if name == "sql_variant":
        raise SpecError(
            "type sql_variant is forbidden by the option sql_variant", "set it to typed or text, or exclude the column"
        )
    raise SpecError(f"type {declared.text} has no carrier", "exclude the column, or cast it in a query")


def _moment(declared: Declared, how: Reading) -> Carrier:
    has_offset = declared.name == "datetimeoffset"
    if has_offset and how.offsets == "text":
        return Carrier(pa.string(), "datetimeoffset", Fidelity.TEXT)
    note = "the same moment in UTC; the offset is not kept" if has_offset else ""
    zone = "UTC" if has_offset else None
    if declared.scale < LEAST_FINE:
        return Carrier(_UTC if has_offset else _US, note=note)
    if how.fine_times == "nanoseconds":
        return Carrier(pa.timestamp("ns", zone), note=note or "a year outside 1678 to 2261 is an error")
    if how.fine_times == "microseconds":
        return Carrier(pa.timestamp("us", zone), "", Fidelity.LOSSY, "100 nanoseconds are cut to microseconds")
    return Carrier(pa.string(), declared.name, Fidelity.TEXT, "100 nanoseconds need text; see fine_times")


def to_column(name: str, declared: Declared, nullable: bool, how: Reading) -> Column:
    """A column as batches will carry it. Raises SpecError, naming the column, when it cannot be carried."""
    try:
        found = carrier(declared, how)
    except SpecError as error:
        raise SpecError(f"column {name!r}: {error.what}", error.hint) from error
    return Column(name, found.type, nullable, found.logical, NATIVE + declared.full, found.fidelity, found.note)


def declared_of(column: Column) -> Declared | None:
    """The type that a column of SQL Server was declared with."""
    return parse(column.native.removeprefix(NATIVE)) if column.native.startswith(NATIVE) else None


# ---- how a column is selected

# Exact text of each value of a sql_variant: its own type decides how it is written.
_VARIANT = """CASE CAST(SQL_VARIANT_PROPERTY({0}, 'BaseType') AS nvarchar(128))
    WHEN N'float' THEN CONVERT(nvarchar(4000), CAST({0} AS float), 3)
    WHEN N'real' THEN CONVERT(nvarchar(4000), CAST({0} AS real), 3)
    WHEN N'money' THEN CONVERT(nvarchar(4000), CAST({0} AS money), 2)
    WHEN N'smallmoney' THEN CONVERT(nvarchar(4000), CAST({0} AS smallmoney), 2)
    WHEN N'datetime' THEN CONVERT(nvarchar(4000), CAST({0} AS datetime), 126)
    WHEN N'smalldatetime' THEN CONVERT(nvarchar(4000), CAST({0} AS smalldatetime), 126)
    WHEN N'datetime2' THEN CONVERT(nvarchar(4000), CAST({0} AS datetime2(7)), 126)
    WHEN N'datetimeoffset' THEN CONVERT(nvarchar(4000), CAST({0} AS datetimeoffset(7)), 121)
    WHEN N'date' THEN CONVERT(nvarchar(4000), CAST({0} AS date), 23)
    WHEN N'time' THEN CONVERT(nvarchar(4000), CAST({0} AS time(7)), 121)
    WHEN N'binary' THEN CONVERT(nvarchar(max), CAST({0} AS varbinary(8000)), 1)
    WHEN N'varbinary' THEN CONVERT(nvarchar(max), CAST({0} AS varbinary(8000)), 1)
    ELSE CONVERT(nvarchar(max), {0}) END"""
_NANOSECONDS = "DATEDIFF_BIG(NANOSECOND, CAST('1970-01-01' AS datetime2(7)), {0})"
_TEMPLATES = {
    "money": "CAST({0} AS decimal(19,4))",
    "smallmoney": "CAST({0} AS decimal(10,4))",
    "text": "CAST({0} AS varchar(max))",
    "ntext": "CAST({0} AS nvarchar(max))",
    "image": "CAST({0} AS varbinary(max))",
    "xml": "CAST({0} AS nvarchar(max))",
    "json": "CAST({0} AS nvarchar(max))",
    "vector": "CAST({0} AS nvarchar(max))",
    "hierarchyid": "CAST({0} AS nvarchar(4000))",
    "udt": "CAST({0} AS varbinary(max))",
    "rowversion": "CAST({0} AS binary(8))",
}


def template(column: Column) -> str:
    """How a column is selected: {0} stands for its quoted name. Plain where the driver's value is the carrier's."""
    declared = declared_of(column)
    if declared is None:
        return "{0}"
    name, kind = declared.name, column.type
    if name in ("datetime2", "datetimeoffset"):
        if pa.types.is_string(kind):
            return "CONVERT(nvarchar(40), {0}, 121)"
        if kind.unit == "ns":
            moment = "CAST(SWITCHOFFSET({0}, '+00:00') AS datetime2(7))" if name == "datetimeoffset" else "{0}"
            return _NANOSECONDS.format(moment)
        return "{0}"
    if name in SPATIAL:
        if pa.types.is_binary(kind):
            return "{0}.AsBinaryZM()"
        return "N'SRID=' + CAST({0}.STSrid AS nvarchar(10)) + N';' + {0}.AsTextZM()"
    if name == "sql_variant":
        if column.fidelity is Fidelity.LOSSY:
            return _VARIANT
        return "CAST(SQL_VARIANT_PROPERTY({0}, 'BaseType') AS nvarchar(128)) + N':' + " + _VARIANT
    return _TEMPLATES.get(name, "{0}")


_WIDTHS = {
    "bit": 1, "tinyint": 1, "smallint": 2, "int": 4, "bigint": 8, "real": 4, "float": 8, "decimal": 19, "money": 19,
    "smallmoney": 19, "date": 6, "time": 16, "datetime": 16, "smalldatetime": 16, "datetime2": 16, "datetimeoffset": 20,
    "uniqueidentifier": 74, "rowversion": 8, "hierarchyid": 8000,
}  # fmt: skip


def bound_bytes(column: Column) -> int:
    """Bytes that the driver reserves for a value of the column in each row of a fetch; 0 where it fetches value by value,
    however long."""
    declared = declared_of(column)
    if declared is None:
        return 0
    if declared.name in _SIZED:
        return 0 if declared.size == MAX else 2 * declared.size + 2
    if pa.types.is_string(column.type) and declared.name in ("datetime2", "datetimeoffset"):
        return 82
    return _WIDTHS.get(declared.name, 0)


# ---- exact text of a value, and back: cursors and bounds of chunks

_STYLES = {"money": 2, "smallmoney": 2, "float": 3, "real": 3, "date": 23, "datetime": 126, "smalldatetime": 126,
           "datetime2": 126, "datetimeoffset": 121, "time": 121}  # fmt: skip
_DATED = {23, 121, 126}  # styles that hold for reading too
_COMPARED = {
    *INTEGERS,
    *_STYLES,
    "decimal",
    "uniqueidentifier",
    "rowversion",
    "binary",
    "varbinary",
    "char",
    "varchar",
    "nchar",
    "nvarchar",
}


def is_ordered(declared: Declared) -> bool:
    """Whether columns of the type can be compared with a bound value, so that it may be a cursor or cut chunks."""
    return declared.name in _COMPARED and declared.size != MAX


def value_text(declared: Declared, expression: str) -> str:
    """SQL that gives the exact text of a value of the type."""
    if declared.name in ("rowversion", "binary", "varbinary"):
        return f"CONVERT(nvarchar(4000), CONVERT(varbinary(8000), {expression}), 1)"
    if declared.name in TEXTS:
        return f"CAST({expression} AS nvarchar(4000))"
    style = _STYLES.get(declared.name)
    return f"CONVERT(nvarchar(60), {expression}{f', {style}' if style is not None else ''})"


def text_value(kind: str) -> str:
    """SQL that reads such a text, bound as `?`, back to the same value of the type that `kind` names. Raises SpecError for
    what names no type."""
    declared = parse(kind)
    if declared is None:
        raise SpecError(f"{kind!r} is no name of a type of SQL Server", "load the table anew with --full-refresh")
    if declared.name in ("rowversion", "binary", "varbinary"):
        bytes_type = "binary(8)" if declared.name == "rowversion" else declared.text
        return f"CONVERT({bytes_type}, ?, 1)"
    style = _STYLES.get(declared.name)
    return f"CONVERT({declared.text}, ?{f', {style}' if style in _DATED else ''})"
