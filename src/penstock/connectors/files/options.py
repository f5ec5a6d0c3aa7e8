"""The options of a file connection, from URL, connection and job, checked and typed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.connectors._formats.settings import APPLIES, FORMAT_OPTIONS, FormatSettings, format_settings
from penstock.connectors._formats.suffixes import data_suffix
from penstock.connectors.files.root import Root
from penstock.core.errors import SpecError
from penstock.core.ports import Option
from penstock.core.spec import ConnectionSpec

LAYOUTS = ("folder", "file", "hive")

OPTIONS: tuple[Option, ...] = (
    *FORMAT_OPTIONS,
    Option("layout", "choice", "one folder a table (folder), one file a table (file), or folders by the values of "
           "partition_by (hive)", "folder", LAYOUTS, "target"),
    Option("partition_by", "text", "layout hive: the columns whose values make the folders, separated by commas", "",
           scope="target"),
    Option("adopt", "boolean", "take over data files in the table's folder that Penstock did not write", False,
           scope="target"),
    Option("keep_previous", "boolean", "keep the version before the last publish in .penstock/previous", False,
           scope="target"),
    Option("tables", "text", "tables of several files: `name: glob` pairs, separated by semicolons", ""),
    Option("types", "text", "CSV, NDJSON: declared types, `column: type` or `table.column: type` pairs, separated by "
           "semicolons", ""),
    Option("infer_rows", "integer", "CSV, NDJSON: rows of each file that decide undeclared types; 0 is all", 0),
    Option("bad_rows", "choice", "CSV, NDJSON: a row that does not fit is an error, or set aside in "
           ".penstock/quarantine", "error", ("error", "quarantine"), "source"),
)
_BY_NAME = {option.name: option for option in OPTIONS}
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

    def settings(self, format_name: str, compression: str) -> FormatSettings:
        """How to read files of a format; the connection's dialect applies where the format has one."""
        values = {k: v for k, v in self.values.items() if format_name in APPLIES.get(k, ())}
        values.pop("compression_level", None)
        return format_settings({**values, "format": format_name, "compression": compression}, self.where, {})

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
        raise SpecError(f"url {spec.url!r} of connection {spec.name!r} names a host", "write file:./folder or file:/folder")
    if not parts.path:
        raise SpecError(f"url {spec.url!r} of connection {spec.name!r} names no folder", "write file:./folder")
    where = f"connection {spec.name!r}"
    raw: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    raw.update({name: value for name, value in spec.options.items() if value is not None})
    values = {name: checked(name, value, where) for name, value in raw.items()}
    if values.get("format"):
        format_settings(values, where, {k: v for k, v in values.items() if k != "bad_rows"})
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
    if option.kind == "list":
        items = value.split(",") if isinstance(value, str) else value
        return tuple(str(item) for item in items) if isinstance(items, (list, tuple)) else None
    if option.kind == "mapping":
        return dict(value) if isinstance(value, Mapping) else None
    if option.kind == "choice":
        return value if value in option.choices else None
    return str(value)
