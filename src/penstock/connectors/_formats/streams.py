"""The byte streams of text formats: compression and character encoding around them, both ways."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.port import Blob, Sink
from penstock.connectors._formats.settings import FormatSettings
from penstock.core.errors import DataError

_TEXT = ("csv", "ndjson")
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 1
_READ_BYTES = 2**20
_BOM = b"\xef\xbb\xbf"
_UTF8 = "utf-8"
# Encodings in which the bytes of line breaks mean nothing else, so that a file can be cut at them.
_CUTTABLE = ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252")


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
        import gzip

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


class Encoded:
    """Writes UTF-8 bytes to a sink in another character encoding."""

    def __init__(self, sink: Sink, encoding: str) -> None:
        self._sink = sink
        self._name = encoding
        plain = codecs.lookup(encoding).name == _UTF8
        self._encoder = None if plain else codecs.getincrementalencoder(encoding)()

    def write(self, data: pa.Buffer) -> None:
        if self._encoder is None:
            self._sink.write(data)
            return
        try:
            self._sink.write(self._encoder.encode(str(memoryview(data), _UTF8)))
        except UnicodeEncodeError as error:
            raise DataError(
                f"character {error.object[error.start]!r} does not exist in encoding {self._name!r}",
                "write utf-8, or an encoding that has it",
            ) from error


def is_cuttable(settings: FormatSettings, compression: str) -> bool:
    """Whether a file can be read from any line break on."""
    return compression == "none" and codecs.lookup(settings.dialect.encoding).name in _CUTTABLE


class TextInput:
    """A blob's text as UTF-8 bytes: decompressed, decoded, without byte order mark, with a line break at its end.

    `start` and `stop` are byte offsets of a plain file. Raises DataError for bytes that are none of the encoding.
    """

    def __init__(self, blob: Blob, compression: str, encoding: str, start: int = 0, stop: int | None = None) -> None:
        self._blob = blob
        self._raw = blob.open()
        self._stream = self._raw
        if compression in ("gzip", "zstd"):
            self._stream = pa.CompressedInputStream(self._raw, compression)
        if start:
            self._raw.seek(start)
        self._left = None if stop is None else stop - start
        self._encoding = encoding
        plain = codecs.lookup(encoding).name == _UTF8
        self._decoder = None if plain else codecs.getincrementaldecoder(encoding)()
        self._at_start = start == 0
        self._last = b"\n"
        self._ended = False
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts: list[bytes] = []
        wanted = size
        while (size < 0 or wanted > 0) and not self._ended:
            part = self._next(_READ_BYTES if size < 0 else wanted)
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        amount = size if self._left is None else min(size, self._left)
        try:
            data = bytes(self._stream.read(amount)) if amount else b""
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{self._blob.name} cannot be decompressed: {error}", "the file is damaged") from error
        if self._left is not None:
            self._left -= len(data)
        final = not data
        if self._decoder is not None:
            data = self._decoded(data, final)
        if self._at_start and data:
            data, self._at_start = data.removeprefix(_BOM), False
        if data:
            self._last = data[-1:]
        if final:
            self._ended = True
            if self._last != b"\n":
                data += b"\n"
        return data

    def _decoded(self, data: bytes, final: bool) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decode(data, final).encode(_UTF8, "surrogatepass")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._blob.name} holds bytes that are no {self._encoding}: {error.reason}", "set the right encoding"
            ) from error

    def blocks(self, size_bytes: int) -> Iterator[bytes]:
        """The text in blocks of about `size_bytes` that end with a line break; a longer line makes a longer block."""
        rest = b""
        while True:
            data = self.read(size_bytes)
            if not data:
                break
            cut_at = data.rfind(b"\n") + 1
            if cut_at:
                yield rest + data[:cut_at]
                rest = data[cut_at:]
            else:
                rest += data
        if rest:
            yield rest

    def close(self) -> None:
        self.closed = True
        if self._stream is not self._raw:
            self._stream.close()
        self._raw.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False
