"""Text of runs: the summary after a run, the list of runs, a full report, and items given up."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.api import Report, TableResult
from penstock.cli.render import numbers
from penstock.cli.render.text import Cell, Paint, error_lines, indent, table
from penstock.core.secret import mask
from penstock.engine.history import ItemLine, JobReport, RunLine
from penstock.engine.outcome import Counts, JobOutcome, RunOutcome, State

_SHOWN_FAILURES = 5


def summary_lines(outcome: RunOutcome, report: Report, paint: Paint) -> list[str]:
    """How a run ended: the state, a line a job, the first failures, and what to do next."""
    took = numbers.duration((outcome.finished_ms - outcome.started_ms) / 1000)
    lines = [f"run {outcome.run_id} {paint.state(outcome.state.value)} in {took}", ""]
    lines += indent(_outcome_table(outcome.jobs, paint))
    lines += indent(_reasons(outcome.jobs, paint))
    failed = [item for job in report.run.jobs for item in job.failed]
    lines += _failures(failed, paint)
    lines += _notes(report.tables)
    return [*lines, *_next(outcome, failed)]


def _outcome_table(jobs: Sequence[JobOutcome], paint: Paint) -> list[str]:
    rows: list[list[str | Cell]] = [["job", "state", "items", "rows", "bytes", "time", "speed"]]
    for job in jobs:
        took_s = (job.finished_ms - job.started_ms) / 1000
        rows.append(
            [
                job.job,
                Cell(job.state.value, _style(job.state)),
                _done_of(job.counts),
                numbers.count(job.counts.rows),
                numbers.size(job.counts.size_bytes),
                numbers.duration(took_s),
                numbers.rate(job.counts.rows / took_s if took_s and not job.resumed else None, "rows"),
            ]
        )
    return table(rows, paint, right=(2, 3, 4, 5, 6))


def _style(state: State) -> str:
    return {State.DONE: "green", State.RUNNING: "cyan", State.FAILED: "red", State.KILLED: "red"}.get(state, "yellow")


def _done_of(counts: Counts) -> str:
    return f"{counts.done:,}/{counts.planned:,}"


def _reasons(jobs: Sequence[JobOutcome], paint: Paint) -> list[str]:
    lines: list[str] = []
    for job in jobs:
        if job.resumed:
            lines.append(
                f"{job.job} continued an earlier run: {numbers.plural(job.done_here, 'item')} done in this one"
            )
        if job.error:
            lines += error_lines(f"{job.job}: {job.error.what}", job.error.hint, paint)
        elif job.reason:
            lines.append(f"{job.job}: {'stopped by ' if job.state is State.STOPPED else ''}{job.reason}")
    return ["", *lines] if lines else []


def _failures(failed: Sequence[ItemLine], paint: Paint) -> list[str]:
    if not failed:
        return []
    lines = ["", paint("red", f"{numbers.plural(len(failed), 'item')} failed")]
    for item in failed[:_SHOWN_FAILURES]:
        what = item.error.what if item.error else "no error was kept"
        hint = item.error.hint if item.error else ""
        lines += indent(error_lines(f"{item.item_id}  {item.job} {item.key}: {what}", hint, paint))
    if len(failed) > _SHOWN_FAILURES:
        lines.append(f"  ... and {numbers.plural(len(failed) - _SHOWN_FAILURES, 'more item')}: penstock failed list")
    return lines


def _notes(tables: Sequence[TableResult]) -> list[str]:
    return [f"  note: {one.table}: {note}" for one in tables for note in one.notes]


def _next(outcome: RunOutcome, failed: Sequence[ItemLine]) -> list[str]:
    if outcome.state is State.DONE:
        return ["", f"penstock report {outcome.run_id} shows rates, waits and the proof of counts"]
    if outcome.state is State.STOPPED:
        return ["", "run the same command again to continue"]
    if failed:
        return [
            "",
            "run the same command again to take failed items again, unless their message says more; penstock failed show ID shows one whole",
        ]
    return []


def runs_lines(runs: Sequence[RunLine], paint: Paint) -> list[str]:
    """A line a run, newest first."""
    if not runs:
        return ["no run has been made yet"]
    rows: list[list[str | Cell]] = [["run", "state", "started", "took", "jobs", "exit code"]]
    for run in runs:
        ended = None if run.finished_ms is None else (run.finished_ms - run.started_ms) / 1000
        state = "stopping" if run.is_live and run.stop_requested else run.state.value
        code = "-" if run.exit_code is None else str(run.exit_code)
        rows.append(
            [
                run.run_id,
                Cell(state, _style(run.state)),
                numbers.moment(run.started_ms),
                numbers.duration(ended),
                ", ".join(run.jobs),
                code,
            ]
        )
    return table(rows, paint)


def report_lines(report: Report, paint: Paint, *, is_verbose: bool) -> list[str]:
    """Everything the journal tells of a run."""
    run = report.run.run
    ended = None if run.finished_ms is None else (run.finished_ms - run.started_ms) / 1000
    lines = [
        f"run {run.run_id} {paint.state(run.state.value)}, exit code {'-' if run.exit_code is None else run.exit_code}",
        f"  penstock {run.command} on {run.host} (process {run.pid})",
        f"  started {numbers.moment(run.started_ms)}, took {numbers.duration(ended)}",
        f"  {', '.join(f'{name} {text}' for name, text in report.run.versions.items())}",
    ]
    for job in report.run.jobs:
        lines += ["", *_job_report(job, [one for one in report.tables if one.job == job.job], paint)]
        shown = job.notes if is_verbose else job.notes[:_SHOWN_FAILURES]
        lines += [
            f"  {numbers.moment(note.at_ms)}  {' '.join(filter(None, (note.kind, note.key)))}: {note.text}"
            for note in shown
        ]
        if len(shown) < len(job.notes):
            lines.append(f"  ... and {len(job.notes) - len(shown)} more notes: --verbose shows them")
    lines += [f"{numbers.moment(note.at_ms)}  {note.kind}: {mask(note.text)}" for note in report.run.notes]
    return lines


def _job_report(job: JobReport, tables: Sequence[TableResult], paint: Paint) -> list[str]:
    counts = job.counts
    lines = [
        f"{paint('bold', job.job)} ({job.kind}) {paint.state(job.state.value)}",
        (
            f"  {_done_of(counts)} items, {numbers.count(counts.rows)} rows, {numbers.size(counts.size_bytes)}; "
            f"{counts.failed:,} failed, {counts.skipped:,} skipped; {numbers.plural(job.workers, 'worker')} ({job.executor})"
        ),
    ]
    if job.resumed_from:
        lines.append(f"  continued run {job.resumed_from}: {numbers.plural(job.done_here, 'item')} done here")
    if job.error:
        lines += indent(error_lines(job.error.what, job.error.hint, paint))
    elif job.reason:
        lines.append(f"  {job.reason}")
    lines += _load_lines(job)
    lines += indent(["", *_stages(job, paint)]) if job.stages else []
    lines += indent(["", *_proof(tables, paint)]) if tables else []
    return [*lines, *_failures(job.failed, paint)]


def _load_lines(job: JobReport) -> list[str]:
    """What the samples say of memory, waits and retries."""
    if not job.samples:
        return []
    peak = max(sample.rss_bytes for sample in job.samples)
    last = job.samples[-1]
    return [
        (
            f"  memory at most {numbers.size(peak)}; {numbers.plural(last.retries, 'retry').replace('retrys', 'retries')}, "
            f"workers waited {numbers.duration(last.wait_s)} in all for limits and backoff"
        )
    ]


def _stages(job: JobReport, paint: Paint) -> list[str]:
    rows: list[list[str | Cell]] = [["stage", "items", "failed", "rows", "bytes", "wall", "busy"]]
    for stage in job.stages:
        begun, ended = stage.started_ms, stage.finished_ms
        wall = (ended - begun) / 1000 if begun is not None and ended is not None else None
        rows.append(
            [
                stage.kind,
                _done_of(stage.counts),
                numbers.count(stage.counts.failed),
                numbers.count(stage.counts.rows),
                numbers.size(stage.counts.size_bytes),
                numbers.duration(wall),
                numbers.duration(stage.busy_s),
            ]
        )
    return table(rows, paint, right=(1, 2, 3, 4, 5, 6))


def proof_of(one: TableResult) -> str:
    """How a table's rows were proven, in a few words."""
    if one.rows_read is None:
        return "left as it was"
    if one.is_compared:
        return "equal to the source's count"
    return "equal to what was read" if one.source_count is None else "source counted at another moment"


def _proof(tables: Sequence[TableResult], paint: Paint) -> list[str]:
    rows: list[list[str | Cell]] = [
        ["table", "read", "inserted", "updated", "deleted", "now holds", "proof", "published by"]
    ]
    for one in tables:
        counts = (one.rows_read, one.rows_inserted, one.rows_updated, one.rows_deleted, one.rows_after)
        rows.append([one.table, *(numbers.count(n) for n in counts), proof_of(one), one.how])
    return table(rows, paint, right=(1, 2, 3, 4, 5))


def failed_lines(items: Sequence[ItemLine], paint: Paint) -> list[str]:
    """A line an item that was given up."""
    if not items:
        return ["no failed items"]
    rows: list[list[str | Cell]] = [["id", "job", "item", "attempts", "error"]]
    for item in items:
        what = item.error.what.splitlines()[0] if item.error else "-"
        rows.append([str(item.item_id), item.job, item.key, str(item.attempts), what])
    return table(rows, paint, right=(0, 3))


def failed_item_lines(item: ItemLine, paint: Paint) -> list[str]:
    """One item whole: what it was to do, how far it came, why it failed."""
    lines = [
        (
            f"item {item.item_id}: {item.job} {item.key} ({item.kind}), {paint.state(item.state)} after "
            f"{numbers.plural(item.attempts, 'attempt')}"
        ),
        f"  in run {item.run_id}, on worker {item.worker or '-'}, ended {numbers.moment(item.finished_ms)}",
        f"  {numbers.count(item.rows)} rows and {numbers.size(item.size_bytes)} were safe",
        f"  payload: {dict(item.payload)}",
        f"  cursor: {dict(item.cursor) if item.cursor else '-'}",
    ]
    if item.error:
        lines += indent(error_lines(f"{item.error.kind}: {item.error.what}", item.error.hint, paint))
        lines += indent(item.error.traceback.splitlines(), "    ")
    return lines
