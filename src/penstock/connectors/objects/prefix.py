"""The root of a connection in a bucket: a prefix that every key begins with."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.connectors._formats.port import Blob
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors.files.naming import file_name
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.quarantine import Quarantine
from penstock.connectors.files.root import Root
from penstock.connectors.files.stamp import FoundBlob, FoundFile
from penstock.connectors.objects.blob import ObjectBlob, ObjectFile, ObjectQuarantine, OwnBlob
from penstock.connectors.objects.bucket import Bucket
from penstock.core.errors import SpecError
from penstock.core.load import Load
from penstock.core.names import TableName
from penstock.core.schema import Column
from penstock.core.spec import digest

# A copy inside a store takes at most 5 GB in one step, and every data file is copied once, when it is published.
_MOST_FILE_BYTES = 2**30
_TAG_BYTES = 6


@dataclass(frozen=True)
class Prefix(Root):
    """A prefix of a bucket in place of a folder; `path` is the prefix without slashes at its ends, "" is the bucket."""

    bucket: Bucket = field(kw_only=True, repr=False)

    def inside(self, *parts: str) -> str:
        """The key of a path below the prefix. Raises SpecError for a path that leads out."""
        names = [name for part in (self.path, *parts) for name in part.split("/") if name]
        if any(name in (".", "..") for name in names):
            raise SpecError(f"path {'/'.join(parts)!r} leads out of connection {self.connection!r}", "write it in full")
        return "/".join(names)

    def relative(self, key: str) -> str:
        """The path below the prefix of a key."""
        return key[len(self.path) + 1 :] if self.path else key

    @property
    def most_file_bytes(self) -> int | None:
        return _MOST_FILE_BYTES

    def tag(self, load: Load) -> str:
        """Two loads never write one key, so that what one has published the other cannot overwrite."""
        return f"{digest(load.load_id, _TAG_BYTES)}-"

    def blob(self, found: FoundFile, is_planned: bool = True) -> FoundBlob:
        return ObjectBlob(self, found, is_planned)

    def own(self, path: str, name: str) -> Blob:
        return OwnBlob(self.bucket, path, name)

    def create(self, path: str, columns: tuple[Column, ...], settings: FormatSettings) -> OutFile:
        return ObjectFile(self.bucket, path, columns, settings)

    def quarantine(self, table: TableName, name: str) -> Quarantine:
        return ObjectQuarantine(self.bucket, self.state("quarantine", file_name(table), f"{name}.ndjson"))
