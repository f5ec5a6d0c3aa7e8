"""status --follow: a live run of another process, watched through the journal until it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock import api
from penstock.cli import collecting
from penstock.cli.render.output import Output, to_json
from penstock.cli.render.progress import show_followed
from penstock.cli.render.runs import report_lines
from penstock.core.spec import Project
from penstock.engine.clock import SYSTEM_CLOCK
from penstock.engine.history import JobReport, SampleLine
from penstock.engine.outcome import State
from penstock.engine.progress import JobProgress, RunProgress

# How often the journal is read: the run writes a sample about once a second.
_LOOK_S = 1.0


def follow(output: Output, project: Project, run: str) -> int:
    """Show the progress of a run until it ends, then its report; returns the run's own exit code."""
    collecting.resume()
    show_followed(output, _looks(project, run))
    report = api.report(project, run)
    line = report.run.run
    if output.is_json:
        output.event({"event": "summary", **to_json(line)})
    else:
        for text in report_lines(report, output.paint, is_verbose=output.is_verbose):
            output.line(text)
    if line.exit_code is not None:
        return line.exit_code
    return 130 if line.state is State.STOPPED else 1


def _looks(project: Project, run: str) -> Iterator[RunProgress]:
    while True:
        report = api.report(project, run)
        line = report.run.run
        run = line.run_id
        now_ms = time.time() * 1000
        end_ms = now_ms if line.finished_ms is None else line.finished_ms
        yield RunProgress(
            line.run_id, (end_ms - line.started_ms) / 1000, tuple(_job(job, now_ms) for job in report.run.jobs)
        )
        if not line.is_live:
            return
        SYSTEM_CLOCK.wait(None, _LOOK_S)


def _job(job: JobReport, now_ms: float) -> JobProgress:
    """One job's progress from the journal: its counts, and rates over the last samples."""
    counts = job.counts
    last = job.samples[-1] if job.samples else None
    rows_per_s, bytes_per_s, items_per_s = _rates(job.samples[-10:])
    planned = counts.planned
    left = planned - counts.done - counts.failed - counts.skipped
    return JobProgress(
        job=job.job,
        state=job.state.value,
        planned=planned,
        is_planned=job.is_planned,
        done=counts.done,
        failed=counts.failed,
        skipped=counts.skipped,
        in_flight=counts.running,
        retries=last.retries if last else 0,
        wait_s=last.wait_s if last else 0.0,
        rows=counts.rows,
        rows_moving=max(counts.rows, last.rows if last else 0),
        size_bytes=counts.size_bytes,
        size_moving_bytes=max(counts.size_bytes, last.size_bytes if last else 0),
        rows_per_s=rows_per_s,
        bytes_per_s=bytes_per_s,
        items_per_s=items_per_s,
        elapsed_s=((job.finished_ms or now_ms) - job.started_ms) / 1000,
        percent=100 * counts.done / planned if job.is_planned and planned else None,
        eta_s=left / items_per_s if job.is_planned and items_per_s else None,
    )


def _rates(samples: tuple[SampleLine, ...]) -> tuple[float, float, float]:
    if len(samples) < 2 or samples[-1].at_ms <= samples[0].at_ms:
        return 0.0, 0.0, 0.0
    first, last = samples[0], samples[-1]
    seconds = (last.at_ms - first.at_ms) / 1000
    return (
        (last.rows - first.rows) / seconds,
        (last.size_bytes - first.size_bytes) / seconds,
        (last.done - first.done) / seconds,
    )
