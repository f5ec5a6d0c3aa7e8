"""The root folder of a connection: every path is made here and proven to stay inside, every data file opened here.

Reading, staging of parts and merging go through a Root only, so that they work alike on a bucket (connectors/objects), whose
root overrides `inside` and the methods that open, make and keep."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from penstock.connectors._formats.port import Blob
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors.files.naming import file_name, part_name
from penstock.connectors.files.outfile import OutFile
from penstock.connectors.files.quarantine import Quarantine
from penstock.connectors.files.stamp import FoundBlob, FoundFile, LocalFile, PlainFile
from penstock.core.errors import (
    DataError,
    DiskFull,
    Missing,
    PenstockError,
    PermissionRefused,
    SpecError,
    Unavailable,
)
from penstock.core.load import Load
from penstock.core.names import TableName
from penstock.core.schema import Column

STATE = ".penstock"
MANIFEST = "_penstock.json"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Root:
    """An absolute folder; `only` is the one file of a connection that names a file instead of a folder."""

    path: str
    connection: str
    only: str = ""

    def inside(self, *parts: str) -> str:
        """The absolute path of a relative one. Raises SpecError when it, or a link on its way, leads out."""
        path = os.path.join(self.path, *parts)
        if _has_no_links(self.path, parts):
            return path
        real, home = os.path.realpath(path), os.path.realpath(self.path)
        if real != home and not real.startswith(home.rstrip(os.sep) + os.sep):
            raise SpecError(
                f"path {os.path.join(*parts)!r} of connection {self.connection!r} leads out of {self.path}",
                "remove the symbolic link, or make its target the root of a connection",
            )
        return path

    @property
    def most_file_bytes(self) -> int | None:
        """The size at which a part's data file ends and another begins; None where any size will do."""
        return None

    def tag(self, load: Load) -> str:
        """What the names of a version's data files hold besides its number; nothing where the number tells versions
        apart."""
        return ""

    def blob(self, found: FoundFile, is_planned: bool = True) -> FoundBlob:
        """A data file that was found, to be read."""
        return LocalFile(self, found, is_planned)

    def own(self, path: str, name: str) -> Blob:
        """A file of our own at `path`, which has or will have the name `name` in its table."""
        return PlainFile(path, name)

    def create(self, path: str, columns: tuple[Column, ...], settings: FormatSettings) -> OutFile:
        """A new data file."""
        return OutFile(path, columns, settings)

    def quarantine(self, table: TableName, name: str) -> Quarantine:
        """Where the rows that do not fit are kept, of one reading of one file."""
        return Quarantine(self.state("quarantine", file_name(table), f"{name}.ndjson"))

    def table_folder(self, table: TableName) -> str:
        return self.inside(file_name(table))

    def state(self, *parts: str) -> str:
        return self.inside(STATE, *parts)

    def staging(self, load: Load) -> str:
        return self.state("staging", f"{self.staging_prefix(load)}{part_name(load.load_id)}")

    def staging_prefix(self, load: Load) -> str:
        """How the staging folders of a job's loads of one table begin, so that they are found without opening any."""
        return _owner(load.job, load.table)

    def previous(self, table: TableName) -> str:
        return self.state("previous", file_name(table))

    def retired(self, table: TableName) -> str:
        return self.state("retired", file_name(table))

    def lock(self, table: TableName) -> str:
        return self.state(f"{file_name(table)}.lock")

    def file_manifest(self, table: TableName) -> str:
        """Where the manifest of a table of one file is kept, beside which there is no folder for it."""
        return self.state("tables", f"{file_name(table)}.json")


@lru_cache(256)
def _owner(job: str, table: TableName) -> str:
    text = json.dumps([job, table.parts]).encode()
    return f"{hashlib.blake2b(text, digest_size=8).hexdigest()}-"


def _has_no_links(root: str, parts: tuple[str, ...]) -> bool:
    """Whether a path below the root is surely inside it: plain names, none of them a link. A few calls of the system
    where resolving the whole path takes dozens."""
    names = "/".join(parts).split("/")
    if os.sep != "/" or any(name in ("", ".", "..") for name in names):
        return False
    path = root
    for name in names:
        path = f"{path}/{name}"
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return False
        except FileNotFoundError:
            return True
        except OSError:
            return False
    return True


_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Raise the system's errors inside as Penstock's own: `what` says what was tried, on which object."""
    try:
        yield
    except OSError as error:
        raise system_error(error, what) from error


def system_error(error: OSError, what: str) -> PenstockError:
    """The error of core that fits a system error; pyarrow gives some without their number."""
    text = error.strerror or str(error)
    if error.errno in _FULL or "No space left" in str(error) or "quota exceeded" in str(error):
        return DiskFull(f"cannot {what}: no space left", "free space or choose another folder; run again to go on")
    if error.errno in _REFUSED:
        where = f": {os.fspath(error.filename)}" if isinstance(error.filename, str) else ""
        return PermissionRefused(f"cannot {what}: {text}{where}", "check the permissions of the file and its folders")
    if error.errno == errno.ENOENT:
        return Missing(f"cannot {what}: {text}", "")
    if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV):
        return Unavailable(f"cannot {what}: {text}", "check the disk or network share")
    return DataError(f"cannot {what}: {text}")
