"""The C codec bound to the very libpq that psycopg works with; a connection of one libpq must not meet another."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, cast

import psycopg.pq

from penstock.core.errors import NotSupported

FUNCTIONS = (
    "PQgetCopyData",
    "PQfreemem",
    "PQconsumeInput",
    "PQsocket",
    "PQputCopyData",
    "PQflush",
    "PQsslInUse",
)
# With these an error is noticed in the middle of COPY IN over TLS too.
OPTIONAL = ("PQsslStruct", "SSL_peek")


@cache
def why_not() -> str:
    """The reason why the codec cannot be used here, or "" when it can."""
    try:
        from penstock.connectors.postgres import _wire
    except ImportError as error:
        return f"the compiled module is missing (no C compiler when penstock was installed?): {error}"
    try:
        library = _library()
        addresses = {name: _address(getattr(library, name)) for name in FUNCTIONS}
        addresses |= {name: _address(getattr(library, name, None)) for name in OPTIONAL}
        version = library.PQlibVersion()
    except (OSError, AttributeError) as error:
        return f"the libpq of psycopg's {psycopg.pq.__impl__} implementation is out of reach: {error}"
    if version != psycopg.pq.version():
        return f"found libpq {version}, but psycopg works with libpq {psycopg.pq.version()}"
    _wire.bind(addresses)
    return ""


def require() -> None:
    """Bind the codec, or raise NotSupported with the reason."""
    if reason := why_not():
        raise NotSupported(f"binary COPY is not available: {reason}")


def _address(function: Any) -> int:
    return 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0


def _library() -> ctypes.CDLL:
    """A handle whose symbol look-up ends in psycopg's libpq.

    The compiled implementations link to it, and a look-up in a loaded library searches what it is linked to before
    anything else in the process; the pure Python implementation keeps its own handle.
    """
    module = psycopg.pq.PGconn.__module__
    if psycopg.pq.__impl__ == "python":
        from psycopg.pq._pq_ctypes import pq  # type: ignore[attr-defined]

        return cast("ctypes.CDLL", pq)
    path = getattr(sys.modules[module], "__file__", None)
    if path is None:
        raise OSError(f"module {module} has no file")
    return ctypes.CDLL(path)
