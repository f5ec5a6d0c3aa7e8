"""Penstock: data and definitions out of systems and into others, in parallel, resumable and proven.

    project = penstock.load_project("penstock.yml")
    result = penstock.run(project, ["raw"], penstock.RunOptions(workers=4))
    assert result.exit_code == 0, result.jobs

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from penstock.api import (
        Check,
        Imported,
        Note,
        OneOff,
        Plan,
        Report,
        RunOptions,
        RunResult,
        Stop,
        check,
        clear_failed,
        copy,
        failed_item,
        failed_items,
        import_hygge,
        list_connectors,
        plan,
        report,
        retry_failed,
        run,
        status,
        stop,
        write_import,
    )
    from penstock.cli.config import load_project
    from penstock.core.errors import (
        Busy,
        ConnectionLost,
        CountMismatch,
        CredentialsRefused,
        DataError,
        DiskFull,
        Locked,
        Missing,
        NotSupported,
        PenstockError,
        PermissionRefused,
        SchemaChanged,
        SettingsChanged,
        SpecError,
        Stopped,
        TimedOut,
        Unavailable,
    )

# The classes of the API that are no errors.
_VALUES = ("Check", "Imported", "Note", "OneOff", "Plan", "Report", "RunOptions", "RunResult", "Stop")

__all__ = [
    "Busy",
    "Check",
    "ConnectionLost",
    "CountMismatch",
    "CredentialsRefused",
    "DataError",
    "DiskFull",
    "Imported",
    "Locked",
    "Missing",
    "NotSupported",
    "Note",
    "OneOff",
    "PenstockError",
    "PermissionRefused",
    "Plan",
    "Report",
    "RunOptions",
    "RunResult",
    "SchemaChanged",
    "SettingsChanged",
    "SpecError",
    "Stop",
    "Stopped",
    "TimedOut",
    "Unavailable",
    "__version__",
    "check",
    "clear_failed",
    "copy",
    "failed_item",
    "failed_items",
    "import_hygge",
    "list_connectors",
    "load_project",
    "plan",
    "report",
    "retry_failed",
    "run",
    "status",
    "stop",
    "write_import",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    if name == "load_project":
        home = "penstock.cli.config"
    else:
        home = "penstock.api" if name[0].islower() or name in _VALUES else "penstock.core.errors"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
