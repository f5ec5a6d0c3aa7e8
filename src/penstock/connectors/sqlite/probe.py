"""What a column of a foreign table really holds: SQLite lets any value stand in any column, so the values decide.

The declared type says what a column is meant to hold; one pass over the table counts what contradicts it. The policy:
integers are int64, reals are double, blobs are binary, text is a string; BOOLEAN is bool where all values are 0 and 1, DATE
and DATETIME or TIMESTAMP are dates and timestamps where all values are written as such, DECIMAL(p,s) and NUMERIC(p,s) are
decimals where every number is one. Integers among reals are doubles where no digit is lost. Any other mix is text, or
bytes (lossy) where blobs are in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors.sqlite.database import Connection
from penstock.connectors.sqlite.forms import EXACT_INTEGERS
from penstock.core.names import quote
from penstock.core.schema import Column, Fidelity

NATIVE = "sqlite:"
_SIZE = re.compile(r"(?:DECIMAL|NUMERIC|NUMBER|MONEY)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\Z")
_COLUMNS_A_QUERY = 200
_DAY = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]"
_CLOCK = "[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"


def affinity(declared: str) -> str:
    """The affinity of a declared type (https://www.sqlite.org/datatype3.html, section 3.1)."""
    name = declared.upper()
    if "INT" in name:
        return "INTEGER"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in name or not name:
        return "BLOB"
    return "REAL" if any(part in name for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


@dataclass(frozen=True)
class Asked:
    """A column to look at. `meant` is "bool", "date", "timestamp", "decimal" or "", from the declared type."""

    name: str
    declared: str

    @property
    def meant(self) -> str:
        name = self.declared.upper()
        if name.startswith("BOOL"):
            return "bool"
        if name == "DATE":
            return "date"
        if name.startswith(("DATETIME", "TIMESTAMP")):
            return "timestamp"
        return "decimal" if self.size else ""

    @property
    def size(self) -> tuple[int, int] | None:
        match = _SIZE.match(self.declared.upper())
        if not match or not 0 < int(match[1]) <= 38 or int(match[2] or 0) > int(match[1]):
            return None
        return int(match[1]), int(match[2] or 0)


@dataclass(frozen=True)
class Counts:
    """How many values are of each storage class, and how many contradict what the column is meant to hold; `wide` counts
    integers that a double would change."""

    integers: int = 0
    reals: int = 0
    texts: int = 0
    blobs: int = 0
    wide: int = 0
    wrong: int = 0


def look(connection: Connection, relation: str, columns: Sequence[Asked]) -> dict[str, Counts]:
    """One pass over `relation` for each 200 columns."""
    found: dict[str, Counts] = {}
    for start in range(0, len(columns), _COLUMNS_A_QUERY):
        some = columns[start : start + _COLUMNS_A_QUERY]
        tests = [f"coalesce(sum({test}), 0)" for column in some for test in _tests(column)]
        # One row of text, since the driver decides on types by values.
        row = connection.ask(f"SELECT {', '.join(tests)} FROM {relation}")[0]
        for at, column in enumerate(some):
            found[column.name] = Counts(*(int(number) for number in row[6 * at : 6 * at + 6]))
    return found


def _tests(column: Asked) -> list[str]:
    name = quote(column.name)
    kind = f"typeof({name})"
    wide = f"{kind} = 'integer' AND ({name} > {EXACT_INTEGERS} OR {name} < -{EXACT_INTEGERS})"
    return [*(f"{kind} = '{each}'" for each in ("integer", "real", "text", "blob")), wide, _wrong(column, name)]


def _wrong(column: Asked, name: str) -> str:
    """SQL that is true for a value which is not what the column is meant to hold."""
    if column.meant == "bool":
        return f"typeof({name}) <> 'null' AND (typeof({name}) <> 'integer' OR {name} NOT IN (0, 1))"
    if column.meant == "date":
        return f"typeof({name}) <> 'null' AND date({name}) IS NOT {name}"
    if column.meant == "timestamp":
        clean = f"substr({name}, 1, 19)"
        # Text compares like time only with one separator; more than microseconds would be cut.
        is_one = f"{name} GLOB '{_DAY} {_CLOCK}*' AND datetime({clean}) IS {clean}"
        fraction = f"(length({name}) = 19 OR (substr({name}, 20, 1) = '.' AND length({name}) BETWEEN 21 AND 26"
        fraction += f" AND substr({name}, 21) NOT GLOB '*[^0-9]*'))"
        return f"typeof({name}) <> 'null' AND NOT ({is_one} AND {fraction})"
    if column.size:
        return f"typeof({name}) <> 'null' AND NOT {is_decimal(name, *column.size)}"
    return "0"


def is_decimal(name: str, precision: int, scale: int) -> str:
    """SQL that is true for a number which some decimal(precision, scale) gives back exactly."""
    limit = f"1e{precision - scale}"
    number = f"typeof({name}) IN ('integer', 'real') AND {name} < {limit} AND {name} > -{limit}"
    return f"({number} AND (typeof({name}) = 'integer' OR CAST(format('%.{scale}f', {name}) AS REAL) = {name}))"


def judged(asked: Asked, nullable: bool, counts: Counts) -> Column:
    """The column as it is read."""
    column = Column(asked.name, pa.string(), nullable, "", f"{NATIVE}{asked.declared}")
    carrier = _meant(asked, counts)
    if carrier is not None:
        return _with(column, carrier)
    present = [name for name in ("integers", "reals", "texts", "blobs") if getattr(counts, name)]
    if not present:
        return _with(column, _by_affinity(asked.declared))
    if len(present) == 1:
        carriers = {"integers": pa.int64(), "reals": pa.float64(), "texts": pa.string(), "blobs": pa.binary()}
        return _with(column, carriers[present[0]])
    if present == ["integers", "reals"] and not counts.wide:
        return _with(column, pa.float64())
    mix = f"holds {', '.join(f'{getattr(counts, name)} {name}' for name in present)}"
    if counts.blobs:
        return _with(column, pa.binary(), Fidelity.LOSSY, f"{mix}: read as bytes, their kinds are lost")
    return _with(column, pa.string(), Fidelity.TEXT, f"{mix}: read as text")


def _with(column: Column, kind: pa.DataType, fidelity: Fidelity = Fidelity.LOSSLESS, note: str = "") -> Column:
    return Column(column.name, kind, column.nullable, "", column.native, fidelity, note)


def _meant(asked: Asked, counts: Counts) -> pa.DataType | None:
    """The carrier the declared type asks for, where every value fits it."""
    if not asked.meant or counts.wrong:
        return None
    if asked.size:
        return pa.decimal128(*asked.size)
    return {"bool": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us")}[asked.meant]


def _by_affinity(declared: str) -> pa.DataType:
    """For a column without values."""
    kinds = {"INTEGER": pa.int64(), "TEXT": pa.string(), "REAL": pa.float64(), "NUMERIC": pa.float64()}
    return kinds.get(affinity(declared), pa.binary() if declared else pa.string())
