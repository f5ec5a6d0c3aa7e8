"""Faults come exactly where the plan says, through every port, and never anywhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.connectors.registry import open_session
from penstock.core import errors
from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Source
from penstock.core.names import TableName
from penstock.core.ports import RawReader, Session, Snapshots
from penstock.core.schema import Column, TypePolicy
from penstock.core.spec import ConnectionSpec
from penstock.testing import faults
from penstock.testing.faults import Fault, Injector, injector_of, parse_plan, random_plan, wrap_session
from penstock.testing.memory import MemorySession, Store

T = TableName(("t",))
COLUMNS = (Column("n", pa.int64()),)
SOURCE = Source(T, columns=COLUMNS)
LOAD = Load("load-1", "job", TableName(("copied",)), COLUMNS, Mode.APPEND)


def _store() -> Store:
    store = Store()
    store.put("t", pa.table({"n": pa.array(range(10), pa.int64())}))
    return store


def _session(plan: str, store: Store | None = None) -> tuple[Session, Injector]:
    injector = Injector(parse_plan(plan))
    return wrap_session(MemorySession(store or _store()), injector), injector


def _read(session: Session) -> Iterator[pa.RecordBatch]:
    return session.reader().read(SOURCE, Chunk(0), BatchSize(rows=2))


def test_without_faults_all_ports_work_as_before() -> None:
    session, injector = _session("")
    writer = session.writer()
    writer.prepare(LOAD)

    written = writer.write(LOAD, "0", _read(session))
    published = writer.publish(LOAD, Expected(1, written.rows))

    assert published.rows_after == 10
    assert session.catalog().describe([T], TypePolicy())[T].columns == COLUMNS
    assert injector.fired == []


def test_optional_ports_are_the_same() -> None:
    session, _ = _session("")

    assert isinstance(session, Snapshots)
    assert not isinstance(session.reader(), RawReader)


def test_a_cut_comes_at_its_batch_and_breaks_the_session() -> None:
    session, injector = _session("read.batch@3:cut")
    got = []

    with pytest.raises(errors.ConnectionLost, match=r"^read\.batch call 3: the connection was cut; injected$"):
        got.extend(_read(session))

    assert sum(batch.num_rows for batch in got) == 4
    assert injector.fired == ["read.batch@3:cut"]
    with pytest.raises(errors.ConnectionLost, match="cut before"):
        session.catalog().tables()


def test_a_cut_while_writing_leaves_no_part() -> None:
    store = _store()
    session, _ = _session("write.batch@2:cut", store)
    session.writer().prepare(LOAD)

    with pytest.raises(errors.ConnectionLost):
        session.writer().write(LOAD, "0", _read(session))

    assert MemorySession(store).writer().write(LOAD, "0", iter([])).again is False


def test_a_lost_answer_leaves_the_work_done() -> None:
    store = _store()
    session, _ = _session("publish.after:cut", store)
    session.writer().prepare(LOAD)
    session.writer().write(LOAD, "0", _read(session))

    with pytest.raises(errors.ConnectionLost):
        session.writer().publish(LOAD, Expected(1, 10))

    assert MemorySession(store).writer().publish(LOAD, Expected(1, 10)).again is True


@pytest.mark.parametrize(
    ("plan", "kind", "wait_s"),
    [
        ("tables:refuse", errors.Unavailable, None),
        ("tables:disk_full", errors.DiskFull, None),
        ("tables:throttle=1.5", errors.Busy, 1.5),
        ("tables:error=SnapshotLost", errors.SnapshotLost, None),
    ],
)
def test_each_kind_raises_its_class(plan: str, kind: type[errors.PenstockError], wait_s: float | None) -> None:
    session, _ = _session(plan)

    with pytest.raises(kind) as caught:
        session.catalog().tables()

    assert caught.value.wait_s == wait_s
    assert session.catalog().tables()


def test_faults_repeat_as_often_as_planned() -> None:
    session, injector = _session("count@2x2:refuse")
    outcomes = []
    for _ in range(5):
        try:
            outcomes.append(session.reader().count(SOURCE))
        except errors.Unavailable:
            outcomes.append(None)

    assert outcomes == [10, None, None, 10, 10]
    assert injector.fired == ["count@2:refuse", "count@3:refuse"]


def test_a_hanging_call_ends_when_it_is_cancelled() -> None:
    session, injector = _session("count:hang")

    def cancel_when_hanging() -> None:
        while not injector.fired:
            threading.Event().wait(0.001)
        session.cancel()

    other = threading.Thread(target=cancel_when_hanging)
    other.start()
    with pytest.raises(errors.Stopped, match=r"^count call 1 was cancelled$"):
        session.reader().count(SOURCE)
    other.join()

    assert session.reader().count(SOURCE) == 10


def test_opening_is_a_point_too() -> None:
    open_faulty = faults.faulty(lambda spec: MemorySession(_store()), Injector(parse_plan("open@1x2:refuse")))
    spec = ConnectionSpec("m", "memory:any")

    for _ in range(2):
        with pytest.raises(errors.Unavailable):
            open_faulty(spec)

    assert open_faulty(spec).check().server


def test_death_happens_once_when_it_is_noted(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from penstock.testing.faults import *\n"
        f"injector = Injector(parse_plan('count@2:die'), noted=Path({str(tmp_path / 'noted')!r}))\n"
        "state = SessionState(); injector.hit('count', state); injector.hit('count', state); print('alive')"
    )
    run = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": "src"}

    first = subprocess.run(run, capture_output=True, text=True, env=environment)
    second = subprocess.run(run, capture_output=True, text=True, env=environment)

    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "")
    assert (second.returncode, second.stdout) == (0, "alive\n"), second.stderr


def test_the_same_seed_gives_the_same_plan() -> None:
    assert random_plan(7) == random_plan(7)
    assert random_plan(7) != random_plan(8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("read", "'read' is no fault; write POINT[@CALL][xTIMES]:KIND[=ARGUMENT]"),
        ("raed:cut", "fault 'raed:cut' names no point; points: check, claim,"),
        ("read:explode", "fault 'read:explode' has no such kind; kinds: refuse,"),
        ("read:error=Oops", "fault 'read:error=Oops' names no error class"),
        ("read:slow", "fault slow needs seconds; write slow=0.5"),
    ],
)
def test_a_wrong_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(errors.SpecError) as caught:
        parse_plan(text)

    assert str(caught.value).startswith(message)


def test_a_plan_is_read_as_written() -> None:
    assert parse_plan("write.batch@2x5:throttle=1.5; publish.after:die; read x*:slow=0") == (
        Fault("write.batch", "throttle", 2, 5, "1.5"),
        Fault("publish.after", "die"),
        Fault("read", "slow", 1, None, "0"),
    )


def test_a_url_brings_faults_to_any_connector() -> None:
    spec = ConnectionSpec("m", "fault+memory:by-url", {"faults": "tables@2:cut"})
    session = open_session(spec)

    assert session.catalog().tables() == []
    with pytest.raises(errors.ConnectionLost):
        session.catalog().tables()

    assert injector_of(spec).fired == ["tables@2:cut"]
    assert type(session.reader()).__name__ == "FaultyMemoryReader"
