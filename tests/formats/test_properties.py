"""Any texts and values come back from CSV and NDJSON, whatever marks they hold."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors._formats.settings import Dialect, FormatSettings
from tests.formats.memory import columns_of, csv, decode, encode

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.text(
    " ,;|\t\"'\\\r\n\ufeffNULa0-", max_size=6
)
_ROWS = st.lists(st.tuples(st.none() | _TEXT, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=12)
_MANY = settings(max_examples=60, deadline=None)
DIALECTS = [
    {},
    {"delimiter": ";", "quote": "'", "null_text": "NULL"},
    {"delimiter": "|", "escape": "\\", "null_text": "-"},
    {"delimiter": "\t", "header": False, "null_text": "0"},
]


def _batch(rows: list[tuple[str | None, int | None]]) -> pa.RecordBatch:
    return pa.record_batch(
        {"t": pa.array([row[0] for row in rows], pa.string()), "n": pa.array([row[1] for row in rows], pa.int64())}
    )


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@_MANY
@given(_ROWS)
def test_any_texts_come_back_from_csv(dialect: dict[str, object], rows: list[tuple[str | None, int | None]]) -> None:
    batch = _batch(rows)
    columns, given_settings = columns_of(batch.schema), csv(**dialect)

    assert decode(encode([batch], columns, given_settings), columns, given_settings).to_pylist() == batch.to_pylist()


@_MANY
@given(st.lists(st.none() | _TEXT, max_size=12))
def test_any_texts_come_back_from_a_csv_of_one_column(texts: list[str | None]) -> None:
    batch = pa.record_batch({"t": pa.array(texts, pa.string())})
    columns = columns_of(batch.schema)

    assert decode(encode([batch], columns, csv()), columns, csv()).column("t").to_pylist() == texts


@_MANY
@given(_ROWS, st.lists(st.lists(st.none() | _TEXT, max_size=3), max_size=4))
def test_any_texts_come_back_from_ndjson(
    rows: list[tuple[str | None, int | None]], lists: list[list[str | None]]
) -> None:
    ndjson = FormatSettings(format="ndjson", dialect=Dialect())
    nested = pa.record_batch({"l": pa.array(lists, pa.list_(pa.string()))})
    for batch in (_batch(rows), nested):
        columns = columns_of(batch.schema)

        assert decode(encode([batch], columns, ndjson), columns, ndjson).to_pylist() == batch.to_pylist()
