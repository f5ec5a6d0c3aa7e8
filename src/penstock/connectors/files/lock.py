"""The lock of a target table: held by the operating system, so that it goes with the process that held it."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import socket
from contextlib import suppress

from penstock.connectors.files.root import named_errors
from penstock.core.errors import Locked
from penstock.core.load import Load


class TableLock:
    """An exclusive lock on a lock file, until `release` or the end of the process."""

    def __init__(self, path: str, load: Load) -> None:
        """Raises Locked with the holder. A session of the same load shares the lock of the session that has it."""
        with named_errors(f"lock table {load.table}"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _make_room(self._descriptor)
        try:
            self._take(path, load)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _take(self, path: str, load: Load) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(self._descriptor)
            if (holder.get("load_id"), holder.get("job")) == (load.load_id, load.job):
                return
            raise Locked(
                f"table {load.table} is being loaded by job {holder.get('job', '?')!r} (process "
                f"{holder.get('process', '?')} on {holder.get('host', '?')}), which holds {path}",
                "wait until it ends, or stop it",
            ) from error
        held = {"job": load.job, "load_id": load.load_id, "process": os.getpid(), "host": socket.gethostname()}
        text = json.dumps(held).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        """Free the lock; may be repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _make_room(descriptor: int) -> None:
    """Let this process open more files, as far as the system allows, once locks have taken half of those it may: a run
    holds one for each of its tables, and needs others for data and connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or descriptor * 2 < soft or soft == hard:
        return
    wanted = 4 * soft if hard == resource.RLIM_INFINITY else min(4 * soft, hard)
    # What the system does not give is noticed, and said, where a file cannot be opened.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _holder(descriptor: int) -> dict[str, str]:
    try:
        value = json.loads(os.pread(descriptor, 65_536, 0))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
