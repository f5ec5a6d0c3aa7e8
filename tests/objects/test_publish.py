"""A publish is one step for whoever follows the manifest, whatever breaks and whoever comes at the same time."""

from __future__ import annotations

import threading
from dataclasses import replace

import pyarrow as pa
import pytest

from penstock.connectors.objects.listing import PrefixListing
from penstock.connectors.objects.publish import Publish
from penstock.core.errors import Busy, PenstockError, Retry
from penstock.core.load import Expected, Mode
from tests.files.lake import ORDERS, orders
from tests.objects.lake import Bay, load_of, patiently
from tests.parts.proxy import LOSE, REFUSE, Proxy, Seen

BEFORE = orders(1, 2, 3, note="old")
PARTS = [orders(3, 4, note="new"), orders(5, note="new")]
AFTER = {
    Mode.REPLACE: [(3, "new"), (4, "new"), (5, "new")],
    Mode.APPEND: sorted([(1, "old"), (2, "old"), (3, "old"), (3, "new"), (4, "new"), (5, "new")], key=repr),
    Mode.UPSERT: [(1, "old"), (2, "old"), (3, "new"), (4, "new"), (5, "new")],
}


def shown(lake: Bay) -> list[tuple[object, ...]]:
    return patiently(lake.rows)


def assert_clean(lake: Bay) -> None:
    """Nothing lies there but the manifest and the files that it lists."""
    session = lake.session()
    listed = PrefixListing(session._options, session._root).folder(ORDERS, "public.orders", "")
    assert listed.files.manifest is not None
    assert lake.held() == sorted([*listed.files.listed, "public.orders/_penstock.json"])


EVERY = [(mode, fault, 1) for mode in (Mode.REPLACE, Mode.APPEND, Mode.UPSERT) for fault in (REFUSE, LOSE)]


@pytest.mark.parametrize(
    ("mode", "fault", "stride"),
    [
        (Mode.UPSERT, REFUSE, 5),
        (Mode.APPEND, LOSE, 5),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in EVERY),
    ],
)
def test_a_load_that_breaks_at_any_request_leaves_old_or_new_and_ends_whole_when_repeated(
    far_lake: Bay, proxy: Proxy, mode: Mode, fault: str, stride: int
) -> None:
    """From the n-th request on nothing gets through (or no answer comes back): what a killed process leaves."""
    step, broke = 1, True
    while broke:
        far_lake.put(BEFORE, load_id=f"before-{step}")
        load = load_of(mode, f"{mode.value}-{step}", PARTS[0].schema)

        def dead(seen: Seen, first: int = step) -> str | None:
            return None if seen.number < first else fault if seen.number == first else REFUSE

        proxy.reset(dead)
        errors = []
        try:
            far_lake.whole(load, PARTS)
        except PenstockError as error:
            errors.append(error.retry)
        proxy.reset()
        broke = bool(errors)
        assert Retry.NEVER not in errors
        assert shown(far_lake) in (sorted(BEFORE_ROWS, key=repr), AFTER[mode])

        published = far_lake.whole(load, PARTS)

        assert shown(far_lake) == AFTER[mode]
        assert published.rows_after == len(AFTER[mode])
        assert_clean(far_lake)
        step += stride
    assert step > 20


BEFORE_ROWS = [(1, "old"), (2, "old"), (3, "old")]


def test_a_reader_that_polls_sees_whole_versions_only(lake: Bay) -> None:
    lake.put(orders(*range(50), note="0"))
    seen, failures, ended = [], [], threading.Event()

    def poll() -> None:
        while not ended.is_set():
            try:
                notes = lake.get().column("note").to_pylist()
            except PenstockError as error:
                if error.retry is not Retry.LATER:
                    failures.append(error)
                continue
            seen.append((len(notes), len(set(notes))))

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for number in range(1, 9):
            lake.put(orders(*range(25), note=str(number)), orders(*range(25, 50), note=str(number)))
    finally:
        ended.set()
        reader.join()

    assert not failures
    assert seen
    assert set(seen) == {(50, 1)}


def test_a_load_that_another_overtakes_starts_from_the_new_version(lake: Bay) -> None:
    lake.put(BEFORE)
    late = replace(load_of(Mode.APPEND, "late", BEFORE.schema), job="other")
    expected = lake.stage(late, orders(10))
    session = lake.session()
    calls = []

    def overtake() -> None:
        """Between the look at the target and the swap of the manifest, somebody else publishes."""
        if not calls:
            calls.append(1)
            lake.put(orders(7), orders(8), mode=Mode.APPEND)

    two = lake.stage(late, orders(10), orders(11))
    with pytest.raises(Busy, match="another load"):
        Publish(session._root, session._options, late, overtake).run(two)
    assert [row[0] for row in lake.rows()] == [1, 2, 3, 7, 8]

    lake.session().writer().publish(late, two)

    assert expected.parts == 1
    assert sorted(row[0] for row in lake.rows()) == [1, 2, 3, 7, 8, 10, 11]
    assert_clean(lake)


def test_a_load_that_died_after_its_swap_is_not_published_again_when_another_came_between(
    far_lake: Bay, proxy: Proxy
) -> None:
    far_lake.put(BEFORE)
    dead = replace(load_of(Mode.APPEND, "dead", BEFORE.schema), job="other")
    expected = far_lake.stage(dead, orders(10), orders(11))
    swapped: list[int] = []

    def dies(seen: Seen) -> str | None:
        if seen.method == "PUT" and seen.path.endswith("/_penstock.json"):
            swapped.append(1)
            return LOSE
        return REFUSE if swapped else None

    proxy.reset(dies)
    with pytest.raises(PenstockError):
        far_lake.session().writer().publish(dead, expected)
    proxy.reset()
    far_lake.put(orders(20), mode=Mode.APPEND)

    again = far_lake.session().writer().publish(dead, expected)

    assert (again.again, again.rows_staged) == (True, 2)
    assert sorted(row[0] for row in far_lake.rows()) == [1, 2, 3, 10, 11, 20]
    assert_clean(far_lake)


def test_loads_of_many_jobs_at_once_all_arrive(lake: Bay) -> None:
    failures = []

    def work(number: int) -> None:
        load = replace(load_of(Mode.APPEND, f"many-{number}", BEFORE.schema), job=f"job-{number}")
        try:
            expected = lake.stage(load, orders(number), orders(number + 100))
            patiently(lambda: lake.session().writer().publish(load, expected))
        except PenstockError as error:
            failures.append(error)

    lake.put(BEFORE)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(10, 14)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert not failures
    ids = sorted(row[0] for row in lake.rows())
    assert ids == [1, 2, 3, *range(10, 14), *range(110, 114)]
    assert_clean(lake)


def test_an_upsert_copies_only_what_it_changes(far_lake: Bay, proxy: Proxy) -> None:
    far_lake.put(*(orders(number, note="old") for number in range(8)))
    load = load_of(Mode.UPSERT, "some", BEFORE.schema)
    expected = far_lake.stage(load, orders(3, note="new"))
    before = set(far_lake.held())
    proxy.reset()

    far_lake.session().writer().publish(load, expected)

    kept = before & set(far_lake.held())
    assert len([key for key in kept if key.startswith("public.orders/part-")]) == 7
    assert shown(far_lake)[3] == (3, "new")


def test_adopted_objects_are_replaced_and_then_gone(lake: Bay) -> None:
    bucket, text = lake.bucket, b"id,note\n9,x\n"
    bucket.put("house/public.orders/found.csv", text)
    adopting = {"format": "csv", "adopt": True}

    lake.put(orders(1, note="mine"), mode=Mode.APPEND, options=adopting)
    assert lake.rows() == [(1, "mine"), (9, "x")]
    lake.put(orders(2, note="mine"), options=adopting)

    assert lake.rows() == [(2, "mine")]
    assert_clean(lake)


def test_an_empty_table_keeps_its_columns(lake: Bay) -> None:
    lake.put(orders())

    assert lake.rows() == []
    assert [column.name for column in lake.describe().columns] == ["id", "note"]


def test_partitions_are_folders(lake: Bay) -> None:
    options = {"layout": "hive", "partition_by": "note"}
    lake.put(pa.concat_tables([orders(1, 2, note="a b"), orders(3, note="c")]), options=options)

    assert sorted({key.split("/")[1] for key in lake.held() if "part-" in key}) == ["note=a%20b", "note=c"]
    assert lake.rows() == [(1, "a b"), (2, "a b"), (3, "c")]


def test_publish_expects_what_was_staged(lake: Bay) -> None:
    load = load_of(Mode.REPLACE, "short", BEFORE.schema)
    lake.stage(load, BEFORE)
    [staged] = [key for key in lake.held() if key.endswith(".staged")]
    lake.bucket.put(f"house/{staged}", b"cut")

    with pytest.raises(PenstockError, match="is not what was written: 3 of"):
        lake.session().writer().publish(load, Expected(1, 3))
