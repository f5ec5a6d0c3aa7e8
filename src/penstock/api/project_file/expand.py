"""${VAR}, ${VAR:-default} and ${file:PATH} inside a text value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from penstock.core.errors import SpecError

_NAME = re.compile(r"[A-Za-z_]\w*\Z")


def expand(text: str, variables: Mapping[str, str], base_dir: str | Path) -> str:
    """`text` with every reference replaced; `$${` stands for a literal `${`.

    `${VAR:-default}` takes the default where VAR is unset or empty; the default may hold references itself.
    `${file:PATH}` is the content of a UTF-8 file (relative to `base_dir`) without its last line end. What a variable or a
    file holds is not expanded again. Raises SpecError for an unset variable, an unreadable file or a broken reference.
    """
    out: list[str] = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        if start > position and text[start - 1] == "$":
            out += [text[position : start - 1], "${"]
            position = start + 2
            continue
        end = _closing_brace(text, start + 2)
        out += [text[position:start], _resolve(text[start + 2 : end], variables, base_dir)]
        position = end + 1
    return "".join(out) + text[position:]


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        if text.startswith("${", position):
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if not depth:
                return position
    raise SpecError("${ has no closing }", "write ${NAME}, or $${ for a literal ${")


def _resolve(reference: str, variables: Mapping[str, str], base_dir: str | Path) -> str:
    if reference.startswith("file:"):
        return _content(reference.removeprefix("file:"), base_dir)
    name, has_default, default = reference.partition(":-")
    if not _NAME.match(name):
        raise SpecError(
            f"${{{reference}}} is no reference",
            "write ${NAME}, ${NAME:-default}, ${file:PATH}, or $${ for a literal ${",
        )
    if has_default:
        return variables.get(name) or expand(default, variables, base_dir)
    if name not in variables:
        raise SpecError(
            f"variable {name} is not set",
            f"set it in the environment, pass --var {name}=..., or write ${{{name}:-default}}",
        )
    return variables[name]


def _content(path: str, base_dir: str | Path) -> str:
    file = Path(base_dir, path)
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(
            f"cannot read {file}: {reason or error}", "the path after file: is relative to the project file"
        ) from error
