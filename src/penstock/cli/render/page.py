"""The report of a run as one page that needs nothing else: no script, no font, no image from anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from penstock.api.records import ItemSpan, Report, TableResult
from penstock.cli.render import numbers, svg
from penstock.cli.render.runs import proof_of
from penstock.core.errors import SpecError
from penstock.core.secret import mask
from penstock.engine.failure import Failure
from penstock.engine.history import ItemLine, JobReport, NoteLine, SampleLine

_SHOWN_NOTES = 200


def write_page(file: Path, report: Report, spans: Sequence[ItemSpan]) -> None:
    """Write the page to `file`, over an earlier one. Raises SpecError when it cannot be written."""
    try:
        file.write_text(page(report, spans), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {file}: {error.strerror}", "choose another file") from error


def page(report: Report, spans: Sequence[ItemSpan]) -> str:
    """The page's text. Everything that came from data, names or errors is escaped, secrets are masked."""
    run = report.run.run
    end_ms = run.finished_ms or max([run.started_ms, *(s.finished_ms for s in spans)])
    body = [_head(report, end_ms)]
    if spans:
        body.append("<h2>Items over time</h2>" + svg.legend(svg.LEGEND))
        body.append(svg.timeline(spans, run.started_ms, end_ms))
    for job in report.run.jobs:
        body.append(_job(job, [one for one in report.tables if one.job == job.job], run.started_ms, end_ms))
    body.append(_notes(report.run.notes, "Notes of the run"))
    template = Template(files("penstock.cli.render").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=_text(f"Penstock run {run.run_id}"), body="\n".join(part for part in body if part))


def _text(value: object) -> str:
    return escape(mask(str(value)))


def _head(report: Report, end_ms: int) -> str:
    run, jobs = report.run.run, report.run.jobs
    rows = sum(job.counts.rows for job in jobs)
    took_s = (end_ms - run.started_ms) / 1000
    proven = sum(1 for one in report.tables if one.rows_read is not None)
    cards = [
        ("rows", numbers.count(rows)),
        ("bytes", numbers.size(sum(job.counts.size_bytes for job in jobs))),
        ("time", numbers.duration(took_s)),
        ("speed", numbers.rate(rows / took_s if took_s else None, "rows")),
        ("items", f"{sum(job.counts.done for job in jobs):,}/{sum(job.counts.planned for job in jobs):,}"),
        ("failed", numbers.count(sum(job.counts.failed for job in jobs))),
        ("tables whose counts agree", f"{proven:,}"),
    ]
    versions = ", ".join(f"{name} {text}" for name, text in report.run.versions.items())
    code = "-" if run.exit_code is None else run.exit_code
    return (
        f'<h1>Run {_text(run.run_id)} <span class="state {_text(run.state.value)}">{_text(run.state.value)}</span></h1>'
        f'<p class="dim">penstock {_text(run.command)} on {_text(run.host)}, started '
        f"{_text(numbers.moment(run.started_ms))}, exit code {code}</p>"
        f'<p class="dim">{_text(versions)}</p><div class="cards">'
        + "".join(f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for name, value in cards)
        + "</div>"
    )


def _job(job: JobReport, tables: Sequence[TableResult], begin_ms: int, end_ms: int) -> str:
    counts = job.counts
    about = (
        f"{job.kind}; {counts.done:,} of {counts.planned:,} items, {counts.rows:,} rows, "
        f"{numbers.size(counts.size_bytes)}; {numbers.plural(job.workers, 'worker')} ({job.executor})"
    )
    if job.resumed_from:
        about += f"; continued run {job.resumed_from}, {job.done_here:,} items done here"
    parts = [
        f'<h2>{_text(job.job)} <span class="state {_text(job.state.value)}">{_text(job.state.value)}</span></h2>',
        f'<p class="dim">{_text(about)}</p>',
        f"<p>{_text(job.reason)}</p>" if job.reason and not job.error else "",
        _error("the job", job.error) if job.error else "",
        _proof(tables),
        _stages(job),
        _curves(job, begin_ms, end_ms),
        *(_failed(item) for item in job.failed),
        _notes(job.notes, "Notes"),
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if number in right else ''}>{_text(value)}</{tag}>" for number, value in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def _proof(tables: Sequence[TableResult]) -> str:
    if not tables:
        return ""
    head = ["table", "read", "inserted", "updated", "deleted", "now holds", "proof", "published by"]
    rows = [
        [
            one.table,
            *(
                numbers.count(count)
                for count in (one.rows_read, one.rows_inserted, one.rows_updated, one.rows_deleted, one.rows_after)
            ),
            proof_of(one),
            "; ".join((one.how, *one.notes)),
        ]
        for one in tables
    ]
    return _table(head, rows, (1, 2, 3, 4, 5))


def _stages(job: JobReport) -> str:
    if not job.stages:
        return ""
    head = ["stage", "items", "failed", "rows", "bytes", "busy"]
    rows = [
        [
            stage.kind,
            f"{stage.counts.done:,}/{stage.counts.planned:,}",
            numbers.count(stage.counts.failed),
            numbers.count(stage.counts.rows),
            numbers.size(stage.counts.size_bytes),
            numbers.duration(stage.busy_s),
        ]
        for stage in job.stages
    ]
    return _table(head, rows, (1, 2, 3, 4, 5))


def _curves(job: JobReport, begin_ms: int, end_ms: int) -> str:
    samples = job.samples
    if len(samples) < 2:
        return ""
    if not job.resumed_from:  # a plan begins with nothing done; one that is continued begins with what was done before
        first = samples[0]
        samples = (SampleLine(job.started_ms, 0, 0, 0, 0, 0, 0, 0.0, first.rss_bytes), *samples)
    speed = [
        (later.at_ms, 1000 * (later.rows - earlier.rows) / max(1, later.at_ms - earlier.at_ms))
        for earlier, later in itertools.pairwise(samples)
    ]
    memory = [(sample.at_ms, float(sample.rss_bytes)) for sample in samples]
    waits = [(sample.at_ms, sample.wait_s) for sample in samples]
    retries = [(sample.at_ms, float(sample.retries)) for sample in samples]
    shown = [
        svg.curve(speed, "rows in a second", lambda value: numbers.count(round(value)), begin_ms, end_ms),
        svg.curve(memory, "memory", numbers.size, begin_ms, end_ms),
    ]
    if samples[-1].wait_s:
        shown.append(svg.curve(waits, "waited so far", numbers.duration, begin_ms, end_ms))
    if samples[-1].retries:
        shown.append(svg.curve(retries, "retries so far", lambda value: f"{value:.0f}", begin_ms, end_ms))
    return "\n".join(shown)


def _error(title: str, error: Failure) -> str:
    hint = f"<p>{_text(error.hint)}</p>" if error.hint else ""
    trace = f"<pre>{_text(error.traceback)}</pre>" if error.traceback else ""
    return f'<div class="error"><p><b>{_text(title)}</b>: {_text(error.what)}</p>{hint}{trace}</div>'


def _failed(item: ItemLine) -> str:
    title = f"{item.key} failed after {numbers.plural(item.attempts, 'attempt')}"
    return _error(title, item.error) if item.error else f'<div class="error"><p>{_text(title)}</p></div>'


def _notes(notes: Sequence[NoteLine], title: str) -> str:
    if not notes:
        return ""
    rows = [[numbers.moment(note.at_ms), note.kind, note.key, note.text] for note in notes[:_SHOWN_NOTES]]
    more = f'<p class="dim">and {len(notes) - _SHOWN_NOTES:,} more</p>' if len(notes) > _SHOWN_NOTES else ""
    return f"<h2>{_text(title)}</h2>{_table(['time', 'kind', 'item', 'what'], rows, ())}{more}"
