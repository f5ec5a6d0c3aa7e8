"""Format and compression of a file by its name."""

from __future__ import annotations

_FORMATS = {
    "parquet": "parquet",
    "pq": "parquet",
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}
_TEXT = ("csv", "ndjson")
_WRITTEN = {"gzip": ".gz", "zstd": ".zst", "none": ""}
# Plain text is taken for CSV only where the format is asked for.
_ASKED = ("txt",)


def data_suffix(name: str) -> str:
    """The suffix that makes a file a data file, with its compression (".csv.gz"), or ""."""
    lower = name.lower().rsplit("/", 1)[-1]
    stem, _, last = lower.rpartition(".")
    size = 0
    if stem and last in _COMPRESSIONS:
        size = len(last) + 1
        stem, _, last = stem.rpartition(".")
        if _FORMATS.get(last) not in _TEXT:
            return ""
    if not stem or last not in _FORMATS:
        return ""
    return name[-(size + len(last) + 1) :]


def format_of(name: str, wanted: str = "") -> tuple[str, str] | None:
    """(format, compression) of a file name, None for a file that is no data file or not of the format `wanted`."""
    suffix = data_suffix(name).lower()
    if not suffix:
        return None
    parts = suffix.strip(".").split(".")
    found = _FORMATS[parts[0]]
    if (wanted and found != wanted) or (not wanted and parts[0] in _ASKED):
        return None
    return found, _COMPRESSIONS[parts[1]] if len(parts) > 1 else ("none" if found in _TEXT else "")


def written_suffix(format_name: str, compression: str) -> str:
    """The suffix of files written here."""
    return f".{format_name}{_WRITTEN[compression] if format_name in _TEXT else ''}"


def compression_of(name: str) -> str:
    """The compression that a data file's name tells: "gzip", "zstd" or "none"."""
    return _COMPRESSIONS.get(data_suffix(name).lower().rpartition(".")[2], "none")
