"""What the memory connector keeps: named stores of tables, of loads under way and of who holds which table."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from penstock.core.load import Load, Published, Written
from penstock.core.names import TableName
from penstock.core.schema import Column


@dataclass(frozen=True)
class StoredTable:
    """A table as it stands; never changed, only replaced by another one."""

    columns: tuple[Column, ...]
    data: pa.Table
    primary_key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Staging:
    """What one load has brought so far."""

    load: Load
    parts: Mapping[str, pa.Table] = field(default_factory=dict)
    written: Mapping[str, Written] = field(default_factory=dict)
    published: Published | None = None


class Store:
    """The tables, stagings and claims of one URL. `lock` guards all of it; every publish is one assignment under it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.tables: dict[TableName, StoredTable] = {}
        self.stagings: dict[str, Staging] = {}
        self.snapshots: dict[str, Mapping[TableName, StoredTable]] = {}
        self.claims: dict[TableName, tuple[object, str]] = {}

    def put(self, name: str, data: pa.Table, primary_key: tuple[str, ...] = ()) -> None:
        """Set a table as it shall be, without a load."""
        columns = tuple(Column.from_field(each) for each in data.schema)
        with self.lock:
            self.tables[TableName.parse(name)] = StoredTable(columns, data, primary_key)

    def get(self, name: str) -> pa.Table:
        """The rows of a table. Raises KeyError for an unknown one."""
        with self.lock:
            return self.tables[TableName.parse(name)].data


_stores: dict[str, Store] = {}
_guard = threading.Lock()


def store(name: str) -> Store:
    """The store of `memory:NAME`, made on first use."""
    with _guard:
        return _stores.setdefault(name, Store())


def drop_store(name: str) -> None:
    """Forget a store and all it holds; an unknown one is no error."""
    with _guard:
        _stores.pop(name, None)
