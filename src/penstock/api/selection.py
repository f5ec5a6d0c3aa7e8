"""Which jobs a call means, in the order in which they must run."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter

from penstock.api.project_file.build import refuse_later_kinds
from penstock.api.project_file.problems import suggest
from penstock.core.errors import SpecError
from penstock.core.spec import Project


def select_jobs(project: Project, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The named jobs, or all, each behind those it comes after and otherwise in the order of the file.

    Jobs that a named one comes after, but that are not named, are not added. Raises SpecError for an unknown name.
    """
    for name in names:
        if name not in project.jobs:
            raise SpecError(f'there is no job "{name}"', suggest(name, project.jobs, "jobs"))
    chosen = [name for name in project.jobs if name in names or not names]
    if not chosen:
        raise SpecError("the project has no jobs", "add one under jobs:")
    order = TopologicalSorter(
        {name: [b for b in project.jobs[name].after if b in project.jobs] for name in project.jobs}
    )
    place = {name: number for number, name in enumerate(_stable(order, list(project.jobs)))}
    return tuple(sorted(chosen, key=place.__getitem__))


def runnable_jobs(project: Project, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Like select_jobs; raises NotSupported when one of them is of a kind that this version does not run."""
    chosen = select_jobs(project, names)
    refuse_later_kinds(project, chosen)
    return chosen


def _stable(order: TopologicalSorter[str], file_order: list[str]) -> list[str]:
    order.prepare()
    out: list[str] = []
    ready: list[str] = []
    while order.is_active():
        ready = sorted([*ready, *order.get_ready()], key=file_order.index)
        out.append(ready[0])
        order.done(ready.pop(0))
    return out
