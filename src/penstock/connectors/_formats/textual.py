"""How text formats hold each type: exactly, as text."""

from __future__ import annotations

import pyarrow as pa

from penstock.connectors._formats.carriers import any_type
from penstock.core.errors import NotSupported
from penstock.core.schema import Column, Fidelity, TypeChoice


def text_choice(format_name: str, column: Column) -> TypeChoice:
    """Text that reads back as the same value by the manifest's types. Raises NotSupported for a type without text."""
    if any_type(column.type, _has_no_text):
        raise NotSupported(
            f"column {column.name!r} has type {column.type}, which {format_name} cannot hold",
            "cast the column, or use format parquet or arrow",
        )
    return TypeChoice(column, f"{format_name}:{column.logical or column.type}", Fidelity.LOSSLESS)


def _has_no_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_union(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
        or (
            isinstance(kind, pa.BaseExtensionType)
            and kind.extension_name not in ("arrow.uuid", "arrow.json", "arrow.opaque", "arrow.bool8")
        )
    )
