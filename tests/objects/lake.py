"""A prefix under test: sessions, loads, and the keys it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from penstock.connectors import registry
from penstock.connectors.objects.bucket import Bucket
from penstock.connectors.objects.session import ObjectsSession
from penstock.core.errors import PenstockError, Retry
from penstock.core.load import Load, Mode, Published
from penstock.core.ports import Session
from penstock.core.spec import ConnectionSpec
from tests.files.lake import Lake

Result = TypeVar("Result")


@dataclass(frozen=True)
class Bay(Lake):
    """A Lake whose folder is a prefix of a bucket."""

    spec: ConnectionSpec = field(kw_only=True)

    def session(self, **options: Any) -> Session:
        spec = ConnectionSpec(self.spec.name, self.spec.url, {**self.spec.options, **self.options, **options})
        return registry.open_session(spec)

    @property
    def bucket(self) -> Bucket:
        session = self.session()
        assert isinstance(session, ObjectsSession)
        return session._root.bucket

    @property
    def prefix(self) -> str:
        session = self.session()
        assert isinstance(session, ObjectsSession)
        return session._root.path

    def held(self) -> list[str]:
        """All keys below the prefix, without locks and what they are told by."""
        found = (stored.key.removeprefix(self.prefix).lstrip("/") for stored in self.bucket.objects(self.prefix))
        return sorted(key for key in found if not key.endswith((".lock", ".penstock/clock", ".penstock/conditions")))

    def whole(self, load: Load, parts: list[pa.Table]) -> Published:
        """As an engine does: everything again from the start, whatever was done before."""
        session = self.session()
        try:
            session.writer().claim(load)
            expected = self.stage(load, *parts)
            return session.writer().publish(load, expected)
        finally:
            session.close()


def bay(spec: ConnectionSpec, **options: Any) -> Bay:
    return Bay(Path("/nowhere"), options, spec=spec)


def patiently(call: Callable[[], Result]) -> Result:
    """What the engine does: try again while the other side is busy."""
    until = time.monotonic() + 60
    while True:
        try:
            return call()
        except PenstockError as error:
            if error.retry is not Retry.LATER or time.monotonic() > until:
                raise
            time.sleep(0.01)


def load_of(mode: Mode, load_id: str, schema: pa.Schema) -> Load:
    return Lake(Path("/")).load(schema, mode, key=("id",), load_id=load_id)
