"""The landing zone of a Fabric mirrored database: its folders, its columns and the files beside the data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from penstock.connectors.files.root import STATE
from penstock.connectors.objects.prefix import Prefix
from penstock.core.errors import NotSupported, SpecError
from penstock.core.load import Load, Mode
from penstock.core.names import TableName
from penstock.core.ports import Option
from penstock.core.schema import Column, Fidelity

OPTIONS = (
    Option("landing_zone", "boolean", "the prefix is the landing zone of a Fabric mirrored database", False),
    Option("partner", "text", "landing_zone: the name that Fabric is told of who delivers", ""),
    Option("source_type", "text", "landing_zone: the kind of system that Fabric is told the data come from", ""),
    Option(
        "folder_wait_s",
        "integer",
        "landing_zone: seconds that Fabric gets to notice that a table's folder is gone before it is made anew",
        120,
    ),
)
METADATA = "_metadata.json"
PARTNER = "_partnerEvents.json"
MARKER = "__rowMarker__"
# What Fabric does with a row.
_MARKS = {Mode.REPLACE: 0, Mode.APPEND: 0, Mode.UPSERT: 4}
NUMBERED = re.compile(r"(\d{20})\.parquet\Z")
_NO_FOLDER = re.compile(r"[/\\\0]|\A[._]")


@dataclass(frozen=True)
class LandingZone(Prefix):
    """The landing zone. What Penstock notes lies beside it, where Fabric does not look for tables."""

    def state(self, *parts: str) -> str:
        home = self.path.rpartition("/")[0]
        return "/".join(part for part in (home, STATE, *parts) if part)

    def table_folder(self, table: TableName) -> str:
        """`[schema.schema/]table`, names as they are: Fabric calls the table so."""
        for part in table.parts:
            if _NO_FOLDER.search(part):
                raise SpecError(f"table {table} has a name that is no folder", "set target_name to a plain name")
        schema = (f"{table.schema}.schema",) if table.schema else ()
        return self.inside(*schema, table.table)


@dataclass(frozen=True)
class ZoneOptions:
    """What a landing zone is told besides its files' options."""

    partner: str
    source_type: str
    folder_wait_s: int


def zone_options(values: Mapping[str, Any]) -> ZoneOptions:
    """The options of a connection that concern the landing zone. Raises SpecError."""
    wait = str(values.get("folder_wait_s", 120))
    if not wait.isdigit():
        raise SpecError(f"folder_wait_s is {wait}", "give seconds")
    return ZoneOptions(str(values.get("partner") or ""), str(values.get("source_type") or ""), int(wait))


def check_load(load: Load) -> None:
    """Raises NotSupported or SpecError for a load that a landing zone cannot take."""
    if load.mode not in _MARKS:
        raise NotSupported(
            f"a landing zone takes no mode {load.mode.value} (table {load.table})", "use replace, append or upsert"
        )
    if load.reread_to is not None:
        raise NotSupported(
            f"a landing zone cannot compare rows that are read again (table {load.table}, mode append with a cursor)",
            "use mode upsert with a key",
        )
    if load.mode is Mode.UPSERT and not load.key:
        raise SpecError(f"mode upsert of table {load.table} needs a key", "set key: [columns]")
    names = [column.name for column in load.columns]
    lacking = [name for name in load.key if name not in names]
    if not names or MARKER in names or lacking or len(set(names)) < len(names):
        raise SpecError(
            f"table {load.table} has columns {', '.join(names)}, and key {', '.join(load.key)}",
            f"give it columns of different names, the key's among them, and none called {MARKER}",
        )


def columns_of(load: Load) -> tuple[Column, ...]:
    """The columns as they land: those that Fabric has a type for as they are, others as text; the marker last."""
    return (*(landed(column) for column in load.columns), Column(MARKER, pa.int32(), nullable=False))


def landed(column: Column) -> Column:
    if _is_known(column):
        return column
    return replace(column, type=pa.string(), logical="", fidelity=Fidelity.TEXT)


def _is_known(column: Column) -> bool:
    kind = column.type
    return bool(
        pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind != pa.uint64())
        or pa.types.is_float32(kind) or pa.types.is_float64(kind)
        or (pa.types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision)
        or pa.types.is_string(kind) or pa.types.is_large_string(kind)
        or ((pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) and not column.logical)
        or pa.types.is_date32(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind)
    )  # fmt: skip


def marked(load: Load, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches as they land."""
    from penstock.connectors._formats.texts import to_text

    mark = pa.scalar(_MARKS[load.mode], pa.int32())
    schema = pa.schema([column.to_field() for column in columns_of(load)])
    for batch in batches:
        arrays = []
        for column in load.columns:
            values = batch.column(column.name)
            arrays.append(values if _is_known(column) else to_text(values, column.logical))
        yield pa.RecordBatch.from_arrays([*arrays, pa.repeat(mark, batch.num_rows)], schema=schema)


def metadata_of(load: Load) -> bytes:
    """`_metadata.json`; the key cannot change once Fabric has seen it."""
    value: dict[str, object] = {"keyColumns": list(load.key)} if load.key else {}
    if load.mode is Mode.UPSERT:
        value["isUpsertDefaultRowMarker"] = True
    return json.dumps(value, ensure_ascii=False).encode()


def keys_in(metadata: bytes) -> list[str]:
    try:
        value = json.loads(metadata)
    except ValueError:
        return []
    return [str(name) for name in value.get("keyColumns", ())] if isinstance(value, dict) else []


def partner_of(partner: str, source_type: str) -> bytes:
    """`_partnerEvents.json`."""
    source = {"sourceType": source_type} if source_type else {}
    return json.dumps({"partnerName": partner, "sourceInfo": source}, ensure_ascii=False).encode()


def file_name(number: int) -> str:
    return f"{number:020d}.parquet"
