"""Measure a command as a whole: wall time, CPU of client and server, peak memory of the client's processes."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """One run of one contender. `peak_bytes` sums the resident memory of all its processes at the worst moment."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    peak_bytes: int
    exit_code: int
    output: str

    @property
    def cpu_s(self) -> float:
        return self.client_cpu_s + self.server_cpu_s


def run(
    command: Sequence[str], server_pid: int | None, env: Mapping[str, str] | None = None, timeout_s: float = 900
) -> Measured:
    """Run `command` to its end. The server's CPU is what its process tree used meanwhile, background writers included."""
    server_before = tree_cpu_s(server_pid) if server_pid else 0.0
    client_before = _children_cpu_s()
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, start_new_session=True
    )
    peak = _Peak(process.pid)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        output += b"\nkilled: over the time limit"
    wall_s = time.perf_counter() - started
    peak_bytes = peak.stop()
    time.sleep(0.2)  # backends that end after their client are still counted
    server_s = tree_cpu_s(server_pid) - server_before if server_pid else 0.0
    return Measured(
        wall_s,
        _children_cpu_s() - client_before,
        server_s,
        peak_bytes,
        process.returncode,
        output.decode(errors="replace"),
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_cpu_s(pid: int) -> float:
    """CPU of a process, of its ended children and of its living ones, in seconds."""
    own = _stat(pid)
    if own is None:
        return 0.0
    total = sum(int(own[at]) for at in (11, 12, 13, 14)) * _TICK_S
    return total + sum(_stat_cpu_s(child) for child in _children(pid))


def _stat_cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return sum(int(fields[at]) for at in (11, 12)) * _TICK_S if fields else 0.0


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


class _Peak:
    """Samples the resident memory of a session's processes every 20 ms."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._peak = max(self._peak, self._now())

    def _now(self) -> int:
        total = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields and int(fields[3]) == self._session:
                    total += int(fields[21]) * _PAGE_BYTES
        return total

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak
