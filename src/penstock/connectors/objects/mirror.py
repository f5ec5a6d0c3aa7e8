"""Loading tables into a landing zone: parts into staging, then numbered files in order, for Fabric to apply.

What makes a load count is the note of the numbers it was given, put under the condition that nobody else was given any
meanwhile. The files follow one by one, and are found again by their numbers after a crash, whether Fabric has taken them
already or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from penstock.connectors._formats.registry import format_named
from penstock.connectors.files.evolve import changes
from penstock.connectors.files.manifest import Manifest, parsed, to_text
from penstock.connectors.files.merge import Merge, merged
from penstock.connectors.files.naming import file_name as note_name
from penstock.connectors.files.options import FileOptions
from penstock.connectors.files.publish import check_counts
from penstock.connectors.files.root import named_errors
from penstock.connectors.files.staging import Staging
from penstock.connectors.files.stop import StopFlag
from penstock.connectors.files.target import Target
from penstock.connectors.files.version import VersionFile, files_of
from penstock.connectors.objects import landing
from penstock.connectors.objects import staging as stage
from penstock.connectors.objects.bucket import Version
from penstock.connectors.objects.failures import Conflict
from penstock.connectors.objects.landing import LandingZone, ZoneOptions
from penstock.connectors.objects.writer import ObjectsWriter
from penstock.core.errors import Busy, Retry, SchemaChanged, SpecError
from penstock.core.load import Expected, Load, Mode, Published, Written
from penstock.core.names import TableName
from penstock.core.schema import Fidelity, TypeChoice

_DELIVERY = "delivery.json"
_CLEARED = "cleared"
_NOTHING, _FOLDER = b"nothing was there", b"the folder was removed"


class LandingWriter(ObjectsWriter):
    """The Writer port of a landing zone."""

    def __init__(
        self, options: FileOptions, zone: LandingZone, told: ZoneOptions, stop: StopFlag, claim: Callable[[Load], None]
    ) -> None:
        super().__init__(options, zone, stop, claim)
        self._zone = zone
        self._told = told

    def types(self, load: Load) -> list[TypeChoice]:
        self._target(load)
        choices = []
        for column in load.columns:
            landed = landing.landed(column)
            choice = format_named("parquet").type_choice(landed)
            as_text = landed.type != column.type
            note = "as text, for Fabric has no such type" if as_text else choice.note
            choices.append(
                replace(choice, column=column, fidelity=Fidelity.TEXT if as_text else choice.fidelity, note=note)
            )
        return choices

    def plan(self, load: Load) -> list[str]:
        target = self._target(load)
        folder = self._zone.relative(self._zone.table_folder(load.table))
        steps = [f"write parts as parquet ({target.settings.written_compression}) beside the landing zone"]
        if load.mode is Mode.REPLACE and target.manifest is not None:
            steps.append(f"remove folder {folder} and give Fabric {self._told.folder_wait_s} s to notice")
        first = 1 if load.mode is Mode.REPLACE else target.generation
        return [*steps, f"put {landing.METADATA} and files from {landing.file_name(first)} on into {folder}"]

    def prepare(self, load: Load) -> None:
        self._finish_other(self._look(load)[0])
        super().prepare(load)

    def write(self, load: Load, part: str, batches: Iterator[pa.RecordBatch]) -> Written:
        return super().write(load, part, landing.marked(load, batches))

    def publish(self, load: Load, expected: Expected) -> Published:
        with self._stop.running(), named_errors(f"publish table {load.table}"):
            target, version = self._look(load)
            staging = stage.staging_of(self._zone, load)
            known = target.manifest if target.is_published else stage.word_of(self._zone, staging)
            again = known is not None
            manifest = known or self._number(target, version, staging, expected)
            assert manifest.published is not None
            self._deliver(load.table, staging)
            return replace(manifest.published, again=again)

    def _target(self, load: Load) -> Target:
        return self._look(load)[0]

    def _note(self, load: Load) -> str:
        return self._zone.state("landed", f"{note_name(load.table)}.json")

    def _look(self, load: Load) -> tuple[Target, Version | None]:
        """The target as it was noted last, checked. Raises NotSupported, SpecError or SchemaChanged."""
        landing.check_load(load)
        settings = self._options.target_settings(load.options)
        if settings.format != "parquet":
            raise SpecError(f"a landing zone takes Parquet, not {settings.format}", "leave option format out")
        key = self._note(load)
        found = self._zone.bucket.get(key)
        manifest = parsed(found[0].decode("utf-8", "surrogatepass"), key) if found else None
        columns = landing.columns_of(load)
        target = Target(self._options, load, settings, "folder", (), manifest, (), columns)
        if manifest is not None and not target.is_published and load.mode is not Mode.REPLACE:
            _check_columns(load, manifest)
        if load.mode is not Mode.REPLACE:
            self._check_key(load)
        return target, found[1] if found else None

    def _check_key(self, load: Load) -> None:
        metadata = self._zone.bucket.get(f"{self._zone.table_folder(load.table)}/{landing.METADATA}")
        keys = landing.keys_in(metadata[0]) if metadata else []
        if keys and load.key and keys != list(load.key):
            raise SpecError(
                f"table {load.table} is mirrored by key {', '.join(keys)}, not {', '.join(load.key)}",
                "Fabric knows no change of the key: load the table again with mode replace",
            )

    def _number(self, target: Target, version: Version | None, staging: Staging, expected: Expected) -> Manifest:
        """Give the load's files their numbers, in one step, and note what is to be delivered."""
        load = target.load
        held = stage.held(self._zone, staging)
        if not held.is_prepared:
            raise stage.not_prepared(load)
        ledger = stage.marks(self._zone, held, self._stop.check)
        check_counts(target, list(ledger), expected)
        stage.check_staged(held, ledger)
        staged = tuple(VersionFile(m.key(staging, f), f, target.settings) for m in ledger for f in m.files)
        pieces = merged(Merge(target, (), staged, self._stop.check)).pieces
        files = files_of(target, staging, pieces, self._stop.check)
        self._finish_other(target)
        first = self._first(target)
        numbered = [replace(file.data, path=landing.file_name(first + at)) for at, file in enumerate(files)]
        rows, sent = sum(mark.rows for mark in ledger), sum(file.rows for file in numbered)
        is_whole = load.mode is Mode.REPLACE
        published = Published(
            rows_staged=rows,
            rows_inserted=sent,
            rows_updated=0,
            rows_deleted=0,
            rows_before=0 if is_whole else None,
            rows_after=sent if is_whole else None,
            how=f"landed {len(numbered)} files, which Fabric applies",
        )
        manifest = replace(
            target.plan(),
            files=tuple(numbered),
            generation=first + len(numbered) - 1,
            previous_load_id=target.manifest.load_id if target.manifest else "",
            parts={mark.part: (mark.rows, mark.size_bytes) for mark in ledger},
            published=published,
        )
        delivery = {
            "restart": is_whole,
            "metadata": landing.metadata_of(load).decode(),
            "moves": [[file.source, data.path] for file, data in zip(files, numbered, strict=True)],
        }
        self._zone.bucket.put(f"{staging.path}/{_DELIVERY}", json.dumps(delivery).encode())
        self._put_note(load, manifest, version)
        return manifest

    def _first(self, target: Target) -> int:
        """The number after the last one that was given, or that is there."""
        if target.load.mode is Mode.REPLACE:
            return 1
        given = target.manifest.generation if target.manifest else 0
        there = [int(found[1]) for key in self._there(target.load.table) if (found := landing.NUMBERED.search(key))]
        return max([given, *there]) + 1

    def _there(self, table: TableName) -> list[str]:
        """All keys in the table's folder, those that Fabric has put aside too."""
        return [stored.key for stored in self._zone.bucket.objects(self._zone.table_folder(table))]

    def _put_note(self, load: Load, manifest: Manifest, version: Version | None) -> None:
        key = self._note(load)
        try:
            self._zone.bucket.put_if(key, to_text(manifest).encode("utf-8", "surrogatepass"), version)
        except Conflict as error:
            now = self._zone.bucket.get(key)
            if now is None or parsed(now[0].decode("utf-8", "surrogatepass"), key).load_id != load.load_id:
                raise Busy(
                    f"files of another load of table {load.table} were numbered meanwhile", "these come after them"
                ) from error

    def _finish_other(self, target: Target) -> None:
        """Deliver what another load was given numbers for and did not bring to its end: Fabric waits for every number. A
        load that replaces the table drops such files with their folder."""
        noted = target.manifest
        if noted is not None and not target.is_published and target.load.mode is not Mode.REPLACE:
            staging = stage.staging_of(self._zone, replace(target.load, load_id=noted.load_id, job=noted.job))
            if self._zone.bucket.get(f"{staging.path}/{_DELIVERY}") is not None:
                self._deliver(target.load.table, staging)
                stage.keep_word(self._zone, staging, noted)

    def _deliver(self, table: TableName, staging: Staging) -> None:
        """Put a load's files into the folder in order of their numbers; those that came already are left out."""
        bucket, folder = self._zone.bucket, self._zone.table_folder(table)
        noted = bucket.get(f"{staging.path}/{_DELIVERY}")
        if noted is not None:
            delivery = json.loads(noted[0])
            if delivery["restart"]:
                self._clear(table, staging)
            self._describe(folder, delivery["metadata"].encode())
            there = {key.rpartition("/")[2] for key in self._there(table)}
            for source, name in delivery["moves"]:
                self._stop.check()
                if name not in there:
                    bucket.copy(source, f"{folder}/{name}")
            bucket.delete([f"{staging.path}/{_DELIVERY}"])
        stage.remove(self._zone, staging)

    def _describe(self, folder: str, metadata: bytes) -> None:
        """The files beside the data. A key that is there already stays as it is."""
        bucket, key = self._zone.bucket, f"{folder}/{landing.METADATA}"
        found = bucket.get(key)
        if found is None or (landing.keys_in(metadata) and not landing.keys_in(found[0])):
            bucket.put(key, metadata)
        if self._told.partner:
            text, place = (
                landing.partner_of(self._told.partner, self._told.source_type),
                self._zone.inside(landing.PARTNER),
            )
            known = bucket.get(place)
            if known is None or known[0] != text:
                bucket.put(place, text)

    def _clear(self, table: TableName, staging: Staging) -> None:
        """Remove the folder, which drops the mirrored table, and wait until Fabric must have noticed. Raises Busy, which
        asks to come again."""
        bucket, key = self._zone.bucket, f"{staging.path}/{_CLEARED}"
        cleared = bucket.get(key)
        if cleared is None:
            there = self._there(table)
            bucket.delete(there)
            # Where folders are things of their own, an empty one is left.
            bucket.delete([self._zone.table_folder(table)] if there else [])
            bucket.put(key, _FOLDER if there else _NOTHING)
            cleared = bucket.get(key)
        if cleared is None or cleared[0] == _NOTHING:
            return
        clock = self._zone.state("clock")
        bucket.put(clock, b"now")
        waited_s = (bucket.stat(clock).modified_ns - bucket.stat(key).modified_ns) / 1_000_000_000
        if waited_s < self._told.folder_wait_s:
            raise Busy(
                f"the folder of table {table} was removed, and Fabric needs {self._told.folder_wait_s} s to notice",
                "its files are staged and follow by themselves",
                wait_s=self._told.folder_wait_s - waited_s + 1,
                retry=Retry.SNOOZE,
            )


def _check_columns(load: Load, manifest: Manifest) -> None:
    """Whether Fabric can take rows of these columns into the table that is there."""
    coming = tuple(landing.landed(column) for column in load.columns)
    before = tuple(column for column in manifest.columns if column.name != landing.MARKER)
    for change in changes(before, coming):
        if change.kind in ("type", "widened", "narrowed"):
            raise SchemaChanged(
                f"table {load.table}: {change.text}, which a mirrored table cannot follow",
                "cast the column, or load the table again with mode replace",
            )
        if change.kind == "dropped_column" and load.mode is Mode.UPSERT:
            raise SchemaChanged(
                f"table {load.table}: {change.text}, and a mirrored row is replaced whole",
                "read the column too, or load the table again with mode replace",
            )
        if getattr(load.policy, change.kind) != "evolve":
            raise SchemaChanged(f"table {load.table}: {change.text}", f"set schema_changes: {{{change.kind}: evolve}}")
