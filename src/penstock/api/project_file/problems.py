"""Everything wrong in a document, gathered, with wording that names the key, the value and the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from penstock.api.project_file.document import Document, Path, Problem, ProjectErrors
from penstock.core.secret import MASK, mask

Model = TypeVar("Model", bound=BaseModel)

_SECRET_WORDS = ("password", "secret", "token", "salt", "api_key", "access_key")
_EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
    "string_too_short": "must not be empty",
    "finite_number": "must be a finite number",
}


class Problems:
    """The problems of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: list[Problem] = []

    def at(self, path: Path, what: str, hint: str = "") -> None:
        """A problem with the value at `path`, or with what is missing there; none, if it could not be read at all."""
        if path not in self.document.broken:
            self.found.append(Problem(self.document.place(path), what, hint))

    def at_key(self, path: Path, what: str, hint: str = "") -> None:
        """A problem with the key at the end of `path`."""
        self.found.append(Problem(self.document.key_place(path), what, hint))

    def unknown_key(self, path: Path, known: Iterable[str]) -> None:
        where = f"in {dotted(path[:-1])}" if path[:-1] else "at the top of the file"
        self.at_key(path, f'unknown key "{path[-1]}" {where}', suggest(str(path[-1]), known, "known keys"))

    def checked(self, kind: type[Model], path: Path, value: Any) -> Model | None:
        """`value` as a model, or None with a problem for everything that does not fit."""
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self._add(kind, path, detail)
            return None

    def raise_if_any(self, file: str) -> None:
        """Raises ProjectErrors with one line for each problem, in the order of the file."""
        if self.found:
            raise ProjectErrors("\n".join(problem.line(file) for problem in sorted(set(self.found))))

    def _add(self, kind: type[BaseModel], base: Path, detail: Mapping[str, Any]) -> None:
        path: Path = (*base, *(part for part in detail["loc"] if part != "[key]"))
        error = detail["type"]
        if error == "extra_forbidden":
            self.unknown_key(path, _known_keys(kind, detail["loc"][:-1]))
        elif error == "missing":
            where = dotted(path[:-1]) or "the file"
            self.at(path, f'{where} lacks the key "{path[-1]}"', "add it")
        elif error == "literal_error":
            choices = [word.strip("'") for word in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            self.wrong_choice(path, detail["input"], [word for word in choices if word])
        elif "[key]" in detail["loc"]:
            self.at_key(path, f"a key in {dotted(path[:-1])} is empty", "name it")
        else:
            expected, hint = _expected(detail)
            self.at(path, f"{dotted(path)} is {self.shown(path, detail['input'])}, but {expected}", hint)

    def wrong_choice(self, path: Path, value: Any, choices: Sequence[str]) -> None:
        what = f"{dotted(path)} is {self.shown(path, value)}, but must be one of {', '.join(choices)}"
        near = difflib.get_close_matches(str(value), choices, 1)
        self.at(path, what, f'did you mean "{near[0]}"?' if near else "")

    def shown(self, path: Path, value: Any) -> str:
        """A value as a message may show it: as it was written, and never a secret."""
        if path in self.document.written:
            return f'"{self.document.written[path]}"'
        if any(word in str(part).lower() for part in path for word in _SECRET_WORDS):
            return MASK
        if value is None:
            return "empty"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (dict, list)):
            return "a list" if isinstance(value, list) else "a mapping"
        return f'"{mask(value)}"' if isinstance(value, str) else str(value)


def _expected(detail: Mapping[str, Any]) -> tuple[str, str]:
    error, context = detail["type"], detail.get("ctx", {})
    if error == "value_error":
        return str(context["error"]), ""
    if error in ("greater_than_equal", "greater_than"):
        bound = context.get("ge", context.get("gt"))
        return f"must be {'at least' if 'ge' in context else 'more than'} {bound}", ""
    if error == "string_type" and isinstance(detail["input"], (int, float)):
        return _EXPECTED[error], "put it in quotes"
    return _EXPECTED.get(error, str(detail["msg"]).lower()), ""


def _known_keys(kind: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys of the model that `loc` leads to inside `kind`."""
    current: Any = kind
    for part in loc:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = _model_in(current.model_fields[str(part)].annotation)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The model class inside an annotation such as `Cursor | None` or `dict[str, TableKeys]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def dotted(path: Path) -> str:
    """A path as people write it: jobs.raw.tables[0]."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            text = part if part and not set(part) & set(". []") else f'"{part}"'
            out += f".{text}" if out else text
    return out


def suggest(word: str, known: Iterable[str], label: str) -> str:
    """A hint with the nearest known word, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, 1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"{label}: {', '.join(words)}" if words else f"there are no {label}"
