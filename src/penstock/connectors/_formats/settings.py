"""How one table's files are encoded: format, compression and dialect, and the options that say so."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from penstock.core.errors import SpecError
from penstock.core.ports import Option

FORMATS = ("parquet", "csv", "ndjson", "arrow")
COMPRESSIONS = {
    "parquet": ("zstd", "snappy", "gzip", "lz4", "none"),
    "arrow": ("zstd", "lz4", "none"),
    "csv": ("none", "gzip", "zstd"),
    "ndjson": ("none", "gzip", "zstd"),
}
_TEXT = ("csv", "ndjson")
_LEVELS = {"zstd": (1, 22), "gzip": (1, 9)}

# Which formats each option means something to; `format` itself and the layout options apply to all.
APPLIES: dict[str, tuple[str, ...]] = {
    "compression": FORMATS,
    "compression_level": FORMATS,
    "row_group_rows": ("parquet", "arrow"),
    "row_group_bytes": ("parquet", "arrow"),
    "delimiter": ("csv",),
    "quote": ("csv",),
    "escape": ("csv",),
    "header": ("csv",),
    "null_text": ("csv",),
    "newlines_in_values": ("csv",),
    "encoding": _TEXT,
    "date_format": _TEXT,
    "timestamp_format": _TEXT,
    "decimal_comma": ("csv",),
    "binary_text": _TEXT,
    "types": _TEXT,
    "infer_rows": _TEXT,
    "bad_rows": _TEXT,
}


@dataclass(frozen=True)
class Dialect:
    """How text formats write values. `escape` "" doubles the quote; `null_text` stands unquoted for NULL; the date and
    timestamp formats are strptime patterns, "" is ISO 8601."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    header: bool = True
    null_text: str = ""
    newlines_in_values: bool = True
    encoding: str = "utf-8"
    date_format: str = ""
    timestamp_format: str = ""
    decimal_comma: bool = False
    binary_text: str = "base64"


@dataclass(frozen=True)
class FormatSettings:
    """One table's encoding. `compression` "" reads by file suffix and writes the format's default. `types` are
    declared (column, type name); `infer_rows` of each file decide the others, 0 is all."""

    format: str = "parquet"
    compression: str = ""
    compression_level: int | None = None
    row_group_rows: int = 131_072
    row_group_bytes: int = 32 * 2**20
    dialect: Dialect = Dialect()
    types: tuple[tuple[str, str], ...] = ()
    infer_rows: int = 0

    @property
    def written_compression(self) -> str:
        return self.compression or COMPRESSIONS[self.format][0]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "dialect": vars(self.dialect)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FormatSettings:
        types = tuple((name, kind) for name, kind in value["types"])
        return cls(**{**value, "dialect": Dialect(**value["dialect"]), "types": types})


_D = Dialect()
_F = FormatSettings()

FORMAT_OPTIONS: tuple[Option, ...] = (
    Option(
        "format", "choice", "file format; reading goes by the file name where it is not set", None, FORMATS, "target"
    ),
    Option(
        "compression",
        "choice",
        "compression of the files; default zstd for parquet and arrow, none for csv and ndjson",
        None,
        ("zstd", "snappy", "gzip", "lz4", "none"),
        "target",
    ),
    Option(
        "compression_level", "integer", "level of zstd (1-22, default 1) or gzip (1-9, default 6)", None, scope="target"
    ),
    Option(
        "row_group_rows",
        "integer",
        "rows of a Parquet row group or an Arrow record batch",
        _F.row_group_rows,
        scope="target",
    ),
    Option(
        "row_group_bytes",
        "integer",
        "bytes in memory after which a row group ends early",
        _F.row_group_bytes,
        scope="target",
    ),
    Option("delimiter", "text", "CSV: one character between values", _D.delimiter, scope="target"),
    Option("quote", "text", "CSV: one character around values", _D.quote, scope="target"),
    Option(
        "escape",
        "text",
        "CSV: one character before a quote inside a value; default: the quote is doubled",
        _D.escape,
        scope="target",
    ),
    Option("header", "boolean", "CSV: whether the first row holds the column names", _D.header, scope="target"),
    Option("null_text", "text", "CSV: unquoted text that stands for NULL", _D.null_text, scope="target"),
    Option(
        "newlines_in_values",
        "boolean",
        "CSV: whether a quoted value may hold a line break; false lets large files be read in parts",
        _D.newlines_in_values,
        scope="target",
    ),
    Option("encoding", "text", "CSV, NDJSON: character encoding", _D.encoding, scope="target"),
    Option(
        "date_format",
        "text",
        "CSV, NDJSON: pattern of dates such as %d.%m.%Y; default ISO 8601",
        _D.date_format,
        scope="target",
    ),
    Option(
        "timestamp_format",
        "text",
        "CSV, NDJSON: pattern of timestamps such as %d.%m.%Y %H:%M:%S%.f; UTC where it has no %z; default ISO 8601",
        _D.timestamp_format,
        scope="target",
    ),
    Option(
        "decimal_comma",
        "boolean",
        "CSV: decimals and floats have a comma for the point",
        _D.decimal_comma,
        scope="target",
    ),
    Option(
        "binary_text",
        "choice",
        "CSV, NDJSON: how binary values are written",
        _D.binary_text,
        ("base64", "hex"),
        "target",
    ),
)


def format_settings(options: Mapping[str, Any], where: str, strict: Mapping[str, Any]) -> FormatSettings:
    """The settings that `options` (checked kinds, None or absent is the default) give.

    `where` names the connection in messages. Options in `strict` must apply to the format chosen. Raises SpecError.
    """
    chosen = options.get("format") or _F.format
    for name in strict:
        if name in APPLIES and chosen not in APPLIES[name]:
            raise SpecError(
                f"option {name!r} of {where} does not apply to format {chosen!r}",
                f"it applies to {', '.join(APPLIES[name])}",
            )
    given = {name: value for name, value in options.items() if value is not None}
    own = {f.name: given[f.name] for f in fields(FormatSettings) if f.name in given}
    own["format"] = chosen
    dialect = Dialect(**{f.name: given[f.name] for f in fields(Dialect) if f.name in given})
    settings = FormatSettings(**{**own, "dialect": dialect})
    _check(settings, where)
    return settings


def _check(settings: FormatSettings, where: str) -> None:
    allowed = COMPRESSIONS[settings.format]
    if settings.compression and settings.compression not in allowed:
        raise SpecError(
            f"compression {settings.compression!r} of {where} does not exist for format {settings.format!r}",
            f"choose one of {', '.join(allowed)}",
        )
    if settings.compression_level is not None:
        low, high = _LEVELS.get(settings.written_compression, (1, 0))
        if not low <= settings.compression_level <= high:
            raise SpecError(
                f"compression_level {settings.compression_level} of {where} does not fit compression "
                f"{settings.written_compression!r}",
                f"give {low} to {high}" if high else "leave it out, or choose zstd or gzip",
            )
    for name in ("row_group_rows", "row_group_bytes"):
        if getattr(settings, name) < 1:
            raise SpecError(f"{name} of {where} is {getattr(settings, name)}", "give 1 or more")
    _check_dialect(settings.dialect, where)


def _check_dialect(dialect: Dialect, where: str) -> None:
    for name, empty in (("delimiter", False), ("quote", False), ("escape", True)):
        value = getattr(dialect, name)
        if not (empty and value == "") and (len(value) != 1 or not value.isascii() or value in "\r\n"):
            raise SpecError(f"{name} {value!r} of {where} is not one ASCII character", "give one character")
    marks = [dialect.delimiter, dialect.quote, *([dialect.escape] if dialect.escape else [])]
    if len(set(marks)) < len(marks):
        raise SpecError(f"delimiter, quote and escape of {where} are not three different characters")
    if dialect.decimal_comma and dialect.delimiter == ",":
        raise SpecError(f"decimal_comma of {where} needs another delimiter than ','", "set delimiter: ';'")
    if any(mark in dialect.null_text for mark in (dialect.delimiter, dialect.quote, "\n", "\r")):
        raise SpecError(f"null_text {dialect.null_text!r} of {where} holds the delimiter, the quote or a line break")
    try:
        codecs.lookup(dialect.encoding)
    except LookupError as error:
        raise SpecError(
            f"encoding {dialect.encoding!r} of {where} is unknown", "for instance utf-8, latin-1"
        ) from error
