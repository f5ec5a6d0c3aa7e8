"""Whether a project file that was made would be taken: read like any other, with stand-ins for variables that are not set."""

from __future__ import annotations

from collections import defaultdict

from penstock.api.project_file.build import Given, build_project
from penstock.api.project_file.document import Document, Place, Problem, read_yaml
from penstock.api.project_file.expand import expand
from penstock.api.project_file.model import CopyJob
from penstock.api.project_file.problems import Problems
from penstock.connectors import registry
from penstock.core.errors import SpecError


class _Unset(defaultdict[str, str]):
    """Any variable: "1" may stand for a text, a number and a yes."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return "1"

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return default


def problems_of(text: str, file: str) -> list[str]:
    """The problems as `file:line:column: what; hint`.

    Not among them: that a connector is missing here, which the commands say when they need it; and what depends on the
    value of a variable.
    """
    document, found = read_yaml(text, lambda value: expand(value, _Unset(), "."))
    problems = Problems(document)
    build_project(document, problems, Given("."))
    unknown = _of_missing_connectors(document)
    found += [one for one in problems.found if not _depends(one, document) and one.place not in unknown]
    return [one.line(file) for one in sorted(set(found))]


def _depends(problem: Problem, document: Document) -> bool:
    return any(document.places[path] == problem.place for path in document.written)


def _of_missing_connectors(document: Document) -> set[Place]:
    """Where it stands what only a connector can judge that is not installed: its URL, and its options in jobs."""
    connections = document.values.get("connections") or {}
    lacking = {name for name, keys in connections.items() if not _is_served(str(keys.get("url", "")))}
    found = {document.place(("connections", name, "url")) for name in lacking}
    for name, job in (document.values.get("jobs") or {}).items():
        if lacking & {job.get("source"), job.get("target")}:
            tables = [((), job), *((("overrides", table), own) for table, own in job.get("overrides", {}).items())]
            options = [(*path, key) for path, keys in tables for key in keys if key not in CopyJob.known]
            found |= {document.key_place(("jobs", name, *path)) for path in options}
    return found


def _is_served(url: str) -> bool:
    try:
        registry.connector(url.partition(":")[0])
    except SpecError:
        return False
    return True
