"""What the journal tells of runs, past and live; for status and report, from any process, while a run writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import Missing
from penstock.engine.failure import Failure
from penstock.engine.journal import Journal, from_json, now_ms
from penstock.engine.lock import STALE_S
from penstock.engine.outcome import Counts, State
from penstock.engine.process import ProcessId, is_alive, is_here
from penstock.engine.stored import span

# All times are UTC in ms since 1970; None is "not yet".


@dataclass(frozen=True)
class RunLine:
    """One run. `is_live` says whether its process still runs; a run whose process is gone shows as KILLED."""

    run_id: str
    state: State
    started_ms: int
    finished_ms: int | None
    host: str
    pid: int
    command: str
    jobs: tuple[str, ...]
    exit_code: int | None
    is_live: bool
    stop_requested: int = 0


@dataclass(frozen=True)
class StageLine:
    """The items of one kind in one stage of a job's plan; `busy_s` is the time of workers summed over last attempts."""

    stage: int
    kind: str
    counts: Counts
    started_ms: int | None
    finished_ms: int | None
    busy_s: float


@dataclass(frozen=True)
class SampleLine:
    """One look at a job while it ran. `done`, `rows` and `size_bytes` are totals of the plan, `failed`, `retries` and
    `wait_s` (time lost to limits and backoff, summed over workers) of this run; `rss_bytes` is the driver's memory."""

    at_ms: int
    done: int
    failed: int
    rows: int
    size_bytes: int
    in_flight: int
    retries: int
    wait_s: float
    rss_bytes: int


@dataclass(frozen=True)
class NoteLine:
    """Something worth knowing afterwards. `kind`: workers, retry, recover, snapshot, takeover, resume, abandoned, stop,
    close, cancel. `job` and `key` are "" where it concerns the whole run or job."""

    at_ms: int
    kind: str
    job: str
    key: str
    text: str


@dataclass(frozen=True)
class ItemLine:
    """One item as the journal has it."""

    item_id: int
    run_id: str
    job: str
    key: str
    kind: str
    stage: int
    group: str
    state: str
    attempts: int
    rows: int
    size_bytes: int
    payload: Mapping[str, Any]
    cursor: Mapping[str, Any] | None
    result: Mapping[str, Any]
    error: Failure | None
    started_ms: int | None
    finished_ms: int | None
    worker: str


@dataclass(frozen=True)
class JobReport:
    """One job of a run. `counts` cover the whole plan, `done_here` this run alone; `resumed_from` names the run that it
    continued, `snapshot` what readers shared. `facts` are those of the plan's groups, by group."""

    job: str
    kind: str
    state: State
    exit_code: int | None
    counts: Counts
    done_here: int
    workers: int
    executor: str
    plan_hash: str
    plan_id: str
    is_planned: bool
    resumed_from: str
    reason: str
    error: Failure | None
    snapshot: Mapping[str, str]
    started_ms: int
    finished_ms: int | None
    stages: tuple[StageLine, ...] = ()
    samples: tuple[SampleLine, ...] = ()
    notes: tuple[NoteLine, ...] = ()
    failed: tuple[ItemLine, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunReport:
    """Everything the journal knows of one run but the items that are done (see `items`)."""

    run: RunLine
    versions: Mapping[str, str]
    jobs: tuple[JobReport, ...]
    notes: tuple[NoteLine, ...]


_RUN = """
SELECT id, state, started_ms, finished_ms, host, pid, process_start, boot_id, command, exit_code, stop_requested,
    (SELECT json_group_array(job) FROM (SELECT job FROM job_runs WHERE run = runs.id ORDER BY id)),
    (SELECT max(heartbeat_ms) FROM locks WHERE run = runs.id)
FROM runs"""

_JOB = """
SELECT j.job, j.kind, j.state, j.exit_code, j.counts, j.done_here, j.workers, j.executor, j.plan_hash, o.run, j.is_planned,
    e.run, j.reason, j.error, j.snapshot, j.started_ms, j.finished_ms, j.id, j.origin
FROM job_runs j LEFT JOIN job_runs o ON o.id = j.origin LEFT JOIN job_runs e ON e.id = j.resumed_from
WHERE j.run = ? ORDER BY j.id"""

_STAGES = """
SELECT stage, kind, total(state = 'pending'), total(state = 'running'), total(state = 'done'), total(state = 'failed'),
    total(state = 'skipped'), total(rows), total(size_bytes), min(started_ms), max(finished_ms),
    total(finished_ms - started_ms) / 1000
FROM items WHERE id BETWEEN ? AND ? GROUP BY stage, kind ORDER BY stage, kind"""

_NOTES = """
SELECT n.at_ms, n.kind, coalesce(j.job, ''), coalesce(i.key, ''), n.text
FROM notes n LEFT JOIN job_runs j ON j.id = n.job_run LEFT JOIN items i ON i.id = n.item
WHERE n.run = ? AND n.job_run IS ? ORDER BY n.id LIMIT 10000"""

_SAMPLES = """
SELECT at_ms, done, failed, rows, size_bytes, in_flight, retries, wait_s, rss_bytes FROM samples
WHERE job_run = ? ORDER BY at_ms"""

ITEM = """
SELECT i.id, r.run, r.job, i.key, i.kind, i.stage, i.group_name, i.state, i.attempts, i.rows, i.size_bytes, i.payload,
    i.cursor, i.result, i.error, i.started_ms, i.finished_ms, i.worker
FROM items i LEFT JOIN job_runs r ON r.id = coalesce(i.ran_in, i.job_run)"""


def list_runs(journal: Journal, limit: int = 50) -> list[RunLine]:
    """Runs, newest first."""
    rows = journal.db.execute(f"{_RUN} ORDER BY started_ms DESC, rowid DESC LIMIT ?", (limit,))
    return [_run_line(row) for row in rows]


def find_run(journal: Journal, run_id: str = "") -> RunLine:
    """The run of that id or unique beginning of one; without id the newest. Raises Missing."""
    query = f"{_RUN} WHERE substr(id, 1, length(?)) = ? ORDER BY started_ms DESC, rowid DESC LIMIT 2"
    rows = journal.db.execute(query, (run_id, run_id)).fetchall()
    if not rows:
        what = f"there is no run {run_id!r}" if run_id else "nothing has run in this project yet"
        raise Missing(what, "list what ran with: penstock status" if run_id else "start with: penstock run")
    if run_id and len(rows) > 1 and rows[0][0] != run_id:
        raise Missing(
            f"several runs begin with {run_id!r}", f"for instance {rows[0][0]} and {rows[1][0]}: write more of it"
        )
    return _run_line(rows[0])


def report(journal: Journal, run_id: str = "") -> RunReport:
    """The full report of a run (newest without id); of a live one as far as it has come. Raises Missing."""
    run = find_run(journal, run_id)
    versions = journal.db.execute("SELECT versions FROM runs WHERE id = ?", (run.run_id,)).fetchone()[0]
    jobs = journal.db.execute(_JOB, (run.run_id,)).fetchall()
    return RunReport(
        run,
        from_json(versions),
        tuple(_job_report(journal, run, row) for row in jobs),
        tuple(NoteLine(*row) for row in journal.db.execute(_NOTES, (run.run_id, None))),
    )


def items(
    journal: Journal, run_id: str, job: str, *, state: str = "", limit: int = 1000, after: int = 0
) -> list[ItemLine]:
    """Items of a job's plan in plan order, from item id `after` on; all states if `state` is ""."""
    query = "SELECT origin FROM job_runs WHERE run = ? AND job = ?"
    row = journal.db.execute(query, (find_run(journal, run_id).run_id, job)).fetchone()
    if row is None or row[0] is None:
        return []
    low, high = span(row[0])
    query = f"{ITEM} WHERE i.id BETWEEN ? AND ? AND ? IN ('', i.state) ORDER BY i.id LIMIT ?"
    return [item_line(row) for row in journal.db.execute(query, (max(low, after + 1), high, state, limit))]


def item_line(row: Sequence[Any]) -> ItemLine:
    """An ItemLine from a row of ITEM."""
    names = ("item_id", "run_id", "job", "key", "kind", "stage", "group", "state", "attempts", "rows", "size_bytes")
    plain: dict[str, Any] = dict(zip(names, row[:11], strict=True))
    return ItemLine(
        **plain,
        payload=from_json(row[11]),
        cursor=from_json(row[12]) if row[12] else None,
        result=from_json(row[13]),
        error=Failure.from_json(from_json(row[14])) if row[14] else None,
        started_ms=row[15],
        finished_ms=row[16],
        worker=row[17] or "",
    )


def _run_line(row: Sequence[Any]) -> RunLine:
    process = ProcessId(*row[4:8])
    # A process elsewhere cannot be looked at: its heartbeat tells.
    is_alive_there = now_ms() - (row[12] or 0) <= STALE_S * 1000
    is_live = row[1] == State.RUNNING and (is_alive(process) if is_here(process) else is_alive_there)
    return RunLine(
        run_id=row[0],
        state=State.KILLED if row[1] == State.RUNNING and not is_live else State(row[1]),
        started_ms=row[2],
        finished_ms=row[3],
        host=process.host,
        pid=process.pid,
        command=row[8],
        jobs=tuple(from_json(row[11])),
        exit_code=row[9],
        is_live=is_live,
        stop_requested=row[10],
    )


def _job_report(journal: Journal, run: RunLine, row: Sequence[Any]) -> JobReport:
    *_, job_run, origin = row
    state = State.KILLED if row[2] == State.RUNNING and not run.is_live else State(row[2])
    ids = span(origin) if origin is not None else (0, -1)
    failed = f"{ITEM} WHERE i.job_run = ? AND i.state = 'failed' ORDER BY i.id LIMIT 1000"
    facts = "SELECT name, facts FROM groups WHERE job_run = ? ORDER BY first_item"
    db = journal.db
    return JobReport(
        job=row[0],
        kind=row[1],
        state=state,
        exit_code=row[3],
        counts=Counts(**from_json(row[4])),
        done_here=row[5],
        workers=row[6],
        executor=row[7],
        plan_hash=row[8],
        plan_id=row[9] or "",
        is_planned=bool(row[10]),
        resumed_from=row[11] or "",
        reason=row[12],
        error=Failure.from_json(from_json(row[13])) if row[13] else None,
        snapshot=from_json(row[14]),
        started_ms=row[15],
        finished_ms=row[16],
        stages=tuple(_stage_line(stage) for stage in db.execute(_STAGES, ids)),
        samples=tuple(SampleLine(*sample) for sample in db.execute(_SAMPLES, (job_run,))),
        notes=tuple(NoteLine(*note) for note in db.execute(_NOTES, (run.run_id, job_run))),
        failed=tuple(item_line(item) for item in db.execute(failed, (origin,))),
        facts={name: from_json(text) for name, text in db.execute(facts, (origin,))},
    )


def _stage_line(row: Sequence[Any]) -> StageLine:
    counts = Counts(*(int(value) for value in row[2:9]))
    return StageLine(row[0], row[1], counts, row[9], row[10], row[11])
