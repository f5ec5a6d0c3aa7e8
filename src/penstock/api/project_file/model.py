"""The keys of penstock.yml: what each may hold, what it means, what it is when left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.api.project_file import settings, units
from penstock.api.project_file.keys import Key, Keys, section
from penstock.api.project_file.kinds import (
    Kind,
    flag,
    list_of,
    map_of,
    number,
    one_of,
    or_none,
    read,
    short,
    text,
    whole,
)

NUMERIC_PATTERN = r"^(text|double|error|decimal\(\d+,\s*\d+\))$"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


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

_TEXT = text(1)
_STRING: dict[str, Any] = {"type": "string"}
_TEXTS = short(_listed, _STRING, list_of(_TEXT))
_PER_TIME = or_none(number(0))
_SECONDS = read(units.seconds, _DURATION)
_LIMIT: Kind[float | None] = read(units.positive_seconds, _DURATION)
_POLICY = one_of("evolve", "strict", "ask")
_HELP = [setting.help for setting in settings.SETTINGS]


class Rate(Keys):
    """Limits of one connection, shared by all workers and jobs. A key that is left out limits nothing."""

    per_second = Key(_PER_TIME, "calls in a second", None)
    per_minute = Key(_PER_TIME, "calls in a minute", None)
    burst = Key(whole(1), "calls that may be made at once after a quiet time", 1)
    concurrency = Key(or_none(whole(1)), "calls under way at the same time", None)
    max_calls = Key(or_none(whole(0)), "calls in one run; the run stops before it makes more", None)
    rows_per_s = Key(_PER_TIME, "rows read in a second: a polite mode for busy databases", None)


class Connection(Keys, is_open=True):
    """An endpoint: a URL, how to log in, limits, and the options of its connector."""

    url = Key(_TEXT, "where it is, for instance postgresql://user@host:5432/db or file:./lake")
    password = Key(or_none(text()), "the password; write ${VAR} or ${file:path}", None)
    max_connections = Key(or_none(whole(1)), "connections open at the same time, over all workers", None)
    connect_timeout_s = Key(
        read(units.positive_seconds, _DURATION), "how long opening a connection may take, in seconds", 15.0
    )
    rate = Key(section(Rate), "limits of this connection", Rate())


class Retry(Keys):
    """What happens after an error that may pass."""

    attempts = Key(read(units.attempts, _WHOLE), _HELP[2], 5)
    backoff_s = Key(_SECONDS, _HELP[3], 1.0)
    max_backoff_s = Key(_SECONDS, _HELP[4], 60.0)


class RunKeys(Keys):
    """How jobs run; each key may stand under a job and under defaults."""

    workers: Key[Any] = Key(read(units.workers, _WORKERS), _HELP[0], "auto")
    executor = Key(one_of(*settings.EXECUTORS), _HELP[1], "threads")
    retry = Key(section(Retry), "what happens after an error that may pass", Retry())
    max_errors: Key[Any] = Key(read(units.max_errors, _ERRORS), _HELP[5], 0)
    timeout = Key(_LIMIT, _HELP[6], None)
    item_timeout = Key(_LIMIT, _HELP[7], None)


class Defaults(RunKeys):
    """What holds for every job that does not say otherwise."""


class Cursor(Keys):
    """Incremental reading: only rows whose cursor column lies above the last watermark are read."""

    column = Key(_TEXT, "the column that grows with every change, such as updated_at")
    lag = Key(
        read(units.lag, {"type": ["string", "number"]}),
        'how far below the last watermark to read again, such as "10 minutes" or 1000',
        "",
    )
    nulls = Key(one_of("error", "exclude", "include"), "what to do with rows that have no value", "error")


class Columns(Keys):
    """Changes to columns on their way, in this order: include/exclude, cast, mask, add, rename, case."""

    include = Key(_TEXTS, "only these columns", [])
    exclude = Key(_TEXTS, "all columns but these", [])
    rename = Key(map_of(_TEXT), "source column: target column", {})
    case = Key(one_of("", "snake", "camel", "pascal", "upper", "lower"), "the spelling of all target column names", "")
    cast = Key(map_of(_TEXT), "column: type it is carried in", {})
    mask = Key(
        map_of(read(_mask, _MASK)),
        "column: hash (SHA-256 with the salt), null, {keep: 4} (the last characters) or {constant: text}",
        {},
    )
    add = Key(map_of(read(_add, _ADD)), "new column: {value: literal}, {now: utc}, {run: id} or {hash: [columns]}", {})
    salt = Key(or_none(text()), "what mask: hash mixes in; a secret, write ${VAR} or ${file:path}", None)


class Types(Keys):
    """What to do with types that have no exact carrier."""

    numeric = Key(
        read(_numeric, {"type": "string", "pattern": NUMERIC_PATTERN}),
        "a numeric without declared precision becomes text (exact), double (lossy), decimal(p,s), or error",
        "text",
    )
    nan = Key(
        short(_null_text, {"type": "null"}, one_of("error", "null")),
        "a NaN inside a decimal column is an error, or becomes null",
        "error",
    )
    arrays = Key(one_of("list", "text"), "arrays become a list (one dimension) or the source's text", "list")


class SchemaChanges(Keys):
    """What to do when source and target differ: adapt the target (evolve), fail (strict), or ask before the run."""

    new_column = Key(_POLICY, "the source has a column that the target lacks", "evolve")
    dropped_column = Key(_POLICY, "the target has a column that the source lacks", "evolve")
    widened = Key(_POLICY, "the source's type holds more than the target's", "evolve")
    narrowed = Key(_POLICY, "the source's type holds less than the target's", "evolve")
    nullability = Key(_POLICY, "only one of them may be null", "evolve")


def _same_for_all(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in ("evolve", "strict", "ask"):
        raise ValueError("must be one of evolve, strict, ask")
    return dict.fromkeys(SchemaChanges.known, value)


class TableKeys(Keys, is_open=True):
    """What may be said of one table, and of all tables of a job."""

    target_name = Key(
        text(),
        "the target's name, built from {database}, {schema} and {table}; by default the source's (schema_table in SQLite)",
        "",
    )
    mode = Key(
        one_of("replace", "append", "upsert", "delete_insert", "insert_only"),
        "what the load does to the target table",
        "replace",
    )
    key = Key(_TEXTS, "columns that name a row; upsert, delete_insert and insert_only need it", [])
    cursor = Key(
        short(lambda value: {"column": value} if isinstance(value, str) else value, _STRING, or_none(section(Cursor))),
        "the column to read incrementally by, or {column, lag, nulls}",
        None,
    )
    where = Key(text(), "a filter in the source's own SQL", "")
    columns = Key(section(Columns), "changes to columns on their way", Columns())
    types = Key(section(Types), "what to do with types that have no exact carrier", Types())
    schema_changes = Key(
        short(_same_for_all, {"enum": ["evolve", "strict", "ask"]}, section(SchemaChanges)),
        "what to do when source and target differ; one word holds for all",
        SchemaChanges(),
    )
    allow_lossy = Key(
        short(_one_or_all, {"type": ["boolean", "string"]}, list_of(_TEXT)),
        "columns that may lose something on the way; true is all",
        [],
    )
    on_empty = Key(
        one_of("publish", "keep", "fail"),
        "what mode replace does when the source has no rows: empty the target, keep it, or fail",
        "publish",
    )
    chunk_size: Key[Any] = Key(
        read(units.size_bytes, {"type": "string", "pattern": units.SIZE_PATTERN}), "how much one item reads", "64MiB"
    )
    split = Key(flag(), "whether the table is read in several items", True)


class CopyJob(TableKeys, RunKeys, is_open=True):
    """Copies tables and queries from a source to a target."""

    kind = Key(one_of("copy"), "the kind of the job")
    source = Key(_TEXT, "the connection to read from")
    target = Key(_TEXT, "the connection to write to")
    after = Key(_TEXTS, "jobs that must be done before", [])
    tables = Key(_TEXTS, "table names and patterns of the source; ! in front excludes; later ones win", [])
    queries = Key(map_of(_TEXT), "name: query in the source's own SQL", {})
    overrides = Key(map_of(section(TableKeys)), "table name, pattern or query name: what is different for it", {})


class ProjectFile(Keys):
    """A Penstock project: connections, and the jobs that move data between them."""

    version = Key(Kind(whole(1).check, {"const": 1, "type": "integer"}), "the format of this file")
    connections = Key(map_of(section(Connection)), "named endpoints", {})
    defaults = Key(section(Defaults), "what holds for every job", Defaults())
    jobs = Key(map_of(section(CopyJob)), "named jobs", {})
