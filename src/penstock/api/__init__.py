"""The public Python API, which the command line is a thin shell over: load a project, plan, run, look, stop.

Names are loaded on first use: whoever only looks at past runs need not load what running takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.api.abilities import ConnectorInfo, list_connectors
    from penstock.api.checking import Check, ConnectionCheck, JobCheck, check
    from penstock.api.copying import OneOff, copy
    from penstock.api.hygge.convert import Imported, import_hygge, write_import
    from penstock.api.hygge.notes import Note
    from penstock.api.options import RunOptions
    from penstock.api.records import (
        Report,
        TableResult,
        clear_failed,
        failed_item,
        failed_items,
        report,
        retry_failed,
        status,
        stop,
    )
    from penstock.api.running import JobPlan, Plan, RunResult, plan, run
    from penstock.engine.stop import Stop

__all__ = [
    "Check",
    "ConnectionCheck",
    "ConnectorInfo",
    "Imported",
    "JobCheck",
    "JobPlan",
    "Note",
    "OneOff",
    "Plan",
    "Report",
    "RunOptions",
    "RunResult",
    "Stop",
    "TableResult",
    "check",
    "clear_failed",
    "copy",
    "failed_item",
    "failed_items",
    "import_hygge",
    "list_connectors",
    "plan",
    "report",
    "retry_failed",
    "run",
    "status",
    "stop",
    "write_import",
]

_HOMES = {
    "abilities": ("ConnectorInfo", "list_connectors"),
    "checking": ("Check", "ConnectionCheck", "JobCheck", "check"),
    "copying": ("OneOff", "copy"),
    "hygge.convert": ("Imported", "import_hygge", "write_import"),
    "hygge.notes": ("Note",),
    "options": ("RunOptions",),
    "running": ("JobPlan", "Plan", "RunResult", "plan", "run"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'penstock.api' has no attribute {name!r}")
    home = "penstock.engine.stop" if name == "Stop" else f"penstock.api.{_MODULES.get(name, 'records')}"
    return getattr(import_module(home), name)
