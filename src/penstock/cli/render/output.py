"""Where results and messages go: the one object that prints."""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from penstock.cli.render.text import Paint, error_lines
from penstock.core.errors import PenstockError
from penstock.core.secret import mask


class Output:
    """Results go to stdout, everything else to stderr. Colour and motion only on a terminal."""

    def __init__(
        self, *, is_json: bool = False, is_quiet: bool = False, is_verbose: bool = False, is_plain: bool = False
    ) -> None:
        from penstock.cli.config import wants_plain_output

        self.is_json = is_json
        self.is_quiet = is_quiet
        self.is_verbose = is_verbose
        self.is_plain = is_plain or wants_plain_output()

    @property
    def moves(self) -> bool:
        """Whether live output may be drawn on stderr."""
        return sys.stderr.isatty() and not (self.is_plain or self.is_quiet or self.is_json)

    @property
    def paint(self) -> Paint:
        return Paint(sys.stdout.isatty() and not self.is_plain)

    @property
    def error_paint(self) -> Paint:
        return Paint(sys.stderr.isatty() and not self.is_plain)

    def answer(self, value: Any, lines: Callable[[], Sequence[str]]) -> None:
        """The result of a command that answers: as one JSON document, or as the text that `lines` makes."""
        if self.is_json:
            self.line(json.dumps(to_json(value), ensure_ascii=False, indent=2))
        else:
            for text in lines():
                self.line(text)

    def event(self, value: Mapping[str, Any]) -> None:
        """One JSON line."""
        self.line(json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":")))
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """One line of a result."""
        sys.stdout.write(text + "\n")

    def say(self, text: str) -> None:
        """One line of news."""
        if not self.is_quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    @property
    def can_ask(self) -> bool:
        """Whether there is a person to ask: a terminal at both ends, and output meant for people."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not (self.is_json or self.is_quiet)

    def ask(self, question: str) -> bool:
        """A question to the person at the terminal; anything but yes is no."""
        return click.confirm(question, default=False, err=True)

    def failure(self, error: PenstockError) -> None:
        """An error that a user can do something about; with --json also as a document on stdout."""
        if self.is_json:
            about = {"kind": type(error).__name__, "what": mask(error.what), "hint": mask(error.hint)}
            self.line(json.dumps({"event": "error", **about, "exit_code": error.exit_code}, ensure_ascii=False))
        paint = self.error_paint
        first, *rest = error_lines(error.what, error.hint, paint)
        sys.stderr.write("\n".join([f"{paint('red', 'error:')} {first}", *rest]) + "\n")
        if self.is_verbose:
            sys.stderr.write(mask("".join(traceback.format_exception(error))))

    def usage_error(self, error: click.ClickException) -> None:
        """Wrong arguments: what is wrong, and where the help is."""
        paint = self.error_paint
        message = error.format_message()
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            sys.stderr.write(message + "\n")
            return
        lines = [f"{paint('red', 'error:')} {message[:1].lower()}{message[1:].rstrip('.')}"]
        context = getattr(error, "ctx", None)
        if context is not None:
            lines.append(paint("cyan", f"  -> {context.command_path} --help"))
        sys.stderr.write("\n".join(lines) + "\n")

    def defect(self, error: BaseException) -> None:
        """An exception nobody foresaw."""
        sys.stderr.write(
            f"{self.error_paint('red', 'error:')} {type(error).__name__}: {mask(str(error))}\n"
            "  -> this is a defect of penstock: run with --verbose for the traceback and report it\n"
        )

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Say what goes on while it goes on; on a terminal the line is taken away afterwards."""
        if not self.moves:
            yield
            return
        sys.stderr.write(text + " ...")
        sys.stderr.flush()
        try:
            yield
        finally:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def to_json(value: Any) -> Any:
    """A result as plain JSON values, its keys in the order in which they are declared; properties of results too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        for name in ("exit_code", "planned", "items"):
            if isinstance(getattr(type(value), name, None), property):
                found[name] = getattr(value, name)
        return found
    if isinstance(value, Mapping):
        return {str(name): to_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(one) for one in value]
    if isinstance(value, str):
        return mask(str(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return to_json(value.value) if hasattr(value, "value") else str(value)
