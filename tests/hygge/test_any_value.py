"""Whatever stands where: an old project is taken over, or refused with a place; what is written is always valid."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.api.hygge.convert import import_hygge
from penstock.core.errors import SpecError
from tests.hygge.old import write
from tests.hygge.test_told import WHOLE

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**70, 1.5, "", " ", "text", "a.b.c.d", "a b", 'say "x": # [y]', "${X}", "${X:-y}", "${", "$${X}",
    "ünï\ncode\t", "*", "!t", "../..", "/", "[x", "yes", "1e3", "2024-01-01", "{entity}", "{", [], [None], ["a", "b"], [{}],
    {}, {"a": 1}, {"": None},
)  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield (*path, key)
        yield from paths(one, (*path, key))


def replaced(files: dict[str, Any], file: str, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(files)
    at = found[file]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return found


PLACES = [(file, path) for file, content in WHOLE.items() for path in paths(content)]


def refused(folder: Path, files: dict[str, Any]) -> str:
    """Why the import of a project is refused; "" where it is taken over."""
    write(folder, files)
    try:
        import_hygge(folder)
    except SpecError as error:
        return str(error)
    return ""


def is_placed(error: str, folder: Path) -> bool:
    return not error or (
        error.startswith((*(f"{file}:" for file in WHOLE), str(folder))) and "not be valid" not in error
    )


@pytest.mark.slow
@pytest.mark.parametrize(("file", "path"), PLACES, ids=str)
def test_any_value_anywhere_is_taken_over_or_refused_by_place(file: str, path: tuple[Any, ...], tmp_path: Path) -> None:
    for number, value in enumerate(ODD):
        folder = tmp_path / str(number)

        error = refused(folder, replaced(WHOLE, file, path, value))

        assert is_placed(error, folder), (value, error)


def test_an_odd_value_somewhere_is_taken_over_or_refused_by_place(tmp_path: Path) -> None:
    dice = random.Random(11)
    for number in range(250):
        file, path = dice.choice(PLACES)
        folder, value = tmp_path / str(number), dice.choice(ODD)

        error = refused(folder, replaced(WHOLE, file, path, value))

        assert is_placed(error, folder), (file, path, value, error)


def test_several_odd_values_at_once_break_nothing(tmp_path: Path) -> None:
    dice = random.Random(7)
    for number in range(150):
        files = WHOLE
        for file, path in dice.sample(PLACES, 4):
            with suppress(KeyError, IndexError, TypeError):  # a value before it took the place away
                files = replaced(files, file, path, dice.choice(ODD))

        assert "would not be valid" not in refused(tmp_path / str(number), files)
