"""Project files as text, read with chosen variables and connectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from penstock.api.project_file.build import Given, ReadProject, read_project
from penstock.connectors import registry
from tests.api.connectors import SHELF

Read = Callable[..., ReadProject]


class _Point:
    """An entry point as importlib.metadata gives it."""

    name = "shelf"
    dist = None
    value = "tests.api.connectors:SHELF"

    def load(self) -> object:
        return SHELF


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scheme `shelf:`, registered as if another package had brought it."""
    monkeypatch.setattr(registry, "outside", lambda: {"shelf": _Point()})
    registry.connector.cache_clear()
    yield
    registry.connector.cache_clear()


@pytest.fixture
def read(shelf: None) -> Read:
    def read_text(text: str, *, root: str = "/project", **given: object) -> ReadProject:
        return read_project(text, "penstock.yml", Given(root, **given))  # type: ignore[arg-type]

    return read_text
