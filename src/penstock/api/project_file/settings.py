"""The table of run settings: each one's key, environment variable and option, and which of them wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.api.project_file import units
from penstock.core.errors import SpecError
from penstock.core.spec import RetrySpec, RunSpec

EXECUTORS = ("threads", "processes", "serial")


def executor(value: Any) -> str:
    """The name of an executor."""
    if value not in EXECUTORS:
        raise ValueError(f"must be one of {', '.join(EXECUTORS)}")
    return str(value)


@dataclass(frozen=True)
class Setting:
    """One run setting. `key` is its dotted key under a job or under defaults; `option` is "" where there is none.

    `field` is the dotted name in RunSpec; `read` turns what was written into the value there or raises ValueError.
    """

    key: str
    variable: str
    option: str
    field: str
    read: Callable[[Any], Any]
    help: str


SETTINGS = (
    Setting("workers", "PENSTOCK_WORKERS", "--workers", "workers", units.workers,
            "how many workers run items side by side: a number (1 is sequential) or auto"),
    Setting("executor", "PENSTOCK_EXECUTOR", "--executor", "executor", executor,
            "where workers live: threads; processes, for work that holds the interpreter lock; serial, in the driver itself"),
    Setting("retry.attempts", "PENSTOCK_RETRY_ATTEMPTS", "", "retry.attempts", units.attempts,
            "how often an item is tried since its last progress before it is given up"),
    Setting("retry.backoff_s", "PENSTOCK_RETRY_BACKOFF_S", "", "retry.backoff_s", units.seconds,
            "wait before the second attempt; it doubles from attempt to attempt"),
    Setting("retry.max_backoff_s", "PENSTOCK_RETRY_MAX_BACKOFF_S", "", "retry.max_backoff_s", units.seconds,
            "the longest wait between two attempts"),
    Setting("max_errors", "PENSTOCK_MAX_ERRORS", "--max-errors", "max_errors", units.max_errors,
            "how many items may fail before the run stops: a number, or a share of the planned items such as 5%"),
    Setting("timeout", "PENSTOCK_TIMEOUT", "--timeout", "timeout_s", units.positive_seconds,
            "the longest time for a whole job; then it stops, and can be continued"),
    Setting("item_timeout", "PENSTOCK_ITEM_TIMEOUT", "", "item_timeout_s", units.positive_seconds,
            "the longest time an item may go without progress before it is cancelled and tried again"),
)  # fmt: skip

Values = Mapping[str, Any]


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that variables give, by key. Raises SpecError for a variable with a wrong value."""
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        text = environ.get(setting.variable, "")
        if not text:
            continue
        try:
            found[setting.key] = setting.read(text)
        except ValueError as error:
            raise SpecError(
                f'environment variable {setting.variable} is "{text}", but {error}', "correct it or unset it"
            ) from error
    return found


def run_spec(*layers: Values) -> RunSpec:
    """The settings in force; each layer maps keys to values already read, and earlier layers win key by key."""
    flat: dict[str, Any] = {}
    for setting in SETTINGS:
        for layer in layers:
            if setting.key in layer:
                flat[setting.field] = layer[setting.key]
                break
    retry = {name.partition(".")[2]: flat.pop(name) for name in list(flat) if name.startswith("retry.")}
    return RunSpec(retry=RetrySpec(**retry), **flat)
