"""A landing zone: folders, metadata, numbered files with row markers, in order and once, whatever breaks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.core.errors import Busy, NotSupported, PenstockError, Retry, SchemaChanged, SpecError
from penstock.core.load import Expected, Load, Mode, Published
from penstock.core.names import TableName
from penstock.core.schema import Column
from tests.files.lake import ORDERS, batches, orders
from tests.objects.lake import Bay, bay, load_of
from tests.parts.objects import Azure
from tests.parts.proxy import LOSE, REFUSE, Proxy, Seen

HOME = "db-1/Files/LandingZone"
FOLDER = f"{HOME}/public.schema/orders"


@dataclass
class Fabric:
    """What Fabric does with a landing zone: it takes the files in order of their numbers and applies their rows."""

    zone: Bay
    next: int = 1
    rows: list[dict[str, object]] = field(default_factory=list)

    def look(self) -> Fabric:
        bucket = self.zone.bucket
        there = {stored.key for stored in bucket.objects(FOLDER)}
        # A first file that is there anew means that the folder was gone meanwhile.
        if not there or f"{FOLDER}/{1:020d}.parquet" in there:
            self.next, self.rows = 1, []
        while (key := f"{FOLDER}/{self.next:020d}.parquet") in there:
            found, metadata = bucket.get(key), bucket.get(f"{FOLDER}/_metadata.json")
            assert found is not None
            assert metadata is not None, "metadata comes before data"
            self._apply(pq.read_table(io.BytesIO(found[0])), json.loads(metadata[0]).get("keyColumns", []))
            bucket.copy(key, f"{FOLDER}/_ProcessedFiles/{self.next:020d}.parquet")
            bucket.delete([key])
            self.next += 1
        return self

    def _apply(self, table: pa.Table, key: list[str]) -> None:
        assert table.column_names[-1] == "__rowMarker__"
        for row in table.to_pylist():
            mark = row.pop("__rowMarker__")
            if mark == 4:
                self.rows = [old for old in self.rows if [old[k] for k in key] != [row[k] for k in key]]
            self.rows.append(row)

    @property
    def shown(self) -> list[tuple[object, ...]]:
        return sorted((tuple(row.values()) for row in self.rows), key=repr)


@pytest.fixture
def azure_proxy(azure: Azure) -> Iterator[Proxy]:
    proxy = Proxy(azure.url)
    yield proxy
    proxy.close()


@pytest.fixture
def zone(azure: Azure, azure_proxy: Proxy) -> Bay:
    endpoint = f"{azure_proxy.url}/devstoreaccount1"
    options = {"landing_zone": True, "folder_wait_s": 0, "partner": "Penstock tests", "source_type": "SQL"}
    return bay(azure.connection(azure.new_container(), HOME, endpoint=endpoint, **options))


def put(zone: Bay, load: Load, *parts: pa.Table) -> Published:
    """Stage and publish as an engine does, coming again when it is asked to."""
    zone.session().writer().prepare(load)
    for number, part in enumerate(parts):
        zone.session().writer().write(load, f"{number:06d}", batches(part))
    expected = Expected(len(parts), sum(part.num_rows for part in parts))
    for _ in range(5):
        try:
            return zone.session().writer().publish(load, expected)
        except Busy as error:
            if error.retry is not Retry.SNOOZE:
                raise
    raise AssertionError("a wait of no time does not end")


def test_a_table_lands_with_its_metadata_numbers_and_markers(zone: Bay) -> None:
    published = put(zone, load_of(Mode.UPSERT, "one", orders(1).schema), orders(1, 2), orders(3))

    bucket = zone.bucket
    keys = [stored.key.removeprefix(f"{HOME}/") for stored in bucket.objects(HOME)]
    metadata, partner = bucket.get(f"{FOLDER}/_metadata.json"), bucket.get(f"{HOME}/_partnerEvents.json")
    assert sorted(keys) == [
        "_partnerEvents.json",
        "public.schema/orders/00000000000000000001.parquet",
        "public.schema/orders/00000000000000000002.parquet",
        "public.schema/orders/_metadata.json",
    ]
    assert metadata is not None
    assert json.loads(metadata[0]) == {"keyColumns": ["id"], "isUpsertDefaultRowMarker": True}
    assert partner is not None
    assert json.loads(partner[0]) == {"partnerName": "Penstock tests", "sourceInfo": {"sourceType": "SQL"}}
    assert (published.rows_staged, published.rows_after) == (3, None)
    assert Fabric(zone).look().shown == [(1, "x"), (2, "x"), (3, "x")]


def test_numbers_go_on_after_fabric_took_the_files(zone: Bay) -> None:
    fabric = Fabric(zone)
    put(zone, load_of(Mode.UPSERT, "one", orders(1).schema), orders(1, 2))
    fabric.look()

    put(zone, load_of(Mode.UPSERT, "two", orders(1).schema), orders(2, 3, note="new"))
    put(zone, replace(load_of(Mode.UPSERT, "three", orders(1).schema), job="other"), orders(4, note="last"))

    assert fabric.look().next == 4
    assert fabric.shown == [(1, "x"), (2, "new"), (3, "new"), (4, "last")]


def test_of_several_rows_of_a_key_the_latest_lands(zone: Bay) -> None:
    load = replace(load_of(Mode.UPSERT, "one", orders(1).schema), cursor="note")

    put(zone, load, orders(1, note="b"), orders(1, 2, note="a"))

    assert Fabric(zone).look().shown == [(1, "b"), (2, "a")]


def test_replace_drops_the_folder_and_waits_until_fabric_has_noticed(zone: Bay) -> None:
    fabric = Fabric(zone)
    put(zone, load_of(Mode.APPEND, "one", orders(1).schema), orders(1, 2))
    fabric.look()
    load = load_of(Mode.REPLACE, "two", orders(1).schema)
    patient = bay(zone.spec, folder_wait_s=3600)
    expected = patient.stage(load, orders(9))

    with pytest.raises(Busy, match="needs 3600 s to notice") as caught:
        patient.session().writer().publish(load, expected)
    assert caught.value.retry is Retry.SNOOZE
    assert caught.value.wait_s is not None
    assert 0 < caught.value.wait_s <= 3601
    assert list(zone.bucket.objects(FOLDER)) == []
    assert fabric.look().shown == []
    published = zone.session().writer().publish(load, expected)

    assert published.rows_after == 1
    assert fabric.look().shown == [(9, "x")]


@pytest.mark.parametrize(
    ("mode", "fault", "stride"),
    [
        (Mode.APPEND, REFUSE, 4),
        (Mode.REPLACE, LOSE, 6),
        *(
            pytest.param(mode, fault, 1, marks=pytest.mark.slow)
            for mode in (Mode.APPEND, Mode.REPLACE, Mode.UPSERT)
            for fault in (REFUSE, LOSE)
        ),
    ],
)
def test_a_load_that_breaks_at_any_request_lands_once(
    zone: Bay, azure_proxy: Proxy, mode: Mode, fault: str, stride: int
) -> None:
    """Fabric takes what it finds after the crash, and after the repetition."""
    fabric, step, broke = Fabric(zone), 1, True
    wanted: list[int] = []
    while broke:
        load = load_of(mode, f"load-{step}", orders(1).schema)

        def dead(seen: Seen, first: int = step) -> str | None:
            return None if seen.number < first else fault if seen.number == first else REFUSE

        azure_proxy.reset(dead)
        errors = []
        try:
            put(zone, load, orders(step * 10), orders(step * 10 + 1))
        except PenstockError as error:
            errors.append(error.retry)
        azure_proxy.reset()
        broke = bool(errors)
        assert Retry.NEVER not in errors
        fabric.look()

        put(zone, load, orders(step * 10), orders(step * 10 + 1))

        wanted = [*([] if mode is Mode.REPLACE else wanted), step * 10, step * 10 + 1]
        assert [row[0] for row in sorted(fabric.look().shown)] == wanted
        step += stride
    assert step > 15
    assert [stored.key for stored in zone.bucket.objects("db-1/Files/.penstock/staging")] == []


def test_files_that_a_dead_load_was_given_numbers_for_are_delivered_by_the_next(zone: Bay, azure_proxy: Proxy) -> None:
    dead = load_of(Mode.APPEND, "dead", orders(1).schema)
    expected = zone.stage(dead, orders(1), orders(2))
    azure_proxy.reset(lambda seen: REFUSE if seen.path.endswith("orders/00000000000000000002.parquet") else None)
    with pytest.raises(PenstockError):
        zone.session().writer().publish(dead, expected)
    azure_proxy.reset()

    put(zone, replace(load_of(Mode.APPEND, "next", orders(1).schema), job="other"), orders(3))
    again = zone.session().writer().publish(dead, expected)

    assert again.again is True
    assert Fabric(zone).look().shown == [(1, "x"), (2, "x"), (3, "x")]


def test_types_that_fabric_lacks_land_as_text(zone: Bay) -> None:
    data = pa.table(
        {
            "id": pa.array([1], pa.int64()),
            "price": pa.array([Decimal("1.50")], pa.decimal128(9, 2)),
            "big": pa.array([2**63], pa.uint64()),
            "tags": pa.array([["a", "b"]]),
            "key": pa.array([b"\x00" * 15 + b"\x01"], pa.binary(16)),
        }
    )
    load = zone.load(data, Mode.APPEND)
    uuid = replace(load.columns[4], logical="uuid")
    load = replace(load, columns=(*load.columns[:4], uuid))

    choices = zone.session().writer().types(load)
    put(zone, load, data)

    [row] = Fabric(zone).look().rows
    assert [choice.native for choice in choices][1:] == [
        "parquet:decimal128(9, 2)", "parquet:string", "parquet:string", "parquet:string",
    ]  # fmt: skip
    assert row == {
        "id": 1, "price": Decimal("1.50"), "big": "9223372036854775808", "tags": '["a","b"]',
        "key": "00000000-0000-0000-0000-000000000001",
    }  # fmt: skip


def test_what_a_landing_zone_cannot_do_is_refused_before_anything_is_written(zone: Bay, azure: Azure) -> None:
    load = load_of(Mode.UPSERT, "one", orders(1).schema)
    put(zone, load, orders(1))
    writer = zone.session().writer()
    other_key = replace(load, load_id="two", key=("note",))
    other_type = replace(load, load_id="three", columns=(load.columns[0], Column("note", pa.int64())))
    fewer = replace(load, load_id="four", columns=load.columns[:1])

    with pytest.raises(NotSupported, match="takes no mode delete_insert"):
        writer.plan(replace(load, mode=Mode.DELETE_INSERT))
    with pytest.raises(SpecError, match="mirrored by key id, not note"):
        writer.prepare(other_key)
    with pytest.raises(SchemaChanged, match="cannot follow"):
        writer.prepare(other_type)
    with pytest.raises(SchemaChanged, match="replaced whole"):
        writer.prepare(fewer)
    with pytest.raises(SpecError, match="no folder"):
        writer.plan(replace(load, table=TableName(("a/b",))))
    with pytest.raises(SpecError, match="not csv"):
        writer.plan(replace(load, options={"format": "csv"}))
    with pytest.raises(NotSupported, match="changes and no tables"):
        zone.session().reader()
    with pytest.raises(SpecError, match="no landing zone"):
        bay(azure.connection("c", landing_zone=True)).session()
    assert writer.plan(replace(load, load_id="five", mode=Mode.REPLACE))[1].startswith(
        "remove folder public.schema/orders"
    )
    assert load.table == ORDERS
