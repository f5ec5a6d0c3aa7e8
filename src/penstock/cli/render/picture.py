"""The moving picture of a run: a line a job, and below it the tables now in work."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from penstock.cli.render import numbers
from penstock.cli.render.progress import job_numbers
from penstock.engine.progress import JobProgress, RunProgress

_BAR = 20
_STATES = {"done": "green", "running": "cyan", "failed": "red", "partial": "yellow", "stopped": "yellow"}


def draw(progress: RunProgress, in_work: dict[str, list[str]], width: int, stopping: str) -> Group:
    """The picture for a terminal `width` columns wide; `stopping` says why the run is asked to stop, if it is."""
    name_width = max((len(job.job) for job in progress.jobs), default=0)
    lines: list[Text] = []
    for job in progress.jobs:
        lines.append(_line(job, name_width, width))
        if job.state == "running" and in_work.get(job.job):
            lines.append(_work(in_work[job.job], name_width))
    if stopping:
        text = f"stopping at the next safe point ({stopping}); press Ctrl-C again to stop at once"
        lines.append(Text(text, style="yellow", no_wrap=True, overflow="ellipsis"))
    elif progress.jobs:
        lines.append(Text(f"{numbers.duration(progress.elapsed_s)}  Ctrl-C stops at the next safe point", style="dim"))
    return Group(*lines)


def _line(job: JobProgress, name_width: int, width: int) -> Text:
    style = _STATES.get(job.state, "dim")
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{job.job:<{name_width}}  ", style="bold")
    if job.state != "running":
        line.append(f"{job.state:<8}  ", style=style)
    elif width >= 100:
        filled = int(_BAR * (job.percent or 0) / 100)
        line.append("━" * filled, style=style)
        line.append("━" * (_BAR - filled) + "  ", style="bright_black")
    percent, *rest = job_numbers(job)
    line.append(f"{percent:>5}  " if job.state == "running" else "")
    for text in rest:
        if text:
            bad = text.endswith("failed")
            line.append(text + "  ", style="red" if bad else "")
    return line


def _work(keys: list[str], name_width: int) -> Text:
    """The tables in work, each with the number of its items in work."""
    tables: dict[str, int] = {}
    for key in keys:
        table = key.rpartition("/")[0] or key
        tables[table] = tables.get(table, 0) + 1
    text = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in sorted(tables.items()))
    return Text(f"{'':<{name_width}}  now: {text}", style="dim", no_wrap=True, overflow="ellipsis")
