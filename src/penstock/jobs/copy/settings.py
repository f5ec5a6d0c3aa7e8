"""From a job's defaults and overrides to one resolved TableSpec for each table."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from penstock.core.errors import SpecError
from penstock.core.load import Mode, SchemaPolicy
from penstock.core.names import TableName, matches
from penstock.core.schema import TypePolicy
from penstock.core.spec import ColumnsSpec, CopySpec, CursorSpec, Mask, TableSpec

SETTINGS = (
    "mode",
    "key",
    "cursor",
    "where",
    "columns",
    "types",
    "schema_changes",
    "allow_lossy",
    "on_empty",
    "chunk_size",
    "split",
    "target_name",
    "options",
)
ON_EMPTY = ("publish", "keep", "fail")
POLICY_VALUES = ("evolve", "strict", "ask")
# 64 MiB of source data: large enough that a chunk's fixed cost (one transaction, one COPY) is under 1 %, small enough
# that a killed run repeats little.
CHUNK_BYTES = 64 * 2**20


def resolve(job: CopySpec, table: TableName | None, name: str, name_parts: int) -> TableSpec:
    """The settings of one table (or of the named query, when `table` is None), overrides applied in their order."""
    settings = dict(job.settings)
    for pattern, override in job.overrides.items():
        if _override_applies(pattern, table, name):
            settings = _overlay(settings, override)
    return _table_spec(job, table, name, settings, name_parts)


def unused_overrides(job: CopySpec, tables: Sequence[TableName], queries: Iterable[str]) -> list[str]:
    """Overrides that no chosen table or query takes: each is a mistake in the project."""
    names = list(queries)
    return [
        pattern
        for pattern in job.overrides
        if not any(_override_applies(pattern, table, str(table)) for table in tables) and pattern not in names
    ]


def _override_applies(pattern: str, table: TableName | None, name: str) -> bool:
    if table is None:
        return pattern == name
    return matches(table, TableName.parse(pattern))


def _overlay(settings: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in override.items():
        both_maps = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both_maps else value
    return merged


def _table_spec(
    job: CopySpec, table: TableName | None, name: str, settings: Mapping[str, Any], name_parts: int
) -> TableSpec:
    where = f"table {name} of job {job.name!r}"
    unknown = [key for key in settings if key not in SETTINGS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], SETTINGS, 1)
        raise SpecError(f"unknown setting {unknown[0]!r} for {where}", f"did you mean {near[0]!r}?" if near else "")
    mode = _choice(Mode, settings.get("mode", "replace"), f"mode of {where}")
    spec = TableSpec(
        source_table=table,
        target_table=_target_name(str(settings.get("target_name") or job.target_name), table, name, name_parts),
        query="" if table else job.queries[name],
        mode=mode,
        key=_names(settings.get("key")),
        cursor=_cursor(settings.get("cursor")),
        where=str(settings.get("where") or ""),
        columns=_columns(settings.get("columns") or {}),
        types=TypePolicy(**(settings.get("types") or {})),
        schema_changes=_schema_policy(settings.get("schema_changes", "evolve"), where),
        allow_lossy=_allow_lossy(settings.get("allow_lossy")),
        on_empty=_one_of(str(settings.get("on_empty", "publish")), ON_EMPTY, f"on_empty of {where}"),
        chunk_bytes=int(settings.get("chunk_size") or CHUNK_BYTES),
        split=bool(settings.get("split", True)),
        options=dict(settings.get("options") or {}),
    )
    _check(spec, where)
    return spec


def _check(spec: TableSpec, where: str) -> None:
    if spec.mode in (Mode.UPSERT, Mode.DELETE_INSERT, Mode.INSERT_ONLY) and not spec.key:
        raise SpecError(f"{where} has mode {spec.mode.value} but no key", "name the key columns: key: [column, ...]")
    if spec.mode is Mode.REPLACE and spec.cursor:
        raise SpecError(
            f"{where} has mode replace and a cursor, but replace reads every row each time",
            "remove the cursor, or choose append, upsert, delete_insert or insert_only",
        )
    if spec.mode is not Mode.REPLACE and spec.on_empty != "publish":
        raise SpecError(f"on_empty of {where} has no effect in mode {spec.mode.value}", "remove it")
    if spec.cursor and spec.cursor.nulls not in ("error", "exclude", "include"):
        raise SpecError(f"cursor nulls {spec.cursor.nulls!r} of {where} is unknown", "use error, exclude or include")
    if spec.where and not spec.source_table:
        raise SpecError(f"{where} is a query with a `where`", "put the condition into the query")


def _target_name(template: str, table: TableName | None, name: str, name_parts: int) -> TableName:
    """The target's name: the template filled in, or the source's own name cut to the parts the target knows.

    Where parts are cut, they are joined with `_`, so that two schemas' tables of one name stay apart.
    """
    if template:
        database = table.parts[-3] if table and len(table.parts) == 3 else ""
        values = {
            "database": database,
            "schema": table.schema if table else "",
            "table": table.table if table else name,
        }
        parts = []
        for part in TableName.parse(template).parts:
            try:
                parts.append(part.format(**values))
            except (KeyError, IndexError, ValueError) as error:
                raise SpecError(
                    f"target_name {template!r} cannot be filled in: {error}", "use {database}, {schema} and {table}"
                ) from error
        return TableName(tuple(part for part in parts if part))
    parts = list(table.parts) if table else [name]
    if len(parts) > name_parts:
        cut = len(parts) - name_parts + 1
        parts = ["_".join(parts[:cut]), *parts[cut:]]
    return TableName(tuple(parts))


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _allow_lossy(value: Any) -> tuple[str, ...]:
    return ("*",) if value is True else _names(value or None)


def _cursor(value: Any) -> CursorSpec | None:
    if value is None:
        return None
    if isinstance(value, str):
        return CursorSpec(value)
    return CursorSpec(value["column"], str(value.get("lag") or ""), str(value.get("nulls") or "error"))


def _columns(value: Mapping[str, Any]) -> ColumnsSpec:
    return ColumnsSpec(
        include=_names(value.get("include")),
        exclude=_names(value.get("exclude")),
        rename=dict(value.get("rename") or {}),
        case=str(value.get("case") or ""),
        cast=dict(value.get("cast") or {}),
        mask={name: _mask(how) for name, how in (value.get("mask") or {}).items()},
        add={name: dict(what) for name, what in (value.get("add") or {}).items()},
        salt=value.get("salt"),
    )


def _mask(value: Any) -> Mask:
    if isinstance(value, str):
        return Mask(value)
    if "keep" in value:
        return Mask("keep", keep=int(value["keep"]))
    return Mask("constant", value=str(value["constant"]))


def _schema_policy(value: Any, where: str) -> SchemaPolicy:
    if isinstance(value, str):
        value = {field.name: value for field in fields(SchemaPolicy)}
    for kind, policy in value.items():
        _one_of(str(policy), POLICY_VALUES, f"schema_changes.{kind} of {where}")
    return SchemaPolicy(**value)


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> str:
    if value not in allowed:
        raise SpecError(f"{what} is {value!r}", f"use {', '.join(allowed)}")
    return value


def _choice(kind: type[Mode], value: Any, what: str) -> Mode:
    return kind(_one_of(str(getattr(value, "value", value)), tuple(m.value for m in kind), what))
