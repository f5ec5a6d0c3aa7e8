"""The import itself: an old project read, its new project file made, checked and written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.api.hygge.databases import database, number
from penstock.api.hygge.ends import Connections, tidy, unique
from penstock.api.hygge.jobs import NewJob, jobs_of
from penstock.api.hygge.moves import moves_of
from penstock.api.hygge.notes import Note, Notes
from penstock.api.hygge.old_project import JOURNAL, JOURNAL_KEYS, PROJECT_FILE, OldProject, read_old_project
from penstock.api.hygge.scene import Scene
from penstock.api.hygge.section import Section, flag, mapping
from penstock.api.hygge.text import comment, mapping_lines, note_lines, scalar
from penstock.api.hygge.valid import problems_of
from penstock.core.errors import SpecError

_TOP_DROPPED = {
    "log_level": "how much was logged; the commands take --verbose and --quiet",
    "queue_size": "batches waiting between reader and writer; queues are bounded by bytes here, and there is nothing to set",
}


@dataclass(frozen=True)
class Imported:
    """What an import made. `text` is the project file; `lacking` counts what could not be taken over."""

    file: str
    text: str
    connections: tuple[str, ...]
    jobs: tuple[str, ...]
    tables: int
    notes: tuple[Note, ...] = field(default=())

    @property
    def lacking(self) -> int:
        return sum(1 for note in self.notes if note.kind == "lacking")

    @property
    def exit_code(self) -> int:
        """0, or 3 where something could not be taken over."""
        return 3 if self.lacking else 0


def import_hygge(folder: str | Path, file: str | Path | None = None) -> Imported:
    """The project of hygge in `folder` as a Penstock project; nothing is written.

    `file` is where the project file will lie, by default penstock.yml in `folder`; relative paths start from there. The
    same input gives the same text. Raises SpecError for a folder that holds no project or a project that cannot be read.
    """
    old = Path(folder)
    new = Path(file) if file else old / "penstock.yml"
    notes = Notes()
    project = read_old_project(old, notes)
    maker = _Maker(project, notes, os.path.relpath(old.resolve(), new.resolve().parent).replace(os.sep, "/"))
    jobs = maker.jobs()
    _tell_whole(notes, jobs)
    text = maker.text(jobs)
    wrong = problems_of(text, str(new))
    if wrong:
        raise SpecError(
            "the project file made from it would not be valid:\n" + "\n".join(wrong),
            "correct the value in the old project, or report this with the file at hand",
        )
    tables = sum(len(job.keys.get("tables", ())) + len(job.keys.get("queries", ())) for job in jobs)
    return Imported(
        str(new), text, tuple(maker.connections.places), tuple(job.name for job in jobs), tables, notes.all()
    )


def write_import(made: Imported, *, force: bool = False) -> None:
    """Write the project file. Raises SpecError where one is there already, unless `force` says to replace it."""
    try:
        Path(made.file).parent.mkdir(parents=True, exist_ok=True)
        with open(made.file, "w" if force else "x", encoding="utf-8", newline="\n") as out:
            out.write(made.text)
    except FileExistsError as error:
        raise SpecError(
            f"{made.file} exists already", "pass --force to replace it, or --project FILE for another"
        ) from error
    except OSError as error:
        raise SpecError(f"cannot write {made.file}: {error.strerror}", "name another file with --project") from error


class _Maker:
    """Makes the parts of the new project, and its text."""

    def __init__(self, project: OldProject, notes: Notes, from_folder: str) -> None:
        self._project = project
        self._notes = notes
        self._from = from_folder
        self.connections = Connections()
        self._names = self._databases()
        self._defaults = self._top()

    def _databases(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in mapping(self._project.top.take("connections"), "connections").items():
            new = unique(tidy(name, "database"), self.connections.places)
            keys = Section(mapping(value, f"connections.{name}"), f"connections.{name}", value.place)
            place = database(keys, name, self._notes, f"connections.{new}")
            if place is not None:
                self.connections.places[new] = place
                found[name] = new
        return found

    def _top(self) -> dict[str, Any]:
        """The defaults; notes what else stands in hygge.yml."""
        top, found = self._project.top, dict[str, Any]()
        options = top.section("options")
        workers = options.take("concurrency", "max_parallel_entities")
        found["workers"] = number(workers, "options.concurrency", self._notes, "")
        go_on = options.take("continue_on_error")
        if go_on is not None and flag(go_on.data):
            found["max_errors"] = "100%"
        else:
            text = (
                "the first item that is given up stops the run (exit code 1); the old tool went on with the other tables "
                'in any case. max_errors: "100%" goes on'
            )
            self._notes.add("differs", "options.continue_on_error", text, go_on.place if go_on else "")
        top.drop_section("journal", JOURNAL_KEYS, JOURNAL, self._notes, "")
        for one in (options, top):
            one.drop(_TOP_DROPPED, self._notes, "")
            one.tell_rest(self._notes, "")
        return {key: value for key, value in found.items() if value is not None}

    def jobs(self) -> list[NewJob]:
        found: list[NewJob] = []
        for flow in self._project.flows:
            scene = Scene(self._notes, self.connections, self._names, self._from, flow.name, "")
            found += jobs_of(moves_of(flow, scene))
        taken: dict[str, NewJob] = {}
        for job in found:
            name = unique(job.name, taken)
            taken[name] = NewJob(name, job.place, job.note_about, job.keys)
        return list(taken.values())

    def text(self, jobs: list[NewJob]) -> str:
        return "\n".join(self._lines(jobs)) + "\n"

    def _lines(self, jobs: list[NewJob]) -> Iterator[str]:
        notes = self._notes.all()
        told = {job.note_about for job in jobs}
        yield from comment(f"Made by `penstock import hygge` from {PROJECT_FILE} of project {self._project.name}.")
        yield from comment("Look through the notes, then try it: penstock check, penstock plan, penstock run.")
        known = {f"connections.{name}" for name in self.connections.places} | told
        head = [note for note in notes if note.about not in known]
        yield from (["#", *note_lines(head, 0)] if head else [])
        yield "version: 1"
        yield from self._connection_lines(notes)
        if self._defaults:
            yield from ("", "defaults:", *mapping_lines(self._defaults, 2))
        yield from ["", "jobs:"] if jobs else []
        for index, job in enumerate(jobs):
            yield from [""] if index else []
            own = [note for note in notes if note.about == job.note_about and job.note_about in told]
            told.discard(job.note_about)
            yield from comment(f"from {job.place.rpartition(':')[0] or job.place}", 2)
            yield from note_lines(own, 2)
            yield f"  {scalar(job.name)}:"
            yield from mapping_lines(job.keys, 4)

    def _connection_lines(self, notes: tuple[Note, ...]) -> Iterator[str]:
        yield from ["", "connections:"] if self.connections.places else []
        for name, place in self.connections.places.items():
            yield from note_lines([note for note in notes if note.about == f"connections.{name}"], 2)
            declared = self.connections.patterns.get(name, {})
            patterns = {"tables": "; ".join(f"{table}: {path}" for table, path in declared.items())} if declared else {}
            keys: Mapping[str, Any] = {"url": place.url, **place.options, **patterns}
            yield from mapping_lines({name: dict(keys)}, 2)


def _tell_whole(notes: Notes, jobs: list[NewJob]) -> None:
    """What is true of every import."""
    modes = {keys.get("mode") for job in jobs for keys in (job.keys, *job.keys.get("overrides", {}).values())}
    if modes - {"replace", None}:
        text = (
            "watermarks of the old journal are not taken over: the first run reads everything. Load into empty tables, or "
            "begin with `penstock run --full-refresh`, which replaces what is there; else mode append doubles the rows"
        )
        notes.add("decide", "journal", text)
