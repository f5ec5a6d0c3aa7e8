"""Which columns have the same binary form in two databases: the text that decides on pass-through."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from penstock.connectors.postgres.types import Declared, PgType

PREFIX = "pgcopy:"
# Binary forms that hold an object id of one database, depend on a server's locale (money), or change the value on the way
# (xml loses its declaration).
_LOCAL = {"money", "record", "aclitem", "xml"}


def copy_format(columns: Sequence[Declared]) -> str:
    """Format and exact column types: equal texts are binary compatible. "" where a column has no form that travels."""
    parts = [_form(declared) for declared in columns]
    return PREFIX + json.dumps(parts) if columns and all(parts) else ""


def _form(declared: Declared) -> str:
    """One column: domains count as what is behind them, enums as their labels, extension types by name."""
    base = declared.base
    if not base.has_binary or base.kind in ("c", "p") or (base.is_built_in and _is_local(base)):
        return ""
    if base.kind == "e":
        return "enum" + json.dumps(base.labels)
    if base.kind in ("r", "m") and not base.is_built_in:
        return ""
    if declared.element is not None and not _is_plain(declared.element):
        return ""  # the stream states the element's object id
    if declared.type.kind == "d":
        return f"{base.text}@{declared.typmod}"
    return declared.text if base.is_built_in else f"{base.name}{_mods(declared.text)}"


def _mods(text: str) -> str:
    found = re.search(r'\([^()"]*\)\Z', text)
    return found[0] if found else ""


def _is_plain(element: PgType) -> bool:
    return element.is_built_in and element.kind == "b" and element.has_binary and not _is_local(element)


def _is_local(found: PgType) -> bool:
    return found.name in _LOCAL or found.name.startswith("reg")
