"""A load that dies at a chosen step: before its n-th change of the file system."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.connectors.files import swap
from penstock.core.load import Expected, Load, Mode
from tests.files.lake import Lake, batches

CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir"})
DIED = 9


def run(root: str, load: Load, parts: list[pa.Table], die_at: int, exchange: bool) -> None:
    """Load whole, in this process; `die_at` 0 lives and leaves the number of steps in `<root>.steps`."""
    if not exchange:
        # As on a system whose C library lacks the call.
        swap._renameat2 = lambda: None  # type: ignore[assignment]
    steps = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in CHANGES or (event == "open" and "w" in str(arguments[1] or "")):
            steps += 1
            if steps == die_at:
                os._exit(DIED)

    sys.addaudithook(watch)
    load_whole(Lake(Path(root)), load, parts)
    Path(f"{root}.steps").write_text(str(steps))


def load_whole(lake: Lake, load: Load, parts: list[pa.Table]) -> None:
    """As an engine does: everything again from the start, whatever was done before."""
    session = lake.session()
    writer = session.writer()
    writer.claim(load)
    writer.prepare(load)
    for number, part in enumerate(parts):
        writer.write(load, f"{number:06d}", batches(part))
    writer.publish(load, Expected(len(parts), sum(part.num_rows for part in parts)))
    session.close()


def load_of(mode: Mode, options: Mapping[str, Any], load_id: str, schema: pa.Schema, *, one_part: bool = False) -> Load:
    return Lake(Path("/")).load(schema, mode, key=("id",), load_id=load_id, options=options, one_part=one_part)
