"""Which items of a table come first: the heaviest, so that none is left to run alone at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from penstock.core.load import Chunk
from penstock.jobs.copy.handler import COUNT, LOAD
from penstock.jobs.copy.planner import items


def order(chunk_bytes: list[int]) -> list[str]:
    """The kinds of the items of the stage that loads, as they are taken."""
    plan: Any = SimpleNamespace(load=SimpleNamespace(table="t"), chunks=len(chunk_bytes), counted=True, state_key="")
    table: Any = SimpleNamespace(size_bytes=sum(chunk_bytes))
    chunks = [Chunk(number, {}, size_bytes=size) for number, size in enumerate(chunk_bytes)]
    loading = [item for item in items(plan, chunks, table) if item.stage == 1]
    return [item.kind for item in sorted(loading, key=lambda item: -item.weight)]


@pytest.mark.parametrize(("chunks", "place"), [(4, 4), (100, 0)])
def test_a_count_comes_first_where_it_takes_longer_than_a_chunk(chunks: int, place: int) -> None:
    found = order([64 * 2**20] * chunks)

    assert found.index(COUNT) == place
    assert found.count(LOAD) == chunks
