"""Names as file names: one to one, safe on file systems that fold case or reserve names, never out of the root."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.files.naming import decode, encode, file_name, part_name, table_name
from penstock.core.errors import SpecError
from penstock.core.names import TableName

_PART = st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text)
_NAME = st.lists(_PART, min_size=1, max_size=3).map(lambda parts: TableName(tuple(parts)))
_CASES = st.text("aAbB+%._-ä", min_size=1, max_size=12)


@given(_PART | _CASES)
def test_a_name_comes_back_from_its_file_name(text: str) -> None:
    assert decode(encode(text)) == text


@given(_NAME)
def test_a_table_comes_back_from_its_folder_unless_its_name_is_too_long(name: TableName) -> None:
    stem = file_name(name)

    assert "%-" in stem or table_name(stem) == name


@settings(max_examples=300)
@given(_CASES, _CASES)
def test_two_names_never_share_a_file_name_even_where_case_is_folded(one: str, two: str) -> None:
    if one != two:
        assert file_name(TableName((one,))).casefold() != file_name(TableName((two,))).casefold()


@given(_NAME)
def test_a_file_name_is_plain_and_short(name: TableName) -> None:
    stem = file_name(name)

    assert re.fullmatch(r"[a-z0-9_.+%-]+", stem)
    assert len(stem) <= 150
    assert stem not in (".", "..")
    assert stem[0] not in "._-"
    assert not stem.endswith(".")


@pytest.mark.parametrize(
    ("parts", "stem"),
    [
        (("public", "orders"), "public.orders"),
        (("Orders",), "+orders"),
        (("CustID",), "+cust+i+d"),
        (("SALES", "ORDER_LINES"), "++sales.++order_lines"),
        (("..",), "%2e%2e"),
        (("../../etc", "passwd"), "%2e%2e%2f%2e%2e%2fetc.passwd"),
        (("/abs",), "%2fabs"),
        (("con",), "%63on"),
        (("CON",), "++con"),
        (("nul", "x"), "%6eul.x"),
        (("com1",), "%63om1"),
        (("console",), "console"),
        (("_hidden",), "%5fhidden"),
        (("-rf",), "%2drf"),
        (("a b",), "a%20b"),
        (("dot.ted",), "dot%2eted"),
        (("a=b",), "a%3db"),
        (('qu"ote',), "qu%22ote"),
        (("é",), "%c3%a9"),
    ],
)
def test_names_look_like_this(parts: tuple[str, ...], stem: str) -> None:
    assert file_name(TableName(parts)) == stem
    assert table_name(stem) == TableName(parts)


def test_long_names_keep_their_beginning_and_differ_by_a_hash() -> None:
    names = [TableName(("x" * 200,)), TableName(("x" * 201,)), TableName(("É" * 200,))]

    stems = [file_name(name) for name in names]

    assert len(set(stems)) == 3
    assert stems[0].startswith("xxxxx")
    assert all(len(stem) <= 150 for stem in stems)


@pytest.mark.parametrize("stem", ["Orders", "a b", "x%2", "+Z", "a.b.c.d", "%", "++"])
def test_a_foreign_folder_is_a_table_of_its_own_name(stem: str) -> None:
    assert table_name(stem) == TableName((stem,))


def test_names_that_no_file_can_have_are_refused() -> None:
    with pytest.raises(SpecError, match="empty part or a NUL"):
        file_name(TableName(("a\0b",)))
    with pytest.raises(SpecError):
        part_name("")
