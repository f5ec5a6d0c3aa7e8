"""Holding a target table against other jobs: an operating-system lock on a small file beside the database.

The lock goes with the process that held it, however it ended. It is taken on a file of its own, never on the database,
whose locks a close() would release.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable

from penstock.connectors.sqlite.database import Claims, File
from penstock.core.errors import Locked
from penstock.core.load import Load
from penstock.core.spec import digest

_HOLDER_BYTES = 4096


def claim(file: File, table: str, load: Load, session: int) -> None:
    """Hold `table` for the load's job until the session closes. Raises Locked with the holder."""
    key = table.lower()
    with file.guard:
        held = file.claims.get(key)
        if held is not None and held.job != load.job:
            raise _locked(load, held.job, os.getpid())
        if held is None:
            held = file.claims[key] = Claims(
                load.job, set(), _lock(f"{file.path}-penstock-{digest(key, 8)}.lock", load)
            )
        held.sessions.add(session)


def _lock(path: str, load: Load) -> Callable[[], None]:
    """Take the lock; returns what frees it and removes its file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            job, process = _holder(descriptor)
            os.close(descriptor)
            raise _locked(load, job, process) from error
        # The holder before may have removed the file between our open and our lock: then the lock is of no file.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps([load.job, os.getpid()]).encode(), 0)

    def release() -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)

    return release


def _holder(descriptor: int) -> tuple[str, int]:
    try:
        job, process = json.loads(os.pread(descriptor, _HOLDER_BYTES, 0))
    except (ValueError, TypeError):
        return "?", 0
    return str(job), int(process)


def _locked(load: Load, job: str, process: int) -> Locked:
    return Locked(f"table {load.table} is held by job {job!r} (process {process})", "wait until that job has ended")
