"""The manifest: what a published table consists of, written last, and the only mark that a load is published."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors.files.swap import sync_folder
from penstock.core.errors import DataError
from penstock.core.load import Published
from penstock.core.names import TableName
from penstock.core.schema import Column, arrow_schema

VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class DataFile:
    """One data file of a table. `path` is relative to the table's folder, with '/'; `checksum` is BLAKE2b-128 of its
    bytes, "" where it was not written here. `partition` holds the texts of hive partition columns, None for NULL. `stamp`
    (mtime in ns, inode) recognises the file of a table of one file. `is_cuttable` says that every line break ends a row.
    """

    path: str
    rows: int
    size_bytes: int
    checksum: str = ""
    partition: tuple[str | None, ...] = ()
    stamp: tuple[int, ...] = ()
    is_cuttable: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataFile:
        return cls(**{**value, "partition": tuple(value["partition"]), "stamp": tuple(value["stamp"])})


@dataclass(frozen=True)
class Delivered:
    """A load that was published, and the ledger of its parts: rows and bytes of each."""

    job: str
    load_id: str
    parts: Mapping[str, tuple[int, int]]
    published: Published

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Delivered:
        return cls(value["job"], value["load_id"], _parts(value["parts"]), _published(value["published"]))


@dataclass(frozen=True)
class Manifest:
    """One version of one table. `generation` counts versions; `parts` is the ledger of the load that made this one.

    `earlier` is the last load of each other job, the newest last: a job that died before it could note that its load was
    published learns so here, although another job was published since.
    """

    table: TableName
    settings: FormatSettings
    layout: str
    partition_by: tuple[str, ...]
    columns: tuple[Column, ...]
    files: tuple[DataFile, ...]
    load_id: str
    job: str
    generation: int
    previous_load_id: str = ""
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    published: Published | None = None
    earlier: tuple[Delivered, ...] = ()

    @property
    def delivered(self) -> tuple[Delivered, ...]:
        """The last load of each job, that of this version last."""
        if self.published is None:
            return self.earlier
        others = (one for one in self.earlier if one.job != self.job)
        return (*others, Delivered(self.job, self.load_id, self.parts, self.published))

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def to_text(manifest: Manifest) -> str:
    """The manifest as JSON: the `columns` for people, `arrow_schema` (base64 of an IPC message) exact."""
    schema = arrow_schema(manifest.columns).serialize().to_pybytes()
    value = {
        "penstock": VERSION,
        "table": list(manifest.table.parts),
        "load_id": manifest.load_id,
        "previous_load_id": manifest.previous_load_id,
        "job": manifest.job,
        "generation": manifest.generation,
        "layout": manifest.layout,
        "partition_by": list(manifest.partition_by),
        "settings": manifest.settings.to_json(),
        "rows": manifest.rows,
        "size_bytes": manifest.size_bytes,
        "columns": [
            {"name": c.name, "type": str(c.type), "nullable": c.nullable, "logical": c.logical, "native": c.native}
            for c in manifest.columns
        ],
        "files": [vars(file) for file in manifest.files],
        "parts": {part: list(sizes) for part, sizes in manifest.parts.items()},
        "published": vars(manifest.published) if manifest.published else None,
        "earlier": [{**vars(one), "published": vars(one.published)} for one in manifest.earlier],
        "arrow_schema": base64.b64encode(schema).decode(),
    }
    return "{\n" + ",\n".join(f' "{name}": {_lines(one)}' for name, one in value.items()) + "\n}\n"


def _lines(value: Any) -> str:
    """JSON with a line for each entry of a list of objects: for people to read, and quick to write."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {_encode(one)}" for one in value) + "\n ]"
    return _encode(value)


def from_text(text: str) -> Manifest:
    """Raises KeyError, TypeError or ValueError for a text that is no manifest."""
    value: dict[str, Any] = json.loads(text)
    if value["penstock"] != VERSION:
        raise ValueError(f"manifest version {value['penstock']} is not {VERSION}")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value["arrow_schema"])))
    published = value["published"]
    return Manifest(
        table=TableName(tuple(value["table"])),
        settings=FormatSettings.from_json(value["settings"]),
        layout=value["layout"],
        partition_by=tuple(value["partition_by"]),
        columns=tuple(Column.from_field(f) for f in schema),
        files=tuple(DataFile.from_json(f) for f in value["files"]),
        load_id=value["load_id"],
        job=value["job"],
        generation=value["generation"],
        previous_load_id=value["previous_load_id"],
        parts=_parts(value["parts"]),
        published=_published(published) if published else None,
        earlier=tuple(Delivered.from_json(one) for one in value.get("earlier", ())),
    )


def _parts(value: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {part: (sizes[0], sizes[1]) for part, sizes in value.items()}


def _published(value: Mapping[str, Any]) -> Published:
    return Published(**{**value, "notes": tuple(value["notes"])})


def read_manifest(path: str) -> Manifest | None:
    """The manifest at `path`, None where there is none. Raises DataError for one that cannot be read."""
    text = read_text(path)
    return None if text is None else parsed(text, path)


def parsed(text: str, path: str) -> Manifest:
    """The manifest that was read at `path`. Raises DataError for a text that is none."""
    try:
        return from_text(text)
    except (KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        raise DataError(
            f"manifest {path} cannot be read: {error}", "restore it, or remove the table and load it again"
        ) from error


def read_text(path: str) -> str | None:
    """The text of a small file, or None where it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="surrogatepass") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_text(path: str, text: str) -> None:
    """Put a small file in place whole and durable."""
    temporary = f"{path}.tmp"
    with open(temporary, "wb") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(os.path.dirname(path))
