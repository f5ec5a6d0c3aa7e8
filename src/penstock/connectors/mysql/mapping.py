"""Types of other systems as MySQL or MariaDB declares them: from Arrow carriers and their meaning."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from penstock.connectors.mysql import memory
from penstock.connectors.mysql.types import NATIVE, Declared, Reading, declare, to_column
from penstock.core.errors import NotSupported, PenstockError
from penstock.core.schema import Column, Fidelity

MAX_PRECISION = 65


@dataclass(frozen=True)
class Server:
    """What a server can do. `collation` is that of text columns of new tables; `collations` are all it has."""

    is_mariadb: bool
    version: tuple[int, int, int]
    collation: str
    collations: frozenset[str]

    @property
    def max_scale(self) -> int:
        return 38 if self.is_mariadb else 30

    @property
    def has_uuid(self) -> bool:
        return self.is_mariadb and self.version >= (10, 7)

    def has(self, declared: Declared) -> bool:
        """Whether the server has the type at all."""
        since = {"uuid": (10, 7), "inet6": (10, 5), "inet4": (10, 10)}.get(declared.name)
        return since is None or (self.is_mariadb and self.version >= since)


@dataclass(frozen=True)
class Mapped:
    """A declared type, how faithful it is, and the comment that keeps what it does not tell. `is_native`: it is the very
    type that the column has in a source of the same kind."""

    declared: Declared
    fidelity: Fidelity = Fidelity.LOSSLESS
    note: str = ""
    comment: str = ""
    is_native: bool = False


_PLAIN = {
    pa.bool_(): "tinyint(1)", pa.int8(): "tinyint", pa.int16(): "smallint", pa.int32(): "int", pa.int64(): "bigint",
    pa.uint8(): "tinyint unsigned", pa.uint16(): "smallint unsigned", pa.uint32(): "int unsigned",
    pa.uint64(): "bigint unsigned", pa.float16(): "float", pa.float32(): "float", pa.float64(): "double",
    pa.date32(): "date", pa.date64(): "date", pa.null(): "longtext",
}  # fmt: skip
_NANOSECONDS = "nanoseconds are cut to microseconds"
_READINGS = (Reading(), Reading(tinyint1_is_bool=True), Reading(time_is_clock=True))


def mapped(column: Column, server: Server) -> Mapped:
    """The type that holds the column's values. Raises NotSupported for a carrier that has none."""
    native = _native(column, server)
    if native is not None:
        return Mapped(native, is_native=True, comment=_comment(column, native))
    text, fidelity, note = _chosen(column, server)
    declared = declare(text, server.collation if _is_text(text) else "")
    comment = _comment(column, declared)
    if fidelity is Fidelity.LOSSLESS:
        plain = to_column(column.name, declared, column.nullable, Reading())
        back = memory.recalled(comment, declared.text, plain)
        if back.type != column.type:
            fidelity = Fidelity.WIDENING
        elif back.logical != column.logical:
            fidelity = Fidelity.TEXT
    return Mapped(declared, fidelity, note, comment)


def _is_text(text: str) -> bool:
    return text.startswith(("longtext", "varchar", "char"))


def _comment(column: Column, declared: Declared) -> str:
    plain = to_column(column.name, declared, column.nullable, Reading())
    return memory.comment_of(column, memory.plain_text(declared.text), plain)


def _native(column: Column, server: Server) -> Declared | None:
    """The type the column has in MySQL, if that is where it comes from and it still carries what that type says."""
    if not column.native.startswith(NATIVE):
        return None
    declared = declare(column.native.removeprefix(NATIVE))
    text = memory.plain_text(declared.text).replace(" zerofill", "")
    collation = declared.collation
    if collation and collation not in server.collations:
        collation = server.collation
    declared = declare(text, collation)
    if not server.has(declared):
        return None
    try:
        natural = {to_column(column.name, declared, True, how).type for how in _READINGS}
    except PenstockError:
        return None
    return declared if column.type in natural else None


def _chosen(column: Column, server: Server) -> tuple[str, Fidelity, str]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if kind in _PLAIN:
        return _PLAIN[kind], Fidelity.LOSSLESS, "holds nothing but NULL" if pa.types.is_null(kind) else ""
    found = _text(column, kind) or _bytes(kind, server) or _number(kind, server) or _moment(kind) or _nested(kind)
    if found is None:
        raise NotSupported(
            f"column {column.name!r} is {column.type}, for which MySQL has no type", "cast or exclude the column"
        )
    return found


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _text(column: Column, kind: pa.DataType) -> tuple[str, Fidelity, str] | None:
    if isinstance(kind, pa.JsonType) or (is_text(kind) and column.logical == "json"):
        return "json", Fidelity.LOSSLESS, ""
    return ("longtext", Fidelity.LOSSLESS, "") if is_text(kind) else None


def _bytes(kind: pa.DataType, server: Server) -> tuple[str, Fidelity, str] | None:
    if kind == pa.uuid():
        return "uuid" if server.has_uuid else "binary(16)", Fidelity.LOSSLESS, ""
    if pa.types.is_fixed_size_binary(kind) and 0 < kind.byte_width <= 255:
        return f"binary({kind.byte_width})", Fidelity.LOSSLESS, ""
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    is_bytes = is_bytes or pa.types.is_fixed_size_binary(kind)
    return ("longblob", Fidelity.LOSSLESS, "") if is_bytes else None


def _number(kind: pa.DataType, server: Server) -> tuple[str, Fidelity, str] | None:
    if not pa.types.is_decimal(kind):
        return None
    precision, scale = (kind.precision - kind.scale, 0) if kind.scale < 0 else (kind.precision, kind.scale)
    precision = max(precision, scale, 1)
    if precision > MAX_PRECISION or scale > server.max_scale:
        most = f"MySQL's decimals have at most {MAX_PRECISION} digits, {server.max_scale} of them after the point"
        return "longtext", Fidelity.TEXT, most
    return f"decimal({precision},{scale})", Fidelity.LOSSLESS, ""


def _moment(kind: pa.DataType) -> tuple[str, Fidelity, str] | None:
    lossy = (Fidelity.LOSSY, _NANOSECONDS) if getattr(kind, "unit", "") == "ns" else (Fidelity.LOSSLESS, "")
    if pa.types.is_timestamp(kind):
        zone = "" if kind.tz in (None, "UTC") else f"the same moment in UTC; the zone {kind.tz} is not kept"
        return "datetime(6)", lossy[0], lossy[1] or zone
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return "time(6)", *lossy
    return ("longtext", Fidelity.TEXT, "intervals as text") if pa.types.is_interval(kind) else None


def _nested(kind: pa.DataType) -> tuple[str, Fidelity, str] | None:
    nested = pa.types.is_nested(kind) or pa.types.is_map(kind)
    return ("json", Fidelity.TEXT, "nested values as JSON") if nested else None
