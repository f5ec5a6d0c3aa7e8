"""Options of old files of CSV and NDJSON, which were those of Polars, as Penstock has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.api.hygge.notes import Notes
from penstock.api.hygge.references import carried
from penstock.api.hygge.section import Section, Value

FORMATS = ("parquet", "csv", "ndjson")
COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4")
# Polars' name: ours, for files of text.
_NAMES = {
    "separator": "delimiter",
    "has_header": "header",
    "include_header": "header",
    "quote_char": "quote",
    "null_value": "null_text",
    "null_values": "null_text",
    "encoding": "encoding",
    "date_format": "date_format",
    "datetime_format": "timestamp_format",
    "decimal_comma": "decimal_comma",
    "infer_schema_length": "infer_rows",
}
_KINDS: Mapping[str, tuple[type, ...]] = {"header": (bool,), "decimal_comma": (bool,), "infer_rows": (int,)}
_ENCODINGS = {"utf8": "utf-8"}


def text_options(given: Section, format_name: str, notes: Notes, about: str) -> dict[str, Any]:
    """The options below format_options; those that have no counterpart are noted."""
    found: dict[str, Any] = {}
    for old, new in _NAMES.items():
        if format_name == "csv" or (format_name == "ndjson" and new == "infer_rows"):
            value = given.take(old)
            if value is not None and _fits(new, value):
                found[new] = _converted(value, notes)
            elif value is not None:
                _tell(given.option(old), value, notes, about)
    for key, value in given.rest():
        _tell(given.option(key), value, notes, about)
    return found


def _fits(new: str, value: Value) -> bool:
    kinds = _KINDS.get(new, (str,))
    is_flag = isinstance(value.data, bool)
    return value.data != "utf8-lossy" and isinstance(value.data, kinds) and is_flag == (bool in kinds)


def _converted(value: Value, notes: Notes) -> Any:
    if isinstance(value.data, str):
        return _ENCODINGS.get(value.data, carried(value.data, value.place, notes))
    return value.data


def _tell(option: str, value: Value, notes: Notes, about: str) -> None:
    text = "went to Polars as it was; look for what it did among the options of `penstock connectors --verbose`"
    notes.add("decide", option, text, value.place, about)


def compression(options: Section, notes: Notes, about: str) -> Mapping[str, Any]:
    """The compression of Parquet files."""
    value = options.take("compression")
    if value is None:
        return {}
    if value.data in COMPRESSIONS or "${" in str(value.data):
        return {"compression": carried(str(value.data), value.place, notes)}
    text = f"{value.data} is not among {', '.join(COMPRESSIONS)}; the files are written with zstd"
    notes.add("decide", options.option("compression"), text, value.place, about)
    return {}
