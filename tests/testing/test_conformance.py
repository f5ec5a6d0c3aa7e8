"""The conformance suite catches broken connectors: each planted defect makes the case fail that is meant for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.load import BatchSize, Chunk, Expected, Load, Mode, Source
from penstock.core.spec import ConnectionSpec
from penstock.testing import conformance, reference
from penstock.testing.conformance import Subject
from penstock.testing.conformance.samples import SAMPLES
from penstock.testing.memory import MemoryCatalog, MemoryReader, MemorySession, MemoryWriter, drop_store

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def subject() -> Iterator[Subject]:
    drop_store("mutant")
    yield Subject(lambda: ConnectionSpec("mutant", "memory:mutant"))
    drop_store("mutant")


def _instead(kind: type, name: str, make: Callable[[Any], Any]) -> Patch:
    return lambda patch: patch.setattr(kind, name, make(getattr(kind, name)))


def _split_without_last(right: Any) -> Any:
    return lambda self, source, size: right(self, source, size)[:-1]


def _read_shuffled(right: Any) -> Any:
    calls: list[int] = []

    def read(self: Any, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        calls.append(1)
        return right(self, source, chunk, replace(batch, rows=batch.rows - len(calls) % 2))

    return read


def _read_too_much(right: Any) -> Any:
    return lambda self, source, chunk, batch: right(self, source, chunk, BatchSize())


def _window_open_above(right: Any) -> Any:
    def read(self: Any, source: Source, chunk: Chunk, batch: BatchSize) -> Iterator[pa.RecordBatch]:
        return right(self, replace(source, window=source.window and replace(source.window, low=None)), chunk, batch)

    return read


def _null_key_differs(right: Any) -> Any:
    seen = iter(range(10**9))

    def codes(data: pa.Table) -> list[int]:
        return [-1 - next(seen) if None in row else code for row, code in zip(_rows(data), right(data), strict=True)]

    return codes


def _rows(data: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in data.columns), strict=True))


def _forgets_marks(right: Any) -> Any:
    def write(self: Any, load: Load, part: str, batches: Any) -> Any:
        staging = self._staging(load)
        self._store.stagings[load.load_id] = replace(staging, written={})
        return right(self, load, part, batches)

    return write


def _prepare_afresh(right: Any) -> Any:
    def prepare(self: Any, load: Load) -> None:
        self._store.stagings.pop(load.load_id, None)
        right(self, load)

    return prepare


def _publish_anything(right: Any) -> Any:
    def publish(self: Any, load: Load, expected: Expected) -> Any:
        staging = self._staging(load)
        return right(self, load, Expected(len(staging.written), sum(part.rows for part in staging.written.values())))

    return publish


def _publish_in_two_steps(right: Any) -> Any:
    def publish(self: Any, load: Load, expected: Expected) -> Any:
        if load.mode is Mode.REPLACE and load.table in self._store.tables:
            held = self._store.tables[load.table]
            self._store.tables[load.table] = replace(held, data=held.data.slice(0, 0))
            threading.Event().wait(0.3)  # long enough for readers to look in between on a busy machine too
        return right(self, load, expected)

    return publish


def _staging_shows(right: Any) -> Any:
    def tables(self: Any) -> Any:
        names = [replace(info, name=type(info.name)(("staging",))) for info in right(self)[:1]]
        return [*right(self), *names]

    return tables


MUTANTS: list[tuple[str, Patch, dict[str, Any]]] = [
    (
        "chunks_cover_every_row_exactly_once",
        _instead(MemoryReader, "split", _split_without_last),
        {"chunk_bytes": 10_000},
    ),
    ("the_same_chunk_read_twice_gives_equal_batches", _instead(MemoryReader, "read", _read_shuffled), {}),
    ("batches_keep_to_their_size", _instead(MemoryReader, "read", _read_too_much), {}),
    (
        "the_high_end_is_the_greatest_value_and_belongs_to_the_window",
        _instead(MemoryReader, "read", _window_open_above),
        {"kind": "int64"},
    ),
    (
        "a_load_repeated_as_a_new_one_changes_nothing_more",
        lambda patch: patch.setattr(reference, "row_codes", _null_key_differs(reference.row_codes)),
        {"mode": Mode.UPSERT},
    ),
    (
        "the_same_part_twice_counts_once_and_is_not_read_again",
        _instead(MemoryWriter, "write", _forgets_marks),
        {"mode": Mode.APPEND},
    ),
    (
        "a_second_try_keeps_the_parts_that_are_marked",
        _instead(MemoryWriter, "prepare", _prepare_afresh),
        {"mode": Mode.APPEND},
    ),
    (
        "everything_repeated_after_the_publish_changes_nothing",
        _instead(MemoryWriter, "prepare", _prepare_afresh),
        {"mode": Mode.APPEND},
    ),
    (
        "a_publish_that_expects_something_else_changes_nothing",
        _instead(MemoryWriter, "publish", _publish_anything),
        {"wrong": Expected(2, 499)},
    ),
    (
        "readers_see_the_old_rows_or_the_new_ones_and_nothing_between",
        _instead(MemoryWriter, "publish", _publish_in_two_steps),
        {},
    ),
    ("catalog_lists_exactly_what_was_written", _instead(MemoryCatalog, "tables", _staging_shows), {}),
    (
        "a_claim_keeps_other_jobs_away_until_the_session_closes",
        lambda patch: patch.setattr(MemoryWriter, "claim", lambda self, load: None),
        {},
    ),
    (
        "readers_of_a_snapshot_see_its_moment",
        lambda patch: patch.setattr(MemorySession, "use_snapshot", lambda self, token: None),
        {},
    ),
    (
        "discard_removes_the_load_and_may_be_repeated",
        lambda patch: patch.setattr(MemoryWriter, "discard", lambda self, load: None),
        {},
    ),
    (
        "values_come_back_as_faithfully_as_the_writer_says",
        _instead(
            MemoryReader, "read", lambda right: lambda self, *args: (_rounded(batch) for batch in right(self, *args))
        ),
        {"sample": next(sample for sample in SAMPLES if sample.name == "timestamp[us]")},
    ),
]


def _rounded(batch: pa.RecordBatch) -> pa.RecordBatch:
    values = batch.column(1).cast(pa.timestamp("ms"), safe=False).cast(batch.schema.field(1).type)
    return batch.set_column(1, batch.schema.field(1), values)


@pytest.mark.parametrize(("case", "patch", "given"), MUTANTS, ids=[each[0] for each in MUTANTS])
def test_a_planted_defect_fails_its_case(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, case: str, patch: Patch, given: dict[str, Any]
) -> None:
    run = getattr(conformance, f"test_{case}")
    run(subject, **given)
    drop_store("mutant")

    patch(monkeypatch)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(subject, **given)
