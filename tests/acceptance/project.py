"""A project in a temporary folder, run through the Python API, with every reason told when a run fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

import penstock


class Project:
    """`urls` are connections by name, `limits` what stands beside them; `job` is one copy job from `source` to `target`."""

    def __init__(self, root: Path, source: str, target: str, **job: Any) -> None:
        self.root = root
        self.urls = {"source": source, "target": target}
        self.limits: dict[str, dict[str, Any]] = {}
        self.job: dict[str, Any] = {"kind": "copy", "source": "source", "target": "target", **job}

    def load(self, **changes: Any) -> penstock.api.Project:  # type: ignore[name-defined]
        document = {
            "version": 1,
            "connections": {name: {"url": url, **self.limits.get(name, {})} for name, url in self.urls.items()},
            "defaults": {"retry": {"attempts": 2, "backoff_s": 0.1}},
            "jobs": {"raw": {**self.job, **changes}},
        }
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "penstock.yml").write_text(json.dumps(document))
        return penstock.load_project(self.root / "penstock.yml")

    def run(self, *, options: penstock.RunOptions | None = None, **changes: Any) -> penstock.RunResult:
        """Run and require success."""
        result, said = self.attempt(options=options, **changes)
        assert result.exit_code == 0, "\n".join(said)
        return result

    def attempt(
        self, *, options: penstock.RunOptions | None = None, **changes: Any
    ) -> tuple[penstock.RunResult, list[str]]:
        """Run; returns the result and every reason for a failure."""
        said: list[str] = []

        def hear(event: Any) -> None:
            if event.kind in ("failed", "error"):
                said.append(str(event.text))

        result = penstock.run(self.load(**changes), options=options or penstock.RunOptions(), on_event=hear)
        for job in result.jobs:
            said += [str(part) for part in (job.error, job.reason) if part]
        return result, said


def sql(dsn: str, *statements: Any, **parameters: Any) -> list[tuple[Any, ...]]:
    """Run statements in autocommit; the rows of the last one."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def settings(**values: Any) -> Mapping[str, Any]:
    return values
