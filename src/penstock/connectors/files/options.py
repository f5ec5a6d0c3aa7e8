"""The options of a file connection, from URL, connection and job, checked and typed."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.connectors._formats.settings import APPLIES, FORMAT_OPTIONS, FormatSettings, format_settings
from penstock.connectors._formats.suffixes import data_suffix
from penstock.connectors.files.root import Root
from penstock.core.errors import SpecError
from penstock.core.names import TableName, matches
from penstock.core.ports import Option
from penstock.core.spec import ConnectionSpec

LAYOUTS = ("folder", "file", "hive")

OPTIONS: tuple[Option, ...] = (
    *FORMAT_OPTIONS,
    Option(
        "layout",
        "choice",
        "one folder a table (folder), one file a table (file), or folders by the values of partition_by (hive)",
        "folder",
        LAYOUTS,
        "target",
    ),
    Option(
        "partition_by",
        "text",
        "layout hive: the columns whose values make the folders, separated by commas",
        "",
        scope="target",
    ),
    Option(
        "adopt",
        "boolean",
        "take over data files in the table's folder that Penstock did not write",
        False,
        scope="target",
    ),
    Option(
        "keep_previous",
        "boolean",
        "keep the version before the last publish in .penstock/previous",
        False,
        scope="target",
    ),
    Option("tables", "text", "tables of several files: `name: glob` pairs, separated by semicolons", ""),
    Option(
        "types",
        "text",
        "CSV, NDJSON: declared types, `column: type` or `table.column: type` pairs, separated by semicolons",
        "",
    ),
    Option("infer_rows", "integer", "CSV, NDJSON: rows of each file that decide undeclared types; 0 is all", 0),
    Option(
        "bad_rows",
        "choice",
        "CSV, NDJSON: a row that does not fit is an error, or set aside in .penstock/quarantine",
        "error",
        ("error", "quarantine"),
        "source",
    ),
)
_PAIRS = ("types", "tables")
_LISTS = ("partition_by",)
_BY_NAME = {option.name: option for option in OPTIONS}
_PART = re.compile(r'(?:"(?:[^"]|"")*"|[^";])+')
_PAIR = re.compile(r'((?:"(?:[^"]|"")*"|[^":])+):(.+)', re.DOTALL)
_ITEM = re.compile(r'(?:"(?:[^"]|"")*"|[^",])+')
_WORDS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


@dataclass(frozen=True)
class FileOptions:
    """A connection's root and options. `values` holds only what was set."""

    root: Root
    values: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"connection {self.root.connection!r}"

    @property
    def format(self) -> str:
        return str(self.values.get("format") or "")

    def get(self, name: str, job: Mapping[str, Any] | None = None) -> Any:
        """An option's value: the job's, else the connection's, else the default."""
        for values in (job or {}, self.values):
            if values.get(name) is not None:
                return checked(name, values[name], self.where)
        return _BY_NAME[name].default

    def settings(self, table: TableName, format_name: str) -> FormatSettings:
        """How to read files of a format that were not written here: the connection's options where they apply."""
        values = {k: v for k, v in self.values.items() if format_name in APPLIES.get(k, ())}
        values = {k: v for k, v in values.items() if not k.startswith("compression")}
        settings = format_settings({**values, "format": format_name}, self.where, {})
        if format_name not in APPLIES["types"]:
            return settings
        types = self._types(table)
        return replace(settings, types=types, infer_rows=int(self.get("infer_rows")))

    def _types(self, table: TableName) -> tuple[tuple[str, str], ...]:
        """The declared types of one table: keys `column`, and `table.column`, which wins."""
        found: dict[str, str] = {}
        own: dict[str, str] = {}
        for key, kind in pairs(self.values.get("types") or "", "types", self.where).items():
            parts = TableName.parse(key).parts if key else ()
            if len(parts) == 1:
                found[parts[0]] = kind
            elif matches(table, TableName(parts[:-1])):
                own[parts[-1]] = kind
        return tuple(sorted({**found, **own}.items()))

    def patterns(self) -> dict[TableName, str]:
        """The tables that are declared as globs."""
        found = pairs(self.values.get("tables") or "", "tables", self.where)
        return {TableName.parse(name): pattern for name, pattern in found.items()}

    def target_settings(self, job: Mapping[str, Any]) -> FormatSettings:
        """How to write: the job's options over the connection's. Raises SpecError for one the format does not have."""
        own = {name: checked(name, value, self.where) for name, value in job.items() if value is not None}
        chosen = own.get("format") or self.format or "parquet"
        below = {k: v for k, v in self.values.items() if k not in APPLIES or chosen in APPLIES[k]}
        if own.get("compression") and own["compression"] != below.get("compression"):
            below.pop("compression_level", None)
        return format_settings({**below, **own, "format": chosen}, self.where, own)


def file_options(spec: ConnectionSpec) -> FileOptions:
    """The options of a connection: those of its URL's query under those of its mapping. Raises SpecError."""
    parts = urlsplit(spec.url)
    if parts.netloc not in ("", "localhost"):
        raise SpecError(
            f"url {spec.url!r} of connection {spec.name!r} names a host", "write file:./folder or file:/folder"
        )
    if not parts.path:
        raise SpecError(f"url {spec.url!r} of connection {spec.name!r} names no folder", "write file:./folder")
    where = f"connection {spec.name!r}"
    raw: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    raw.update({name: value for name, value in spec.options.items() if value is not None})
    values = {name: checked(name, value, where) for name, value in raw.items()}
    if values.get("format"):
        format_settings(values, where, values)
    path = os.path.abspath(os.path.join(spec.base_dir, unquote(parts.path)))
    if os.path.isfile(path) and data_suffix(path):
        folder, only = os.path.split(path)
        return FileOptions(Root(folder, spec.name, only), values)
    return FileOptions(Root(path, spec.name), values)


def checked(name: str, value: Any, where: str) -> Any:
    """A value as its option's kind; texts (from a URL) are converted. Raises SpecError."""
    option = _BY_NAME.get(name)
    if option is None:
        near = difflib.get_close_matches(name, _BY_NAME, 1)
        raise SpecError(
            f"{where} has no option {name!r}", f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_BY_NAME)}"
        )
    converted = _converted(option, value)
    if converted is None:
        wanted = f"one of {', '.join(option.choices)}" if option.choices else f"a {option.kind}"
        raise SpecError(f"option {name!r} of {where} is {value!r}", f"give {wanted}")
    return converted


def _converted(option: Option, value: Any) -> Any:
    """The value in the option's kind, None where it is none."""
    if option.kind == "boolean":
        return value if isinstance(value, bool) else _WORDS.get(str(value).lower())
    if option.kind == "integer":
        if isinstance(value, bool):
            return None
        text = str(value)
        return int(text) if text.lstrip("-").isdigit() else None
    if option.name in _PAIRS and isinstance(value, Mapping):
        return "; ".join(f"{key}: {item}" for key, item in value.items())
    if option.name in _LISTS and isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    if option.kind == "choice":
        return value if value in option.choices else None
    return str(value)


def pairs(text: str, option: str, where: str) -> dict[str, str]:
    """`name: value; name: value` as a mapping. A name in double quotes may hold `:` and `;`."""
    found: dict[str, str] = {}
    for part in _PART.findall(text):
        match = _PAIR.fullmatch(part.strip())
        if match is None:
            raise SpecError(f"option {option!r} of {where} has {part.strip()!r}", "write name: value; name: value")
        found[match[1].strip()] = match[2].strip()
    return found


def listed(text: str) -> tuple[str, ...]:
    """`a, b, "c,d"` as names."""
    found = (part.strip() for part in _ITEM.findall(text))
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in found if part)
