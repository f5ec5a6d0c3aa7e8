"""A project on disk driven through the real command, for tests that kill it."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

CHUNKS = 200


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    killed: bool
    wall_s: float

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.out.strip().splitlines()[-1])


class ProjectDir:
    """A folder with a penstock.yml; `run` executes the command in a process group of its own."""

    def __init__(self, root: Path, connections: Mapping[str, str], jobs: Mapping[str, Any], **defaults: Any) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        settings = {"retry": {"attempts": 4, "backoff_s": 0.1, "max_backoff_s": 1}, **defaults}
        document = {
            "version": 1,
            "connections": {name: {"url": url} for name, url in connections.items()},
            "defaults": settings,
            "jobs": jobs,
        }
        (root / "penstock.yml").write_text(json.dumps(document, indent=1))  # JSON is YAML

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, program: Sequence[str] = ("-m", "penstock")
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    def run(self, *arguments: str, kill_after_s: float | None = None, timeout_s: float = 240) -> Ran:
        """Run to the end, or kill the whole process group without warning after `kill_after_s`."""
        started = time.monotonic()
        process = self.start(*arguments)
        killed = False
        try:
            out, err = process.communicate(timeout=kill_after_s or timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed = kill_after_s is not None
            out, err = process.communicate()
            assert killed, f"the command hung:\n{out[-2000:]}\n{err[-4000:]}"
        return Ran(process.returncode, out, err, killed, time.monotonic() - started)

    def attempts(self, kind: str = "load") -> dict[str, int]:
        """How often each item of a kind was begun, by its key, in the newest job run of the journal."""
        query = "SELECT key, attempts FROM items WHERE kind = ? AND job_run = (SELECT origin FROM job_runs ORDER BY id DESC LIMIT 1)"
        journal = f"file:{self.root}/.penstock/journal.db?mode=ro"
        with closing(sqlite3.connect(journal, uri=True)) as connection:
            return dict(connection.execute(query, (kind,)).fetchall())


def make_source(dsn: str, rows: int = 40_000) -> None:
    """A table whose heap is long enough for 200 chunks of whole pages, with texts, NULLs, decimals and moments."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            f"""
            CREATE TABLE events AS
            SELECT i::bigint AS id,
                   md5(i::text) || repeat('x', 100) AS payload,
                   CASE WHEN i % 7 > 0 THEN (i * 31 % 9973)::numeric(12,2) / 4 END::numeric(12,2) AS amount,
                   timestamptz '2024-01-01 00:00+00' + i * interval '1.000001 seconds' AS at,
                   i % 2 = 0 AS flag
            FROM generate_series(1, {rows}) AS i
            """
        )
        connection.execute("ALTER TABLE events ADD PRIMARY KEY (id)")
        connection.execute("ANALYZE events")


def chunk_size(dsn: str) -> str:
    """The chunk size that cuts `events` into about CHUNKS chunks."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT pg_relation_size('events')").fetchone()
    assert row is not None
    return f"{max(8, row[0] // CHUNKS // 1024)} KiB"


def kill_until_done(project: ProjectDir, clean_s: float, kills: int, seed: int, *arguments: str) -> list[Ran]:
    """Run, kill at a random moment, run again, `kills` times at most; then run to the end."""
    dice = random.Random(seed)
    runs: list[Ran] = []
    for _ in range(kills):
        runs.append(project.run("run", *arguments, kill_after_s=dice.uniform(0.3, max(0.6, 0.8 * clean_s))))
        if not runs[-1].killed:
            return runs
    runs.append(project.run("run", *arguments))
    return runs
