"""Finds the project file and reads it with the environment: the only module that looks at environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.errors import SpecError

if TYPE_CHECKING:
    from penstock.api.copying import OneOff
    from penstock.api.project_file.build import ReadProject
    from penstock.core.spec import Project

# Names the project file to use. The variables of run settings stand in api/project_file/settings.py.
PROJECT_VARIABLE = "PENSTOCK_PROJECT"

PROJECT_FILE = "penstock.yml"

# Which allocator Arrow works with; its own variable.
_ARROW_POOL = "ARROW_DEFAULT_MEMORY_POOL"


def load_project(
    path: str | Path | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Project:
    """The project of a file, a folder that holds penstock.yml, or, with None, of the folder we are in or one above it.

    `variables` fill ${name} before the environment does; `environ` stands in for the process's own environment, which
    also gives the PENSTOCK_... settings. Raises SpecError naming file, line and column of everything that is wrong.
    """
    return read(path, variables, environ).project


def read(
    path: str | Path | None = None,
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> ReadProject:
    """Like load_project, with the warnings."""
    from penstock.api.project_file.build import Given, read_project
    from penstock.api.project_file.settings import from_environment

    environment = os.environ if environ is None else environ
    file = project_file(path, environment)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file} is no UTF-8 text: byte {error.start} is wrong", "save it as UTF-8") from error
    except OSError as error:
        raise SpecError(f"cannot read {file}: {error.strerror}", "pass --project FILE") from error
    given = Given(
        root=str(file.parent.resolve()),
        variables={**environment, **(variables or {})},
        environment=from_environment(environment),
    )
    return read_project(text, _shown(file), given)


def project_file(path: str | Path | None, environ: Mapping[str, str]) -> Path:
    """The project file to read: the one named, else the one PENSTOCK_PROJECT names, else the nearest one upwards."""
    named = path or environ.get(PROJECT_VARIABLE)
    if named:
        file = Path(named)
        return file / PROJECT_FILE if file.is_dir() else file
    found = nearest_project_file()
    if found is None:
        raise SpecError(
            f"no {PROJECT_FILE} in {Path.cwd()} or above it",
            "make a project with `penstock init DIR`, or pass --project FILE",
        )
    return found


def nearest_project_file() -> Path | None:
    """penstock.yml in the folder we are in or the nearest one above it."""
    here = Path.cwd()
    return next((folder / PROJECT_FILE for folder in (here, *here.parents) if (folder / PROJECT_FILE).is_file()), None)


def file_to_write(path: str | None) -> Path | None:
    """The project file that --project names for writing; None where it names none."""
    file = Path(path) if path else None
    return file / PROJECT_FILE if file and file.is_dir() else file


def state_home() -> Path:
    """Where this user's programs keep state that no project owns (XDG base directories)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "penstock"


def _shown(file: Path) -> str:
    """The file as a message names it: from here, when it lies below."""
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def place(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Project:
    """The folder of the project file as a project without connections and jobs, the file unread."""
    from penstock.core.spec import Project

    file = project_file(path, os.environ if environ is None else environ)
    if not file.is_file():
        raise SpecError(f"there is no project file {file}", "pass --project FILE")
    return Project(str(file.parent.resolve()), {}, {})


def choose_allocator() -> None:
    """Let Arrow, in this process and its workers, take memory from the system unless the user chose otherwise.

    Its own default keeps what was freed: two workers that load 1M rows of 15 columns from Parquet take 0.95 s CPU and 263
    MB with it, 0.78 s and 210 MB with the system's. For the program alone; before Arrow is first used.
    """
    os.environ.setdefault(_ARROW_POOL, "system")


def wants_plain_output() -> bool:
    """Whether the environment asks for output without colour (https://no-color.org) or the terminal cannot show any."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def one_off(path: str | None, variables: Mapping[str, str]) -> OneOff:
    """What a one-off copy stands in: the project that is named or found, or none."""
    from penstock.api.copying import OneOff
    from penstock.api.project_file.settings import from_environment

    project = None
    if path or os.environ.get(PROJECT_VARIABLE) or nearest_project_file():
        project = load_project(path, variables=variables)
    return OneOff(project, state_home(), Path.cwd(), from_environment(os.environ))


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """An argument with its ${...} filled in, so that no secret need stand in a list of processes."""
    from penstock.api.project_file.expand import expand

    return expand(text, {**os.environ, **variables}, Path.cwd())
