"""A data file with the stamp it had when it was planned; reading notices when it is another one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from penstock.connectors.files.root import Root, named_errors
from penstock.core.errors import DataError


@dataclass(frozen=True)
class FoundFile:
    """A data file: `path` relative to the root with '/', its format and compression by name, its stamp, the texts of its
    hive partition (None is NULL)."""

    path: str
    format: str
    compression: str
    size_bytes: int
    mtime_ns: int
    inode: int
    partition: tuple[tuple[str, str | None], ...] = ()

    def to_json(self) -> list[Any]:
        return [self.path, self.size_bytes, self.mtime_ns, self.inode]


@dataclass(frozen=True)
class LocalFile:
    """A FoundFile that can be opened: the Blob of this connector."""

    root: Root
    found: FoundFile

    @property
    def name(self) -> str:
        return self.found.path

    @property
    def size_bytes(self) -> int:
        return self.found.size_bytes

    def open(self) -> Any:
        path = self.root.inside(*self.found.path.split("/"))
        self.verify()
        with named_errors(f"open {self.name}"):
            stream = pa.OSFile(path, "rb")
        self.verify()
        return stream

    def verify(self) -> None:
        """Raises DataError when the file is gone or not the one that was planned."""
        path = self.root.inside(*self.found.path.split("/"))
        try:
            status = os.stat(path)
        except FileNotFoundError as error:
            raise DataError(
                f"file {self.name} of connection {self.root.connection!r} was removed or replaced during the run",
                "run again with --fresh once nothing else writes there",
            ) from error
        if (status.st_size, status.st_mtime_ns, status.st_ino) != (
            self.found.size_bytes,
            self.found.mtime_ns,
            self.found.inode,
        ):
            raise DataError(
                f"file {self.name} of connection {self.root.connection!r} changed during the run: it had "
                f"{self.found.size_bytes} bytes when it was planned and has {status.st_size} now",
                "run again with --fresh once nothing else writes there",
            )


@dataclass(frozen=True)
class PlainFile:
    """A file of our own that nobody else touches (staging): a Blob without stamp."""

    path: str

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    @property
    def size_bytes(self) -> int:
        return os.stat(self.path).st_size

    def open(self) -> Any:
        return pa.OSFile(self.path, "rb")
