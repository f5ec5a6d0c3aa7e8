"""Arithmetic on cursor values, exact by type: how far a window reaches back."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from duckdb.sqltypes import DuckDBPyType

from penstock.connectors._sql.lag import UNSORTED
from penstock.core.errors import SpecError

_INTEGERS = {
    "tinyint": -(2**7), "smallint": -(2**15), "integer": -(2**31), "bigint": -(2**63), "hugeint": -(2**127),
    "utinyint": 0, "usmallint": 0, "uinteger": 0, "ubigint": 0, "uhugeint": 0,
}  # fmt: skip
_FLOATS = frozenset({"float", "double"})
# Microseconds in the smallest step of a type.
_STEPS = {
    "date": 86_400 * 10**6,
    "timestamp_s": 10**6,
    "timestamp_ms": 10**3,
    "timestamp": 1,
    "timestamp with time zone": 1,
    "timestamp_ns": 1,
}


def check_order(name: str, kind: str, logical: str) -> None:
    """Raises SpecError for a column of text whose order is not that of the values it stands for."""
    if kind == "VARCHAR" and logical in UNSORTED:
        raise SpecError(
            f"column {name!r} holds {logical} as text, which does not sort like its values",
            "use another cursor, or set types.numeric to decimal(p,s)",
        )


def is_number(kind: DuckDBPyType) -> bool:
    return kind.id in _INTEGERS or kind.id in _FLOATS or kind.id == "decimal"


def is_moment(kind: DuckDBPyType) -> bool:
    return kind.id in _STEPS


def less(text: str, kind: DuckDBPyType, amount: Decimal) -> str:
    """The number `text` minus `amount`, rounded down to what the type holds; integers not below the type's least."""
    if kind.id in _INTEGERS:
        whole = int(amount.to_integral_value(ROUND_CEILING))
        return str(max(_INTEGERS[kind.id], int(text) - whole))
    if kind.id in _FLOATS:
        return repr(float(text) - float(amount))
    with localcontext(prec=100):
        scale = dict(list(kind.children))["scale"]
        return str((Decimal(text) - amount).quantize(Decimal(1).scaleb(-int(str(scale))), ROUND_FLOOR))


def earlier(text: str, kind: DuckDBPyType, micros: int) -> tuple[str, list[object]]:
    """SQL for the moment `text` minus a duration as text of type `kind`, and what it binds.

    The duration is rounded up to whole steps of the type, since a cast back might round to a later moment.
    """
    step = _STEPS[kind.id]
    whole = -(-micros // step) * step
    if kind.id == "timestamp_ns":
        sql = "SELECT CAST(make_timestamp_ns(epoch_ns(CAST(? AS TIMESTAMP_NS)) - CAST(? AS BIGINT)) AS VARCHAR)"
        return sql, [text, whole * 1000]
    return f"SELECT CAST(CAST(CAST(? AS {kind}) - to_microseconds(CAST(? AS BIGINT)) AS {kind}) AS VARCHAR)", [
        text,
        whole,
    ]
