"""The published JSON schema: valid itself, in a fixed order, and of one mind with the reader of project files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.api.project_file import model
from penstock.api.project_file.json_schema import project_schema
from penstock.connectors import registry
from tests.api.conftest import Read
from tests.api.connectors import SHELF
from tests.api.test_project_file_values import BASE, SAMPLES, text_with

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")


@pytest.fixture
def schema(shelf: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(registry, "BUILT_IN", {})
    return project_schema()


def is_valid(schema: dict[str, Any], project: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(project))


def test_the_schema_is_a_valid_schema_in_a_fixed_order(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)

    assert json.dumps(schema) == json.dumps(project_schema())
    assert list(schema["$defs"]) == [*sorted(list(schema["$defs"])[:-1]), "Reference"]


def test_every_key_has_a_description(schema: dict[str, Any]) -> None:
    for name, part in schema["$defs"].items():
        for form in [part, *part.get("anyOf", [])]:
            for key, value in form.get("properties", {}).items():
                assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("path", SAMPLES)
def test_the_schema_takes_every_key_that_the_reader_takes(schema: dict[str, Any], path: str) -> None:
    assert is_valid(schema, json.loads(text_with(path, SAMPLES[path])))


@pytest.mark.parametrize("option", SHELF.options, ids=lambda option: option.name)
def test_the_schema_takes_every_option_on_its_connection(schema: dict[str, Any], option: Any) -> None:
    samples = {"text": "me", "integer": 3, "number": 1.5, "boolean": True, "secret": "s", "path": "p"}
    value = option.choices[-1] if option.kind == "choice" else samples[option.kind]

    assert is_valid(schema, json.loads(text_with(f"connections.a.{option.name}", value)))
    assert not is_valid(schema, json.loads(text_with(f"connections.a.{option.name}", [1])))


@pytest.mark.parametrize(
    "path", ["connections.a.nonsense", "jobs.raw.nonsense", "jobs.raw.columns.nonsense", "nonsense"]
)
def test_schema_and_reader_refuse_the_same_unknown_keys(read: Read, schema: dict[str, Any], path: str) -> None:
    assert not is_valid(schema, json.loads(text_with(path, 1)))
    with pytest.raises(Exception, match="unknown key"):
        read(text_with(path, 1))


def test_a_reference_may_stand_for_any_value(schema: dict[str, Any]) -> None:
    project = json.loads(text_with("jobs.raw.workers", "${N}"))
    project["connections"]["a"] = {"url": "${URL}", "pages": "${N}", "max_connections": "${N:-5}", "strict": "${S}"}

    assert is_valid(schema, project)


def test_connections_of_connectors_that_are_not_installed_are_let_through(schema: dict[str, Any]) -> None:
    project = {**BASE, "connections": {**BASE["connections"], "bi": {"url": "looker:https://x", "client_id": "c"}}}

    assert is_valid(schema, project)


@pytest.mark.parametrize("scheme", sorted(registry.BUILT_IN))
def test_no_option_of_a_built_in_connector_hides_behind_a_key_of_the_project_file(scheme: str) -> None:
    connector = registry.connector(scheme)

    for option in connector.options:
        taken = model.Connection if option.scope == "connection" else model.CopyJob
        assert option.name not in taken.known, option.name
        assert option.name not in model.Connection.known, option.name
        assert option.help
        assert option.kind != "choice" or option.choices
