"""The compiled codec's twin in Python: rows of the binary protocol, a value at a time; slower, with equal values."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from penstock.connectors.mysql import _codes

_MAX_PAYLOAD = 2**24 - 1
_INTEGERS = {1: "b", 2: "h", 13: "h", 3: "i", 9: "i", 8: "q"}
_FLOATS = {4: "f", 5: "d"}
_MOMENTS, _CLOCK, _NULL, _BIT = (7, 10, 12), 11, 6, 16
_SIZES = {"b": 1, "h": 2, "i": 4, "q": 8, "f": 4, "d": 8}
_DAY_US = 86_400_000_000
_TYPES = {
    _codes.INT8: pa.int8(), _codes.UINT8: pa.uint8(), _codes.INT16: pa.int16(), _codes.UINT16: pa.uint16(),
    _codes.INT32: pa.int32(), _codes.UINT32: pa.uint32(), _codes.INT64: pa.int64(), _codes.UINT64: pa.uint64(),
    _codes.BOOL: pa.bool_(), _codes.FLOAT: pa.float32(), _codes.DOUBLE: pa.float64(), _codes.STRING: pa.string(),
    _codes.BINARY: pa.binary(), _codes.DATE: pa.date32(), _codes.TIMESTAMP: pa.timestamp("us"),
    _codes.DURATION: pa.duration("us"), _codes.TIME: pa.time64("us"), _codes.UUID: pa.binary(16),
}  # fmt: skip
_RANGES = {
    code: (int(-(2 ** (kind.bit_width - 1))) if code % 2 else 0, 2 ** (kind.bit_width - code % 2) - 1)
    for code, kind in _TYPES.items()
    if code <= _codes.UINT64
}
_WIDTHS = {
    code: max(1, kind.bit_width // 8) for code, kind in _TYPES.items() if code not in (_codes.STRING, _codes.BINARY)
}


class _Wrong(Exception):
    """A value that its carrier cannot hold; the first argument is its kind."""


@dataclass
class _Column:
    wire: int
    carrier: int
    param: int
    is_unsigned: bool
    null_zero_dates: bool
    values: list[Any] = field(default_factory=list)

    @property
    def goes(self) -> bool:
        """Whether values of the wire's type go into the carrier at all."""
        exact = self.carrier <= _codes.BOOL or self.carrier in (_codes.DECIMAL128, _codes.DECIMAL256)
        if self.wire in _INTEGERS or self.wire == _BIT:
            return exact
        if self.wire in _FLOATS:
            return self.carrier in (_codes.FLOAT, _codes.DOUBLE)
        if self.wire in _MOMENTS:
            return self.carrier in (_codes.DATE, _codes.TIMESTAMP)
        if self.wire == _CLOCK:
            return self.carrier in (_codes.DURATION, _codes.TIME)
        return self.wire == _NULL or _codes.DECIMAL128 <= self.carrier <= _codes.UUID

    @property
    def width(self) -> int:
        """Bytes that a row adds to a batch, without those of texts."""
        if self.carrier in (_codes.STRING, _codes.BINARY):
            return 4
        fixed = {_codes.DECIMAL128: 16, _codes.DECIMAL256: 32, _codes.FIXED: self.param}
        return fixed.get(self.carrier) or _WIDTHS[self.carrier]

    def array(self) -> pa.Array:
        values, self.values = self.values, []
        if self.carrier in (_codes.DECIMAL128, _codes.DECIMAL256):
            make, digits = (pa.decimal128, 38) if self.carrier == _codes.DECIMAL128 else (pa.decimal256, 76)
            return pa.array(values, make(digits, 0)).view(make(digits, self.param))
        if self.carrier == _codes.FIXED:
            return pa.array(values, pa.binary(self.param))
        kind = _TYPES[self.carrier]
        if pa.types.is_temporal(kind):
            return pa.array(values, pa.int32() if kind == pa.date32() else pa.int64()).view(kind)
        return pa.array(values, kind)


class PortableDecoder:
    """See codec.Decoder."""

    def __init__(
        self, columns: list[tuple[int, int, int, int, int]], batch_rows: int, batch_bytes: int, sequence: int
    ) -> None:
        self.rows = 0
        self.refused = b""
        self._columns = [
            _Column(wire, carrier, param, bool(unsigned), bool(zero))
            for wire, carrier, param, unsigned, zero in columns
        ]
        for at, column in enumerate(self._columns):
            if not column.goes:
                raise ValueError(f"0 {at} 0")
        self._fixed = sum(column.width for column in self._columns)
        self._limits = batch_rows, batch_bytes
        self._input = bytearray()
        self._at = 0
        self._bytes = 0
        self._total = 0
        self._sequence = sequence
        self._is_skipping = False

    def skip(self) -> None:
        self.rows = self._bytes = 0
        self._is_skipping = True

    def feed(self, data: bytes, /) -> None:
        del self._input[: self._at]
        self._at = 0
        self._input += data

    def run(self) -> int:
        while self.rows < self._limits[0] and self._bytes < self._limits[1]:
            payload = self._payload()
            if payload is None:
                return _codes.MORE
            if payload[0] == 0xFE and len(payload) < 9:
                return _codes.END
            if payload[0] == 0xFF:
                self.refused = payload
                return _codes.REFUSED
            if not self._is_skipping:
                self._put_row(payload)
        return _codes.BATCH

    def take(self) -> tuple[int, list[Any]]:
        rows, self.rows, self._bytes = self.rows, 0, 0
        return rows, [column.array() for column in self._columns]

    def _payload(self) -> bytes | None:
        """The next packet, its pieces put together; None when it is not there whole."""
        at, sequence, pieces = self._at, self._sequence, []
        while True:
            if len(self._input) - at < 4:
                return None
            size = int.from_bytes(self._input[at : at + 3], "little")
            if len(self._input) - at - 4 < size:
                return None
            if self._input[at + 3] != sequence % 256:
                raise ValueError(f"{_codes.MALFORMED} 0 {self._total}")
            pieces.append(bytes(self._input[at + 4 : at + 4 + size]))
            at, sequence = at + 4 + size, sequence + 1
            if size < _MAX_PAYLOAD:
                break
        self._at, self._sequence = at, sequence
        whole = b"".join(pieces)
        if not whole:
            raise ValueError(f"{_codes.MALFORMED} 0 {self._total}")
        return whole

    def _put_row(self, data: bytes) -> None:
        at, number = 1 + (len(self._columns) + 9) // 8, 0
        try:
            for number, column in enumerate(self._columns):
                if data[1 + (number + 2) // 8] >> ((number + 2) % 8) & 1:
                    column.values.append(None)
                    continue
                value, after = _value(column, data, at)
                if column.carrier in (_codes.STRING, _codes.BINARY):
                    self._bytes += after - at
                at = after
                column.values.append(value)
            if at != len(data) or data[0] != 0:
                raise _Wrong(_codes.MALFORMED)
        except _Wrong as error:
            raise ValueError(f"{error.args[0]} {number} {self._total}") from error
        except (IndexError, struct.error) as error:
            raise ValueError(f"{_codes.MALFORMED} {number} {self._total}") from error
        self.rows += 1
        self._total += 1
        self._bytes += self._fixed


def _value(column: _Column, data: bytes, at: int) -> tuple[Any, int]:
    """The value at `at`, and where the next one begins."""
    code = _INTEGERS.get(column.wire)
    if code:
        wire = code.upper() if column.is_unsigned else code
        return _integer(column, struct.unpack_from(f"<{wire}", data, at)[0]), at + _SIZES[code]
    if column.wire in _FLOATS:
        code = _FLOATS[column.wire]
        return struct.unpack_from(f"<{code}", data, at)[0], at + _SIZES[code]
    if column.wire in _MOMENTS:
        return _moment(column, data, at), at + 1 + data[at]
    if column.wire == _CLOCK:
        return _clock(column, data, at), at + 1 + data[at]
    if column.wire == _NULL:
        raise _Wrong(_codes.MALFORMED)
    start, size = _length(data, at)
    text = data[start : start + size]
    if len(text) != size:
        raise _Wrong(_codes.MALFORMED)
    if column.wire == _BIT:
        return _integer(column, int.from_bytes(text, "big")), start + size
    return _FROM_BYTES.get(column.carrier, _decimal)(column, text), start + size


def _length(data: bytes, at: int) -> tuple[int, int]:
    more = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(data[at], 0)
    if not more:
        return at + 1, data[at]
    return at + 1 + more, int.from_bytes(data[at + 1 : at + 1 + more], "little")


def _integer(column: _Column, value: int) -> Any:
    if column.carrier in (_codes.DECIMAL128, _codes.DECIMAL256):
        return Decimal(value * 10**column.param)
    low, high = (0, 1) if column.carrier == _codes.BOOL else _RANGES[column.carrier]
    if not low <= value <= high:
        raise _Wrong(_codes.RANGE)
    return bool(value) if column.carrier == _codes.BOOL else value


def _moment(column: _Column, data: bytes, at: int) -> int | None:
    from datetime import date

    size = data[at]
    if size not in (0, 4, 7, 11) or at + 1 + size > len(data):
        raise _Wrong(_codes.MALFORMED)
    year, month, day = struct.unpack_from("<HBB", data, at + 1) if size else (0, 0, 0)
    hour, minute, second = data[at + 5 : at + 8] if size >= 7 else (0, 0, 0)
    micros = struct.unpack_from("<I", data, at + 8)[0] if size == 11 else 0
    # The year 0 has the days of the year 400, 146,097 days before it.
    try:
        days = date(year or 400, month, day).toordinal() - 719_163 - (146_097 if not year else 0)
    except ValueError as error:
        if column.null_zero_dates:
            return None
        raise _Wrong(_codes.ZERO_DATE) from error
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros
    if column.carrier == _codes.DATE:
        if clock:
            raise _Wrong(_codes.RANGE)
        return days
    return days * _DAY_US + clock


def _clock(column: _Column, data: bytes, at: int) -> int:
    size = data[at]
    if size not in (0, 8, 12) or at + 1 + size > len(data):
        raise _Wrong(_codes.MALFORMED)
    if not size:
        return 0
    negative, days, hour, minute, second = struct.unpack_from("<BIBBB", data, at + 1)
    value = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000
    value += struct.unpack_from("<I", data, at + 9)[0] if size == 12 else 0
    value = -value if negative else value
    if column.carrier == _codes.TIME and not 0 <= value < _DAY_US:
        raise _Wrong(_codes.RANGE)
    return int(value)


def _text(_: _Column, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _Wrong(_codes.NOT_UTF8) from error


def _fixed(column: _Column, data: bytes) -> bytes:
    if len(data) != column.param:
        raise _Wrong(_codes.WIDTH)
    return data


def _uuid(_: _Column, data: bytes) -> bytes:
    if len(data) == _codes.UUID_BYTES:
        return data
    try:
        return uuid.UUID(data.decode("ascii")).bytes
    except ValueError as error:
        raise _Wrong(_codes.NOT_UUID) from error


def _decimal(column: _Column, data: bytes) -> Decimal:
    try:
        found = Decimal(data.decode("ascii"))
    except (InvalidOperation, UnicodeDecodeError) as error:
        raise _Wrong(_codes.NOT_DECIMAL) from error
    sign, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int):
        raise _Wrong(_codes.NOT_DECIMAL)
    shift = exponent + column.param
    if shift < 0 and any(digits[shift:]):
        raise _Wrong(_codes.RANGE)
    kept = digits[:shift] if shift < 0 else digits + (0,) * shift
    whole = Decimal((sign, kept or (0,), 0))
    if len(kept) > (38 if column.carrier == _codes.DECIMAL128 else 76) and any(kept[: len(kept) - 38]):
        raise _Wrong(_codes.RANGE)
    return whole


_FROM_BYTES: dict[int, Callable[[_Column, bytes], Any]] = {
    _codes.STRING: _text,
    _codes.BINARY: lambda _, data: data,
    _codes.FIXED: _fixed,
    _codes.UUID: _uuid,
}
