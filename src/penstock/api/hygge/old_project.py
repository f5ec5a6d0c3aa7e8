"""The files of an old project: hygge.yml, and for each flow its flow.yml and entities, with every problem told at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.api.hygge.ends import tidy
from penstock.api.hygge.notes import Notes
from penstock.api.hygge.section import Section, Value, mapping, value_of
from penstock.api.project_file.document import ProjectErrors, read_yaml
from penstock.core.errors import SpecError

PROJECT_FILE = "hygge.yml"
# The journal may be set in hygge.yml, in a flow and for a table.
JOURNAL_KEYS = ("path", "location")
JOURNAL = "where the journal lay; Penstock's is .penstock/journal.db beside the project file, for all jobs"


@dataclass(frozen=True)
class OldEntity:
    """One table of a flow: its name and keys, defaults of the flow already below them."""

    name: str
    place: str
    keys: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class OldFlow:
    """A template with its tables; without entities the flow itself is the one table."""

    name: str
    place: str
    keys: Mapping[str, Value]
    entities: tuple[OldEntity, ...] = ()


@dataclass(frozen=True)
class OldProject:
    """What the files say. `top` holds the keys of hygge.yml that nobody has taken yet."""

    folder: Path
    name: str
    top: Section
    flows: tuple[OldFlow, ...]


def read_old_project(folder: Path, notes: Notes) -> OldProject:
    """The project in `folder`. Raises SpecError for files that are missing or unreadable, ProjectErrors with every line
    that is no YAML or a key that stands twice."""
    reader = _Reader(folder, notes)
    found = reader.file(PROJECT_FILE)
    top = Section(mapping(found, PROJECT_FILE), "", f"{PROJECT_FILE}:1")
    name = top.text("name") or folder.resolve().name
    flows = list(reader.flows_in_folder(top.text("flows_dir") or "flows"))
    flows += reader.flows_in_file(top.take("flows"))
    reader.raise_if_any()
    if not flows:
        raise SpecError(f"{folder} has no flow", "a flow is a folder with flow.yml in it, below flows_dir of hygge.yml")
    return OldProject(folder, name, top, tuple(flows))


class _Reader:
    """Reads the files of one folder and gathers what is wrong with them."""

    def __init__(self, folder: Path, notes: Notes) -> None:
        self._folder = folder
        self._notes = notes
        self._problems: list[str] = []
        if not (folder / PROJECT_FILE).is_file():
            near = [name for name in ("hygge.yaml",) if (folder / name).is_file()]
            hint = f"rename {near[0]} to {PROJECT_FILE}" if near else "name the folder of a hygge project"
            raise SpecError(f"{folder} has no {PROJECT_FILE}", hint)

    def raise_if_any(self) -> None:
        if self._problems:
            raise ProjectErrors("\n".join(self._problems))

    def file(self, path: str) -> Value | None:
        """The values of a file; None where it is empty or wrong."""
        whole = self._folder / path
        try:
            text = whole.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            self._problems.append(f"{path}: is no UTF-8 text: byte {error.start} is wrong; save it as UTF-8")
            return None
        except OSError as error:
            raise SpecError(f"cannot read {whole}: {error.strerror}", "check the file and its permissions") from error
        document, found = read_yaml(text, lambda value: value)
        self._problems += [problem.line(path) for problem in sorted(found)]
        return value_of(document, path) if document.places and not found else None

    def flows_in_folder(self, flows_dir: str) -> Iterator[OldFlow]:
        if "${" in flows_dir:
            raise SpecError(f"flows_dir is {flows_dir!r}, which names no folder", "write the folder's name")
        base = self._inside(flows_dir)
        if not base.is_dir():
            return
        for flow in sorted(entry for entry in base.iterdir() if entry.is_dir()):
            shown = f"{flows_dir.strip('/')}/{flow.name}"
            file = self._either(shown, "flow")
            if file:
                yield self._flow(flow.name, file, shown)
            elif any(flow.glob("entities/*.y*ml")):
                self._notes.add("lacking", flow.name, "a folder with entities but without flow.yml is no flow", shown)

    def _inside(self, flows_dir: str) -> Path:
        base = self._folder / flows_dir
        if not base.resolve().is_relative_to(self._folder.resolve()):
            raise SpecError(
                f"{PROJECT_FILE}: flows_dir {flows_dir!r} leads out of {self._folder}",
                "move the flows below the project's folder and name them there",
            )
        return base

    def _either(self, folder: str, stem: str) -> str:
        """stem.yml, or stem.yaml, which the old tool did not see; "" where there is neither."""
        for suffix in ("yml", "yaml"):
            path = f"{folder}/{stem}.{suffix}"
            if (self._folder / path).is_file():
                self._tell_suffix(path)
                return path
        return ""

    def _tell_suffix(self, path: str) -> None:
        if path.endswith(".yaml"):
            self._notes.add(
                "differs", path, "the old tool read only files that end with .yml and passed this one over", path
            )

    def _flow(self, name: str, path: str, folder: str) -> OldFlow:
        value = self.file(path)
        if value is None and not self._problems:
            self._problems.append(f"{path}: the file is empty; write home and store")
        keys = mapping(value, path) if value else {}
        return self._with_entities(name, f"{path}:1", keys, self._entity_files(folder))

    def _entity_files(self, folder: str) -> list[Value]:
        base = self._folder / folder / "entities"
        found: list[Value] = []
        for name in sorted(os.listdir(base)) if base.is_dir() else []:
            path = f"{folder}/entities/{name}"
            if not name.endswith((".yml", ".yaml")) or not (self._folder / path).is_file():
                continue
            self._tell_suffix(path)
            value = self.file(path)
            if value is not None:
                found.append(value)
            elif not self._problems:
                self._problems.append(f"{path}: the file is empty; write name and what is special about the table")
        return found

    def flows_in_file(self, value: Value | None) -> Iterator[OldFlow]:
        """Flows that stand in hygge.yml itself, as early versions had them."""
        for name, flow in mapping(value, "flows").items():
            self._notes.add(
                "differs", "flows", "later versions of the old tool read flows from their folders only", flow.place
            )
            yield self._with_entities(name, flow.place, mapping(flow, f"flows.{name}"), [])

    def _with_entities(self, name: str, place: str, keys: Mapping[str, Value], files: list[Value]) -> OldFlow:
        own = dict(keys)
        defaults = mapping(own.pop("defaults", None), f"{name}.defaults")
        inline = own.pop("entities", None)
        entities = [_entity(value, defaults) for value in files or _listed(inline)]
        if files and inline and inline.data:
            text = "entities in files replace those listed here, as they did in the old tool; delete one of the two"
            self._notes.add("decide", "entities", text, inline.place, f"jobs.{tidy(name, 'flow')}")
        if inline and inline.data and not files and defaults:
            text = "the defaults hold for entities listed in flow.yml too; the old tool gave them only to entities in files"
            self._notes.add("differs", "defaults", text, inline.place, f"jobs.{tidy(name, 'flow')}")
        if not entities:
            own = {**defaults, **own}
        return OldFlow(name, place, own, tuple(entities))


def _listed(value: Value | None) -> list[Value]:
    if value is None or value.data is None:
        return []
    if not isinstance(value.data, list):
        raise SpecError(f"{value.place}: entities must be a list", "write one entity a line, each with a dash")
    return list(value.data)


def _entity(value: Value, defaults: Mapping[str, Value]) -> OldEntity:
    if isinstance(value.data, str):
        return OldEntity(value.data, value.place, {**defaults, "name": value})
    keys = {**defaults, **mapping(value, "an entity")}
    name = keys.get("name")
    if name is None or not isinstance(name.data, (str, int)) or isinstance(name.data, bool) or name.data == "":
        raise SpecError(f"{value.place}: an entity has no name", "add name: and the table's name")
    return OldEntity(str(name.data), value.place, keys)
