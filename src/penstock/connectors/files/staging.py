"""The staging folder of a load: its plan, and the ledger that marks each part after its rows are safe."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from penstock.connectors.files.manifest import DataFile, Manifest, from_text, read_text, to_text, write_text
from penstock.connectors.files.naming import part_name
from penstock.connectors.files.root import Root
from penstock.connectors.files.swap import sync_folder
from penstock.core.errors import DataError, Missing
from penstock.core.load import Load

# Behind the names of staged files, so that other programs which look for `**/*.parquet` do not take them for data.
STAGED = ".staged"
_PLAN = "load.json"
_GONE = ".gone"


@dataclass(frozen=True)
class Staging:
    """One load's folder under `.penstock/staging`. `parts` holds data files, `ledger` a mark for each part, `version` the
    new table while it is built (after the exchange: the old one)."""

    path: str

    @property
    def parts(self) -> str:
        return os.path.join(self.path, "parts")

    @property
    def version(self) -> str:
        return os.path.join(self.path, "version")

    @property
    def away(self) -> str:
        return f"{self.version}.away"

    def mark(self, part: str) -> str:
        return os.path.join(self.path, "ledger", f"{part_name(part)}.done")


@dataclass(frozen=True)
class Mark:
    """The ledger's entry of one part; paths of its files are relative to `Staging.parts`,
    without STAGED."""

    part: str
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def staging_of(root: Root, load: Load) -> Staging:
    return Staging(root.staging(load))


def create(staging: Staging, plan: Manifest) -> None:
    """Make the staging folder with its plan (a manifest without files); nothing happens where it is there already."""
    if plan_of(staging) is not None:
        return
    for folder in (staging.parts, os.path.dirname(staging.mark("-"))):
        os.makedirs(folder, exist_ok=True)
    write_text(os.path.join(staging.path, _PLAN), to_text(plan))
    sync_folder(os.path.dirname(staging.path))


def plan_of(staging: Staging) -> Manifest | None:
    """What the load was prepared for: a manifest without files. None where it is not prepared."""
    text = read_text(os.path.join(staging.path, _PLAN))
    return from_text(text) if text else None


def prepared(staging: Staging, load: Load) -> Manifest:
    plan = plan_of(staging)
    if plan is None:
        raise Missing(f"load {load.load_id} of table {load.table} is not prepared", "call prepare first")
    return plan


def read_mark(path: str) -> Mark | None:
    text = read_text(path)
    if text is None:
        return None
    value = json.loads(text)
    return Mark(value["part"], tuple(DataFile.from_json(f) for f in value["files"]))


def write_mark(path: str, mark: Mark) -> None:
    write_text(path, json.dumps({"part": mark.part, "files": [vars(f) for f in mark.files]}, ensure_ascii=False))


def marks(staging: Staging) -> list[Mark]:
    """The ledger, sorted by part name."""
    folder = os.path.dirname(staging.mark("-"))
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".done"))
    except FileNotFoundError:
        return []
    found = [read_mark(os.path.join(folder, name)) for name in names]
    return [mark for mark in found if mark is not None]


def check_files(staging: Staging, ledger: list[Mark], rows_of: Callable[[str], int | None]) -> None:
    """Whether each staged file is as its mark says: its size, and its rows where its own metadata tells them."""
    for mark in ledger:
        for file in mark.files:
            check_file(os.path.join(staging.parts, *f"{file.path}{STAGED}".split("/")), file, mark.part, rows_of)


def check_file(path: str, file: DataFile, part: str, rows_of: Callable[[str], int | None]) -> None:
    try:
        size_bytes = os.stat(path).st_size
    except FileNotFoundError:
        size_bytes = -1
    rows = rows_of(path) if size_bytes == file.size_bytes else None
    if size_bytes != file.size_bytes or rows not in (None, file.rows):
        raise DataError(
            f"staged file {file.path} of part {part!r} is not what was written: {max(size_bytes, 0)} of "
            f"{file.size_bytes} bytes, {'?' if rows is None else rows} of {file.rows} rows",
            "run again with --fresh",
        )


def leftovers(root: Root, load: Load) -> list[Staging]:
    """Staging of other loads of the same job and table, and what is left of removals that were interrupted."""
    folder = root.state("staging")
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    prefix, mine = root.staging_prefix(load), os.path.basename(root.staging(load))
    return [Staging(root.state("staging", name)) for name in names if name.startswith(prefix) and name != mine]


def remove(staging: Staging) -> None:
    """Remove a staging folder. It loses its name at once, so that a load whose removal is interrupted does not look
    prepared; what is left is found by the beginning of its name."""
    # What held nothing but the new version is empty now.
    with suppress(OSError):
        os.rmdir(staging.path)
    gone = staging.path if staging.path.endswith(_GONE) else f"{staging.path}{_GONE}"
    if gone != staging.path and os.path.isdir(staging.path):
        remove_tree(gone)
        os.rename(staging.path, gone)
    remove_tree(gone)


def remove_tree(path: str) -> None:
    """Remove a file, link or folder; nothing where there is none."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
