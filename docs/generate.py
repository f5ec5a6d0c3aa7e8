"""Writes the pages that the code knows best: commands, project file, connectors, Python API, errors, decisions.

`python docs/generate.py` writes the pages, `python docs/generate.py --check` fails when one is older than the code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).parent
NOTE = "<!-- Made by docs/generate.py from the code; changes made here are lost. -->\n\n"
Row = Sequence[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def cli_page() -> str:
    """Every command's own help text."""
    from penstock.cli.main import cli

    parts = ["# Commands\n\nWhat `penstock COMMAND --help` says.\n", _help(cli, "penstock")]
    parts += [_help(command, f"penstock {name}") for name, command in _commands(cli, "")]
    return "\n".join(parts)


def _commands(group: click.Group, before: str) -> Iterable[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            yield f"{before}{name}", command
            if isinstance(command, click.Group):
                yield from _commands(command, f"{before}{name} ")


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"


def config_page() -> str:
    """Every key of penstock.yml, from its JSON schema."""
    from penstock.api.project_file.json_schema import project_schema

    schema = project_schema()
    named = dict(sorted(schema["$defs"].items()))
    intro = (
        "# Project file\n\nEvery key of `penstock.yml`. `penstock config-schema` prints the same as JSON schema; an editor that"
        " knows it completes the file. A value may be a reference such as `${NAME}` or `${file:PATH}`.\n"
    )
    parts = [intro, "## At the top\n\n" + _keys(schema)]
    for name, part in named.items():
        if part.get("anyOf"):
            parts += [f"## {name}\n\n{_sentence(part)}"]
            parts += [f"### {form['title']}\n\n{_keys(form)}" for form in part["anyOf"] if form.get("properties")]
        elif part.get("properties"):
            parts.append(f"## {name}\n\n{_sentence(part)}{_keys(part)}")
    return "\n".join([*parts, _settings()])


def _settings() -> str:
    """Where each run setting may stand, from the table that reads them."""
    from penstock.api.project_file.settings import SETTINGS
    from penstock.cli.config import PROJECT_VARIABLE

    intro = (
        "## Variables and options\n\nA run setting may stand in five places. The command line wins over the environment, that"
        " over the job, the job over `defaults`, and these over what is built in.\n"
    )
    rows = [[code(one.key), code(one.variable), code(one.option), one.help] for one in SETTINGS]
    rows.append(["", code(PROJECT_VARIABLE), code("--project"), "the project file to use"])
    rows.append(
        ["", code("NO_COLOR"), code("--no-color"), "no colour and no moving output, whatever the variable holds"]
    )
    return f"{intro}\n{table(['key', 'variable', 'option', 'meaning'], rows)}"


def _sentence(part: Mapping[str, Any]) -> str:
    return f"{part['description']}\n\n" if part.get("description") else ""


def _keys(part: Mapping[str, Any]) -> str:
    required = part.get("required", ())
    rows = [
        [
            code(name) + (" (required)" if name in required else ""),
            _type(key),
            code(_default(key.get("default"))),
            str(key.get("description", "")),
        ]
        for name, key in part["properties"].items()
    ]
    return table(["key", "value", "default", "meaning"], rows)


def _default(value: Any) -> str:
    if value is None or value in ({}, [], ""):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(key: Mapping[str, Any]) -> str:
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2]
        return "a reference such as `${NAME}`" if name == "Reference" else f"see {name}"
    if "const" in key:
        return code(str(key["const"]))
    if "enum" in key:
        return ", ".join(code(str(value)) for value in key["enum"] if value not in ("", None))
    forms = key.get("anyOf") or key.get("oneOf")
    if forms:
        # Every scalar may be a reference; the page says so once.
        shown = [_type(form) for form in forms if not str(form.get("$ref", "")).endswith("/Reference")]
        return " or ".join(dict.fromkeys(text for text in shown if text))
    if key.get("type") == "array":
        return f"list of {_type(key.get('items', {})) or 'values'}"
    if key.get("type") == "object":
        values = key.get("additionalProperties")
        return f"map of {_type(values)}" if isinstance(values, dict) else "map"
    return str(key.get("title") or key.get("type", ""))


def connectors_page() -> str:
    """What each connector claims and takes."""
    from penstock.connectors import registry
    from penstock.core.ports import Ability

    found = {one.name: one for one in (registry.connector(scheme) for scheme in registry.BUILT_IN)}
    rows = [[name, *("yes" if ability in one.abilities else "" for ability in Ability)] for name, one in found.items()]
    parts = [
        "# Connectors\n\nWhat each can do; the conformance suite holds them to it (`tests/conformance`).\n",
        table(["connector", *(ability.value for ability in Ability)], rows),
    ]
    for name, one in found.items():
        urls = ", ".join(code(f"{scheme}:") for scheme in one.schemes)
        parts.append(f"## {name}\n\n{inspect.getdoc(type(one)) or ''}\n\nURLs begin with {urls}.\n")
        options = [
            [
                code(option.name),
                ", ".join(map(code, option.choices)) or option.kind,
                code(_default(option.default)),
                option.scope,
                option.help,
            ]
            for option in one.options
        ]
        if options:
            parts.append(table(["option", "value", "default", "scope", "meaning"], options))
    return "\n".join(parts)


def python_page() -> str:
    """The public names of the package."""
    import penstock

    parts = ["# Python\n\nEverything the command line does, as functions. Import the names from `penstock`.\n"]
    public = {name: getattr(penstock, name) for name in penstock.__all__ if not name.startswith("__")}
    functions = [name for name, value in public.items() if inspect.isfunction(value)]
    classes = [name for name, value in public.items() if inspect.isclass(value) and not issubclass(value, Exception)]
    parts += [_entry(name, public[name]) for name in [*functions, *classes]]
    return "\n".join(parts)


def _entry(name: str, value: Any) -> str:
    text = [f"## {name}\n", f"```python\n{_signature(name, value)}\n```\n", f"{inspect.getdoc(value) or ''}\n"]
    if inspect.isclass(value):
        for member, held in vars(value).items():
            documented = held.fget if isinstance(held, property) else held
            if not member.startswith("_") and inspect.isfunction(documented) and inspect.getdoc(documented):
                text.append(f"- `{member}`: {_cell(inspect.getdoc(documented) or '')}")
    return "\n".join(text) + "\n"


def _signature(name: str, value: Any) -> str:
    """One line, or one a parameter where that is too long. Annotations are as written."""
    signature = inspect.signature(value)
    given, is_keyword = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            given.append("*")
            is_keyword = True
        default = "" if parameter.default is parameter.empty else f" = {_default_text(parameter.default)}"
        given.append(f"{parameter.name}: {parameter.annotation}{default}")
    inside, answer = ", ".join(given), signature.return_annotation
    if len(inside) > 80:
        inside = "".join(f"\n    {each}," for each in given) + "\n"
    if inspect.isclass(value):
        return f"class {name}({inside})"
    return f"{name}({inside}) -> {answer}"


def _default_text(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__}()" if len(text) > 30 or text.startswith("<") else text


def errors_page() -> str:
    """Every class of error, with what the engine does and how the command exits."""
    from penstock.core import errors

    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.PenstockError) and kind is not errors.PenstockError
    ]
    rows = [[code(kind.__name__), inspect.getdoc(kind) or "", kind.retry.value, str(kind.exit_code)] for kind in kinds]
    meanings = inspect.getdoc(errors.Retry) or ""
    return (
        "# Errors and exit codes\n\nEvery error says what failed and what to do. The class decides whether the engine tries"
        f" again.\n\n{table(['error', 'meaning', 'again', 'exit code'], rows)}\n## When the engine tries again\n\n{meanings}\n"
    )


def decisions_page() -> str:
    """The decisions in order, by their own titles."""
    found = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    lines = [f"{page.read_text().partition(chr(10))[0].lstrip('# ')}" for page in found]
    links = "\n".join(f"- [{title}]({page.name})" for title, page in zip(lines, found, strict=True))
    return f"# Decisions\n\nChoices that are dear to undo: context, options, choice, consequence.\n\n{links}\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": cli_page,
    "reference/project-file.md": config_page,
    "reference/connectors.md": connectors_page,
    "reference/python.md": python_page,
    "reference/errors.md": errors_page,
    "decisions/index.md": decisions_page,
}


def main(arguments: Sequence[str]) -> int:
    stale = []
    for name, make in PAGES.items():
        page, text = DOCS / name, NOTE + make().rstrip() + "\n"
        if page.exists() and page.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            page.write_text(text)
    if "--check" in arguments and stale:
        sys.stderr.write(f"pages are older than the code: {', '.join(stale)}; run python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
