"""An open file connection of one worker: the folder, a stop flag, the locks it holds."""

from __future__ import annotations

import os

from penstock.connectors.files.lock import TableLock
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.stop import StopFlag
from penstock.core.load import Load
from penstock.core.names import TableName
from penstock.core.ports import Catalog, Health, Reader, Writer


class FilesSession:
    """The Session port. `cancel` makes the call in progress raise Stopped at its next batch."""

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        self._stop = StopFlag()
        self._locks: dict[TableName, TableLock] = {}
        self._writer: Writer | None = None

    def check(self) -> Health:
        path = self._options.root.path
        if os.path.isdir(path):
            from penstock.connectors.files.quarantine import quarantine_notes

            notes = () if os.access(path, os.W_OK) else ("read-only",)
            return Health(f"folder {path}", notes=(*notes, *quarantine_notes(self._options.root)))
        return Health(f"folder {path}", notes=("made on the first load",))

    def catalog(self) -> Catalog:
        from penstock.connectors.files.catalog import FilesCatalog
        from penstock.connectors.files.listing import FolderListing

        return FilesCatalog(self._options, FolderListing(self._options))

    def reader(self) -> Reader:
        from penstock.connectors.files.listing import FolderListing
        from penstock.connectors.files.reader import FilesReader

        return FilesReader(self._options, FolderListing(self._options), self._stop)

    def writer(self) -> Writer:
        from penstock.connectors.files.writer import FilesWriter

        # One for the session: it remembers what it has just staged.
        self._writer = self._writer or FilesWriter(self._options, self._stop, self._claim)
        return self._writer

    def cancel(self) -> None:
        self._stop.cancel()

    def close(self) -> None:
        while self._locks:
            self._locks.popitem()[1].release()

    def _claim(self, load: Load) -> None:
        if load.table not in self._locks:
            self._locks[load.table] = TableLock(self._options.root.lock(load.table), load)
