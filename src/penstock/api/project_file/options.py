"""A connector's declared options: which may stand where, and their values checked by kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.core.ports import Option
from penstock.core.secret import Secret

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "secret": {"type": "string"},
    "path": {"type": "string"},
}
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def declared(options: Iterable[Option], *scopes: str) -> dict[str, Option]:
    """The options of the given scopes by name; of all scopes, when none is given."""
    return {option.name: option for option in options if not scopes or option.scope in scopes}


def convert(option: Option, value: Any) -> Any:
    """`value` as the option's kind. Raises ValueError with what it must be.

    A path stays as it was written: the connector knows the folder that relative paths start from.
    """
    if option.kind == "choice":
        if value not in option.choices:
            raise ValueError(f"must be one of {', '.join(map(str, option.choices))}")
        return value
    if option.kind == "boolean":
        return _boolean(value)
    if option.kind in ("integer", "number"):
        return _number(value, whole=option.kind == "integer")
    if isinstance(value, str):
        return Secret(value) if option.kind == "secret" else value
    raise ValueError("must be text")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise ValueError("must be true or false")


def _number(value: Any, *, whole: bool) -> int | float:
    if not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not whole and abs(number) < float("inf"):
            return number
        if number.is_integer():
            return int(value)
    raise ValueError("must be a whole number" if whole else "must be a number")
