"""One job within a run: from its beginning or resume, through the loop, to a state that follows from its counts."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass

from penstock.core.errors import PenstockError, TimedOut
from penstock.engine.executors import make_executor
from penstock.engine.flights import Tell
from penstock.engine.items import Items
from penstock.engine.job import Job, OpenSession
from penstock.engine.journal import Journal, now_ms, to_json
from penstock.engine.loop import JobLoop
from penstock.engine.outcome import JobEnd, JobOutcome, State, job_exit_code, job_reason, job_state
from penstock.engine.planning import Planning
from penstock.engine.progress import RunEvent
from penstock.engine.resume import Begun, begin_job
from penstock.engine.retention import forget_old_plans
from penstock.engine.retry import RetryPolicy
from penstock.engine.stop import Stop
from penstock.engine.watch import Deadline, Watch
from penstock.engine.worker import as_failure
from penstock.engine.workers import choose_workers


@dataclass(frozen=True)
class JobOptions:
    """What a run says for all its jobs; None leaves a job's own setting."""

    workers: int | None = None
    executor: str | None = None
    fresh: bool = False
    grace_s: float = 10.0


class JobRunner:
    """Runs one job of a run. Driver thread only; use once."""

    def __init__(
        self, journal: Journal, run_id: str, job: Job, options: JobOptions, stop: Stop, tell: Tell | None
    ) -> None:
        self._journal = journal
        self._run_id = run_id
        self._job = job
        self._options = options
        self._run_stop = stop
        self._stop = Stop()
        self._tell = tell
        self._started_ms = now_ms()

    def run(self, open_session: OpenSession, watch: Watch, run_deadline: Deadline) -> JobOutcome:
        """Until the job has ended one way or another. Raises PenstockError only when the journal cannot be written."""
        job, settings = self._job, self._job.settings
        begun = begin_job(self._journal, self._run_id, job, fresh=self._options.fresh)
        items = Items(self._journal, self._run_id, job.name, job_run=begun.job_run, origin=begun.origin)
        planning = Planning(self._journal, job, items, begun, RetryPolicy.of(settings.retry))
        self._say(State.RUNNING)
        error: PenstockError | None = None
        reason = f"job {job.name!r} took longer than {settings.timeout_s} s"
        with ExitStack() as stack:
            stack.enter_context(self._run_stop.soft.waking(self._stop.soft))
            stack.enter_context(self._run_stop.hard.waking(self._stop.hard))
            deadline = stack.enter_context(
                watch.deadline(self._stop, settings.timeout_s, self._options.grace_s, reason)
            )
            try:
                self._loop(items, planning, begun, open_session)
            except PenstockError as caught:
                error = caught
        late = next((limit for limit in (deadline, run_deadline) if limit.is_over), None)
        if late is not None and error is None:
            error = TimedOut(late.reason, "raise the time-out; run again to go on")
        return self._end(items, planning, begun, watch.error or error)

    def _loop(self, items: Items, planning: Planning, begun: Begun, open_session: OpenSession) -> None:
        workers, why = choose_workers(self._job, self._options.workers)
        name = self._options.executor or self._job.settings.executor
        executor = make_executor(name, workers)
        with self._journal.transaction() as db:
            values = (executor.slots, name, begun.job_run)
            db.execute("UPDATE job_runs SET workers = ?, executor = ? WHERE id = ?", values)
        items.note("workers", f"{executor.slots} worker{'s' if executor.slots > 1 else ''} ({why}), executor {name}")
        loop = JobLoop(self._job, items, planning, executor, self._stop, self._tell)
        loop.run(self._run_id, open_session)
        if loop.board.is_over and loop.board.waiting:
            skipped = items.skip_pending()
            if self._tell is not None:
                self._tell(RunEvent("skipped", now_ms(), self._job.name, items=skipped))

    def _end(self, items: Items, planning: Planning, begun: Begun, error: PenstockError | None) -> JobOutcome:
        counts, done_here = items.stored.counts(begun.job_run)
        is_whole = planning.is_complete and counts.done == counts.planned
        if isinstance(error, TimedOut) and is_whole:
            error = None
        end = JobEnd(
            planning.is_complete,
            self._stop.soft.is_set(),
            as_failure(error, self._job.connections) if error else None,
            items.stored.failed_exit_codes(),
        )
        allowed = self._job.settings.max_errors
        state = job_state(counts, end, allowed)
        outcome = JobOutcome(
            self._job.name,
            self._job.kind,
            state,
            job_exit_code(state, counts, end),
            counts,
            done_here,
            bool(begun.resumed_from),
            job_reason(state, counts, end, allowed) or (self._run_stop.reason if state is State.STOPPED else ""),
            end.error,
            self._started_ms,
            now_ms(),
        )
        self._write(begun, outcome)
        if state is State.DONE:
            forget_old_plans(self._journal, self._job.name)
        self._say(state)
        return outcome

    def _write(self, begun: Begun, outcome: JobOutcome) -> None:
        # Not fenced by the locks: it is this run's own row, and how it ended must be known even if they were lost.
        with self._journal.transaction(is_owned=False) as db:
            db.execute(
                "UPDATE job_runs SET state = ?, exit_code = ?, counts = ?, done_here = ?, reason = ?, error = ?, "
                "finished_ms = ? WHERE id = ?",
                (
                    outcome.state,
                    outcome.exit_code,
                    to_json(asdict(outcome.counts)),
                    outcome.done_here,
                    outcome.reason,
                    to_json(outcome.error.to_json()) if outcome.error else None,
                    outcome.finished_ms,
                    begun.job_run,
                ),
            )

    def _say(self, state: State) -> None:
        if self._tell is not None:
            self._tell(RunEvent("job", now_ms(), self._job.name, text=state))
