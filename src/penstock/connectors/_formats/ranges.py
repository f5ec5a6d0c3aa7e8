"""Byte ranges of plain text files that begin and end at line breaks."""

from __future__ import annotations

from contextlib import closing

from penstock.connectors._formats.port import Blob, Span

_LOOK_BYTES = 2**16


def line_spans(blob: Blob, size_bytes: int) -> list[Span]:
    """Ranges of about `size_bytes` that cover the file, each but the last ending behind a line break."""
    total = blob.size_bytes
    if total <= size_bytes:
        return [Span(0, total, total)]
    spans: list[Span] = []
    with closing(blob.open()) as stream:
        start = 0
        while start < total:
            stop = _after_line_break(stream, min(start + size_bytes, total), total)
            spans.append(Span(start, stop, stop - start))
            start = stop
    return spans


def _after_line_break(stream: object, position: int, total: int) -> int:
    """The first position behind a line break at or after `position` - 1."""
    if position >= total:
        return total
    at = position - 1
    stream.seek(at)  # type: ignore[attr-defined]
    while at < total:
        data = bytes(stream.read(_LOOK_BYTES))  # type: ignore[attr-defined]
        found = data.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(data)
        if not data:
            break
    return total


def line_number(blob: Blob, position: int) -> int:
    """How many line breaks lie before `position`; reads the file up to there."""
    count, left = 0, position
    with closing(blob.open()) as stream:
        while left > 0:
            data = bytes(stream.read(min(left, 2**20)))
            if not data:
                break
            count += data.count(b"\n")
            left -= len(data)
    return count
