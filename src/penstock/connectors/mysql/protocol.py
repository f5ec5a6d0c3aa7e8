"""A connection of PyMySQL that can also hand out the bytes of a result, and take the bytes of a load, without a Python
object for a row.

Formats: MySQL documentation, "Client/Server Protocol": prepared statements, binary result sets, LOCAL INFILE.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection as Base
from pymysql.constants import CLIENT
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket, OKPacketWrapper

_QUERY, _PREPARE, _EXECUTE, _CLOSE = 0x03, 0x16, 0x17, 0x19
_PIECE_BYTES = 2**20
_PAYLOAD_BYTES = 2**24 - 2**10
_UNSIGNED = 32
_NOT_NULL = 1
_SSL_REFUSED = 2026
_LOST = 2013


@dataclass(frozen=True)
class FieldInfo:
    """A column of a result as the server describes it: `wire` is its type's number in the protocol, `charset` 63 is
    binary, `length` in bytes, `decimals` 31 or more where a number has no fixed scale."""

    name: str
    wire: int
    flags: int
    length: int
    decimals: int
    charset: int

    @property
    def is_unsigned(self) -> bool:
        return bool(self.flags & _UNSIGNED)

    @property
    def is_filled(self) -> bool:
        return bool(self.flags & _NOT_NULL)


@dataclass(frozen=True)
class Done:
    """What the server said at the end of a statement."""

    rows: int
    warnings: int


class Connection(Base):  # type: ignore[misc]
    """`tls` says whether an unencrypted server is refused ("needed"), taken ("wished") or TLS is not used ("")."""

    def __init__(self, tls: str, parameters: dict[str, Any]) -> None:
        self._tls = tls
        self._next_seq_id: int = 0
        super().__init__(**parameters, client_flag=CLIENT.FOUND_ROWS, local_infile=True, defer_connect=True)
        try:
            self.connect()
        finally:
            # The server may ask for a file in answer to any statement; none is ever read.
            self._local_infile = False

    def _request_authentication(self) -> None:
        """Called before a password is sent, once the server has said what it can do."""
        if self._tls and not self.server_capabilities & CLIENT.SSL:
            if self._tls == "needed":
                raise pymysql.OperationalError(_SSL_REFUSED, "TLS is asked for, but the server does not offer it")
            self.ssl = False
            self.client_flag &= ~CLIENT.SSL
        super()._request_authentication()

    @property
    def is_encrypted(self) -> bool:
        return hasattr(self._sock, "cipher")

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in self.server_version.lower()

    @property
    def version(self) -> tuple[int, int, int]:
        """Release of the server; the 5.5.5- that old MariaDB servers put in front is left out."""
        text = self.server_version.removeprefix("5.5.5-") if self.is_mariadb else self.server_version
        parts = [int("".join(c for c in part if c.isdigit()) or 0) for part in text.split("-")[0].split(".")[:3]]
        return (*parts, 0, 0, 0)[:3]  # type: ignore[return-value]

    def hang_up(self) -> None:
        """Cut the line, from any thread, so that whoever waits on it wakes up."""
        line = self._sock
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    # ---- statements

    def query_rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement whose values stand as %s."""
        with self.cursor() as cursor:
            cursor.execute(sql, tuple(values) or None)
            return list(cursor.fetchall())

    def run(self, sql: str, values: Sequence[Any] = ()) -> Done:
        """Run a statement that gives no rows."""
        with self.cursor() as cursor:
            cursor.execute(sql, tuple(values) or None)
            return Done(max(cursor.rowcount, 0), cursor.warning_count)

    def run_bytes(self, sql: bytes) -> None:
        """Run a statement of any bytes that gives no rows."""
        self._execute_command(_QUERY, sql)
        self._read_query_result()

    # ---- prepared statements

    def prepare_statement(self, sql: str) -> tuple[int, list[FieldInfo]]:
        """The number of a prepared statement without parameters, and the columns it gives; nothing is run."""
        self._execute_command(_PREPARE, sql)
        head = self._read_packet().get_all_data()
        statement, columns, parameters = struct.unpack_from("<IHH", head, 1)
        self._fields(parameters)
        return statement, self._fields(columns)

    def close_statement(self, statement: int) -> None:
        """The server does not answer."""
        self._execute_command(_CLOSE, struct.pack("<I", statement))

    def execute_statement(self, statement: int) -> list[FieldInfo]:
        """Run it; its rows wait on the wire in binary form until `pieces` has taken them all."""
        self._execute_command(_EXECUTE, struct.pack("<IBI", statement, 0, 1))
        first = self._read_packet()
        if first.is_ok_packet():
            return []
        if first.is_load_local_packet():
            self._force_close()
            raise pymysql.OperationalError(_LOST, "the server asked for a file of this machine, which it does not get")
        return self._fields(first.read_length_encoded_integer())

    @property
    def sequence(self) -> int:
        """The number that the next packet must have."""
        return int(self._next_seq_id)

    def pieces(self) -> Iterator[bytes]:
        """What comes from the server, in pieces as they come, until the caller has seen the end of the result."""
        while True:
            data = self._rfile.read1(_PIECE_BYTES)
            if not data:
                raise pymysql.OperationalError(_LOST, "lost connection to the server during a query")
            yield data

    def _fields(self, count: int) -> list[FieldInfo]:
        found = []
        for _ in range(count):
            field = self._read_packet(FieldDescriptorPacket)
            found.append(
                FieldInfo(field.name, field.type_code, field.flags, field.length, field.scale, field.charsetnr)
            )
        if count:
            self._read_packet()  # the end of the list
        return found

    def refuse(self, packet: bytes) -> None:
        """Raise the error that the server sent in the middle of a result."""
        MysqlPacket(packet, self.encoding).raise_for_error()

    # ---- LOAD DATA LOCAL

    def begin_load(self, sql: str) -> None:
        """Send a LOAD DATA LOCAL INFILE; the server then waits for its bytes."""
        self._execute_command(_QUERY, sql)
        packet = self._read_packet()
        if not packet.is_load_local_packet():
            raise pymysql.OperationalError(1148, "the server did not ask for the rows of LOAD DATA LOCAL")

    def send_load(self, data: Any) -> None:
        """More bytes of the load."""
        view = memoryview(data)
        for start in range(0, len(view), _PAYLOAD_BYTES):
            self.write_packet(view[start : start + _PAYLOAD_BYTES])

    def end_load(self) -> Done:
        """Say that no bytes follow, and take the server's answer."""
        self.write_packet(b"")
        told = OKPacketWrapper(self._read_packet())
        return Done(told.affected_rows, told.warning_count)

    def write_packet(self, payload: Any) -> None:
        """As the driver's, without copying a payload of some size."""
        size = len(payload)
        header = struct.pack("<I", size | self._next_seq_id << 24)
        if size < 2**12:
            self._write_bytes(header + bytes(payload))
        else:
            self._write_bytes(header)
            self._write_bytes(payload)
        self._next_seq_id = (self._next_seq_id + 1) % 256
