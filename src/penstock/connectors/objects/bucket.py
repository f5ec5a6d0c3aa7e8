"""One bucket or container: the few operations that all else is made of, each once, each with its errors named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import obstore

from penstock.connectors.objects.failures import Conflict, named_refusals
from penstock.core.errors import Missing

# Larger objects are sent in parts of this size, of which so many are on their way at once.
PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE = 4
_AT_ONCE = 16
_PAGE = 1000
_DELETED_AT_ONCE = 250

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Version:
    """What tells one content of a key from another: ETag (without quotes), and generation where the store counts."""

    etag: str
    number: str = ""

    @property
    def condition(self) -> dict[str, str]:
        return {"e_tag": quoted(self.etag), **({"version": self.number} if self.number else {})}


@dataclass(frozen=True)
class Stored:
    """An object as listed. `modified_ns` is the store's clock."""

    key: str
    size_bytes: int
    modified_ns: int
    version: Version


class Bucket:
    """The operations of one store, safe from many threads. Keys are relative to the bucket. `url` is for messages, and
    `abort` ends uploads that were begun under a prefix and never finished. `is_proven`: it was seen to keep conditions."""

    def __init__(self, store: Any, url: str, connection: str, abort: Callable[[str], None]) -> None:
        self.url = url
        self.connection = connection
        self.abort_uploads = abort
        self.is_proven = False
        self._store = store

    def named(self, verb: str, key: str) -> str:
        return f"{verb} {self.url}{f'/{key}' if key else ''} of connection {self.connection!r}"

    def objects(self, prefix: str) -> Iterator[Stored]:
        """All objects below a prefix (whole path segments), page by page."""
        with named_refusals(self.named("list", prefix)):
            for page in obstore.list(self._store, prefix or None, chunk_size=_PAGE):
                for meta in page:
                    yield _stored(meta)

    def top(self, prefix: str) -> tuple[list[str], list[Stored]]:
        """Names of the folders and the objects directly below a prefix."""
        with named_refusals(self.named("list", prefix)):
            found = obstore.list_with_delimiter(self._store, prefix or None)
        folders = sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])
        return folders, [_stored(meta) for meta in found["objects"]]

    def stat(self, key: str) -> Stored:
        with named_refusals(self.named("look at", key)):
            return _stored(obstore.head(self._store, key))

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """A small object whole, None where there is none."""
        try:
            with named_refusals(self.named("read", key)):
                answer = obstore.get(self._store, key)
                return bytes(answer.bytes()), _version(answer.meta)
        except Missing:
            return None

    def read(self, key: str, start: int, stop: int, etag: str) -> bytes:
        """The bytes [start, stop) of exactly the object with this ETag ("" takes any). Raises Conflict for another."""
        if stop <= start:
            return b""
        wanted: Any = {"range": (start, stop), **({"if_match": quoted(etag)} if etag else {})}
        with named_refusals(self.named("read", key)):
            return bytes(obstore.get(self._store, key, options=wanted).bytes())

    def put(self, key: str, data: bytes) -> Version:
        with named_refusals(self.named("write", key)):
            return _version(obstore.put(self._store, key, data, use_multipart=False))

    def put_if(self, key: str, data: bytes, version: Version | None) -> Version:
        """Write a small object only where it is still `version`, or where nothing is yet (None). Raises Conflict."""
        mode: Any = version.condition if version else "create"
        try:
            with named_refusals(self.named("write", key)):
                return _version(obstore.put(self._store, key, data, mode=mode))
        except Missing as error:
            if version is None:
                raise
            raise Conflict(error.what, error.hint) from error

    def put_file(self, key: str, file: IO[bytes], size_bytes: int) -> None:
        """Write a whole file; a large one in parts, which show as one object when all are there."""
        with named_refusals(self.named("write", key)):
            obstore.put(
                self._store, key, file, use_multipart=size_bytes > PART_BYTES, chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )  # fmt: skip

    def copy(self, source: str, target: str) -> None:
        """A copy inside the store."""
        with named_refusals(self.named(f"copy {source} to", target)):
            obstore.copy(self._store, source, target)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        every = list(keys)
        for start in range(0, len(every), _DELETED_AT_ONCE):
            some = every[start : start + _DELETED_AT_ONCE]
            try:
                self._delete(some)
            except Missing:
                for key in some:
                    self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        try:
            self._delete(key)
        except Missing:
            return

    def _delete(self, keys: str | Sequence[str]) -> None:
        with named_refusals(self.named("remove objects of", "")):
            obstore.delete(self._store, keys)


def quoted(etag: str) -> str:
    """An ETag as headers have it; listings of some stores leave the quotes out."""
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


def _version(meta: Any) -> Version:
    return Version((meta["e_tag"] or "").strip('"'), meta["version"] or "")


def _stored(meta: Any) -> Stored:
    modified_ns = int(meta["last_modified"].timestamp() * 1_000_000) * 1000
    return Stored(meta["path"], meta["size"], modified_ns, _version(meta))


def in_parallel(
    work: Callable[[Given], Result], items: Sequence[Given], check_stop: Callable[[], None]
) -> list[Result]:
    """`work` on each item, several at once, results in order; the first error ends it, and so does a stop."""
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items)), "objects") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            out = []
            for future in futures:
                out.append(future.result())
                check_stop()
            return out
        finally:
            for future in futures:
                future.cancel()
