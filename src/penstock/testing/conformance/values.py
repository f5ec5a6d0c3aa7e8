"""Values: every carrier comes back as faithfully as the writer said it would, extremes and NULLs included."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from penstock.core.errors import DataError, PenstockError
from penstock.core.ports import Ability
from penstock.core.schema import Column, Fidelity, arrow_schema
from penstock.testing.conformance.samples import SAMPLES, Sample
from penstock.testing.conformance.subject import Subject, assert_same_values, describe, load_whole, names_of, read_table
from penstock.testing.values import plain_values


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_values_come_back_as_faithfully_as_the_writer_says(subject: Subject, sample: Sample) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    data, table = sample.table, subject.table_name("sample")
    load = subject.load(table, data.schema)
    with subject.session() as session:
        try:
            choice = session.writer().types(load)[1]
            session.writer().plan(load)
            load_whole(session, load, data)
        except PenstockError as error:
            # No way to hold the type or this value: said by name, before anything was published.
            assert load.columns[1].name in error.what
            assert table not in names_of(session)
            return
        back = read_table(session, table)

    values = back.sort_by("id").column("v") if pa.types.is_integer(back["id"].type) else back.column("v")
    expected = data.column("v")
    assert [value is None for value in plain_values(values)] == [value is None for value in plain_values(expected)]
    if choice.fidelity in (Fidelity.LOSSLESS, Fidelity.WIDENING):
        if sample.column.logical == "json":
            assert [_document(text) for text in values.to_pylist()] == [
                _document(text) for text in expected.to_pylist()
            ]
        else:
            assert_same_values(values, expected)
    elif choice.fidelity is Fidelity.TEXT:
        assert len(set(plain_values(values))) == len(set(plain_values(expected)))


def test_describe_tells_the_types_that_the_writer_called_lossless(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    kinds = [
        pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(18, 4), pa.string(),
        pa.binary(), pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.uuid(),
    ]  # fmt: skip
    columns = [Column(f"{at} {kind}", kind) for at, kind in enumerate(kinds)]
    data = arrow_schema((*columns, Column("json", pa.string(), logical="json"))).empty_table()
    load = subject.load(subject.table_name("typed"), data.schema)

    with subject.session() as session:
        choices = session.writer().types(load)
        load_whole(session, load, data)
        described = describe(session, load.table).columns

    kept = [choice.column.name for choice in choices if choice.fidelity is Fidelity.LOSSLESS]
    sent, told = (
        {column.name: (column.type, column.logical) for column in each if column.name in kept}
        for each in (load.columns, described)
    )
    assert told == sent


def _document(text: str | None) -> object:
    return None if text is None else json.loads(text, parse_float=str, parse_int=str)


def test_text_with_a_nul_comes_back_or_is_refused(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    data = pa.table({"id": pa.array([1], pa.int64()), "text": ["a\0b"]})
    try:
        table = subject.fill("with_nul", data)
    except DataError as error:
        assert "text" in str(error)
        return

    with subject.session() as session:
        assert read_table(session, table).column("text").to_pylist() == ["a\0b"]


def test_a_column_of_nothing_but_null_comes_back(subject: Subject) -> None:
    subject.needs_rows()
    data = pa.table({"id": pa.array([1, 2], pa.int64()), "none": pa.array([None, None], pa.string())})
    table = subject.fill("nulls", data)

    with subject.session() as session:
        assert read_table(session, table).column("none").null_count == 2


@pytest.mark.parametrize("rows", [0, 1])
def test_tables_of_hardly_any_rows_keep_their_columns(subject: Subject, rows: int) -> None:
    subject.needs_rows()
    data = pa.table({"id": pa.array(range(rows), pa.int64()), "text": pa.array(["x"] * rows, pa.string())})
    table = subject.fill("small", data)

    with subject.session() as session:
        back = read_table(session, table)

    assert back.column_names == ["id", "text"]
    assert back.num_rows == rows


def test_300_columns_come_back(subject: Subject) -> None:
    subject.needs_rows()
    data = pa.table({f"column_{at}": pa.array([at, None, -at], pa.int64()) for at in range(300)})
    table = subject.fill("wide", data)

    with subject.session() as session:
        back = read_table(session, table)

    assert back.column_names == data.column_names
    for name in data.column_names:
        assert_same_values(back.column(name), data.column(name))
