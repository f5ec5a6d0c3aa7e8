"""The lock of a target table: an object that its holder renews, taken over when it was not renewed for a minute.

It keeps two jobs from doing the same work and tells the second one who is there. What keeps a table right is the
conditional put of its manifest, whoever holds the lock. Ages are differences of the store's own clock.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from functools import cache
from typing import Any

from penstock.connectors.objects.bucket import Bucket, Version
from penstock.connectors.objects.failures import Conflict
from penstock.core.errors import Busy, Locked, NotSupported, PenstockError
from penstock.core.load import Load

LEASE_S = 60
_BEAT_S = 15.0
_ATTEMPTS = 5


# Owners of the locks that sessions of this process hold; one that could not be freed for lack of a network is not among
# them.
_held: set[str] = set()


class ObjectLock:
    """A lock on the object `key`, until `release` or a minute after the end of the process."""

    def __init__(self, bucket: Bucket, key: str, clock: str, load: Load) -> None:
        """Raises Locked with the holder. A session of the same load shares the lock of the session that has it. `clock`
        is the key of an object that tells the store's time."""
        self._bucket = bucket
        self._key = key
        self._clock = clock
        self._mine = {"job": load.job, "load_id": load.load_id, "owner": uuid.uuid4().hex, **_whoami()}
        self._version = self._take(load)
        if self._version is not None:
            _held.add(self._mine["owner"])
        self._ended = threading.Event()
        self._beat: threading.Thread | None = None
        if self._version is not None:
            self._beat = threading.Thread(target=self._renew, name="penstock-lock", daemon=True)
            self._beat.start()

    def _take(self, load: Load) -> Version | None:
        """The version of the lock that is ours now; None where a living session of the same load holds it."""
        for _ in range(_ATTEMPTS):
            found = self._bucket.get(self._key)
            holder = _holder(found[0]) if found else {}
            mine = (holder.get("load_id"), holder.get("job")) == (load.load_id, load.job)
            if mine and _is_alive(holder):
                return None
            if holder and not mine and _is_alive(holder) is not False and not self._is_old():
                raise Locked(
                    f"table {load.table} is being loaded by job {holder.get('job', '?')!r} (process "
                    f"{holder.get('process', '?')} on {holder.get('host', '?')}), which holds {self._key}",
                    f"wait until it ends, or stop it; a lock that nobody renews ends after {LEASE_S} s",
                )
            with suppress(Conflict):
                return self._put(self._mine, found[1] if found else None)
        raise Busy(f"the lock of table {load.table} changes all the time", "try again")

    def _is_old(self) -> bool:
        """Whether the lock was not renewed in time, by the clock of the store: an object put now tells what it shows."""
        self._bucket.put(self._clock, b"now")
        age_ns = self._bucket.stat(self._clock).modified_ns - self._bucket.stat(self._key).modified_ns
        return age_ns > LEASE_S * 1_000_000_000

    def _put(self, value: dict[str, Any], version: Version | None) -> Version:
        # Equal bytes would make an equal ETag.
        text = json.dumps({**value, "nonce": uuid.uuid4().hex}).encode()
        return self._bucket.put_if(self._key, text, version)

    def _renew(self) -> None:
        while not self._ended.wait(_BEAT_S):
            try:
                self._version = self._put(self._mine, self._version)
            except Conflict:
                # Somebody took it over while we were silent; the manifest's own condition keeps the table right.
                return
            except PenstockError:
                continue

    def release(self) -> None:
        """Free the lock; may be repeated. A store that does not answer frees it by itself after a minute."""
        if self._beat is None:
            return
        _held.discard(self._mine["owner"])
        self._ended.set()
        self._beat.join()
        self._beat = None
        with suppress(Conflict, PenstockError):
            self._put({}, self._version)


def check_conditions(bucket: Bucket, key: str) -> None:
    """Raises NotSupported for a store that ignores the conditions of a put: its loads could overwrite each other. The
    object `key` is there for this alone, and stays."""
    version = bucket.put(key, b"this store knows conditional puts")
    for wrong in (None, Version("0" * 32, "1" if version.number else "")):
        with suppress(Conflict):
            bucket.put_if(key, b"this store ignores conditions", wrong)
            raise NotSupported(
                f"the store of connection {bucket.connection!r} ignores the condition of a put (If-Match, If-None-Match)",
                "it can be read, but not written to safely; use a store that knows conditional puts",
            )


def _holder(data: bytes) -> dict[str, Any]:
    """Who holds a lock; nothing for one that was released."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) and value.get("owner") else {}


@cache
def _machine() -> str:
    """This boot and process namespace, in which process numbers mean something; "" where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process of this machine began; "" where there is none."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _whoami() -> dict[str, Any]:
    process = os.getpid()
    return {
        "process": process,
        "host": socket.gethostname(),
        "machine": _machine(),
        "started": _started(process),
    }


def _is_alive(holder: dict[str, Any]) -> bool | None:
    """Whether the holder's session or process lives; None where that cannot be known from here."""
    if not holder.get("machine") or holder["machine"] != _machine() or not holder.get("started"):
        return None
    if holder["process"] == os.getpid() and holder["owner"] not in _held:
        return False
    return _started(int(holder["process"])) == str(holder["started"])
