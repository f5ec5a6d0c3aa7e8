"""A disk that runs full: the error says so, the old version is whole, and with room again the load goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.core.errors import DiskFull, Retry
from penstock.core.load import Expected, Mode
from tests.files.lake import Lake, batches, orders

SIZE_BYTES = 2 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("DISK FULL IS NOT TESTED: mounting a small file system needs root")
    target = tmp_path / "small"
    target.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"DISK FULL IS NOT TESTED: mount says {mounted.stderr.strip()}")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def _large() -> pa.Table:
    """Some 4 MiB that do not pack."""
    return pa.table(
        {"id": pa.array(range(1000), pa.int64()), "note": [os.urandom(4000).hex()[:4000] for _ in range(1000)]}
    )


@pytest.mark.parametrize("format_name", ["parquet", "arrow", "csv", "ndjson"])
def test_a_full_disk_leaves_the_old_version_whole(small_disk: Path, format_name: str) -> None:
    lake = Lake(small_disk, {"format": format_name})
    options = {"compression": "none"}
    lake.put(orders(1, 2), options=options)
    load = lake.load(orders(1), options=options)
    writer = lake.session().writer()
    writer.prepare(load)

    with pytest.raises(DiskFull, match=r"cannot write part '000000' of table public\.orders: no space left") as caught:
        writer.write(load, "000000", batches(_large(), 50))

    assert caught.value.retry is Retry.NEVER
    assert lake.rows() == [(1, "x"), (2, "x")]
    assert not [path for path in (small_disk / ".penstock").rglob("*") if path.suffix in (".tmp", ".staged")]
    writer.write(load, "000000", batches(orders(3)))
    writer.publish(load, Expected(1, 1))
    assert lake.rows() == [(3, "x")]


def test_a_disk_that_runs_full_while_publishing_changes_nothing(small_disk: Path) -> None:
    lake = Lake(small_disk)
    half = _large().slice(0, 200)
    lake.put(half, options={"layout": "file"})
    load = lake.load(half, Mode.APPEND, options={"layout": "file"})
    expected = lake.stage(load, half)
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))

    with pytest.raises(DiskFull, match=r"cannot publish table public\.orders: no space left"):
        lake.session().writer().publish(load, expected)
    assert lake.get().num_rows == 200

    filler.unlink()
    assert lake.session().writer().publish(load, expected).rows_after == 400
    assert lake.get().num_rows == 400
