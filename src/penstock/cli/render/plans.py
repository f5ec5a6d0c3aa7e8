"""Text of a plan: what each job would read, write and publish, with numbers."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.api import JobPlan, Plan
from penstock.cli.render import numbers
from penstock.cli.render.text import Cell, Paint, error_lines, indent, table
from penstock.core.schema import Fidelity, TypeChoice
from penstock.core.spec import MaxErrors, RunSpec
from penstock.jobs.copy.preview import CopyPreview, TablePreview

# Where a statement is cut that is not shown whole: what a terminal of 80 columns holds.
_CUT = 72
# Of so many tables a plan shows everything; of more, only what stands out.
_FULL_TABLES = 4
_FULL_STATEMENTS = 5
_STYLES = {Fidelity.LOSSLESS: "", Fidelity.WIDENING: "dim", Fidelity.TEXT: "yellow", Fidelity.LOSSY: "red"}


def plan_lines(plan: Plan, paint: Paint, *, is_verbose: bool) -> list[str]:
    """Job by job: numbers, types that change, and what publishing does. `is_verbose` lists every column's type."""
    lines: list[str] = []
    for job in plan.jobs:
        lines += [*_job(job, paint, is_verbose), ""]
    return [*lines, _total(plan)]


def _job(job: JobPlan, paint: Paint, is_verbose: bool) -> list[str]:
    title = f"{paint('bold', job.job)} ({job.kind})"
    if job.after:
        title += f", after {', '.join(job.after)}"
    if job.error:
        return [title, *indent(error_lines(job.error.what, job.error.hint, paint))]
    if job.preview is None:
        return [title, f"  cannot be planned before {job.waits_for} has run: it reads what {job.waits_for} makes"]
    found = job.preview
    lines = [f"{title}: {found.source} -> {found.target}"]
    lines += indent([_settings(job.settings), _connections(job), *_continues(job)])
    if found.one_snapshot:
        lines.append("  all tables are read as of one moment (a shared snapshot)")
    lines += ["", *indent(_tables(found, paint))]
    is_short = not is_verbose and len(found.tables) > _FULL_TABLES
    for one in found.tables:
        lines += indent(_details(one, paint, is_verbose, is_short))
    if is_short:
        lines += ["", "  --verbose shows every column and what publishing each table does"]
    return lines


def _settings(run: RunSpec) -> str:
    parts = [
        f"workers {run.workers or 'auto'}",
        run.executor,
        f"{run.retry.attempts} attempts (backoff {run.retry.backoff_s:g} to {run.retry.max_backoff_s:g} s)",
        f"max errors {errors_text(run.max_errors)}",
    ]
    parts += [f"timeout {numbers.duration(run.timeout_s)}"] if run.timeout_s else []
    parts += [f"item timeout {numbers.duration(run.item_timeout_s)}"] if run.item_timeout_s else []
    return ", ".join(parts)


def _connections(job: JobPlan) -> str:
    caps = [f"{name} {'as workers need' if cap is None else f'at most {cap}'}" for name, cap in job.connections.items()]
    return f"connections: {', '.join(caps)}"


def errors_text(allowed: MaxErrors) -> str:
    """3, or 5%."""
    return f"{allowed.percent:g}%" if allowed.percent is not None else str(allowed.count)


def _continues(job: JobPlan) -> list[str]:
    if not job.continues:
        return []
    left = (
        "its plan is unfinished"
        if job.items_left is None
        else f"{numbers.plural(job.items_left, 'item')} left of its plan"
    )
    return [f"continues run {job.continues}: {left} (--fresh starts anew; the numbers below are of a new plan)"]


def _tables(found: CopyPreview, paint: Paint) -> list[str]:
    rows: list[list[str | Cell]] = [["read", "written to", "mode", "rows", "bytes", "chunks", "items"]]
    for one in found.tables:
        rows.append(
            [
                one.source.removeprefix("table "),
                one.target,
                one.mode,
                _estimate(numbers.count(one.rows_estimate), one),
                _estimate(numbers.size(one.size_bytes), one),
                numbers.count(one.chunks),
                numbers.count(one.items),
            ]
        )
    return table(rows, paint, right=(3, 4, 5, 6))


def _estimate(text: str, one: TablePreview) -> str:
    """Sizes are the source's statistics of the whole table; of a window they are only the upper end."""
    if text == "-":
        return text
    return f"<= {text}" if _is_part(one) else f"~{text}"


def _is_part(one: TablePreview) -> bool:
    return bool(one.window and one.window[0] is not None)


def _details(one: TablePreview, paint: Paint, is_verbose: bool, is_short: bool) -> list[str]:
    types = [choice for choice in one.types if is_verbose or _fidelity(choice) is not Fidelity.LOSSLESS]
    lines: list[str] = []
    if one.pass_through:
        lines.append("rows pass through in the wire format, not decoded")
    if one.window:
        lines.append(_window(one))
    if types:
        rows: list[list[str | Cell]] = [["column", "from", "to", "kept", "note"]]
        rows += [_type(choice) for choice in types]
        lines += table(rows, paint)
    if one.statements and not is_short:
        lines.append("publish:")
        lines += indent(_statements(one.statements, is_verbose))
    return ["", paint("cyan", one.target), *indent(lines)] if lines else []


def _statements(statements: Sequence[str], is_verbose: bool) -> list[str]:
    """Whole with --verbose, else the first words of each."""
    if is_verbose:
        return [line for statement in statements for line in statement.splitlines()]
    telling = [text for text in statements if not text.startswith("COMMENT ON")]
    lines = [_cut(statement) for statement in telling[:_FULL_STATEMENTS]]
    if len(lines) < len(statements):
        return [*lines, f"... and {len(statements) - len(lines)} more (--verbose shows them whole)"]
    return [*lines, "(--verbose shows them whole)"] if any(line.endswith(" ...") for line in lines) else lines


def _cut(statement: str) -> str:
    """A statement in one line, cut; a comment in front says when it is made."""
    lines = statement.splitlines()
    comment = lines[0].removeprefix("--").strip() + ": " if lines and lines[0].startswith("--") else ""
    text = comment + " ".join(" ".join(lines[1:] if comment else lines).split())
    return text if len(text) <= _CUT else f"{text[: _CUT - 4]} ..."


def _window(one: TablePreview) -> str:
    low, high = one.window or (None, None)
    above = f"from {low}" if low is not None else "from the beginning"
    return f"reads rows whose {one.cursor} is {above} {f'to {high}' if high is not None else 'on'}"


def _fidelity(choice: TypeChoice) -> Fidelity:
    """The worse of what reading and storing do to a column."""
    order = list(Fidelity)
    return max(choice.fidelity, choice.column.fidelity, key=order.index)


def _type(choice: TypeChoice) -> list[str | Cell]:
    fidelity = _fidelity(choice)
    native = choice.column.native.partition(":")[2] or str(choice.column.type)
    note = "; ".join(dict.fromkeys(text for text in (choice.column.note, choice.note) if text))
    stored = choice.native.partition(":")[2] or choice.native
    return [choice.column.name, native, stored, Cell(fidelity.value, _STYLES[fidelity]), note]


def _total(plan: Plan) -> str:
    previews = [job.preview for job in plan.jobs if job.preview]
    tables = [one for preview in previews for one in preview.tables]
    known_rows = [one.rows_estimate for one in tables if one.rows_estimate is not None]
    known_bytes = [one.size_bytes for one in tables if one.size_bytes is not None]
    about = "at most" if any(_is_part(one) for one in tables) else "about"
    rows = f"{about} {numbers.count(sum(known_rows))} rows" if known_rows else "rows not known"
    text = (
        f"{numbers.plural(len(plan.jobs), 'job')}, {numbers.plural(len(tables), 'table')}, "
        f"{numbers.plural(sum(one.items for one in tables), 'item')}, {rows}, "
        f"{numbers.size(sum(known_bytes)) if known_bytes else 'bytes not known'}; nothing was written"
    )
    missing = sum(1 for job in plan.jobs if job.preview is None)
    return f"{text}; {numbers.plural(missing, 'job')} not planned" if missing else text
