"""Compression around the byte streams of text formats."""

from __future__ import annotations

import gzip
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.port import Sink
from penstock.connectors._formats.settings import FormatSettings

_TEXT = ("csv", "ndjson")
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 1


class Plain:
    """A sink that passes bytes on; closing it leaves the inner sink open."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: Any) -> int:
        return self._sink.write(data)

    def close(self) -> None:
        """Nothing is held here."""


class Gzip(Plain):
    """gzip without a name or time in its header, so that equal rows make equal bytes."""

    def __init__(self, sink: Sink, level: int) -> None:
        super().__init__(sink)
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=sink, mtime=0)  # type: ignore[call-overload]

    def write(self, data: Any) -> int:
        return int(self._gzip.write(data))

    def close(self) -> None:
        self._gzip.close()


class Zstd(Plain):
    """zstd frames of a fixed number of input bytes; a decoder reads them as one stream."""

    _FRAME_BYTES = 4 * 2**20

    def __init__(self, sink: Sink, level: int) -> None:
        super().__init__(sink)
        self._codec = pa.Codec("zstd", compression_level=level)
        self._held = bytearray()
        self._frames = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._held += view
        while len(self._held) >= self._FRAME_BYTES:
            self._frame(self._FRAME_BYTES)
        return view.nbytes

    def close(self) -> None:
        if self._held or not self._frames:
            self._frame(len(self._held))

    def _frame(self, size_bytes: int) -> None:
        self._sink.write(self._codec.compress(bytes(self._held[:size_bytes]), asbytes=True))
        del self._held[:size_bytes]
        self._frames += 1


def compressed(sink: Sink, settings: FormatSettings) -> Plain:
    """`sink` behind the compression of a text format; other formats compress inside."""
    if settings.format in _TEXT:
        if settings.written_compression == "gzip":
            return Gzip(sink, settings.compression_level or _GZIP_LEVEL)
        if settings.written_compression == "zstd":
            return Zstd(sink, settings.compression_level or _ZSTD_LEVEL)
    return Plain(sink)
