"""A sink as the file object that pyarrow's writers want."""

from __future__ import annotations

from typing import Any

from penstock.connectors._formats.port import Sink


class SinkFile:
    """Write-only, without seeking; closing it is the business of the sink's owner."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._position = 0

    def write(self, data: Any) -> int:
        self._sink.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held here."""

    def close(self) -> None:
        """The owner of the sink closes it."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
