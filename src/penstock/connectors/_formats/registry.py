"""The formats by name, imported on first use."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from penstock.connectors._formats.port import Format
from penstock.connectors._formats.settings import FORMATS
from penstock.core.errors import SpecError


@cache
def format_named(name: str) -> Format:
    """The format of a name in FORMATS. Raises SpecError for another."""
    if name not in FORMATS:
        raise SpecError(f"format {name!r} does not exist", f"choose one of {', '.join(FORMATS)}")
    return cast(Format, getattr(import_module(f"penstock.connectors._formats.{name}"), name))
