"""Which process this is and whether another one still lives: pid, start time, boot and host."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ProcessId:
    """A process for good: a pid is used again, together with start time and boot it is not.

    `started` and `boot` are "" where the system does not tell (no /proc). `boot` includes the pid namespace, so that two
    containers of one machine are not taken for each other.
    """

    host: str
    pid: int
    started: str
    boot: str


@cache
def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time in clock ticks since boot: field 22 of /proc/PID/stat, counted after the name, which may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    # A zombie has ended, only its parent has not asked for its exit code yet.
    return "" if fields[0] in "ZX" else fields[19]


def this_process() -> ProcessId:
    pid = os.getpid()
    return ProcessId(socket.gethostname(), pid, _started(pid), _boot())


def is_here(process: ProcessId) -> bool:
    """Whether the process belongs to this boot of this machine (and pid namespace), so that `is_alive` can tell."""
    return process.host == socket.gethostname() and process.boot == _boot()


def is_alive(process: ProcessId) -> bool:
    """Whether a process for which `is_here` holds still runs."""
    if process.started:
        return _started(process.pid) == process.started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
