"""A load that dies at any moment leaves the old version or the new one; run again, it ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import DataError, Missing
from penstock.core.load import Expected, Load, Mode
from tests.files import crashing
from tests.files.lake import ORDERS, Lake, orders

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.files.crashing"])
OLD = [(1, "old"), (2, "old")]
PARTS = [orders(2, 3, note="new"), orders(4, note="new")]
VARIANTS: dict[str, tuple[Mode, Mapping[str, Any], bool]] = {
    "replace": (Mode.REPLACE, {}, True),
    "append": (Mode.APPEND, {}, True),
    "upsert into partitions": (Mode.UPSERT, {"layout": "hive", "partition_by": "note"}, True),
    "append to one file": (Mode.APPEND, {"layout": "file", "format": "csv"}, True),
    "keep the previous version": (Mode.REPLACE, {"keep_previous": True}, True),
    "without an exchange of folders": (Mode.REPLACE, {}, False),
    "one part": (Mode.REPLACE, {}, True),
    "one part, keep the previous version": (Mode.REPLACE, {"keep_previous": True}, True),
    "one part, without an exchange of folders": (Mode.REPLACE, {}, False),
}
ONE_PART = [pa.concat_tables(PARTS)]
NEW = {
    Mode.REPLACE: [(2, "new"), (3, "new"), (4, "new")],
    Mode.APPEND: [(1, "old"), (2, "new"), (2, "old"), (3, "new"), (4, "new")],
    Mode.UPSERT: [(1, "old"), (2, "new"), (3, "new"), (4, "new")],
}


def _begin(root: Path, options: Mapping[str, Any]) -> Lake:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    lake = Lake(root)
    lake.put(orders(1, 2, note="old"), options=options)
    return lake


def _parts(load: Load) -> list[pa.Table]:
    return ONE_PART if load.one_part else PARTS


def _run(lake: Lake, load: Load, die_at: int, exchange: bool) -> int:
    process = CONTEXT.Process(target=crashing.run, args=(str(lake.root), load, _parts(load), die_at, exchange))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _seen(lake: Lake) -> list[Any] | None:
    try:
        return lake.rows()
    except KeyError:
        return None


def _left(lake: Lake) -> list[str]:
    state = lake.root / ".penstock"
    found = [str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()]
    return sorted(
        name for name in found if not name.endswith(".lock") and not name.startswith(("previous", "retired", "tables"))
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_load_may_die_before_any_of_its_steps(memory_dir: Path, variant: str) -> None:
    mode, options, exchange = VARIANTS[variant]
    load = crashing.load_of(mode, options, "the-load", PARTS[0].schema, one_part=variant.startswith("one part"))
    root = memory_dir / "lake"
    lake = _begin(root, options)
    assert _run(lake, load, 0, exchange) == 0
    steps = int(Path(f"{root}.steps").read_text())
    assert steps > 9
    gaps = 0

    # The last steps are those of the publish; of the others a sample will do.
    for die_at in sorted({*random.Random(steps).sample(range(1, steps + 1), 6), *range(max(1, steps - 16), steps + 1)}):
        lake = _begin(root, options)
        assert _run(lake, load, die_at, exchange) == crashing.DIED

        seen = _seen(lake)
        gaps += seen is None
        assert seen in (OLD, NEW[mode], *([] if exchange else [None])), f"step {die_at} of {steps}"
        crashing.load_whole(lake, load, _parts(load))
        assert lake.rows() == NEW[mode], f"step {die_at} of {steps}"
        assert _left(lake) == [], f"step {die_at} of {steps}"
    assert gaps <= 1


@pytest.mark.parametrize("variant", [name for name, (_, _, exchange) in VARIANTS.items() if exchange])
def test_a_load_that_died_is_published_once_though_another_job_came_between(memory_dir: Path, variant: str) -> None:
    mode, options, exchange = VARIANTS[variant]
    load = crashing.load_of(mode, options, "the-load", PARTS[0].schema, one_part=variant.startswith("one part"))
    root = memory_dir / "lake"
    lake = _begin(root, options)
    _run(lake, load, 0, exchange)
    steps = int(Path(f"{root}.steps").read_text())
    published = 0

    # One more than there are steps: it lived, but nobody noted it.
    for die_at in range(max(1, steps - 12), steps + 2):
        lake = _begin(root, options)
        _run(lake, load, die_at, exchange)
        was_published = _seen(lake) == NEW[mode]
        published += was_published
        lake.put(orders(9), mode=Mode.APPEND, job="another", options=options)
        crashing.load_whole(lake, load, _parts(load))

        # A replace that had not been published comes after the other job, and leaves nothing of it.
        stays = was_published or mode is not Mode.REPLACE
        assert lake.rows() == [*NEW[mode], *([(9, "x")] if stays else [])], f"step {die_at} of {steps}"
        assert _left(lake) == [], f"step {die_at} of {steps}"
    assert published


@pytest.mark.parametrize("one_part", [False, True])
def test_the_next_load_ends_what_a_dead_one_began_without_an_exchange(memory_dir: Path, one_part: bool) -> None:
    root = memory_dir / "lake"
    load = crashing.load_of(Mode.REPLACE, {}, "the-load", PARTS[0].schema, one_part=one_part)
    lake = _begin(root, {})
    _run(lake, load, 0, exchange=False)
    steps = int(Path(f"{root}.steps").read_text())

    for die_at in range(max(1, steps - 14), steps + 1):
        lake = _begin(root, {})
        _run(lake, load, die_at, exchange=False)
        published = lake.put(orders(9), mode=Mode.APPEND)

        assert lake.rows() in (sorted([*OLD, (9, "x")]), [*NEW[Mode.REPLACE], (9, "x")]), f"step {die_at} of {steps}"
        assert published.rows_after == len(lake.rows())
        assert _left(lake) == []


def test_a_load_killed_at_random_moments_ends_exact(memory_dir: Path) -> None:
    moments = random.Random(5)
    parts = [orders(*range(at, at + 10_000), note="new") for at in range(0, 100_000, 10_000)]
    load = crashing.load_of(Mode.REPLACE, {"compression_level": 19}, "the-load", parts[0].schema)
    lake = _begin(memory_dir / "lake", {})
    killed = 0

    for turn in range(1, 9):
        process = CONTEXT.Process(target=crashing.run, args=(str(lake.root), load, parts, 0, True))
        process.start()
        # Each try gets further, on a quick machine and on a slow one; the first is killed on any.
        process.join(timeout=moments.uniform(0.1, 1) * 0.004 * 2**turn)
        process.kill()
        process.join()
        killed += process.exitcode == -9
        assert len(lake.rows()) in (2, 100_000)
    crashing.load_whole(lake, load, parts)

    assert killed
    assert lake.get().column("id").to_pylist() == list(range(100_000))
    assert _left(lake) == []


def test_parts_that_were_marked_are_not_read_again_after_a_crash(memory_dir: Path) -> None:
    lake = _begin(memory_dir / "lake", {})
    load = crashing.load_of(Mode.REPLACE, {}, "the-load", PARTS[0].schema)
    lake.session().writer().prepare(load)
    lake.session().writer().write(load, "000000", iter(PARTS[0].to_batches()))

    def never() -> Any:
        raise AssertionError("a marked part was read")
        yield

    again = lake.session().writer().write(load, "000000", never())
    lake.session().writer().write(load, "000001", iter(PARTS[1].to_batches()))
    lake.session().writer().publish(load, Expected(2, 3))
    after = lake.session().writer().write(load, "000000", never())

    assert (again.rows, again.again) == (2, True)
    assert (after.rows, after.again) == (2, True)
    assert lake.rows() == NEW[Mode.REPLACE]


def test_a_load_that_never_began_is_missing(memory_dir: Path) -> None:
    lake = _begin(memory_dir / "lake", {})
    load = crashing.load_of(Mode.REPLACE, {}, "the-load", pa.schema([("id", pa.int64())]))

    with pytest.raises(Missing):
        lake.session().writer().publish(load, Expected(0, 0))
    lake.session().writer().discard(load)
    assert lake.rows(ORDERS) == OLD


def test_a_part_that_was_staged_alone_is_not_read_again_after_a_crash(memory_dir: Path) -> None:
    lake = _begin(memory_dir / "lake", {})
    load = crashing.load_of(Mode.REPLACE, {}, "the-load", PARTS[0].schema, one_part=True)
    lake.session().writer().prepare(load)
    lake.session().writer().write(load, "000000", iter(ONE_PART[0].to_batches()))

    writer = lake.session().writer()
    writer.prepare(load)
    written = writer.write(load, "000000", _unreadable())
    published = writer.publish(load, Expected(1, 3))

    assert (written.rows, written.again) == (3, True)
    assert (published.rows_before, published.rows_after, published.again) == (2, 3, False)
    assert lake.rows() == NEW[Mode.REPLACE]
    assert writer.publish(load, Expected(1, 3)).again


def test_a_part_staged_alone_fits_the_version_that_came_between(memory_dir: Path) -> None:
    lake = _begin(memory_dir / "lake", {})
    load = crashing.load_of(Mode.REPLACE, {}, "the-load", PARTS[0].schema, one_part=True)
    lake.session().writer().prepare(load)
    lake.session().writer().write(load, "000000", iter(ONE_PART[0].to_batches()))
    lake.put(orders(7, 8, 9, note="between"), job="another")

    published = lake.session().writer().publish(load, Expected(1, 3))

    assert (published.rows_before, published.rows_deleted, published.rows_after) == (3, 3, 3)
    assert lake.rows() == NEW[Mode.REPLACE]
    assert sorted(lake.files()) == ["_penstock.json", "part-000003-000000.parquet"]


def test_a_part_staged_alone_that_was_damaged_is_not_published(memory_dir: Path) -> None:
    lake = _begin(memory_dir / "lake", {})
    load = crashing.load_of(Mode.REPLACE, {}, "the-load", PARTS[0].schema, one_part=True)
    lake.session().writer().prepare(load)
    lake.session().writer().write(load, "000000", iter(ONE_PART[0].to_batches()))
    (staged,) = (lake.root / ".penstock" / "staging").rglob("*.parquet")
    staged.write_bytes(staged.read_bytes()[:-1])

    with pytest.raises(DataError, match="is not what was written"):
        lake.session().writer().publish(load, Expected(1, 3))

    assert lake.rows() == OLD


def _unreadable() -> Iterator[pa.RecordBatch]:
    raise AssertionError("read again")
    yield
