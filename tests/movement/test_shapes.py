"""Parquet to a database and back: empty, one row, wide, narrow, mixed and NULL arrive as they were."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.movement.moving import MIXED, copy, mixed, put, read
from tests.parts.postgres import PostgresServer

SHAPES = {
    "empty": mixed(0),
    "single_row": mixed(2).slice(1, 1),
    "all_null": mixed(1),
    "mixed": mixed(5_000),
    "narrow": pa.table({"id": pa.array(range(3_000), pa.int64())}),
    "wide": pa.table(
        {"id": pa.array([1, 2], pa.int64())} | {f"c{i:04}": pa.array([i, None], pa.int32()) for i in range(1_500)}
    ),
}
BETWEEN = [
    "duckdb",
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
]


def url(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    if kind != "postgres":
        return f"{kind}:{folder}/between.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.dsn(server.create_database())


@pytest.mark.parametrize("kind", BETWEEN)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_goes_from_parquet_to_a_database_and_back(
    kind: str, shape: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = SHAPES[shape]
    put(tmp_path / "in" / "t", table)
    between = url(kind, tmp_path, request)
    out = tmp_path / "out"

    copy(tmp_path / "there", f"file:{tmp_path}/in", between).run()
    copy(tmp_path / "back", between, f"file:{out}", tables=["t"], target_name="{table}").run()

    found = read(out / "t")
    assert found.num_rows == table.num_rows
    assert found.column_names == table.column_names
    # A database may hold a wider type than the file had (SQLite has one of whole numbers); no value may change.
    assert found.cast(table.schema).equals(table.sort_by("id"))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_goes_from_parquet_to_parquet_with_its_types(shape: str, tmp_path: Path) -> None:
    put(tmp_path / "in" / "t", SHAPES[shape])

    copy(tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out").run()

    assert read(tmp_path / "out" / "t").equals(SHAPES[shape])


def test_a_column_without_type_arrives_as_nulls(tmp_path: Path) -> None:
    put(tmp_path / "in" / "t", pa.table({"id": [1, 2], "nothing": pa.nulls(2)}))

    copy(tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out").run()

    assert read(tmp_path / "out" / "t")["nothing"].to_pylist() == [None, None]


def test_files_of_no_rows_among_others_change_nothing(tmp_path: Path) -> None:
    for number, rows in enumerate((0, 3, 0, 1, 0)):
        put(tmp_path / "in" / "t", mixed(rows), f"{number}.parquet")

    copy(tmp_path, f"file:{tmp_path}/in", f"file:{tmp_path}/out").run()

    assert read(tmp_path / "out" / "t").num_rows == 4
    assert read(tmp_path / "out" / "t").column_names == ["id", *MIXED]
