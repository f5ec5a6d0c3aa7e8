"""The text of a project file: what is written is what YAML reads back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from penstock.api.hygge.text import comment, mapping_lines

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
SCALARS = TEXTS | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS.filter(bool), inner), max_leaves=8)


def read_back(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@given(st.dictionaries(TEXTS.filter(bool), VALUES, min_size=1))
def test_any_values_come_back(values: dict[str, Any]) -> None:
    assert read_back("\n".join(mapping_lines(values, 2))) == values


@given(TEXTS, st.integers(0, 8))
def test_a_comment_is_only_a_comment(text: str, indent: int) -> None:
    lines = comment(text, indent)

    assert all(line.lstrip().startswith("#") for line in lines)
    assert read_back("\n".join([*lines, "a: 1"])) == {"a": 1}
