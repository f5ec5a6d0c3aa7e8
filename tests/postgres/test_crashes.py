"""A process that is killed at any point of a load, and the same load run again: nothing lost, nothing doubled."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import psycopg
import pytest

from penstock.core.errors import Locked
from penstock.core.load import Chunk, Expected
from tests.postgres.killed_load import PARTS, SCHEMA, part, whole
from tests.postgres.loading import load_of, run, session, source_of

pytestmark = pytest.mark.postgres

POINTS = ["prepared", "half a part", "part 3", "in publish", "published"]
# Every point for the modes that differ most, the publish for all.
CASES = [(mode, point) for mode in ("replace", "upsert") for point in POINTS]
CASES += [(mode, point) for mode in ("append", "delete_insert", "insert_only") for point in POINTS[3:]]


def killed_at(dsn: str, mode: str, wanted: str) -> None:
    """Run the load in a process of its own and kill it when it reaches `wanted`."""
    command = [sys.executable, "-m", "tests.postgres.killed_load", dsn, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == wanted:
                break
            child.stdin.write("\n")
            child.stdin.flush()
        if wanted == "in publish":
            _kill_while_it_waits_for_the_table(dsn, child)
        child.kill()
    assert child.returncode == -9


def _kill_while_it_waits_for_the_table(dsn: str, child: subprocess.Popen[str]) -> None:
    """Its transaction has marked and counted by then, and stands before the statements that change rows."""
    assert child.stdin is not None
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as watcher:
        holder.execute("LOCK TABLE t IN SHARE MODE")
        child.stdin.write("\n")
        child.stdin.flush()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass"
        while watcher.execute(waiting).fetchone() == (0,):
            threading.Event().wait(0.01)
        child.kill()


@pytest.mark.parametrize(("mode", "point"), CASES)
def test_a_load_killed_anywhere_and_run_again_is_exact(dsn, mode, point):
    run(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, v text)", "INSERT INTO t VALUES (3, 'old'), (-1, 'old')")
    if mode == "append":
        run(dsn, "DELETE FROM t WHERE id = 3")
    killed_at(dsn, mode, point)

    published = _when_the_claim_is_free(lambda: whole(dsn, mode))

    fresh = [(at, f"new {at}") for at in range(PARTS * 1000)]
    old = [] if mode == "replace" else [(-1, "old")]
    if mode == "insert_only":
        fresh[3] = (3, "old")
    assert run(dsn, "SELECT id, v FROM t ORDER BY id") == [*old, *fresh]
    assert published.again == (point == "published")
    assert run(dsn, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r'") == [(1,)]


def _when_the_claim_is_free(call):
    """The server notices a little later that the killed process is gone."""
    until = time.monotonic() + 120
    while True:
        try:
            return call()
        except Locked:
            if time.monotonic() > until:
                raise
            threading.Event().wait(0.05)


@pytest.mark.parametrize("point", ["prepared", "part 0"])
def test_a_dead_load_leaves_nothing_once_the_next_one_is_prepared(dsn, point):
    run(dsn, "CREATE TABLE t (id int8 PRIMARY KEY, v text)")
    killed_at(dsn, "replace", point)
    newer = load_of("public.t", SCHEMA)
    with session(dsn) as opened:
        _when_the_claim_is_free(lambda: opened.writer().prepare(newer))

        assert run(dsn, "SELECT DISTINCT load_id FROM _penstock_ledger") == [(newer.load_id,)]
        assert run(dsn, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r'") == [
            (2,)
        ]


def test_a_load_that_is_alive_is_never_swept_away(dsn):
    alive, newer = load_of("public.t", SCHEMA), load_of("public.t", SCHEMA)
    with session(dsn) as one, session(dsn) as other:
        one.writer().claim(alive)
        one.writer().prepare(alive)
        with pytest.raises(Locked, match=r"table public\.t is being loaded by 'penstock nightly'"):
            other.writer().prepare(newer)
        one.writer().write(alive, "0", iter(part(0).to_batches()))

        assert one.writer().publish(alive, Expected(1, 1000)).rows_after == 1000


def test_sessions_of_one_load_share_its_claim(dsn):
    mine = load_of("public.t", SCHEMA)
    with session(dsn) as one, session(dsn) as other:
        one.writer().claim(mine)
        other.writer().claim(mine)
        other.writer().prepare(mine)

        assert other.writer().write(mine, "0", iter(part(0).to_batches())).rows == 1000


def test_the_same_part_from_two_sessions_at_once_is_written_once(dsn):
    mine = load_of("public.t", SCHEMA)
    with session(dsn) as opened:
        opened.writer().prepare(mine)
    written = []

    def write() -> None:
        with session(dsn) as opened:
            written.append(opened.writer().write(mine, "0", iter(part(0).to_batches(max_chunksize=10))))

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with session(dsn) as opened:
        published = opened.writer().publish(mine, Expected(1, 1000))

    assert sorted(one.again for one in written) == [False, True, True]
    assert {one.rows for one in written} == {1000}
    assert published.rows_after == 1000


@pytest.mark.native
def test_a_pass_through_that_is_repeated_copies_no_row_twice(dsn):
    run(dsn, "CREATE TABLE s AS SELECT i::int8 AS id, 'x'::text AS v FROM generate_series(1, 20000) AS i")
    with session(dsn) as opened:
        source = source_of(opened, "public.s")
        chunks = opened.reader().split(source, 200_000)
        mine = load_of("public.t", source)
        opened.writer().prepare(mine)
        for _ in range(2):
            for chunk in [Chunk(one.ordinal, one.bounds) for one in chunks]:
                opened.writer().write_raw(mine, f"{chunk.ordinal:06d}", opened.reader().raw(source, chunk))
        published = opened.writer().publish(mine, Expected(len(chunks), 20_000))

    assert len(chunks) > 3
    assert published.rows_after == 20_000
