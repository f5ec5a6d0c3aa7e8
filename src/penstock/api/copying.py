"""A one-off copy: the project that two URLs and a few settings stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.api.options import AS_THE_PROJECT_SAYS, RunOptions
from penstock.api.project_file.build import run_values
from penstock.api.project_file.connections import connection_spec
from penstock.api.project_file.copy_job import copy_spec
from penstock.api.project_file.document import Document
from penstock.api.project_file.problems import Problems, suggest
from penstock.api.project_file.settings import Values, run_spec
from penstock.api.project_file.urls import is_url
from penstock.api.running import RunResult, run
from penstock.core.errors import SpecError
from penstock.core.spec import ConnectionSpec, CopySpec, Project, RunSpec, digest
from penstock.engine.run import OnEvent


@dataclass(frozen=True)
class OneOff:
    """What a one-off copy stands in: the project whose connections may be named, and where state is kept without one.

    `environment` are run settings by key, as the environment gives them. Relative paths start from `base_dir`.
    """

    project: Project | None = None
    state_dir: Path = field(default_factory=lambda: Path.home() / ".local" / "state" / "penstock")
    base_dir: Path = field(default_factory=Path.cwd)
    environment: Values = field(default_factory=dict)


def copy(
    source: str | ConnectionSpec,
    target: str | ConnectionSpec,
    settings: Mapping[str, Any] | None = None,
    options: RunOptions = AS_THE_PROJECT_SAYS,
    *,
    within: OneOff | None = None,
    on_event: OnEvent | None = None,
) -> RunResult:
    """Copy from one place to another; `source` and `target` are URLs, or names of connections of `within.project`.

    `settings` are the keys of a copy job (tables, queries, mode, key, ...); all tables, if it names none. The same call
    again continues where an interrupted one ended. Raises SpecError for a wrong setting; otherwise as `run`.
    """
    project = one_off_project(source, target, settings or {}, within or OneOff())
    return run(project, (), options, on_event=on_event)


def one_off_project(
    source: str | ConnectionSpec, target: str | ConnectionSpec, settings: Mapping[str, Any], within: OneOff
) -> Project:
    """A project of one copy job whose name is made from all that the copy is.

    Its state lies with `within.project`, or in a folder of its own below `within.state_dir`.
    """
    problems = Problems(Document({}))
    ends = [_end(side, given, within, problems) for side, given in (("source", source), ("target", target))]
    problems.raise_if_any("copy")
    connections = {end.name: end for end in ends if end}
    raw = {"kind": "copy", **dict(zip(("source", "target"), connections, strict=False)), **settings}
    raw.setdefault("target", raw["source"])
    if not raw.get("tables") and not raw.get("queries"):
        raw["tables"] = ["*"]
    spec = copy_spec("copy", raw, connections, problems, lambda keys: run_spec(within.environment, run_values(keys)))
    problems.raise_if_any("copy")
    assert spec is not None
    return _assembled(spec, connections, within)


def _assembled(spec: CopySpec, ends: Mapping[str, ConnectionSpec], within: OneOff) -> Project:
    places = {name: [end.url, end.base_dir] for name, end in ends.items()}
    identity = digest([replace(spec, run=RunSpec()), places], 6)
    name = f"copy-{identity}"
    root = Path(within.project.root) if within.project else within.state_dir / "copies" / identity
    return Project(str(root), ends, {name: replace(spec, name=name)})


def _end(side: str, given: str | ConnectionSpec, within: OneOff, problems: Problems) -> ConnectionSpec | None:
    """A connection as it is, by its name in the project, or of a URL, which then is its name too (without password)."""
    if isinstance(given, ConnectionSpec):
        return given
    if is_url(given):
        made = connection_spec(side, {"url": given}, problems, str(within.base_dir))
        return replace(made, name=made.url) if made else None
    known = within.project.connections if within.project else {}
    if given not in known:
        hint = suggest(given, known, "connections") if known else "give a URL such as sqlite:shop.db, or a project file"
        raise SpecError(f'{side} "{given}" is neither a URL nor a connection of the project', hint)
    return known[given]
