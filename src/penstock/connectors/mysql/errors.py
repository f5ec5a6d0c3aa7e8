"""Errors of the server and the driver, by number, as errors of Penstock: the object, the cause, what to do."""

from __future__ import annotations

import re

import pymysql

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    CredentialsRefused,
    DataError,
    DiskFull,
    Missing,
    NotSupported,
    PenstockError,
    PermissionRefused,
    Retry,
    SnapshotLost,
    SpecError,
    TimedOut,
    Unavailable,
)
from penstock.core.secret import mask
from penstock.core.spec import ConnectionSpec

_LOST = (2006, 2013, 2014, 2055, 1053, 1077, 1078, 1079, 1080, 1152, 1156, 1157, 1158, 1159, 1160, 1161, 1927, 4031)
_OVERLOADED = (1040, 1129, 1203, 1226, 1037, 1038, 1041, 1135)
_REFUSED_LOGIN = (1045, 1130, 1251, 1698, 1820, 1862, 3118, 3955, 4151)
_FORBIDDEN = (1044, 1142, 1143, 1227, 1370, 1410, 1396)
_READ_ONLY = (1290, 1792, 1836, 3100)
_ABSENT = (1051, 1054, 1109, 1146, 1305, 1449)
_FULL = (1021, 1114, 1874, 3675)
_BUSY = (1205, 1213, 1015, 1099, 1223, 1637, 3058, 3572)
_INTERRUPTED = (1317, 1028)
_TOO_LONG = (1969, 3024, 1907)
_BAD_VALUES = (
    1022, 1048, 1062, 1136, 1138, 1153, 1216, 1217, 1261, 1262, 1263, 1264, 1265, 1292, 1300, 1364, 1365, 1366, 1367, 1406,
    1411, 1416, 1441, 1451, 1452, 1525, 1526, 1557, 1586, 1690, 1748, 3140, 3141, 3156, 3819, 4025, 4038,
)  # fmt: skip
_NAMES = (1059, 1102, 1103, 1166, 1280)
_UNSUPPORTED = (1235, 1178, 1148, 3948, 4166, 1665)
_SHAPE = (1060, 1068, 1069, 1070, 1071, 1074, 1075, 1117, 1118, 1170, 1072, 1439, 1063, 1425, 1426, 3072, 4161)
_FOREIGN_ROWS = (1451, 1452, 1216, 1217)


def cause(error: BaseException) -> str:
    """The server's or the driver's own words on one line, with the number."""
    if isinstance(error, pymysql.MySQLError) and len(error.args) > 1:
        return f"{_plain(str(error.args[1]))} (error {error.args[0]})"
    return _plain(str(error) or type(error).__name__)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().removesuffix(".")


def number_of(error: BaseException) -> int:
    """The error's number; 0 where it has none."""
    found = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
    return found if isinstance(found, int) else 0


def refused(error: BaseException, spec: ConnectionSpec, address: str) -> PenstockError:
    """The error of a connection that could not be opened. `address` says which server, without secrets."""
    text = mask(cause(error), {"password": spec.password, **spec.options})
    what = f"cannot connect to {address} of connection {spec.name!r}: {text}"
    number = number_of(error)
    if number in _REFUSED_LOGIN:
        return CredentialsRefused(
            what, "check user and password of the connection, and from which hosts the user may come"
        )
    if number == 1044:
        return PermissionRefused(what, "grant the user rights on the database")
    if number == 1049:
        return SpecError(what, "check the database's name in the connection's url")
    if re.search(r"certificate|SSL|TLS", text):
        return SpecError(what, "set ssl_ca to the authority's certificate, or ssl_mode to what the server offers")
    if "cryptography" in text:
        return SpecError(what, "use TLS (ssl_mode: required), or install the package cryptography")
    return Unavailable(what, f"check that {address} is reachable, or raise connect_timeout_s")


def translate(error: BaseException, doing: str, spec: ConnectionSpec, *, broken: bool) -> PenstockError:
    """The error of a call on an open connection; `doing` is what failed ("cannot read table …").

    `broken` says that the connection is unusable, which outweighs what the server said last.
    """
    text = mask(cause(error), {"password": spec.password, **spec.options})
    what = f"{doing} of connection {spec.name!r}: {text}"
    number = number_of(error)
    if broken or number in _LOST or isinstance(error, (pymysql.err.InterfaceError, OSError)):
        return ConnectionLost(what)
    return _by_number(number, what, text)


def _by_number(number: int, what: str, text: str) -> PenstockError:
    if number in _FULL or (number in (3, 20, 126, 1026, 1030) and ("28" in text or "space" in text)):
        return DiskFull(what, "free space on the server's disk, then run again")
    if number == 1412:
        return SnapshotLost(what)
    if number in _INTERRUPTED:
        return TimedOut(what, "it was cancelled by a request from outside", retry=Retry.LATER)
    if number in _TOO_LONG:
        return TimedOut(what, "raise statement_timeout_s, or the server's limit", retry=Retry.LATER)
    if number in _READ_ONLY:
        return PermissionRefused(what, "the server allows reading only; connect to the primary")
    if number in _FOREIGN_ROWS:
        return DataError(what, "load the tables in the order of their foreign keys, or change the keys")
    for numbers, kind, hint in _KINDS:
        if number in numbers:
            return kind(what, hint)
    if 1000 <= number < 2000 and isinstance(number, int):
        return SpecError(what, "check the SQL given in the job")
    return PenstockError(what)


_KINDS: tuple[tuple[tuple[int, ...], type[PenstockError], str], ...] = (
    (_BUSY, Busy, "the same call may succeed when tried again"),
    (_OVERLOADED, Unavailable, "lower max_connections of this connection, or raise the server's limit"),
    (_REFUSED_LOGIN, CredentialsRefused, "check user and password of the connection"),
    (_FORBIDDEN, PermissionRefused, "grant the permission, or connect as a user who has it"),
    ((*_ABSENT, 1049), Missing, "check the name, as the server stores it"),
    (_BAD_VALUES, DataError, ""),
    (_NAMES, SpecError, "rename it in the job"),
    (_UNSUPPORTED, NotSupported, ""),
    (_SHAPE, SpecError, "exclude columns, choose other types, or divide the table"),
)
