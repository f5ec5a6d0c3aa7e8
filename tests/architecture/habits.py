"""The house's habits as checks on syntax trees: each tells where a file breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Check = Callable[[ast.Module], Iterator[tuple[int, str]]]

FORBIDDEN_WORDS = re.compile(
    r"(?:^|_)(?:utils?|helpers?|common|managers?|orchestrators?|coordinators?|misc)(?:_|$)", re.I
)
MODULE_LINES = 400
FUNCTION_LINES = 40
PARAMETERS = 6


@dataclass(frozen=True)
class Habit:
    """A check and where it counts: `within` are folders of the package, `but` files that may do it."""

    name: str
    check: Check
    within: tuple[str, ...] = ("",)
    but: tuple[str, ...] = ()

    def concerns(self, path: str) -> bool:
        return path.startswith(self.within) and not path.startswith(self.but or ("\0",))


def findings(habit: Habit, source: str) -> list[str]:
    return [f"line {line}: {what}" for line, what in habit.check(ast.parse(source))]


def package_files(root: Path) -> dict[str, Path]:
    """Every module of the package by its path inside it."""
    return {str(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of attributes, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    return ""


def _uses(*names: str) -> Check:
    """Uses of a dotted name, however it was imported."""

    def check(tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and _dotted(node) in names:
                yield node.lineno, _dotted(node)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if f"{node.module}.{alias.name}" in names:
                        yield node.lineno, f"from {node.module} import {alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in names:
                        yield node.lineno, f"import {alias.name}"

    return check


def _calls(*names: str) -> Check:
    def check(tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _dotted(node.func) in names:
                yield node.lineno, f"{_dotted(node.func)}()"

    return check


def _catches_all(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Handlers of everything, but for those that clean up and raise it again."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(each is None or _dotted(each) in {"Exception", "BaseException"} for each in caught):
            last = node.body[-1]
            if not (isinstance(last, ast.Raise) and last.exc is None):
                yield node.lineno, "catches everything"


def _suppresses_all(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        is_suppress = isinstance(node, ast.Call) and _dotted(node.func).endswith("suppress")
        if is_suppress and any(_dotted(each) in {"Exception", "BaseException"} for each in node.args):
            yield node.lineno, "suppresses everything"


def _names_nothing(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name)
            if FORBIDDEN_WORDS.search(words):
                yield node.lineno, f"class {node.name}"


def _lacks_docstring(tree: ast.Module) -> Iterator[tuple[int, str]]:
    if tree.body and not ast.get_docstring(tree):
        yield 1, "no docstring that says the one idea"


def _unfinished(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if _dotted(target) == "NotImplementedError":
                yield node.lineno, "raises NotImplementedError"


def _many_parameters(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(each.arg not in {"self", "cls"} for each in given)
            if count > PARAMETERS:
                yield node.lineno, f"{node.name} has {count} parameters"


def _long_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = node.end_lineno - first.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines of code"


def _long_module(tree: ast.Module) -> Iterator[tuple[int, str]]:
    last = max((getattr(node, "end_lineno", 0) or 0 for node in tree.body), default=0)
    if last > MODULE_LINES:
        yield last, f"{last} lines"


def _positional_sql(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Identifiers put between quotes by hand: an f-string with a quote mark on both sides of a value."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        for before, value, after in zip(node.values, node.values[1:], node.values[2:], strict=False):
            if not (isinstance(before, ast.Constant) and isinstance(after, ast.Constant)):
                continue
            left, right = str(before.value), str(after.value)
            is_sql = re.search(r"\b(?:select|from|into|table|update|join|drop|alter|delete)\s+[\"`]\Z", left, re.I)
            if isinstance(value, ast.FormattedValue) and is_sql and right.startswith(('"', "`")):
                yield node.lineno, "quotes an identifier by hand; use core.names.quote"


HABITS = (
    Habit("only engine/worker.py catches everything", _catches_all, but=("engine/worker.py", "testing/clock.py")),
    Habit("nothing suppresses everything", _suppresses_all),
    Habit("nobody sleeps but the clock", _uses("time.sleep"), but=("engine/clock.py",)),
    Habit("only cli/render prints", _calls("print", "sys.stdout.write", "sys.stderr.write"), but=("cli/render",)),
    Habit("connectors do not log", _uses("logging", "logging.getLogger", "warnings.warn"), within=("connectors/",)),
    Habit(
        "jobs and connectors start no threads",
        _calls("threading.Thread", "Thread"),
        within=("jobs/", "connectors/"),
        # A claim must be renewed while its session has nothing to do.
        but=("connectors/objects/lock.py",),
    ),
    Habit(
        "only cli/config reads the environment",
        _uses("os.environ", "os.getenv", "os.environb", "os.path.expandvars"),
        but=("cli/config",),
    ),
    Habit("classes are named for what they are", _names_nothing),
    Habit("every module says its one idea", _lacks_docstring),
    Habit("nothing is left unfinished", _unfinished),
    Habit(f"at most {PARAMETERS} parameters", _many_parameters),
    Habit(f"at most {FUNCTION_LINES} lines a function", _long_functions),
    Habit(f"at most {MODULE_LINES} lines a module", _long_module),
    Habit("identifiers are quoted in one place", _positional_sql, but=("core/names.py",)),
)
