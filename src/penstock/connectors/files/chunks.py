"""Chunks of a set of files: what a reader needs to know of them later, as plain JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.port import Span
from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors.files.listing import FileSet, found_from_json
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.stamp import FoundFile
from penstock.core.load import Chunk
from penstock.core.schema import Column, arrow_schema

# A file is cut in pieces when it is larger than this share of a chunk as stored: data formats pack about so well.
_PACKING = 4


@dataclass(frozen=True)
class Piece:
    """What one chunk covers: files with their stamps, or a span of one file, and how to read them. `columns` are those of
    the whole table where the files do not say them."""

    files: tuple[FoundFile, ...]
    settings: FormatSettings
    columns: tuple[Column, ...] = ()
    span: Span | None = None
    is_planned: bool = False

    def to_bounds(self) -> dict[str, Any]:
        bounds: dict[str, Any] = {
            "files": [file.to_json() for file in self.files],
            "settings": self.settings.to_json(),
        }
        if self.columns:
            schema = arrow_schema(self.columns).serialize().to_pybytes()
            bounds["schema"] = base64.b64encode(schema).decode()
        if self.span:
            bounds["span"] = [self.span.start, self.span.stop]
        return bounds

    @classmethod
    def from_bounds(cls, bounds: Mapping[str, Any]) -> Piece:
        columns: tuple[Column, ...] = ()
        if "schema" in bounds:
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(bounds["schema"])))
            columns = tuple(Column.from_field(field) for field in schema)
        span = Span(bounds["span"][0], bounds["span"][1], 0) if "span" in bounds else None
        settings = FormatSettings.from_json(bounds["settings"])
        files = tuple(found_from_json(value, settings.format) for value in bounds["files"])
        return cls(files, settings, columns, span, is_planned=True)


def chunks(options: FileOptions, found: FileSet, whole: Piece, chunk_bytes: int) -> list[Chunk]:
    """Chunks of about `chunk_bytes`: small neighbours together, large files in pieces. At least one."""
    out: list[Chunk] = []
    gathered: list[FoundFile] = []
    rows, listed = _known_rows(found), found.listed
    limit = max(1, chunk_bytes // _PACKING)

    def close() -> None:
        if gathered:
            known = [rows.get(file.path) for file in gathered]
            estimate = sum(r for r in known if r is not None) if None not in known else None
            size = sum(file.size_bytes for file in gathered)
            out.append(Chunk(len(out), replace(whole, files=tuple(gathered)).to_bounds(), estimate, size))
            gathered.clear()

    for file in found.files:
        if file.size_bytes > limit:
            close()
            settings = whole.settings
            if file.path in listed and listed[file.path].is_cuttable:
                settings = replace(settings, dialect=replace(settings.dialect, newlines_in_values=False))
            spans = format_named(settings.format).spans(options.root.blob(file), settings, chunk_bytes)
            for span in spans:
                piece = replace(whole, files=(file,), settings=settings, span=span if len(spans) > 1 else None)
                out.append(Chunk(len(out), piece.to_bounds(), span.rows, span.size_bytes))
            continue
        if sum(f.size_bytes for f in gathered) + file.size_bytes > limit:
            close()
        gathered.append(file)
    close()
    return out or [Chunk(0, whole.to_bounds(), 0, 0)]


def _known_rows(found: FileSet) -> dict[str, int]:
    return {path: file.rows for path, file in found.listed.items()}
