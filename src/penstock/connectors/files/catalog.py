"""The tables of a folder and their columns."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.connectors.files.listing import FileSet, Listing
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.shape import columns_of
from penstock.core.errors import Missing, NotSupported
from penstock.core.names import TableName
from penstock.core.schema import TableInfo, TableSchema, TypePolicy


class FilesCatalog:
    """The Catalog port of a file connection. It takes no queries. `listing` finds the files."""

    def __init__(self, options: FileOptions, listing: Listing) -> None:
        self._options = options
        self._listing = listing

    def tables(self) -> list[TableInfo]:
        with named_errors(f"list folder {self._options.root.path}"):
            found = self._listing.tables()
        return [
            TableInfo(
                f.name,
                f"{f.keeper} table" if f.keeper else "files",
                f.manifest.rows if f.manifest else None,
                f.size_bytes,
            )
            for f in found
        ]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        out = {}
        for name in tables:
            try:
                with named_errors(f"describe table {name}"):
                    out[name] = self._schema(self._listing.find(name))
            except Missing:
                continue
        return out

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        raise NotSupported(
            f"{self._options.where} is a folder of files, which takes no queries",
            "copy tables with `where` and `columns`, or query the files with a duckdb connection",
        )

    def _schema(self, found: FileSet) -> TableSchema:
        columns = columns_of(self._options, found)
        rows = found.manifest.rows if found.manifest and not found.stray else None
        return TableSchema(found.name, columns, kind="files", rows_estimate=rows, size_bytes=found.size_bytes)
