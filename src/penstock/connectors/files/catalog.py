"""The tables of a folder and their columns."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.connectors.files.listing import FileSet, entries, file_set, find, match
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.shape import columns_of
from penstock.core.errors import Missing
from penstock.core.names import TableName
from penstock.core.schema import TableInfo, TableSchema, TypePolicy


class FilesCatalog:
    """The Catalog port of a file connection. A query is a glob of files under the root."""

    def __init__(self, options: FileOptions) -> None:
        self._options = options

    def tables(self) -> list[TableInfo]:
        root, wanted = self._options.root, self._options.format
        with named_errors(f"list folder {root.path}"):
            found = [file_set(root, name, path, wanted) for name, path in entries(root, wanted).items()]
        infos = [TableInfo(f.name, "files", f.manifest.rows if f.manifest else None, f.size_bytes) for f in found]
        return sorted(infos, key=lambda info: info.name)

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        out = {}
        for name in tables:
            try:
                found = find(self._options.root, name, self._options.format)
            except Missing:
                continue
            out[name] = self._schema(found)
        return out

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        return self._schema(match(self._options.root, query, self._options.format))

    def _schema(self, found: FileSet) -> TableSchema:
        columns = columns_of(self._options, found)
        rows = found.manifest.rows if found.manifest and not found.stray else None
        return TableSchema(found.name, columns, kind="files", rows_estimate=rows, size_bytes=found.size_bytes)
