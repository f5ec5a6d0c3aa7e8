"""Copy jobs: validated keys as the plain settings that jobs/copy resolves for each table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.api.project_file import model
from penstock.api.project_file.connections import check_usable, connector_of
from penstock.api.project_file.document import Path
from penstock.api.project_file.keys import Keys, checked
from penstock.api.project_file.options import convert, declared
from penstock.api.project_file.problems import Problems, dotted, suggest
from penstock.core.errors import SpecError
from penstock.core.names import TableName
from penstock.core.ports import Option
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec, CopySpec, RunSpec

Connections = Mapping[str, ConnectionSpec | None]


def copy_spec(
    name: str,
    raw: Mapping[str, Any],
    connections: Connections,
    problems: Problems,
    run: Callable[[model.RunKeys], RunSpec],
) -> CopySpec | None:
    """The job as CopySpec, or None if it does not validate; everything wrong goes to `problems`.

    `run` gives the settings in force from those that stand in the job.
    """
    path: Path = ("jobs", name)
    options = _job_options(raw, connections)
    _check_keys(path, raw, model.CopyJob, options, problems)
    overrides = raw.get("overrides")
    for pattern, keys in overrides.items() if isinstance(overrides, dict) else ():
        if isinstance(keys, dict):
            _check_keys((*path, "overrides", pattern), keys, model.TableKeys, options, problems)
    _check_sides(path, raw, connections, problems)
    job = checked(model.CopyJob, path, raw, problems)
    if job is None:
        return None
    _check_tables(path, job, problems)
    settle = _Settle(options or {}, problems)
    return CopySpec(
        name=name,
        after=tuple(job.after),
        run=run(job),
        source=job.source,
        target=job.target,
        tables=tuple(job.tables),
        queries=dict(job.queries),
        target_name=job.target_name,
        settings=settle(job, path),
        overrides={pattern: settle(keys, (*path, "overrides", pattern)) for pattern, keys in job.overrides.items()},
    )


def _job_options(raw: Mapping[str, Any], connections: Connections) -> dict[str, Option] | None:
    """What may stand in this job besides its own keys; None when a side's connector cannot say."""
    found: dict[str, Option] = {}
    for side in ("source", "target"):
        connection = connections.get(str(raw.get(side)))
        connector = connector_of(connection.url) if connection else None
        if connector is None:
            return None
        found |= declared(connector.options, side)
    return found


def _check_keys(
    path: Path, raw: Mapping[str, Any], kind: type[Keys], options: Mapping[str, Option] | None, problems: Problems
) -> None:
    """Unknown keys; where the options are not known, only those that look like one of the job's own keys."""
    own = list(kind.known)
    for key in raw:
        if key in own or key in (options or {}):
            continue
        if options is not None or difflib.get_close_matches(key, own, 1):
            problems.unknown_key((*path, key), [*own, *(options or {})])


def _check_sides(path: Path, raw: Mapping[str, Any], connections: Connections, problems: Problems) -> None:
    for side in ("source", "target"):
        named = raw.get(side)
        if not isinstance(named, str):
            continue
        if named not in connections:
            what = f'{dotted((*path, side))} is "{named}", which is no connection'
            problems.at((*path, side), what, suggest(named, connections, "connections"))
        elif connection := connections[named]:
            check_usable(connection, problems)


def _check_tables(path: Path, job: model.CopyJob, problems: Problems) -> None:
    if not job.tables and not job.queries:
        problems.at_key(path, f"{dotted(path)} names no tables and no queries", 'add tables: ["*"] for all tables')
    for index, pattern in enumerate(job.tables):
        _check_name(pattern.removeprefix("!"), (*path, "tables", index), problems)
    for pattern in job.overrides:
        if pattern not in job.queries:
            _check_name(pattern, (*path, "overrides", pattern), problems)


def _check_name(text: str, path: Path, problems: Problems) -> None:
    try:
        TableName.parse(text)
    except SpecError as error:
        problems.at_key(path, f"{dotted(path)}: {error.what}", error.hint)


@dataclass(frozen=True)
class _Settle:
    """Makes the table settings that stand in the file plain values; what is left out is not there."""

    options: Mapping[str, Option]
    problems: Problems

    def __call__(self, keys: model.TableKeys, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in model.TableKeys.known:
            if name in keys.given and not (name == "target_name" and isinstance(keys, model.CopyJob)):
                value = keys.given[name]
                found[name] = dict(value.given) if isinstance(value, Keys) else value
        if "columns" in found and found["columns"].get("salt"):
            found["columns"]["salt"] = Secret(found["columns"]["salt"])
        given = self._options(keys.other, path)
        return found | ({"options": given} if given else {})

    def _options(self, extra: Mapping[str, Any], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in extra.items():
            if key not in self.options:
                continue
            try:
                found[key] = convert(self.options[key], value)
            except ValueError as error:
                shown = self.problems.shown((*path, key), value)
                self.problems.at((*path, key), f"{dotted((*path, key))} is {shown}, but {error}")
        return found
