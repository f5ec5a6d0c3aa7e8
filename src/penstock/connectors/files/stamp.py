"""A data file with the stamp it had when it was planned; reading notices when it is another one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from penstock.connectors._formats.port import Blob
from penstock.core.errors import Busy, DataError, PenstockError

if TYPE_CHECKING:
    from penstock.connectors.files.root import Root


@dataclass(frozen=True)
class FoundFile:
    """A data file: `path` relative to the root with '/', its format and compression by name, its stamp, the texts of its
    hive partition (None is NULL). Objects have an ETag instead of an inode."""

    path: str
    format: str
    compression: str
    size_bytes: int
    mtime_ns: int
    inode: int
    partition: tuple[tuple[str, str | None], ...] = ()
    etag: str = ""

    def to_json(self) -> list[Any]:
        return [self.path, self.size_bytes, self.mtime_ns, self.inode, *([self.etag] if self.etag else [])]


class FoundBlob(Blob, Protocol):
    """A FoundFile that can be opened, wherever it lies."""

    @property
    def found(self) -> FoundFile: ...

    def verify(self) -> None:
        """Raises DataError when it is gone or not the one that was planned; Busy where nothing was planned, so that
        reading again from the start helps."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A FoundFile that can be opened: the Blob of this connector. `is_planned` is False where it was listed just now and
    not in a plan."""

    root: Root
    found: FoundFile
    is_planned: bool = True

    @property
    def name(self) -> str:
        return self.found.path

    @property
    def size_bytes(self) -> int:
        return self.found.size_bytes

    def open(self) -> Any:
        path = self.root.inside(*self.found.path.split("/"))
        self.verify()
        try:
            stream = pa.OSFile(path, "rb")
        except FileNotFoundError as error:
            raise self._changed("was removed or replaced during the run") from error
        self.verify()
        return stream

    def verify(self) -> None:
        path = self.root.inside(*self.found.path.split("/"))
        try:
            status = os.stat(path)
        except FileNotFoundError as error:
            raise self._changed("was removed or replaced during the run") from error
        stamp = (self.found.size_bytes, self.found.mtime_ns, self.found.inode)
        if (status.st_size, status.st_mtime_ns, status.st_ino) != stamp:
            raise self._changed(
                f"changed during the run: it had {self.found.size_bytes} bytes and has {status.st_size} now"
            )

    def _changed(self, how: str) -> PenstockError:
        return changed(f"file {self.name} of connection {self.root.connection!r} {how}", self.is_planned)


def changed(what: str, is_planned: bool) -> PenstockError:
    """The error of a file that is not the one that was found any more."""
    if not is_planned:
        return Busy(what, "the table was written meanwhile: read it again from the start")
    return DataError(what, "run again with --fresh once nothing else writes there")


@dataclass(frozen=True)
class PlainFile:
    """A file of our own that nobody else touches (staging): a Blob without stamp. `name` is the one it has or will have in its table."""

    path: str
    name: str

    @property
    def size_bytes(self) -> int:
        return os.stat(self.path).st_size

    def open(self) -> Any:
        return pa.OSFile(self.path, "rb")
