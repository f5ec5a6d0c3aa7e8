"""Cursor windows: both ends belong to them, nothing is rounded, rows without a cursor follow the policy."""

from __future__ import annotations

import decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import SpecError
from penstock.core.ports import Ability
from penstock.testing.conformance.subject import (
    Subject,
    assert_same_rows,
    read,
    source_of,
    windowed,
)

D = decimal.Decimal
# Ascending values with a tie at the top but one, and how to take some off: (lag, values then in reach of the top).
CURSORS: dict[str, tuple[pa.Array, str, int]] = {
    "int64": (pa.array([1, 2**53, 2**53 + 1, 2**53 + 1, 2**53 + 2], pa.int64()), "1", 3),
    "decimal": (pa.array([D("0.01"), D("7.24"), D("7.25"), D("7.25"), D("7.50")], pa.decimal128(20, 2)), "0.25", 3),
    "timestamp": (pa.array([0, 59_000_000, 60_000_001, 60_000_001, 120_000_001], pa.timestamp("us")), "1 minute", 3),
    "timestamptz": (
        pa.array([0, 1_000_000, 1_000_001, 1_000_001, 601_000_001], pa.timestamp("us", "UTC")),
        "10 minutes",
        3,
    ),
    "date": (pa.array([-1, 19_780, 19_782, 19_782, 19_784], pa.int32()).cast(pa.date32()), "2 days", 3),
}


def _table(kind: str) -> pa.Table:
    values = CURSORS[kind][0]
    with_nulls = pa.concat_arrays([values.slice(0, 1), pa.nulls(2, values.type), values.slice(1)])
    return pa.table({"id": pa.array(range(7), pa.int64()), "at": with_nulls})


@pytest.mark.parametrize("kind", CURSORS)
def test_the_high_end_is_the_greatest_value_and_belongs_to_the_window(subject: Subject, kind: str) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    data = _table(kind)
    table = subject.fill("cursor", data)

    with subject.session() as session:
        source = windowed(source_of(session, table), "at")
        high = session.reader().high(source)

        assert_same_rows(read(session, windowed(source, "at", low=high)), data.slice(6))
        assert_same_rows(read(session, windowed(source, "at", high=high)), data.filter(data["at"].is_valid()))
        assert session.reader().count(windowed(source, "at", low=high, high=high)) == 1


@pytest.mark.parametrize("kind", CURSORS)
def test_a_lag_reaches_exactly_the_rows_within_it(subject: Subject, kind: str) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    data, (_, lag, within) = _table(kind), CURSORS[kind]
    table = subject.fill("cursor", data)

    with subject.session() as session:
        source = windowed(source_of(session, table), "at")
        high = session.reader().high(source)
        assert high is not None
        low = session.reader().lagged(source, high, lag)

        assert_same_rows(read(session, windowed(source, "at", low=low, high=high)), data.slice(7 - within))


@pytest.mark.parametrize("kind", CURSORS)
def test_rows_without_cursor_are_counted_and_read_only_when_asked_for(subject: Subject, kind: str) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    data = _table(kind)
    table = subject.fill("cursor", data)

    with subject.session() as session:
        source = windowed(source_of(session, table), "at")
        high = session.reader().high(source)
        with_nulls = windowed(source, "at", low=high, nulls=True)

        assert session.reader().null_cursors(source) == 2
        assert sorted(_ids(read(session, with_nulls))) == [1, 2, 6]
        assert session.reader().count(with_nulls) == 3


def _ids(data: pa.Table) -> list[Any]:
    return [int(value) for value in data.column("id").to_pylist()]


def test_high_ignores_the_ends_of_the_window(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    table = subject.fill("cursor", _table("int64"))

    with subject.session() as session:
        source = windowed(source_of(session, table), "at")
        high = session.reader().high(source)
        assert high is not None
        lower = session.reader().lagged(source, high, "1")

        assert session.reader().high(windowed(source, "at", low=lower, high=lower)) == high


def test_a_table_without_rows_has_no_high_end(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    table = subject.fill("cursor", _table("int64").slice(0, 0))

    with subject.session() as session:
        source = windowed(source_of(session, table), "at")

        assert session.reader().high(source) is None
        assert session.reader().null_cursors(source) == 0


@pytest.mark.parametrize(("kind", "lag"), [("int64", "5 minutes"), ("timestamp", "soon")])
def test_a_lag_that_does_not_fit_is_refused(subject: Subject, kind: str, lag: str) -> None:
    subject.needs_rows()
    subject.needs(Ability.CURSOR)
    table = subject.fill("cursor", _table(kind))

    with subject.session() as session:
        source = windowed(source_of(session, table), "at")
        high = session.reader().high(source)
        assert high is not None
        with pytest.raises(SpecError, match=lag):
            session.reader().lagged(source, high, lag)
