"""The package keeps the house's habits, and a file that breaks one is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock
from tests.architecture.habits import FORBIDDEN_WORDS, HABITS, Habit, findings, package_files

ROOT = Path(penstock.__file__).parent

PLANTED = {
    "only engine/worker.py catches everything": [
        "try:\n    go()\nexcept Exception:\n    pass",
        "try:\n    go()\nexcept (ValueError, BaseException) as error:\n    raise OSError from error",
        "try:\n    go()\nexcept:\n    pass",
    ],
    "nothing suppresses everything": ["import contextlib\nwith contextlib.suppress(Exception):\n    go()"],
    "nobody sleeps but the clock": ["import time\ntime.sleep(1)", "from time import sleep\nsleep(1)"],
    "only cli/render prints": ["print('x')", "import sys\nsys.stdout.write('x')"],
    "connectors do not log": ["import logging", "import logging\nlog = logging.getLogger(__name__)"],
    "jobs and connectors start no threads": ["import threading\nthreading.Thread(target=go).start()"],
    "only cli/config reads the environment": [
        "import os\nos.environ['X']",
        "import os\nos.getenv('X')",
        "from os import environ",
    ],
    "classes are named for what they are": ["class JobManager: ...", "class Helpers: ..."],
    "every module says its one idea": ["x = 1"],
    "nothing is left unfinished": ["def go():\n    raise NotImplementedError", "raise NotImplementedError('later')"],
    "at most 6 parameters": ["def go(a, b, c, d, e, f, *, g): ..."],
    "at most 40 lines a function": ["def go():\n" + "    x = 1\n" * 41],
    "at most 400 lines a module": ["x = 1\n" * 401],
    "identifiers are quoted in one place": ["sql = f'select * from \"{name}\" where x'"],
}
ALLOWED = {
    "only engine/worker.py catches everything": "try:\n    go()\nexcept BaseException:\n    undo()\n    raise",
    "at most 6 parameters": "def go(self, a, b, c, d, e, f): ...",
    "identifiers are quoted in one place": "sql = f'select * from {quote(name)} where x = \"{y}\"'",
}


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name)
def test_the_package_keeps_the_habit(habit: Habit) -> None:
    broken = [
        f"{name}: {finding}"
        for name, path in package_files(ROOT).items()
        if habit.concerns(name)
        for finding in findings(habit, path.read_text())
    ]

    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name)
def test_a_planted_file_is_caught(habit: Habit) -> None:
    for source in PLANTED[habit.name]:
        assert findings(habit, source), source
    assert not findings(habit, ALLOWED.get(habit.name, '"""Nothing wrong here."""'))


@pytest.mark.parametrize("habit", [habit for habit in HABITS if habit.but], ids=lambda habit: habit.name)
def test_who_may_do_it_exists(habit: Habit) -> None:
    assert any(name.startswith(habit.but) for name in package_files(ROOT))


def test_modules_are_named_for_what_they_hold() -> None:
    vague = [name for name in package_files(ROOT) if FORBIDDEN_WORDS.search(Path(name).stem)]

    assert not vague
    assert FORBIDDEN_WORDS.search("file_utils")
