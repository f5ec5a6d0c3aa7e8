"""One run: jobs in order, under locks, with a journal, to an outcome that follows from what the journal says."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from penstock.core.errors import Missing, PenstockError, SpecError
from penstock.engine.job import Job, OpenSession
from penstock.engine.job_run import JobOptions, JobRunner
from penstock.engine.journal import Journal, now_ms, to_json
from penstock.engine.lock import acquire, job_lock, release
from penstock.engine.outcome import EXIT_FAILED, EXIT_STOPPED, JobOutcome, RunOutcome, State, run_exit_code, run_state
from penstock.engine.process import ProcessId, is_alive, is_here, this_process
from penstock.engine.progress import RunEvent
from penstock.engine.resume import record_unrun
from penstock.engine.stop import Stop
from penstock.engine.watch import Deadline, Watch
from penstock.engine.worker import job_call

OnEvent = Callable[[RunEvent], object]


@dataclass(frozen=True)
class RunOptions:
    """How this execution differs from what its jobs say; None leaves a job's own setting.

    `fresh` abandons unfinished earlier runs of the jobs. `timeout_s` limits the whole run (a job's own RunSpec.timeout_s
    limits that job). `grace_s` is what a soft stop by time-out gets before the hard one. `command` is a summary for the
    list of runs, without argument values; `versions` go into the report.
    """

    workers: int | None = None
    executor: str | None = None
    fresh: bool = False
    timeout_s: float | None = None
    grace_s: float = 10.0
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def execute(
    jobs: Sequence[Job],
    journal_file: Path,
    open_session: OpenSession,
    options: RunOptions = RunOptions(),
    stop: Stop | None = None,
    on_event: OnEvent | None = None,
) -> RunOutcome:
    """Run `jobs`, one after the other in the given order (a job stands behind those in its `after`).

    Continues by itself what an earlier run of the same plan left unfinished. Job.close() is called for each job, also for
    those that did not start. `on_event` is called in this thread. A failed job is no exception but an outcome; raises
    Locked (nothing was changed) when another live run holds one of the jobs or locks, SpecError for a wrong option.
    """
    try:
        _check_order(jobs)
        with Journal.open(journal_file) as journal:
            run = _Run(journal, jobs, options, stop or Stop(), on_event)
            run.begin()
            try:
                run.run(open_session)
            finally:
                outcome = run.end()
            return outcome
    finally:
        for job in jobs:
            _close(job)


def request_stop(journal_file: Path, run_id: str = "", *, hard: bool = False) -> str:
    """Ask a live run (the newest without id) to stop; the second request, or `hard`, stops at once. Seen within 0.5 s.

    Returns the run's id. Raises Missing when there is no such run or it has ended.
    """
    with Journal.open(journal_file, must_exist=True) as journal, journal.transaction() as db:
        query = """
            SELECT id, host, pid, process_start, boot_id FROM runs
            WHERE state = ? AND substr(id, 1, length(?)) = ? ORDER BY started_ms DESC, rowid DESC"""
        for found, *process in db.execute(query, (State.RUNNING, run_id, run_id)).fetchall():
            holder = ProcessId(*process)
            if is_here(holder) and not is_alive(holder):
                continue
            asked = "2" if hard else "min(2, stop_requested + 1)"
            db.execute(f"UPDATE runs SET stop_requested = {asked} WHERE id = ?", (found,))
            return str(found)
    what = f"run {run_id!r} is not running" if run_id else "nothing is running in this project"
    raise Missing(what, "see what ran with: penstock status")


class _Run:
    """One execution: its row, locks, watch and the outcomes so far. Driver thread only."""

    def __init__(
        self,
        journal: Journal,
        jobs: Sequence[Job],
        options: RunOptions,
        stop: Stop,
        tell: OnEvent | None,
    ) -> None:
        self._journal = journal
        self._run_id = _new_run_id()
        self._jobs = jobs
        self._options = options
        self._stop = stop
        self._tell = tell
        self._outcomes: list[JobOutcome] = []
        self._started_ms = now_ms()

    def begin(self) -> None:
        """Take the locks and write the run's row, both or neither."""
        names = [name for job in self._jobs for name in (job_lock(job.name), *job.locks)]
        process = this_process()
        with self._journal.transaction() as db:
            taken_over = acquire(self._journal, self._run_id, list(dict.fromkeys(names)))
            db.execute(
                "INSERT INTO runs (id, started_ms, state, host, pid, process_start, boot_id, command, versions) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._run_id,
                    self._started_ms,
                    State.RUNNING,
                    process.host,
                    process.pid,
                    process.started,
                    process.boot,
                    self._options.command,
                    to_json(dict(self._options.versions)),
                ),
            )
            for holder in taken_over:
                dead = f"run {holder.run_id} (host {holder.process.host!r}, pid {holder.process.pid})"
                self._note("takeover", f"took {holder.name} over from {dead}, which is dead")
        self._say(State.RUNNING)

    def run(self, open_session: OpenSession) -> None:
        """All jobs, as far as they may run."""
        assert self._journal.owner is not None
        options = self._options
        watch = Watch(self._journal.path, self._journal.owner, self._stop)
        watch.start()
        reason = f"the run took longer than {options.timeout_s} s"
        try:
            with watch.deadline(self._stop, options.timeout_s, options.grace_s, reason) as deadline:
                for job in self._jobs:
                    self._outcomes.append(self._run_job(job, open_session, watch, deadline))
                    for text in _close(job):
                        self._note("close", text)
            if self._stop.soft.is_set():
                self._note("stop", f"stopped: {self._stop.reason}")
        finally:
            watch.close()

    def _run_job(self, job: Job, open_session: OpenSession, watch: Watch, deadline: Deadline) -> JobOutcome:
        why, state = self._hindrance(job, deadline)
        if why:
            record_unrun(self._journal, self._run_id, job, state, why)
            code = EXIT_STOPPED if state is State.STOPPED else EXIT_FAILED
            return JobOutcome(job.name, job.kind, state, code, reason=why)
        options = JobOptions(self._options.workers, self._options.executor, self._options.fresh, self._options.grace_s)
        runner = JobRunner(self._journal, self._run_id, job, options, self._stop, self._tell)
        return runner.run(open_session, watch, deadline)

    def end(self) -> RunOutcome:
        """Write how the run ended and give up its locks."""
        states = [outcome.state for outcome in self._outcomes]
        if len(states) < len(self._jobs):
            states.append(State.STOPPED if self._stop.soft.is_set() else State.FAILED)
        outcome = RunOutcome(
            self._run_id,
            run_state(states),
            run_exit_code(self._outcomes),
            tuple(self._outcomes),
            self._started_ms,
            now_ms(),
        )
        with self._journal.transaction(is_owned=False) as db:
            db.execute(
                "UPDATE runs SET state = ?, exit_code = ?, finished_ms = ?, summary = ? WHERE id = ?",
                (outcome.state, outcome.exit_code, outcome.finished_ms, to_json(asdict(outcome)), self._run_id),
            )
            release(self._journal, self._run_id)
        self._say(outcome.state)
        return outcome

    def _hindrance(self, job: Job, deadline: Deadline) -> tuple[str, State]:
        """Why a job may not begin, if so, and the state that it therefore ends in."""
        if deadline.is_over:
            return deadline.reason, State.SKIPPED
        if self._stop.soft.is_set():
            return f"the run was stopped before: {self._stop.reason}", State.STOPPED
        ended = {outcome.job: outcome.state for outcome in self._outcomes}
        for name in job.after:
            if ended.get(name, State.DONE) is not State.DONE:
                return f"job {name!r} ended {ended[name]}", State.SKIPPED
        return "", State.RUNNING

    def _note(self, kind: str, text: str) -> None:
        query = "INSERT INTO notes (run, kind, text, at_ms) VALUES (?, ?, ?, ?)"
        self._journal.db.execute(query, (self._run_id, kind, text, now_ms()))

    def _say(self, state: State) -> None:
        if self._tell is not None:
            self._tell(RunEvent("run", now_ms(), key=self._run_id, text=state))


def _check_order(jobs: Sequence[Job]) -> None:
    before: set[str] = set()
    names = {job.name for job in jobs}
    for job in jobs:
        if job.name in before:
            raise SpecError(f"job {job.name!r} is named twice", "name each job once")
        late = [name for name in job.after if name in names - before]
        if late:
            raise SpecError(f"job {job.name!r} comes before {late[0]!r}, after which it must run", "sort the jobs")
        before.add(job.name)


def _new_run_id() -> str:
    """Time (UTC, to the second) and four random letters: sorts by age and is unique."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _close(job: Job) -> list[str]:
    """Close a job; what went wrong, in words: nothing depends on it any more."""
    try:
        with job_call(f"closing job {job.name!r}", job.connections):
            job.close()
    except PenstockError as error:
        return [str(error)]
    return []
