"""The public Python API, which the command line is a thin shell over: load a project, plan, run, look, stop."""

from penstock.api.abilities import ConnectorInfo, connectors
from penstock.api.checking import Check, ConnectionCheck, JobCheck, check
from penstock.api.copying import OneOff, copy
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

__all__ = [
    "Check",
    "ConnectionCheck",
    "ConnectorInfo",
    "JobCheck",
    "JobPlan",
    "OneOff",
    "Plan",
    "Report",
    "RunOptions",
    "RunResult",
    "TableResult",
    "check",
    "clear_failed",
    "connectors",
    "copy",
    "failed_item",
    "failed_items",
    "plan",
    "report",
    "retry_failed",
    "run",
    "status",
    "stop",
]
