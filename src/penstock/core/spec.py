"""The typed project: connections and jobs as plain frozen values, whatever file or call they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from penstock.core.load import Mode, SchemaPolicy
from penstock.core.names import TableName
from penstock.core.schema import TypePolicy
from penstock.core.secret import Secret


@dataclass(frozen=True)
class RateSpec:
    """Limits of one connection; None is unlimited. `rows_per_s` slows reading from databases politely."""

    per_second: float | None = None
    per_minute: float | None = None
    burst: int = 1
    concurrency: int | None = None
    max_calls: int | None = None
    rows_per_s: float | None = None


@dataclass(frozen=True)
class ConnectionSpec:
    """A named endpoint. `url` holds no secret; `options` holds the connector's own options, secrets as Secret.

    `base_dir` is the folder relative paths start from.
    """

    name: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    password: Secret | None = None
    max_connections: int | None = None
    connect_timeout_s: float = 15.0
    rate: RateSpec = RateSpec()
    base_dir: str = "."

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]


@dataclass(frozen=True)
class RetrySpec:
    attempts: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0


@dataclass(frozen=True)
class MaxErrors:
    """How many items may fail before a run stops: a number, or a share of the planned items."""

    count: int = 0
    percent: float | None = None


@dataclass(frozen=True)
class RunSpec:
    """How to run: workers None is auto; timeouts in seconds, None is no limit."""

    workers: int | None = None
    executor: str = "threads"
    retry: RetrySpec = RetrySpec()
    max_errors: MaxErrors = MaxErrors()
    timeout_s: float | None = None
    item_timeout_s: float | None = None


@dataclass(frozen=True)
class Mask:
    """How a column is hidden: "hash" (SHA-256 with the job's salt), "null", "keep" (all but the last `keep` characters
    become *), "constant" (`value` for every row that has one)."""

    how: str
    keep: int = 0
    value: str = ""


@dataclass(frozen=True)
class ColumnsSpec:
    """Column expressions, applied once per batch, in this order: include/exclude, cast, mask, add, rename and case.

    `add` maps a new column to {"value": literal}, {"now": "utc"}, {"run": "id"} or {"hash": [columns]}.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    case: str = ""
    cast: Mapping[str, str] = field(default_factory=dict)
    mask: Mapping[str, Mask] = field(default_factory=dict)
    add: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    salt: Secret | None = None


@dataclass(frozen=True)
class CursorSpec:
    """Incremental reading by a column. `lag` is a duration ("10 minutes") or number taken off the low end. `nulls`:
    "error", "exclude", or "include" (rows without a value are read every time)."""

    column: str
    lag: str = ""
    nulls: str = "error"


@dataclass(frozen=True)
class TableSpec:
    """One table's (or query's) copy, all defaults resolved.

    `on_empty` is what a REPLACE does when nothing was read: "publish" (the target becomes empty), "keep" or "fail".
    """

    source_table: TableName | None
    target_table: TableName
    query: str = ""
    mode: Mode = Mode.REPLACE
    key: tuple[str, ...] = ()
    cursor: CursorSpec | None = None
    where: str = ""
    columns: ColumnsSpec = ColumnsSpec()
    types: TypePolicy = TypePolicy()
    schema_changes: SchemaPolicy = SchemaPolicy()
    allow_lossy: tuple[str, ...] = ()
    on_empty: str = "publish"
    chunk_bytes: int = 64 * 2**20
    split: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobSpec:
    """What all job kinds have."""

    name: str
    after: tuple[str, ...] = ()
    run: RunSpec = RunSpec()


@dataclass(frozen=True)
class CopySpec(JobSpec):
    """A copy job: patterns choose tables of `source`; `queries` are named; `overrides` hold per-table settings.

    Settings are kept as given (plain mappings, validated) and resolved to TableSpec by jobs/copy once the source's tables
    are known. `target_name` is a template of {database}, {schema} and {table}.
    """

    source: str = ""
    target: str = ""
    tables: tuple[str, ...] = ()
    queries: Mapping[str, str] = field(default_factory=dict)
    target_name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A whole project: `root` is the folder of the project file and of the state folder `.penstock`."""

    root: str
    connections: Mapping[str, ConnectionSpec]
    jobs: Mapping[str, JobSpec]


_PLAIN = (str, int, float, bool)


def plain(value: Any) -> Any:
    """`value` as JSON values in a fixed order: for hashes and the journal. Secrets become their mask."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, _PLAIN):
        return value
    return str(value)


def digest(value: Any, size_bytes: int = 16) -> str:
    """A stable hex digest of any plain value: plan hashes, settings hashes, load ids."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size_bytes).hexdigest()
