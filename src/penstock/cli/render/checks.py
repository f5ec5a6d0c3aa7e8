"""Text of check and connectors: who answered, what each can do, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.api import Check, ConnectionCheck, ConnectorInfo
from penstock.cli.render import numbers
from penstock.cli.render.text import Cell, Paint, error_lines, indent, table
from penstock.core.ports import Ability, Option
from penstock.core.secret import mask


def check_lines(check: Check, paint: Paint) -> list[str]:
    """Connections, then jobs, then one sentence that is only good news when nothing failed."""
    lines: list[str] = []
    for one in check.connections:
        lines += _connection(one, paint)
    for job in check.jobs:
        state = _failed(paint) if job.error else paint("green", "ok    ")
        lines.append(f"{state} job {job.name} ({job.kind})")
        lines += indent(error_lines(job.error.what, job.error.hint, paint), "       ") if job.error else []
    lines += [f"{paint('yellow', 'warning')} {warning}" for warning in check.warnings]
    return [*lines, _verdict(check, paint)]


def _failed(paint: Paint) -> str:
    return paint("red", "failed")


def _connection(one: ConnectionCheck, paint: Paint) -> list[str]:
    url = mask(one.url)
    if one.error:
        return [
            f"{_failed(paint)} connection {one.name}  {paint('dim', url)}",
            *indent(error_lines(one.error.what, one.error.hint, paint), "       "),
        ]
    state = paint("green", "ok    ") if one.is_open else paint("dim", "unseen")
    lines = [f"{state} connection {one.name}  {paint('dim', url)}"]
    facts = [one.server, f"as {one.user}" if one.user else ""]
    if one.is_open:
        facts.append(f"opened in {numbers.duration(one.elapsed_s)}")
    about = ", ".join(fact for fact in facts if fact)
    lines += [f"       {about}"] if about else []
    lines.append(f"       {one.connector} can: {', '.join(one.abilities)}")
    return [*lines, f"       {'; '.join(one.notes)}"] if one.notes else lines


def _verdict(check: Check, paint: Paint) -> str:
    failed = sum(1 for one in check.connections if one.error) + sum(1 for job in check.jobs if job.error)
    checked = f"{numbers.plural(len(check.connections), 'connection')}, {numbers.plural(len(check.jobs), 'job')}"
    if failed:
        return paint("red", f"{failed} of {checked} failed the check")
    if check.is_offline:
        return f"{checked}: the project file is valid; no connection was opened (--offline)"
    return paint("green", f"{checked}: everything answers")


def connector_lines(found: Sequence[ConnectorInfo], paint: Paint, *, is_verbose: bool) -> list[str]:
    """A line an ability, a column a connector; options of each connector with --verbose."""
    rows: list[list[str | Cell]] = [["", *(one.name for one in found)]]
    rows.append(["schemes", *(", ".join(one.schemes) for one in found)])
    rows.append(["from", *(one.origin for one in found)])
    for ability in Ability:
        rows.append([ability.value, *(_mark(ability.value in one.abilities) for one in found)])
    lines = table(rows, paint)
    for one in found:
        if one.error:
            lines += ["", *error_lines(f"{one.name}: {one.error.what}", one.error.hint, paint)]
    if is_verbose:
        for one in found:
            lines += ["", *_options(one, paint)] if one.options else []
    return lines


def _mark(is_able: bool) -> Cell:
    return Cell("yes", "green") if is_able else Cell("-", "dim")


def _options(one: ConnectorInfo, paint: Paint) -> list[str]:
    rows: list[list[str | Cell]] = [["option", "kind", "where", "default", "meaning"]]
    for option in one.options:
        rows.append([option.name, _kind(option), option.scope, _default(option), option.help])
    return [paint("bold", f"options of {one.name}"), *indent(table(rows, paint))]


def _kind(option: Option) -> str:
    return " | ".join(option.choices) if option.choices else option.kind


def _default(option: Option) -> str:
    if option.default is None or option.default == "":
        return "-"
    return str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
