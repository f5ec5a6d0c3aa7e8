"""A planned table as JSON: what the journal keeps with a group and every worker decodes once."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from penstock.core.item import Json
from penstock.core.load import CursorValue, Load, Mode, SchemaPolicy, Source, Window
from penstock.core.names import TableName
from penstock.core.schema import Column, TypePolicy, arrow_schema
from penstock.core.secret import Secret
from penstock.core.spec import ColumnsSpec, Mask, plain
from penstock.jobs.copy.expressions import Expressions, RunFacts, bind


@dataclass(frozen=True)
class TablePlan:
    """All that prepare, load and publish of one table need to know.

    `chunks` is the number of load items, whose parts are numbered from `first_part`. `raw` says that streams pass through untouched. `counted` says that a count
    of the source runs beside the load. `state_key` and `watermark` are what a publish saves for the next run.
    """

    source: Source
    load: Load
    expressions: Expressions
    run: RunFacts
    chunks: int
    raw: bool
    counted: bool
    snapshot: bool
    on_empty: str
    state_key: str = ""
    watermark: Json | None = None
    first_part: int = 0


def encode(plan: TablePlan, salts: Sequence[Secret]) -> dict[str, Any]:
    """`plan` as JSON values. The salt of masks is a secret: only its place among the job's `salts` is kept.

    What include and exclude chose is in the source's columns already.
    """
    spec = plan.expressions.spec
    salt = spec.salt
    return {
        "source": _encode_source(plan.source),
        "load": _encode_load(plan.load),
        "columns": plain(replace(spec, include=(), exclude=(), salt=None)),
        "salt": salts.index(salt) if salt else None,
        "now": plan.run.now,
        "chunks": plan.chunks,
        "raw": plan.raw,
        "counted": plan.counted,
        "snapshot": plan.snapshot,
        "on_empty": plan.on_empty,
        "state_key": plan.state_key,
        "watermark": plan.watermark,
        "first_part": plan.first_part,
    }


def decode(facts: Json, salts: Sequence[Secret]) -> TablePlan:
    """The plan that `encode` made with the same `salts`."""
    source, load = _decode_source(facts["source"]), _decode_load(facts["load"])
    spec = _decode_columns_spec(facts["columns"], None if facts["salt"] is None else salts[facts["salt"]])
    return TablePlan(
        source=source,
        load=load,
        expressions=bind(spec, source.columns, str(source)),
        run=RunFacts(facts["now"], load.load_id),
        chunks=facts["chunks"],
        raw=facts["raw"],
        counted=facts["counted"],
        snapshot=facts["snapshot"],
        on_empty=facts["on_empty"],
        state_key=facts["state_key"],
        watermark=facts["watermark"],
        first_part=facts.get("first_part", 0),
    )


def _encode_source(source: Source) -> dict[str, Any]:
    return {
        "table": list(source.table.parts) if source.table else None,
        "query": source.query,
        "columns": encode_columns(source.columns),
        "where": source.where,
        "window": plain(source.window) if source.window else None,
        "policy": plain(source.policy),
        "options": plain(source.options),
    }


def _decode_source(facts: Mapping[str, Any]) -> Source:
    window = facts["window"]
    return Source(
        table=TableName(tuple(facts["table"])) if facts["table"] else None,
        query=facts["query"],
        columns=decode_columns(facts["columns"]),
        where=facts["where"],
        window=Window(window["column"], _cursor(window["low"]), _cursor(window["high"]), window["nulls"])
        if window
        else None,
        policy=TypePolicy(**facts["policy"]),
        options=facts["options"],
    )


def _encode_load(load: Load) -> dict[str, Any]:
    return {
        "load_id": load.load_id,
        "job": load.job,
        "table": list(load.table.parts),
        "columns": encode_columns(load.columns),
        "mode": load.mode.value,
        "key": list(load.key),
        "cursor": load.cursor,
        "reread_to": plain(load.reread_to) if load.reread_to else None,
        "volatile": list(load.volatile),
        "policy": plain(load.policy),
        "options": plain(load.options),
        "one_part": load.one_part,
    }


def _decode_load(facts: Mapping[str, Any]) -> Load:
    return Load(
        load_id=facts["load_id"],
        job=facts["job"],
        table=TableName(tuple(facts["table"])),
        columns=decode_columns(facts["columns"]),
        mode=Mode(facts["mode"]),
        key=tuple(facts["key"]),
        cursor=facts["cursor"],
        reread_to=_cursor(facts["reread_to"]),
        volatile=tuple(facts["volatile"]),
        policy=SchemaPolicy(**facts["policy"]),
        options=facts["options"],
        one_part=facts.get("one_part", False),
    )


def _decode_columns_spec(facts: Mapping[str, Any], salt: Secret | None) -> ColumnsSpec:
    """Without include and exclude: the source that is kept beside it has only the columns that they left."""
    return ColumnsSpec(
        rename=facts["rename"],
        case=facts["case"],
        cast=facts["cast"],
        mask={name: Mask(**mask) for name, mask in facts["mask"].items()},
        add=facts["add"],
        salt=salt,
    )


def _cursor(facts: Mapping[str, str] | None) -> CursorValue | None:
    return CursorValue(facts["type"], facts["text"]) if facts else None


def encode_columns(columns: Sequence[Column]) -> str:
    """Columns as an Arrow schema message (names, types, nullability, logical and native types) in base64."""
    return base64.b64encode(arrow_schema(tuple(columns)).serialize()).decode()


def decode_columns(text: str) -> tuple[Column, ...]:
    """The columns that `encode_columns` made; fidelity and notes, which only plans show, are left behind."""
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    return tuple(Column.from_field(field) for field in schema)
