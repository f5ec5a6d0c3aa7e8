"""Catalog: what was written is listed and described, under any name, and nothing else is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.core.errors import NotSupported, PenstockError, SpecError
from penstock.core.ports import Ability
from penstock.core.schema import TypePolicy
from penstock.testing.conformance.samples import ODD_NAMES
from penstock.testing.conformance.subject import Subject, assert_same_rows, describe, many_rows, read_table

SMALL = pa.table({"id": pa.array([1, 2], pa.int64()), "text": pa.array(["a", None])})


def test_catalog_lists_exactly_what_was_written(subject: Subject) -> None:
    subject.needs_rows()
    names = [subject.fill("second", SMALL), subject.fill("first", many_rows(10))]

    with subject.session() as session:
        listed = session.catalog().tables()

    assert [info.name.table for info in listed] == ["first", "second"]
    assert {info.name for info in listed} == set(names)


def test_describe_tells_the_columns_in_order(subject: Subject) -> None:
    subject.needs_rows()
    data = many_rows(10)
    table = subject.fill("ordered", data)

    with subject.session() as session:
        described = describe(session, table)

    assert described.name == table
    assert [column.name for column in described.columns] == data.column_names


def test_describe_of_many_tables_equals_describe_of_each(subject: Subject) -> None:
    subject.needs_rows()
    tables = [subject.fill(f"table_{number}", SMALL) for number in range(5)]

    with subject.session() as session:
        together = session.catalog().describe(tables, TypePolicy())
        alone = {table: describe(session, table) for table in tables}

    assert together == alone


def test_describe_leaves_out_a_table_that_does_not_exist(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("here", SMALL)

    with subject.session() as session:
        described = session.catalog().describe([table, subject.table_name("gone")], TypePolicy())

    assert set(described) == {table}


def test_describe_of_nothing_is_nothing(subject: Subject) -> None:
    subject.needs_rows()
    subject.fill("here", SMALL)

    with subject.session() as session:
        assert session.catalog().describe([], TypePolicy()) == {}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_table_name_is_kept_or_refused_by_name(subject: Subject, name: str) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    try:
        table = subject.fill(name, SMALL)
    except SpecError as error:
        assert repr(name)[1:-1] in str(error) or name in str(error)
        return

    with subject.session() as session:
        assert [info.name for info in session.catalog().tables()] == [table]
        assert_same_rows(read_table(session, table), SMALL)


def test_odd_column_names_are_kept_or_refused_by_name(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    refused = []
    for name in ODD_NAMES:
        try:
            subject.fill("probe", SMALL.rename_columns(["id", name]))
        except PenstockError as error:
            assert repr(name)[1:-1] in str(error) or name in str(error)
            refused.append(name)
    names = [name for name in ODD_NAMES if name not in refused]
    data = pa.table({name: pa.array([at, None], pa.int64()) for at, name in enumerate(names)})

    table = subject.fill("odd columns", data)

    with subject.session() as session:
        assert [column.name for column in describe(session, table).columns] == names
        assert_same_rows(read_table(session, table), data)


def test_a_query_is_described_without_running_it(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.QUERY)
    table = subject.fill("asked", SMALL)

    with subject.session() as session:
        described = session.catalog().describe_query(
            f"select text, id from {table.quoted(subject.quote_mark)}", TypePolicy()
        )

    assert [column.name for column in described.columns] == ["text", "id"]


def test_queries_are_refused_where_they_are_not_claimed(subject: Subject) -> None:
    subject.needs(Ability.CATALOG)
    if subject.can(Ability.QUERY):
        pytest.skip(f"{subject.connector.name} runs queries")

    with subject.session() as session, pytest.raises(NotSupported):
        session.catalog().describe_query("select 1 as one", TypePolicy())
