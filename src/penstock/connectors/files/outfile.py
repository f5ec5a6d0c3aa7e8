"""Writing one data file: to a temporary name, hashed on the way, durable before it gets its own name."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from typing import Any

import pyarrow as pa

from penstock.connectors._formats.registry import format_named
from penstock.connectors._formats.settings import FormatSettings
from penstock.connectors._formats.streams import compressed
from penstock.connectors.files.swap import sync_folder
from penstock.core.schema import Column

_BUFFER_BYTES = 2**20


class OutFile:
    """One file being written. `finish` puts it in place; `abandon` removes what there is. One of them must be called.

    Without `syncs_folder` the caller makes the name durable, with other names of the folder.
    """

    def __init__(
        self, path: str, columns: tuple[Column, ...], settings: FormatSettings, syncs_folder: bool = True
    ) -> None:
        self.rows = 0
        self.size_bytes = 0
        self._path = path
        self._syncs_folder = syncs_folder
        self._file = self._begin()
        self._hash = hashlib.blake2b(digest_size=16)
        try:
            self._stream = compressed(self, settings)
            self._encoder = format_named(settings.format).encoder(self._stream, columns, settings)
        except BaseException:
            self.abandon()
            raise

    def _begin(self) -> Any:
        """The stream that takes the bytes."""
        self._temporary = f"{self._path}.{os.getpid()}-{threading.get_ident()}.tmp"
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        return open(self._temporary, "wb", buffering=_BUFFER_BYTES)

    def write(self, data: Any) -> int:
        """The sink of the encoder."""
        view = memoryview(data)
        self._file.write(view)
        self._hash.update(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    def add(self, batch: pa.RecordBatch) -> None:
        self._encoder.write(batch)
        self.rows += batch.num_rows

    def flush(self) -> None:
        """End a row group early, to free its memory."""
        self._encoder.flush()

    @property
    def held_bytes(self) -> int:
        return self._encoder.held_bytes

    @property
    def is_cuttable(self) -> bool:
        return self._encoder.is_cuttable

    @property
    def checksum(self) -> str:
        return self._hash.hexdigest()

    def finish(self) -> None:
        self._encoder.close()
        self._stream.close()
        self._end()

    def _end(self) -> None:
        """Make the bytes durable under the file's name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)
        if self._syncs_folder:
            sync_folder(os.path.dirname(self._path))

    def abandon(self) -> None:
        """Remove the unfinished file; may be repeated, and after a failed finish too."""
        # Closing flushes what is buffered; on a full disk that fails once more, and the file goes anyway.
        with suppress(OSError):
            self._file.close()
        if os.path.lexists(self._temporary):
            os.unlink(self._temporary)
