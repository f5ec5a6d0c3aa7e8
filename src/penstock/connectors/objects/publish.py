"""Publishing: new data objects are put beside the old ones, and one conditional put of the manifest makes them the table.

Whoever follows the manifest sees the old version or the new one. Programs that read all objects of the folder see objects of
both from the first copy until the last removal; docs/how-to/object-stores.md says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from penstock.connectors.files.listing import FileSet
from penstock.connectors.files.manifest import Manifest, parsed, to_text
from penstock.connectors.files.merge import Merge, merged
from penstock.connectors.files.naming import file_name
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.publish import NewVersion, check_counts, manifest_of, old_files, renamed
from penstock.connectors.files.root import MANIFEST
from penstock.connectors.files.staging import Staging
from penstock.connectors.files.target import Existing, Target, target_of
from penstock.connectors.files.version import VersionFile, files_of
from penstock.connectors.objects import staging as stage
from penstock.connectors.objects.bucket import Version, in_parallel
from penstock.connectors.objects.failures import Conflict
from penstock.connectors.objects.listing import OWN, PrefixListing
from penstock.connectors.objects.prefix import Prefix
from penstock.connectors.objects.staging import ObjectMark
from penstock.core.errors import Busy
from penstock.core.load import Expected, Load, Published

_SUPERSEDED = "superseded.json"
_HOW = "swapped the manifest in one step"


@dataclass
class Look:
    """One look at a target: what it holds, and the manifest's version that a publish must still find."""

    listing: PrefixListing
    version: Version | None = field(default=None, init=False)
    unlisted: tuple[str, ...] = field(default=(), init=False)

    def target(self, options: FileOptions, load: Load) -> Target:
        return target_of(options, load, Existing(self._added, self._files))

    def _files(self, target: Target) -> FileSet:
        listed = self.listing.folder(target.load.table, file_name(target.load.table), "")
        self.version, self.unlisted = listed.version, listed.unlisted
        return listed.files.checked()

    def _added(self, target: Target) -> Target:
        files = self._files(target)
        stray = tuple(file for file in files.files if files.manifest is None or file.path in files.stray)
        return replace(target, manifest=files.manifest, foreign=stray)


@dataclass(frozen=True)
class Publish:
    """A load about to be published. `check_stop` raises where the call was cancelled."""

    root: Prefix
    options: FileOptions
    load: Load
    check_stop: Callable[[], None]

    def run(self, expected: Expected) -> Published:
        """Make the load visible. A crash at any point leaves the old version or the new one; calling it again ends what
        was begun. Raises CountMismatch, changing nothing, and Busy where another load was published meanwhile."""
        look = Look(PrefixListing(self.options, self.root))
        target = look.target(self.options, self.load)
        staging = stage.staging_of(self.root, self.load)
        if target.is_published:
            assert target.manifest is not None
            assert target.manifest.published is not None
            self._retire(target.manifest, look.unlisted, staging)
            return replace(target.manifest.published, again=True)
        if target.delivered is not None:
            stage.remove(self.root, staging)
            return replace(target.delivered.published, again=True)
        held = stage.held(self.root, staging)
        if not held.is_prepared:
            raise stage.not_prepared(self.load)
        ledger = stage.marks(self.root, held, self.check_stop)
        check_counts(target, list(ledger), expected)
        stage.check_staged(held, ledger)
        version = self._new_version(target, staging, ledger)
        manifest = manifest_of(target, version, list(ledger))
        self._copy(target, version)
        self._swap(target, staging, manifest, look.version)
        before = target.manifest.files if target.manifest else ()
        self._retire(manifest, (*look.unlisted, *(os.path.join(target.path, file.path) for file in before)), staging)
        return version.published

    def _new_version(self, target: Target, staging: Staging, ledger: list[ObjectMark]) -> NewVersion:
        old = old_files(target, self.check_stop)
        new = tuple(
            VersionFile(mark.key(staging, file), replace(file, path=renamed(target, file.path)), target.settings)
            for mark in ledger
            for file in mark.files
        )
        result = merged(Merge(target, old, new, self.check_stop))
        files = files_of(target, staging, result.pieces, self.check_stop)
        published = Published(
            rows_staged=sum(mark.rows for mark in ledger),
            rows_inserted=result.inserted,
            rows_updated=result.updated,
            rows_deleted=result.deleted,
            rows_before=sum(file.data.rows for file in old),
            rows_after=sum(file.data.rows for file in files),
            how=_HOW,
        )
        return NewVersion(files, published)

    def _copy(self, target: Target, version: NewVersion) -> None:
        """Put the new data objects under their keys in the table's folder; those that stay are there."""
        wanted = [(file.source, os.path.join(target.path, file.data.path)) for file in version.files]
        moves = [(source, key) for source, key in wanted if source != key]
        in_parallel(lambda move: self.root.bucket.copy(*move), moves, self.check_stop)

    def _swap(self, target: Target, staging: Staging, manifest: Manifest, version: Version | None) -> None:
        """The one step: the manifest takes the place of exactly the version that this one was made from."""
        kept = {os.path.join(target.path, file.path) for file in manifest.files}
        before = target.manifest.files if target.manifest else ()
        names = [
            *(self.root.inside(file.path) for file in target.foreign),
            *(f"{target.path}/{f.path}" for f in before),
        ]
        superseded = [key for key in names if key not in kept and not OWN.search(key)]
        if superseded:
            # Nothing in their names tells later that they were data of this table.
            self.root.bucket.put(f"{staging.path}/{_SUPERSEDED}", json.dumps(superseded).encode())
        key = os.path.join(target.path, MANIFEST)
        try:
            self.root.bucket.put_if(key, to_text(manifest).encode("utf-8", "surrogatepass"), version)
        except Conflict as error:
            # The answer to an earlier put of our own may have been lost.
            now = self.root.bucket.get(key)
            if now is None or parsed(now[0].decode("utf-8", "surrogatepass"), key).load_id != self.load.load_id:
                raise Busy(
                    f"table {self.load.table} was published by another load meanwhile",
                    "publishing again starts from its new version",
                ) from error

    def _retire(self, manifest: Manifest, old: Sequence[str], staging: Staging) -> None:
        """Remove what the new version does not use, then staging. May be repeated.

        Of the `old` objects written here, those of this version or an older one that the manifest does not list: a load
        that builds on this version writes a higher one, and one that builds on an older version cannot publish any more.
        """
        folder = self.root.table_folder(manifest.table)
        listed = {os.path.join(folder, file.path) for file in manifest.files}
        doomed = []
        for key in old:
            own = OWN.search(key)
            if own and int(own[1]) <= manifest.generation and key not in listed:
                doomed.append(key)
        noted = self.root.bucket.get(f"{staging.path}/{_SUPERSEDED}")
        doomed += json.loads(noted[0]) if noted else []
        self.root.bucket.delete(doomed)
        stage.remove(self.root, staging, is_through=True)
