"""Hive partitions: rows by the texts of their partition columns, and the folders that stand for them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa


def split(batch: pa.RecordBatch, columns: tuple[str, ...]) -> Iterator[tuple[tuple[str | None, ...], pa.RecordBatch]]:
    raise NotImplementedError


def partition_folder(columns: tuple[str, ...], values: tuple[str | None, ...]) -> tuple[str, ...]:
    return ()


def constant(*_: object) -> pa.Array:
    raise NotImplementedError
