"""The JSON schema of penstock.yml: the models' keys and the options that the connectors declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.api.project_file import model
from penstock.api.project_file.build import LATER_KINDS
from penstock.api.project_file.keys import definitions
from penstock.api.project_file.options import SCHEMAS, declared
from penstock.connectors import registry
from penstock.core.errors import SpecError
from penstock.core.ports import Connector, Option

REFERENCE = {"description": "a value from a variable or a file", "type": "string", "pattern": r"\$\{.+\}"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def project_schema() -> dict[str, Any]:
    """The schema for editors and checks, in a fixed order; options are those of the connectors that can be loaded."""
    parts = definitions(model.ProjectFile)
    schema = parts.pop("ProjectFile")
    connectors = _connectors()
    base = parts.pop("Connection")
    parts["Connection"] = {
        "description": base["description"],
        "anyOf": [_connection(base, connector) for connector in connectors] + [_other_connection(base, connectors)],
    }
    # A job takes the options of its two ends; which they are stands elsewhere in the file, so all are offered.
    options = _merged(connectors, "source") | _merged(connectors, "target")
    for name in ("CopyJob", "TableKeys"):
        parts[name] |= {"properties": options | parts[name]["properties"], "additionalProperties": False}
    schema["properties"]["jobs"]["additionalProperties"] = {"anyOf": [{"$ref": "#/$defs/CopyJob"}, _later_job()]}
    schema["$defs"] = {**dict(sorted(parts.items())), "Reference": REFERENCE}
    _finish(schema)
    return {"$schema": DIALECT, **schema, "title": "penstock.yml"}


def _connectors() -> list[Connector]:
    found: dict[str, Connector] = {}
    for scheme in registry.schemes():
        try:
            connector = registry.connector(scheme)
        except SpecError:
            continue
        found[connector.name] = connector
    return [found[name] for name in sorted(found)]


def _connection(base: Mapping[str, Any], connector: Connector) -> dict[str, Any]:
    schemes = "|".join(sorted(connector.schemes))
    url = {**base["properties"]["url"], "pattern": rf"^({schemes}):|^\$\{{"}
    options = {option.name: option_schema(option) for option in connector.options}
    return {
        "title": f"{connector.name} connection",
        "type": "object",
        "properties": {**base["properties"], "url": url, **options},
        "required": ["url"],
        "additionalProperties": False,
    }


def _other_connection(base: Mapping[str, Any], connectors: Iterable[Connector]) -> dict[str, Any]:
    """A connection of a connector that is not installed here: its options cannot be told."""
    schemes = "|".join(sorted(scheme for connector in connectors for scheme in connector.schemes))
    url = {**base["properties"]["url"], "pattern": rf"^(?!({schemes}):)" if schemes else ""}
    return {
        "title": "connection of another connector",
        "type": "object",
        "properties": {**base["properties"], "url": url},
        "required": ["url"],
    }


def _later_job() -> dict[str, Any]:
    return {
        "title": "job of a kind that this version does not run",
        "type": "object",
        "properties": {"kind": {"enum": list(LATER_KINDS)}},
        "required": ["kind"],
    }


def _merged(connectors: Iterable[Connector], scope: str) -> dict[str, Any]:
    """The options of one scope by name; an option that several connectors declare takes what any of them takes."""
    forms: dict[str, list[dict[str, Any]]] = {}
    for connector in connectors:
        for name, option in declared(connector.options, scope).items():
            form = option_schema(option)
            if form not in forms.setdefault(name, []):
                forms[name].append(form)
    return {name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in sorted(forms.items())}


def option_schema(option: Option) -> dict[str, Any]:
    """The schema of a connector's option."""
    form: dict[str, Any] = {"description": option.help}
    form |= {"enum": list(option.choices)} if option.kind == "choice" else dict(SCHEMAS[option.kind])
    if option.default is not None:
        form["default"] = option.default
    return form


def _finish(part: Any) -> None:
    """Let every value be a ${...} reference."""
    if isinstance(part, list):
        for child in part:
            _finish(child)
    if not isinstance(part, dict):
        return
    for child in part.values():
        _finish(child)
    properties = part.get("properties", {})
    for name, form in properties.items():
        if name != "version":
            properties[name] = _or_reference(form)


def _or_reference(form: dict[str, Any]) -> dict[str, Any]:
    """`form`, or a text with ${...} in it where no text could stand otherwise."""
    forms = form.get("anyOf", [form])
    if not any("enum" in one or one.get("type") in ("integer", "number", "boolean") for one in forms):
        return form
    about = {name: form[name] for name in ("description", "default") if name in form}
    plain = [{name: value for name, value in one.items() if name not in about} for one in forms]
    return about | {"anyOf": [*plain, {"$ref": "#/$defs/Reference"}]}
