"""An open object store connection of one worker: the prefix, a stop flag, the locks it holds."""

from __future__ import annotations

from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.stop import StopFlag
from penstock.connectors.objects.landing import LandingZone, ZoneOptions
from penstock.connectors.objects.lock import ObjectLock, check_conditions
from penstock.connectors.objects.prefix import Prefix
from penstock.core.errors import NotSupported
from penstock.core.load import Load
from penstock.core.names import TableName
from penstock.core.ports import Catalog, Health, Reader, Writer


class ObjectsSession:
    """The Session port. `cancel` makes the call in progress raise Stopped at its next batch."""

    def __init__(self, options: FileOptions, root: Prefix, zone: ZoneOptions | None = None) -> None:
        self._zone = zone
        self._options = options
        self._root = root
        self._stop = StopFlag()
        self._locks: dict[TableName, ObjectLock] = {}

    def check(self) -> Health:
        folders, objects = self._root.bucket.top(self._root.path)
        where = f"{self._root.bucket.url}/{self._root.path}".rstrip("/")
        notes = () if folders or objects else ("nothing is there yet",)
        return Health(where, notes=(*notes, *self._quarantine_notes(".penstock" in folders)))

    def _quarantine_notes(self, has_state: bool) -> tuple[str, ...]:
        if not has_state:
            return ()
        from penstock.connectors.files.naming import table_name

        counts: dict[str, int] = {}
        for stored in self._root.bucket.objects(self._root.state("quarantine")):
            found = self._root.bucket.get(stored.key)
            folder = stored.key.split("/")[-2]
            counts[folder] = counts.get(folder, 0) + (found[0].count(b"\n") if found else 0)
        return tuple(f"{count} rows of {table_name(name)} are in quarantine" for name, count in counts.items() if count)

    def catalog(self) -> Catalog:
        from penstock.connectors.files.catalog import FilesCatalog
        from penstock.connectors.objects.listing import PrefixListing

        return FilesCatalog(self._options, PrefixListing(self._options, self._root))

    def reader(self) -> Reader:
        if self._zone is not None:
            raise NotSupported(
                f"connection {self._root.connection!r} is a landing zone, whose files are changes and no tables",
                "read the mirrored table from Fabric's SQL endpoint or from its Delta files",
            )
        from penstock.connectors.files.reader import FilesReader
        from penstock.connectors.objects.listing import PrefixListing

        return FilesReader(self._options, PrefixListing(self._options, self._root), self._stop)

    def writer(self) -> Writer:
        if self._zone is not None and isinstance(self._root, LandingZone):
            from penstock.connectors.objects.mirror import LandingWriter

            return LandingWriter(self._options, self._root, self._zone, self._stop, self._claim)
        from penstock.connectors.objects.writer import ObjectsWriter

        return ObjectsWriter(self._options, self._root, self._stop, self._claim)

    def cancel(self) -> None:
        self._stop.cancel()

    def close(self) -> None:
        while self._locks:
            self._locks.popitem()[1].release()

    def _claim(self, load: Load) -> None:
        if load.table in self._locks:
            return
        bucket = self._root.bucket
        if not bucket.is_proven:
            check_conditions(bucket, self._root.state("conditions"))
            bucket.is_proven = True
        self._locks[load.table] = ObjectLock(bucket, self._root.lock(load.table), self._root.state("clock"), load)
