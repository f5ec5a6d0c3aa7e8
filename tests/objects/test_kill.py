"""SIGKILL at random moments of real runs into a bucket: the next run goes on, and nothing is left of the dead ones."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.core.names import TableName
from tests.faults.project import ProjectDir, kill_until_done
from tests.objects.lake import bay
from tests.parts.objects import S3, plain_options

EVENTS = TableName(("events",))
FILES = 60


def project(folder: Path, s3: S3, bucket: str) -> ProjectDir:
    options = urlencode(plain_options(s3.options()))
    connections = {"inbox": f"file:{folder.parent}/inbox", "lake": f"s3://{bucket}/house?{options}"}
    job = {
        "kind": "copy",
        "source": "inbox",
        "target": "lake",
        "tables": ["events"],
        "chunk_size": "8 KiB",
        "workers": 2,
    }
    return ProjectDir(folder, connections, {"raw": job})


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_loads_continue_and_leave_nothing(s3: S3, tmp_path: Path, kills: int) -> None:
    events = tmp_path / "inbox" / "events"
    events.mkdir(parents=True)
    for number in range(FILES):
        ids = range(number * 100, number * 100 + 100)
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), events / f"{number:02d}.parquet")
    clean = project(tmp_path / "clean", s3, s3.new_bucket()).run("run")
    assert clean.code == 0, clean.err
    deaths, load = 0, 0

    while deaths < kills:
        load += 1
        bucket = s3.new_bucket()
        killed = project(tmp_path / f"p{load}", s3, bucket)
        runs = kill_until_done(killed, clean.wall_s, kills - deaths, 7 + load)
        deaths += sum(run.killed for run in runs)
        lake = bay(s3.connection(bucket, "house"))

        assert runs[-1].code == 0, runs[-1].err
        assert sorted(lake.get(EVENTS).column("id").to_pylist()) == list(range(FILES * 100))
        assert [key for key in lake.held() if key.startswith(".penstock/")] == []
        assert load <= 4 * kills, "kills do not hit"
