"""From the text of penstock.yml to core.spec.Project, or to one error that names everything wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.api.project_file import model
from penstock.api.project_file.connections import connection_spec, connector_of
from penstock.api.project_file.copy_job import copy_spec
from penstock.api.project_file.document import Document, Problem, read_yaml
from penstock.api.project_file.expand import expand
from penstock.api.project_file.keys import checked
from penstock.api.project_file.problems import Problems, suggest
from penstock.api.project_file.settings import Values, run_spec
from penstock.core.errors import NotSupported
from penstock.core.spec import ConnectionSpec, CopySpec, JobSpec, Project

KINDS = ("copy",)
# Kinds that the format knows and this version does not run: such a job is kept, and refused when it is asked for.
LATER_KINDS = ("dimension", "schema", "extract")
_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


@dataclass(frozen=True)
class LaterJob(JobSpec):
    """A job of a kind that this version cannot run; nothing of it is checked but what all jobs have."""

    kind: str = ""


@dataclass(frozen=True)
class Given:
    """What a project file is read with: variables for ${...}, settings from the environment, the folder of the file."""

    root: str
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Values = field(default_factory=dict)


@dataclass(frozen=True)
class ReadProject:
    """A project, and what is allowed in its file but unwise (`file:line:column: what; hint`)."""

    project: Project
    warnings: tuple[str, ...] = ()


def read_project(text: str, file: str, given: Given) -> ReadProject:
    """The project that `text` describes; `file` is its name in messages. Raises ProjectErrors with all problems."""
    document, found = read_yaml(text, lambda value: expand(value, given.variables, given.root))
    problems = Problems(document)
    problems.found += found
    if not document.places:
        if not found:
            problems.at((), "the file is empty", "run `penstock init DIR` for an example")
        problems.raise_if_any(file)
    project = build_project(document, problems, given)
    problems.raise_if_any(file)
    return ReadProject(project, tuple(w.line(file) for w in sorted(literal_secrets(document))))


def build_project(document: Document, problems: Problems, given: Given) -> Project:
    """The project of a document's values; what is wrong goes to `problems`."""
    values = document.values
    if not isinstance(values, dict):
        problems.at((), "the file must hold keys and values", "begin with `version: 1`")
        return Project(given.root, {}, {})
    _check_top(values, problems)
    connections = _connections(_section(values, "connections", problems), problems, given)
    defaults = checked(model.Defaults, ("defaults",), values.get("defaults") or {}, problems)
    layers = _Layers(given.environment, run_values(defaults) if defaults else {})
    raw_jobs = _section(values, "jobs", problems)
    jobs = {name: job for name in raw_jobs if (job := _job(name, raw_jobs, connections, problems, layers))}
    _check_order(jobs, list(raw_jobs), problems)
    return Project(given.root, {name: c for name, c in connections.items() if c}, jobs)


@dataclass(frozen=True)
class _Layers:
    environment: Values
    defaults: Values


def _check_top(values: Mapping[str, Any], problems: Problems) -> None:
    known = list(model.ProjectFile.known)
    for key in values:
        if key not in known:
            problems.unknown_key((key,), known)
    if "version" not in values:
        problems.at((), 'the file lacks the key "version"', "add version: 1")
    elif values["version"] != 1 or isinstance(values["version"], bool):
        shown = problems.shown(("version",), values["version"])
        problems.at(("version",), f"version is {shown}, but this Penstock reads version 1", "write version: 1")


def _section(values: Mapping[str, Any], name: str, problems: Problems) -> Mapping[str, Any]:
    """The named things under a top key; none, if the key is missing or empty."""
    found = values.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        problems.at((name,), f"{name} must hold names and what they mean", "write one name a line, indented")
        return {}
    for key in found:
        if not _NAME.match(key):
            what = f'"{key}" is no name for one of {name}'
            problems.at_key((name, key), what, "use letters, digits, _, - and ., beginning with a letter or _")
    return found


def _connections(raw: Mapping[str, Any], problems: Problems, given: Given) -> dict[str, ConnectionSpec | None]:
    return {name: connection_spec(name, value, problems, given.root) for name, value in raw.items()}


def _job(
    name: str,
    raw_jobs: Mapping[str, Any],
    connections: Mapping[str, ConnectionSpec | None],
    problems: Problems,
    layers: _Layers,
) -> JobSpec | None:
    path, raw = ("jobs", name), raw_jobs[name]
    if not isinstance(raw, dict):
        problems.at(path, f"jobs.{name} must hold keys and values", "write kind, source and target, indented")
        return None
    kind = raw.get("kind", "")
    if kind in LATER_KINDS:
        return _later(name, kind, raw, layers)
    if kind not in KINDS:
        if "kind" in raw:
            problems.wrong_choice((*path, "kind"), kind, [*KINDS, *LATER_KINDS])
        else:
            problems.at_key(path, f'jobs.{name} lacks the key "kind"', "add kind: copy")
        return None
    return copy_spec(
        name,
        raw,
        connections,
        problems,
        lambda keys: run_spec(layers.environment, run_values(keys), layers.defaults),
    )


def _later(name: str, kind: str, raw: Mapping[str, Any], layers: _Layers) -> LaterJob:
    after = raw.get("after") or ()
    names = (after,) if isinstance(after, str) else tuple(str(one) for one in after)
    return LaterJob(name=name, after=names, run=run_spec(layers.environment, layers.defaults), kind=kind)


def refuse_later_kinds(project: Project, names: Sequence[str]) -> None:
    """Raises NotSupported for the first of the named jobs whose kind this version does not run."""
    for name in names:
        job = project.jobs[name]
        if isinstance(job, LaterJob):
            raise NotSupported(
                f"job kind {job.kind!r} is not available in this version (job {name!r})",
                f"name the jobs to take instead; available kinds: {', '.join(KINDS)}",
            )


def run_values(keys: model.RunKeys) -> dict[str, Any]:
    """The run settings that stand in the file, by dotted key; what is left out is not there."""
    found: dict[str, Any] = {}
    for name in model.RunKeys.known:
        if name not in keys.given:
            continue
        value = keys.given[name]
        if isinstance(value, model.Retry):
            found |= {f"{name}.{part}": one for part, one in value.given.items()}
        else:
            found[name] = value
    return found


def _check_order(jobs: Mapping[str, JobSpec], names: Sequence[str], problems: Problems) -> None:
    for job in jobs.values():
        for before in job.after:
            if before not in names:
                what = f'jobs.{job.name} comes after "{before}", which is no job'
                problems.at(("jobs", job.name, "after"), what, suggest(before, names, "jobs"))
    for name in jobs:
        if name in _all_before(name, jobs):
            what = f"jobs.{name} comes after itself, by way of {', '.join(jobs[name].after)}"
            problems.at(("jobs", name, "after"), what, "take one of the steps out")


def _all_before(name: str, jobs: Mapping[str, JobSpec]) -> set[str]:
    seen: set[str] = set()
    waiting = list(jobs[name].after)
    while waiting:
        before = waiting.pop()
        if before in jobs and before not in seen:
            seen.add(before)
            waiting += jobs[before].after
    return seen


def literal_secrets(document: Document) -> Iterator[Problem]:
    """A warning for each secret that stands in the file itself."""
    values = document.values if isinstance(document.values, dict) else {}
    for name, raw in (values.get("connections") or {}).items():
        connector = connector_of(str(raw.get("url", "")))
        secret = {option.name for option in connector.options if option.kind == "secret"} if connector else set()
        for key in raw:
            path = ("connections", name, key)
            if key in {"password", *secret} and raw[key] and path not in document.written:
                hint = f"write ${{{name.upper()}_{key.upper()}}} or ${{file:path}} and keep the value elsewhere"
                yield Problem(document.place(path), f"connections.{name}.{key} stands in the file itself", hint)


def copies(project: Project) -> dict[str, CopySpec]:
    """The copy jobs of a project, by name."""
    return {name: job for name, job in project.jobs.items() if isinstance(job, CopySpec)}
