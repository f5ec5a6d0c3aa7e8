"""Reading and writing one object: ranges with look-ahead, and a spool that is sent when it is whole."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.quarantine import Quarantine
from penstock.connectors.files.stamp import FoundFile, changed
from penstock.connectors.objects.bucket import PART_BYTES, Bucket
from penstock.connectors.objects.failures import Conflict
from penstock.core.errors import Missing
from penstock.core.schema import Column

if TYPE_CHECKING:
    from penstock.connectors.objects.prefix import Prefix

# A read is answered with so many bytes at least; reading on without a jump doubles it. An object up to WHOLE_BYTES comes at
# once.
_LEAST_BYTES = 256 * 2**10
_MOST_BYTES = 8 * 2**20
_WHOLE_BYTES = 2**20


class ObjectStream(io.RawIOBase):
    """A seekable stream over one object; every range is read with the ETag, so that all bytes are of one content."""

    def __init__(self, bucket: Bucket, key: str, size_bytes: int, etag: str) -> None:
        super().__init__()
        self._bucket, self._key, self._size, self._etag = bucket, key, size_bytes, etag
        self._at = 0
        self._start, self._held = 0, b""
        self._ahead = _LEAST_BYTES

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._size, self._at + size)
        if not (self._start <= self._at and stop <= self._start + len(self._held)):
            self._fetch(stop)
        data = self._held[self._at - self._start : stop - self._start]
        self._at = max(self._at, stop)
        return data

    def _fetch(self, stop: int) -> None:
        """Hold at least [at, stop): what is held already is kept, the rest is read with what comes after it."""
        end = self._start + len(self._held)
        goes_on = bool(self._held) and self._start <= self._at <= end
        if self._size <= _WHOLE_BYTES:
            self._start, self._held = 0, self._bucket.read(self._key, 0, self._size, self._etag)
            return
        self._ahead = min(self._ahead * 2, _MOST_BYTES) if goes_on else _LEAST_BYTES
        kept = self._held[self._at - self._start :] if goes_on else b""
        start = self._at + len(kept)
        until = min(self._size, max(stop, start + self._ahead))
        self._held = kept + self._bucket.read(self._key, start, until, self._etag)
        self._start = self._at

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class PlannedStream(ObjectStream):
    """A stream of a data file that was found: another content, or none, is said so."""

    def __init__(self, blob: ObjectBlob, key: str) -> None:
        super().__init__(blob.root.bucket, key, blob.size_bytes, blob.found.etag)
        self._blob = blob

    def _fetch(self, stop: int) -> None:
        try:
            super()._fetch(stop)
        except Conflict as error:
            raise self._blob.changed("changed during the run") from error
        except Missing as error:
            raise self._blob.changed("was removed during the run") from error


@dataclass(frozen=True)
class ObjectBlob:
    """A FoundFile in a bucket, to be read."""

    root: Prefix
    found: FoundFile
    is_planned: bool = True

    @property
    def name(self) -> str:
        return self.found.path

    @property
    def size_bytes(self) -> int:
        return self.found.size_bytes

    def open(self) -> Any:
        return pa.PythonFile(PlannedStream(self, self.root.inside(self.found.path)), mode="r")

    def verify(self) -> None:
        """Every range was read by its ETag: nothing is left to compare."""

    def changed(self, how: str) -> Exception:
        return changed(f"file {self.name} of connection {self.root.connection!r} {how}", self.is_planned)


@dataclass(frozen=True)
class OwnBlob:
    """An object of our own that nobody changes."""

    bucket: Bucket
    key: str
    name: str

    @property
    def size_bytes(self) -> int:
        return self.bucket.stat(self.key).size_bytes

    def open(self) -> Any:
        stored = self.bucket.stat(self.key)
        return pa.PythonFile(ObjectStream(self.bucket, self.key, stored.size_bytes, stored.version.etag), mode="r")


class ObjectFile(OutFile):
    """One data file being written: kept here until it is whole, so that an attempt that fails leaves nothing there."""

    def __init__(self, bucket: Bucket, path: str, columns: tuple[Column, ...], settings: FormatSettings) -> None:
        self._bucket = bucket
        super().__init__(path, columns, settings)

    def _begin(self) -> Any:
        return tempfile.SpooledTemporaryFile(PART_BYTES)

    def _end(self) -> None:
        self._file.seek(0)
        self._bucket.put_file(self._path, self._file, self.size_bytes)
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()


class ObjectQuarantine(Quarantine):
    """The rows of one read that do not fit, put in place as one object when the file was read to its end."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        super().__init__(key)
        self._bucket = bucket
        self._spool = tempfile.SpooledTemporaryFile(PART_BYTES)  # noqa: SIM115

    def finish(self) -> None:
        """Put what was refused; a read without refusals leaves no object, and removes an older one."""
        if self._lines or self._begun:
            self._write()
            size_bytes = self._spool.tell()
            self._spool.seek(0)
            self._bucket.put_file(self._path, self._spool, size_bytes)
        else:
            self._bucket.delete([self._path])
        self._spool.close()

    def _write(self) -> None:
        self._spool.write("".join(self._lines).encode("utf-8", "surrogatepass"))
        self._lines, self._begun = [], True
