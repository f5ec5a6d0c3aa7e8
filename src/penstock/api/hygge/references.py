"""${...} in old texts: references are carried over, secrets that stand in clear are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from penstock.api.hygge.notes import Notes
from penstock.api.hygge.section import Value

_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_ONLY_REFERENCE = re.compile(r"\$\{[A-Za-z_]\w*\}\Z")
_NOT_IN_NAMES = re.compile(r"\W+")
# key=value as connection strings and addresses have it, and the password in front of a host.
_SECRET_TEXT = re.compile(
    r"(?P<head>\b(?P<key>password|pwd|accountkey|sharedaccess(?:key|signature)|\w*secret|\w*token|sig|api_?key)=[\"']?"
    r"|://[^\s/:@]*:)(?P<secret>[^\s\"'&;,)/@]+(?(key)|(?=@)))",
    re.IGNORECASE,
)
_TOLD = "set {} in the environment to the value, and change the value where it is known: it lay in a file"


@dataclass(frozen=True)
class _Part:
    """A piece of text, or with `is_reference` what stands between ${ and }."""

    text: str
    is_reference: bool = False


def _parts(text: str) -> list[_Part]:
    """The text cut at its references. The old tool took ${NAME} and ${NAME:-default} for one, and all else as it stands."""
    out: list[_Part] = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        end = _closing(text, start + 2)
        inner = text[start + 2 : end] if end >= 0 else ""
        name, mark, _ = inner.partition(":")
        if end < 0 or not name or (mark and not inner[len(name) :].startswith(":-")):
            out.append(_Part(text[position : start + 2]))
            position = start + 2
            continue
        out += [_Part(text[position:start]), _Part(inner, True)]
        position = end + 1
    return [part for part in [*out, _Part(text[position:])] if part.text]


def _closing(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        depth += text.startswith("${", position) - (text[position] == "}")
        if not depth:
            return position
    return -1


def variable(text: str) -> str:
    """A name for an environment variable, made from any text."""
    name = _NOT_IN_NAMES.sub("_", text).strip("_").upper()
    return name if _NAME.match(name) else f"_{name}"


def has_reference(text: str) -> bool:
    """Whether the old tool would have replaced something in `text`."""
    return any(part.is_reference for part in _parts(text))


def carried(value: str, place: str, notes: Notes, literal: Callable[[str], str] = lambda text: text) -> str:
    """`value` with its references as Penstock writes them, and a reference for what looks like a secret in clear; `literal`
    makes the text between them fit its new place."""
    out = ""
    for part in _parts(_without_secrets(value, place, notes)):
        if not part.is_reference:
            out += literal(part.text).replace("${", "$${")
            continue
        if out.endswith("$"):
            notes.add("decide", "$${...}", "the old tool kept the first $ and filled in the rest; the $ is gone", place)
            out = out[:-1]
        name, mark, default = part.text.partition(":-")
        if not _NAME.match(name):
            new = variable(name)
            notes.add(
                "decide", f"${{{name}}}", f"a variable's name has letters, digits and _: set {new} instead", place
            )
            name = new
        out += "${" + name + (mark + carried(default, place, notes) if mark else "") + "}"
    return out


def _without_secrets(text: str, place: str, notes: Notes) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found["secret"].startswith("${") and ":-" not in found["secret"]:
            return found[0]
        name = variable(f"{found['key'] or 'password'}_{place.replace('.yml', '')}")
        notes.add("secret", found["key"] or "password in an address", _TOLD.format(name), place)
        return f"{found['head']}${{{name}}}"

    return _SECRET_TEXT.sub(replaced, text)


def names_in(value: Value | None, notes: Notes) -> list[str]:
    """A name, or a list of them, as names of columns; empty ones and what is no name are left out."""
    found = value.data if value is not None and isinstance(value.data, list) else [value]
    listed = [one for one in found if one is not None and not isinstance(one.data, (dict, list, bool))]
    return [carried(str(one.data), one.place, notes) for one in listed if one.data not in (None, "")]


def default_of(text: str) -> str:
    """What a text is as far as the file says: a reference stands for its default, or for nothing."""
    return "".join(part.text.partition(":-")[2] if part.is_reference else part.text for part in _parts(text))


def secret(value: Value, option: str, name: str, notes: Notes, about: str) -> str:
    """The reference that stands for a secret: its own, or ${name} where the secret or a default of it stood in the file."""
    text = str(value.data)
    if _ONLY_REFERENCE.match(text):
        return text
    new = variable(name)
    notes.add("secret", option, _TOLD.format(new), value.place, about)
    return f"${{{new}}}"
