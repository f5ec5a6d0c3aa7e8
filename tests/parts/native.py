"""Whether the compiled codec of PostgreSQL's binary COPY is there; without a C compiler it is not, and all else works."""

from __future__ import annotations

import importlib.util
from functools import cache


@cache
def has_native_codec() -> bool:
    try:
        found = importlib.util.find_spec("penstock.connectors.postgres._wire")
    except ModuleNotFoundError:
        return False
    return found is not None and (found.origin or "").endswith(".so")
