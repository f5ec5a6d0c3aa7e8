"""The keys of penstock.yml as typed models: what each may hold, what it means, what it is when left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from penstock.api.project_file import settings, units

NUMERIC_PATTERN = r"^(text|double|error|decimal\(\d+,\s*\d+\))$"


@dataclass(frozen=True)
class Also:
    """Lets a key take a short form besides its own: `convert` makes the long form, `schema` describes the short one."""

    convert: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.convert, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [dict(self.schema), handler(core)]}


@dataclass(frozen=True)
class Read:
    """A key whose text or number one function reads; `schema` is the whole of what may be written."""

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _no_flag(value: Any) -> Any:
    """true is no number, though Python takes it for 1; as text it is refused like any other word."""
    return str(value) if isinstance(value, bool) else value


def _one_or_all(value: Any) -> Any:
    return {True: ["*"], False: []}[value] if isinstance(value, bool) else _listed(value)


def _null_text(value: Any) -> Any:
    """An unquoted null is the word null here: `nan: null` and `mask: {note: null}` read as they look."""
    return "null" if value is None else value


def _numeric(value: Any) -> str:
    if isinstance(value, str) and re.match(NUMERIC_PATTERN, value):
        return value
    raise ValueError("must be one of text, double, error or decimal(p,s)")


def _mask(value: Any) -> Any:
    value = _null_text(value)
    if value in ("hash", "null"):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((how, what),) = value.items()
        if how == "keep" and isinstance(what, int) and not isinstance(what, bool) and what >= 0:
            return value
        if how == "constant" and isinstance(what, str):
            return value
    raise ValueError('must be one of hash, null, {keep: 4} or {constant: "text"}')


def _add(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("value", "now", "run", "hash"):
        raise ValueError("must be one of {value: ...}, {now: utc}, {run: id} or {hash: [columns]}")
    ((how, what),) = value.items()
    if how == "hash" and not (isinstance(what, list) and what and all(isinstance(name, str) for name in what)):
        raise ValueError("must name the columns to hash: {hash: [a, b]}")
    for word, only in (("now", "utc"), ("run", "id")):
        if how == word and what != only:
            raise ValueError(f"must be {{{word}: {only}}}")
    if how == "value" and isinstance(what, (dict, list)):
        raise ValueError("must be one value: text, a number, true, false or null")
    return value


_NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
_DURATION: dict[str, Any] = {"anyOf": [_NUMBER, {"type": "string", "pattern": units.DURATION_PATTERN}]}
_WHOLE: dict[str, Any] = {"type": "integer", "minimum": 1}
_WORKERS: dict[str, Any] = {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}
_ERRORS: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"}]
}


def _only(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: dict(part)}, "required": [name], "additionalProperties": False}


_ADD: dict[str, Any] = {
    "anyOf": [
        _only("value", {"type": ["string", "number", "boolean", "null"]}),
        _only("now", {"const": "utc"}),
        _only("run", {"const": "id"}),
        _only("hash", {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    ]
}
_MASK: dict[str, Any] = {
    "anyOf": [
        {"enum": ["hash", "null", None]},
        _only("keep", {"type": "integer", "minimum": 0}),
        _only("constant", {"type": "string"}),
    ]
}

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Also(_listed, {"type": "string"})]
Count = Annotated[int, Ge(1), BeforeValidator(_no_flag)]
Calls = Annotated[int, Ge(0), BeforeValidator(_no_flag)]
PerTime = Annotated[float, Gt(0), BeforeValidator(_no_flag)]
Seconds = Annotated[float, Read(units.seconds, _DURATION)]
Limit = Annotated[float, Read(units.positive_seconds, _DURATION)]


class Keys(BaseModel):
    """A mapping that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid")


class Rate(Keys):
    """Limits of one connection, shared by all workers and jobs. A key that is left out limits nothing."""

    per_second: PerTime | None = Field(default=None, description="calls in a second")
    per_minute: PerTime | None = Field(default=None, description="calls in a minute")
    burst: Count = Field(default=1, description="calls that may be made at once after a quiet time")
    concurrency: Count | None = Field(default=None, description="calls under way at the same time")
    max_calls: Calls | None = Field(default=None, description="calls in one run; the run stops before it makes more")
    rows_per_s: PerTime | None = Field(
        default=None, description="rows read in a second: a polite mode for busy databases"
    )


class Connection(Keys):
    """An endpoint: a URL, how to log in, limits, and the options of its connector."""

    model_config = ConfigDict(extra="allow")

    url: Text = Field(description="where it is, for instance postgresql://user@host:5432/db or file:./lake")
    password: str | None = Field(default=None, description="the password; write ${VAR} or ${file:path}")
    max_connections: Count | None = Field(
        default=None, description="connections open at the same time, over all workers"
    )
    connect_timeout_s: Limit = Field(default=15.0, description="how long opening a connection may take, in seconds")
    rate: Rate = Field(default_factory=Rate, description="limits of this connection")


class Retry(Keys):
    """What happens after an error that may pass."""

    attempts: Annotated[int, Read(units.attempts, _WHOLE)] = Field(default=5, description=settings.SETTINGS[2].help)
    backoff_s: Seconds = Field(default=1.0, description=settings.SETTINGS[3].help)
    max_backoff_s: Seconds = Field(default=60.0, description=settings.SETTINGS[4].help)


class RunKeys(Keys):
    """How jobs run; each key may stand under a job and under defaults."""

    workers: Annotated[Any, Read(units.workers, _WORKERS)] = Field(
        default="auto", description=settings.SETTINGS[0].help
    )
    executor: Literal["threads", "processes", "serial"] = Field(
        default="threads", description=settings.SETTINGS[1].help
    )
    retry: Retry = Field(default_factory=Retry, description="what happens after an error that may pass")
    max_errors: Annotated[Any, Read(units.max_errors, _ERRORS)] = Field(
        default=0, description=settings.SETTINGS[5].help
    )
    timeout: Annotated[float | None, Read(units.positive_seconds, _DURATION)] = Field(
        default=None, description=settings.SETTINGS[6].help
    )
    item_timeout: Annotated[float | None, Read(units.positive_seconds, _DURATION)] = Field(
        default=None, description=settings.SETTINGS[7].help
    )


class Defaults(RunKeys):
    """What holds for every job that does not say otherwise."""


class Cursor(Keys):
    """Incremental reading: only rows whose cursor column lies above the last watermark are read."""

    column: Text = Field(description="the column that grows with every change, such as updated_at")
    lag: Annotated[str, Read(units.lag, {"type": ["string", "number"]})] = Field(
        default="", description='how far below the last watermark to read again, such as "10 minutes" or 1000'
    )
    nulls: Literal["error", "exclude", "include"] = Field(
        default="error", description="what to do with rows that have no value"
    )


class Columns(Keys):
    """Changes to columns on their way, in this order: include/exclude, cast, mask, add, rename, case."""

    include: Texts = Field(default=[], description="only these columns")
    exclude: Texts = Field(default=[], description="all columns but these")
    rename: dict[Text, Text] = Field(default={}, description="source column: target column")
    case: Literal["", "snake", "camel", "pascal", "upper", "lower"] = Field(
        default="", description="the spelling of all target column names"
    )
    cast: dict[Text, Text] = Field(default={}, description="column: type it is carried in")
    mask: dict[Text, Annotated[Any, Read(_mask, _MASK)]] = Field(
        default={},
        description="column: hash (SHA-256 with the salt), null, {keep: 4} (the last characters) or {constant: text}",
    )
    add: dict[Text, Annotated[Any, Read(_add, _ADD)]] = Field(
        default={}, description="new column: {value: literal}, {now: utc}, {run: id} or {hash: [columns]}"
    )
    salt: str | None = Field(
        default=None, description="what mask: hash mixes in; a secret, write ${VAR} or ${file:path}"
    )


class Types(Keys):
    """What to do with types that have no exact carrier."""

    numeric: Annotated[str, Read(_numeric, {"type": "string", "pattern": NUMERIC_PATTERN})] = Field(
        default="text",
        description="a numeric without declared precision becomes text (exact), double (lossy), decimal(p,s), or error",
    )
    nan: Annotated[Literal["error", "null"], Also(_null_text, {"type": "null"})] = Field(
        default="error", description="a NaN inside a decimal column is an error, or becomes null"
    )
    arrays: Literal["list", "text"] = Field(
        default="list", description="arrays become a list (one dimension) or the source's text"
    )


Policy = Literal["evolve", "strict", "ask"]


class SchemaChanges(Keys):
    """What to do when source and target differ: adapt the target (evolve), fail (strict), or ask before the run."""

    new_column: Policy = Field(default="evolve", description="the source has a column that the target lacks")
    dropped_column: Policy = Field(default="evolve", description="the target has a column that the source lacks")
    widened: Policy = Field(default="evolve", description="the source's type holds more than the target's")
    narrowed: Policy = Field(default="evolve", description="the source's type holds less than the target's")
    nullability: Policy = Field(default="evolve", description="only one of them may be null")


def _same_for_all(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in ("evolve", "strict", "ask"):
        raise ValueError("must be one of evolve, strict, ask")
    return dict.fromkeys(SchemaChanges.model_fields, value)


class TableKeys(Keys):
    """What may be said of one table, and of all tables of a job."""

    model_config = ConfigDict(extra="allow")

    target_name: str = Field(
        default="",
        description="the target's name, built from {database}, {schema} and {table}; by default the source's",
    )
    mode: Literal["replace", "append", "upsert", "delete_insert", "insert_only"] = Field(
        default="replace", description="what the load does to the target table"
    )
    key: Texts = Field(default=[], description="columns that name a row; upsert, delete_insert and insert_only need it")
    cursor: Annotated[Cursor | None, Also(lambda v: {"column": v} if isinstance(v, str) else v, {"type": "string"})] = (
        Field(default=None, description="the column to read incrementally by, or {column, lag, nulls}")
    )
    where: str = Field(default="", description="a filter in the source's own SQL")
    columns: Columns = Field(default_factory=Columns, description="changes to columns on their way")
    types: Types = Field(default_factory=Types, description="what to do with types that have no exact carrier")
    schema_changes: Annotated[SchemaChanges, Also(_same_for_all, {"enum": ["evolve", "strict", "ask"]})] = Field(
        default_factory=SchemaChanges, description="what to do when source and target differ; one word holds for all"
    )
    allow_lossy: Annotated[list[Text], Also(_one_or_all, {"type": ["boolean", "string"]})] = Field(
        default=[], description="columns that may lose something on the way; true is all"
    )
    on_empty: Literal["publish", "keep", "fail"] = Field(
        default="publish",
        description="what mode replace does when the source has no rows: empty the target, keep it, or fail",
    )
    chunk_size: Annotated[Any, Read(units.size_bytes, {"type": "string", "pattern": units.SIZE_PATTERN})] = Field(
        default="64MiB", description="how much one item reads"
    )
    split: bool = Field(default=True, description="whether the table is read in several items")


class CopyJob(TableKeys, RunKeys):
    """Copies tables and queries from a source to a target."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["copy"] = Field(description="the kind of the job")
    source: Text = Field(description="the connection to read from")
    target: Text = Field(description="the connection to write to")
    after: Texts = Field(default=[], description="jobs that must be done before")
    tables: Texts = Field(
        default=[], description="table names and patterns of the source; ! in front excludes; later ones win"
    )
    queries: dict[Text, Text] = Field(default={}, description="name: query in the source's own SQL")
    overrides: dict[Text, TableKeys] = Field(
        default={}, description="table name, pattern or query name: what is different for it"
    )


class ProjectFile(Keys):
    """A Penstock project: connections, and the jobs that move data between them."""

    version: Literal[1] = Field(description="the format of this file")
    connections: dict[Text, Connection] = Field(default={}, description="named endpoints")
    defaults: Defaults = Field(default_factory=Defaults, description="what holds for every job")
    jobs: dict[Text, CopyJob] = Field(default={}, description="named jobs")
