"""The staging of a load as objects: its plan, its parts under keys that are written once, and a mark for each part."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from penstock.connectors.files.manifest import DataFile, Manifest, from_text, to_text
from penstock.connectors.files.staging import STAGED, Mark, Staging
from penstock.connectors.objects.bucket import PART_BYTES, in_parallel
from penstock.connectors.objects.failures import Conflict
from penstock.connectors.objects.prefix import Prefix
from penstock.core.errors import DataError, Missing
from penstock.core.load import Load

_PLAN = "load.json"
_WORD = "published.json"


@dataclass(frozen=True)
class Attempt(Staging):
    """One attempt at a part: no two write one key, so that what a mark names never changes under it."""

    attempt: str

    @property
    def parts(self) -> str:
        return os.path.join(self.path, "parts", self.attempt)


@dataclass(frozen=True)
class ObjectMark(Mark):
    """The ledger's entry of one part with the attempt that wrote it."""

    attempt: str

    def key(self, staging: Staging, file: DataFile) -> str:
        return f"{Attempt(staging.path, self.attempt).parts}/{file.path}{STAGED}"


def staging_of(root: Prefix, load: Load) -> Staging:
    return Staging(root.staging(load))


def new_attempt(staging: Staging) -> Attempt:
    return Attempt(staging.path, uuid.uuid4().hex[:12])


def create(root: Prefix, staging: Staging, plan: Manifest) -> None:
    """Put the plan; nothing happens where it is there already."""
    try:
        root.bucket.put_if(f"{staging.path}/{_PLAN}", _encoded(to_text(plan)), None)
    except Conflict:
        return


def plan_of(root: Prefix, staging: Staging) -> Manifest | None:
    found = root.bucket.get(f"{staging.path}/{_PLAN}")
    return from_text(_decoded(found[0])) if found else None


def not_prepared(load: Load) -> Missing:
    return Missing(f"load {load.load_id} of table {load.table} is not prepared", "call prepare first")


def read_mark(root: Prefix, key: str) -> ObjectMark | None:
    found = root.bucket.get(key)
    if found is None:
        return None
    value = json.loads(_decoded(found[0]))
    return ObjectMark(value["part"], tuple(DataFile.from_json(f) for f in value["files"]), value["attempt"])


def write_mark(root: Prefix, key: str, mark: ObjectMark) -> ObjectMark:
    """Put the mark; the first attempt that gets here is the part, whatever came later."""
    value = {"part": mark.part, "files": [asdict(file) for file in mark.files], "attempt": mark.attempt}
    try:
        root.bucket.put_if(key, _encoded(json.dumps(value, ensure_ascii=False)), None)
    except Conflict:
        return read_mark(root, key) or mark
    return mark


@dataclass(frozen=True)
class Held:
    """All objects of a load's staging by key, with their sizes, listed once."""

    staging: Staging
    sizes: Mapping[str, int]

    @property
    def is_prepared(self) -> bool:
        return f"{self.staging.path}/{_PLAN}" in self.sizes


def held(root: Prefix, staging: Staging) -> Held:
    return Held(staging, {stored.key: stored.size_bytes for stored in root.bucket.objects(staging.path)})


def marks(root: Prefix, found: Held, check_stop: Callable[[], None]) -> list[ObjectMark]:
    """The ledger, sorted by part name."""
    folder = f"{os.path.dirname(found.staging.mark('-'))}/"
    keys = sorted(key for key in found.sizes if key.startswith(folder) and key.endswith(".done"))
    ledger = in_parallel(lambda key: read_mark(root, key), keys, check_stop)
    return [mark for mark in ledger if mark is not None]


def check_staged(found: Held, ledger: list[ObjectMark]) -> None:
    """Whether each staged object is there with the size its mark says."""
    for mark in ledger:
        for file in mark.files:
            size_bytes = found.sizes.get(mark.key(found.staging, file), 0)
            if size_bytes != file.size_bytes:
                raise DataError(
                    f"staged object {file.path} of part {mark.part!r} is not what was written: {size_bytes} of "
                    f"{file.size_bytes} bytes",
                    "run again with --fresh",
                )


def keep_word(root: Prefix, staging: Staging, manifest: Manifest) -> None:
    """Tell a load that died right after it was published, and comes back when another is published over it, that it was:
    by then the table's own manifest does not say so any more."""
    root.bucket.put(f"{staging.path}/{_WORD}", _encoded(to_text(manifest)))


def word_of(root: Prefix, staging: Staging) -> Manifest | None:
    """The version that a load was published as, where another load kept word of it."""
    found = root.bucket.get(f"{staging.path}/{_WORD}")
    return from_text(_decoded(found[0])) if found else None


def staged_loads(root: Prefix, load: Load) -> list[Staging]:
    """Staging of loads of the same job and table, this one's too where there is any."""
    prefix = root.staging_prefix(load)
    names = root.bucket.top(root.state("staging"))[0]
    return [Staging(root.state("staging", name)) for name in names if name.startswith(prefix)]


def remove(root: Prefix, staging: Staging, is_through: bool = False) -> None:
    """Remove a load's staging with the uploads that were never finished: the marks first, so that no mark is left without
    its part, and the plan last, so that an interrupted removal is found again.

    An attempt that died was as large as the one that came after it, so a load that is through, all of whose objects are
    small, began no such upload; then nobody is asked for any.
    """
    sizes = held(root, staging).sizes
    keys = list(sizes)
    if not is_through or max(sizes.values(), default=0) > PART_BYTES:
        root.bucket.abort_uploads(staging.path)
    plan, ledger = f"{staging.path}/{_PLAN}", f"{os.path.dirname(staging.mark('-'))}/"
    root.bucket.delete(key for key in keys if key.startswith(ledger))
    root.bucket.delete(key for key in keys if not key.startswith(ledger) and key != plan)
    root.bucket.delete(key for key in keys if key == plan)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
