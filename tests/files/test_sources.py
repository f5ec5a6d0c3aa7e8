"""Folders of other programs as sources: which tables they are, what their columns are, what is wrong with them."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.connectors.files.quarantine import quarantined
from penstock.connectors.files.root import Root
from penstock.core.errors import DataError, Missing, NotSupported, SpecError
from penstock.core.load import BatchSize, Chunk, Source
from penstock.core.names import TableName
from penstock.core.schema import TypePolicy
from tests.files.lake import Lake, orders, rows_of


def _table(*parts: str) -> TableName:
    return TableName(parts)


def _write(root: Path, path: str, text: str | bytes) -> None:
    whole = root / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(text if isinstance(text, bytes) else text.encode())


def _tables(lake: Lake, **options: object) -> list[str]:
    return [str(info.name) for info in lake.session(**options).catalog().tables()]


def test_folders_and_files_are_tables_and_hidden_ones_are_not(lake: Lake) -> None:
    for path in (
        "orders.csv", "2024/deep/er/a.csv", "2024/b.csv", ".hidden.csv", "_tmp.csv", ".git/x.csv", "_delta_log/x.csv",
        "notes.txt", "empty folder/readme.md", "mixed.ndjson.gz",
    ):  # fmt: skip
        _write(lake.root, path, gzip.compress(b'{"a":1}\n') if path.endswith("gz") else "a\n1\n")

    assert _tables(lake) == ['"2024"', "mixed", "orders"]
    assert len(lake.rows(_table("2024"))) == 2
    assert lake.rows(_table("mixed")) == [(1,)]


def test_a_missing_root_holds_no_tables(lake: Lake) -> None:
    nowhere = Lake(lake.root / "not" / "there")

    assert nowhere.session().catalog().tables() == []
    assert nowhere.session().check().notes == ("made on the first load",)


def test_two_files_of_one_name_go_by_their_full_names(lake: Lake) -> None:
    _write(lake.root, "a.csv", "x\n1\n")
    pq.write_table(pa.table({"x": [2]}), lake.root / "a.parquet")

    assert _tables(lake) == ['"a.csv"', '"a.parquet"']
    assert lake.rows(_table("a.csv")) == [(1,)]
    with pytest.raises(DataError, match=r"table a of connection 'lake' could be a\.csv or a\.parquet"):
        rows_of(lake.session(), Source(_table("a")))
    assert lake.session(format="csv").catalog().describe([_table("a")], TypePolicy()) != {}


def test_globs_make_tables_of_many_files(lake: Lake) -> None:
    for path in (
        "2023/sales-1.csv",
        "2024/sales-1.csv",
        "2024/sales-2.csv",
        "2024/costs-1.csv",
        "2024/old/sales-3.csv",
    ):
        _write(lake.root, path, f"path\n{path}\n")
    declared = Lake(lake.root, {"tables": "sales: 2024/sales-*.csv; dw.every: **/sales-*.csv"})

    assert declared.rows(_table("sales")) == [("2024/sales-1.csv",), ("2024/sales-2.csv",)]
    assert len(declared.rows(_table("dw", "every"))) == 4
    assert "sales" in _tables(declared)
    for pattern in ("../*.csv", "/etc/*"):
        with pytest.raises(SpecError, match="leads out of connection 'lake'"):
            Lake(lake.root, {"tables": {"t": pattern}}).session().catalog().tables()
    with pytest.raises(Missing, match="no data file of connection 'lake' matches 'nope/\\*'"):
        Lake(lake.root, {"tables": {"t": "nope/*"}}).session().catalog().tables()


def test_a_connection_may_be_one_file(lake: Lake) -> None:
    _write(lake.root, "in.csv", "a\n1\n")
    _write(lake.root, "other.csv", "a\n2\n")
    single = Lake(lake.root / "in.csv")

    assert _tables(single) == ["in"]
    assert single.rows(_table("in")) == [(1,)]
    with pytest.raises(SpecError, match=r"is the file in\.csv, which cannot be a target"):
        single.put(orders(1))


def test_a_table_that_is_not_there_is_suggested(lake: Lake) -> None:
    _write(lake.root, "orders.csv", "a\n1\n")

    with pytest.raises(Missing, match="connection 'lake' has no table ordres") as caught:
        lake.session().reader().count(Source(_table("ordres")))
    assert caught.value.hint == "did you mean orders?"


def test_queries_are_not_taken(lake: Lake) -> None:
    with pytest.raises(NotSupported, match="takes no queries"):
        lake.session().catalog().describe_query("select 1", TypePolicy())


def test_links_out_of_the_root_are_refused_and_links_inside_are_followed(
    lake: Lake, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("outside") / "secret.csv"
    secret.write_text("a\n1\n")
    _write(lake.root, "real.csv", "a\n1\n")
    (lake.root / "linked.csv").symlink_to(lake.root / "real.csv")

    assert _tables(lake) == ["linked", "real"]
    (lake.root / "bad.csv").symlink_to(secret)
    with pytest.raises(SpecError, match=r"path 'bad\.csv' of connection 'lake' leads out of"):
        lake.session().catalog().tables()


def test_linked_folders_are_not_followed(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    _write(outside, "t/a.csv", "a\n1\n")
    (lake.root / "linked").symlink_to(outside)
    _write(lake.root, "mine/a.csv", "a\n1\n")
    (lake.root / "mine" / "more").symlink_to(outside)

    assert _tables(lake) == ["mine"]
    assert lake.rows(_table("mine")) == [(1,)]


def test_files_with_other_columns_are_one_table_where_types_go_together(lake: Lake) -> None:
    folder = lake.root / "t"
    folder.mkdir()
    pq.write_table(pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]}), folder / "1.parquet")
    pq.write_table(pa.table({"a": pa.array([2**40], pa.int64()), "c": [1.5]}), folder / "2.parquet")

    assert lake.rows(_table("t")) == [(1, "x", None), (2**40, None, 1.5)]
    pq.write_table(pa.table({"a": ["text"]}), folder / "3.parquet")
    with pytest.raises(DataError, match=r"column 'a' is int64 in t/2\.parquet and string in t/3\.parquet"):
        lake.describe(_table("t"))


def test_files_of_two_formats_are_named(lake: Lake) -> None:
    _write(lake.root, "t/1.csv", "a\n1\n")
    _write(lake.root, "t/2.ndjson", '{"a":1}')

    with pytest.raises(DataError, match=r"has files of two formats: t/1\.csv and t/2\.ndjson"):
        lake.describe(_table("t"))
    assert Lake(lake.root, {"format": "ndjson"}).rows(_table("t")) == [(1,)]


def test_hive_folders_of_others_give_typed_columns(lake: Lake) -> None:
    for day, country in (("2024-01-01", "DE"), ("2024-01-02", "a%2Fb"), ("__HIVE_DEFAULT_PARTITION__", "007")):
        _write(lake.root, f"t/day={day}/c={country}/x.csv", "a\n1\n")

    assert [(column.name, str(column.type)) for column in lake.describe(_table("t")).columns] == [
        ("a", "int64"), ("day", "date32[day]"), ("c", "string")
    ]  # fmt: skip
    assert [row[2] for row in lake.rows(_table("t"))] == ["007", "DE", "a/b"]
    _write(lake.root, "t/x.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"in different partition folders: t/day=2024-01-01/c=DE/x\.csv and t/x\.csv"):
        lake.describe(_table("t"))


def test_declared_types_go_by_column_and_by_table(lake: Lake) -> None:
    _write(lake.root, "one.csv", "id,zip\n1,01234\n")
    _write(lake.root, "two.csv", "id,zip\n1,01234\n")
    declared = Lake(lake.root, {"types": {"zip": "text", "two.id": "decimal(10,2)"}})

    assert [str(column.type) for column in declared.describe(_table("one")).columns] == ["int64", "string"]
    assert [str(column.type) for column in declared.describe(_table("two")).columns] == ["decimal128(10, 2)", "string"]


def test_a_value_that_does_not_fit_is_an_error_that_names_it(lake: Lake) -> None:
    _write(lake.root, "t.csv", "id,n\n1,1\n2,x\n")
    declared = Lake(lake.root, {"types": "n: int64"})

    with pytest.raises(DataError) as caught:
        declared.get(_table("t"))

    assert caught.value.what == "row 2 of t.csv, column 'n': 'x' is no int64"
    assert "bad_rows: quarantine" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("t.csv", "id,n\n1,1\n2,x\n3\n4,4\n"),
        ("t.ndjson", '{"id":1,"n":1}\n{"id":2,"n":"x"}\nbroken\n{"id":4,"n":4}\n'),
    ],
)
def test_rows_that_do_not_fit_can_be_set_aside_and_are_counted(lake: Lake, path: str, text: str) -> None:
    _write(lake.root, path, text)
    declared = Lake(lake.root, {"types": "n: int64; id: int64", "bad_rows": "quarantine"})

    for _ in range(2):
        assert declared.rows(_table("t")) == [(1, 1), (4, 4)]
        assert declared.session().reader().count(declared.source(_table("t"))) == 2

    assert quarantined(Root(str(lake.root), "lake"), _table("t")) == 2
    [kept] = list((lake.root / ".penstock" / "quarantine" / "t").iterdir())
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert sorted(row["row"] for row in rows) == [2, 3]
    assert {row["file"] for row in rows} == {path}
    assert all(row["reason"] and row["text"] for row in rows)
    assert declared.session().check().notes == ("2 rows of t are in quarantine",)

    _write(lake.root, path, text.replace("x", "2") if path.endswith("csv") else '{"id":1,"n":1}\n')
    declared.rows(_table("t"))
    assert quarantined(Root(str(lake.root), "lake"), _table("t")) == (1 if path.endswith("csv") else 0)


def test_a_source_option_sets_rows_aside_for_one_job(lake: Lake) -> None:
    _write(lake.root, "t.csv", "n\n1\nx\n")
    declared = Lake(lake.root, {"types": "n: int64"})

    assert declared.rows(_table("t"), options={"bad_rows": "quarantine"}) == [(1,)]


@pytest.mark.parametrize("change", ["append", "touch", "replace", "remove"])
def test_a_file_that_changes_during_the_run_is_named(lake: Lake, change: str) -> None:
    _write(lake.root, "t/1.csv", "a\n1\n")
    _write(lake.root, "t/2.csv", "a\n2\n")
    source = lake.source(_table("t"))
    [chunk] = lake.session().reader().split(source, 10**9)
    path = lake.root / "t" / "2.csv"

    if change == "append":
        path.write_text("a\n2\n3\n")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    elif change == "replace":
        path.rename(lake.root / "old")
        path.write_text("a\n9\n")
    else:
        path.unlink()

    with pytest.raises(DataError, match=r"file t/2\.csv of connection 'lake' (changed|was removed or replaced)"):
        rows_of(lake.session(), source, [chunk])


def test_a_file_that_changes_while_it_is_read_is_named(lake: Lake) -> None:
    lake.put(orders(*range(5000)), options={"row_group_rows": 1000})
    source = lake.source()
    [chunk] = lake.session().reader().split(source, 10**9)

    batches = lake.session().reader().read(source, chunk, BatchSize(rows=10))
    next(iter(batches))
    os.utime(next((lake.root / "public.orders").glob("*.parquet")), ns=(1, 1))

    with pytest.raises(DataError, match="changed during the run"):
        list(batches)


def test_files_are_read_in_order_of_their_names(lake: Lake) -> None:
    for name in ("b", "a", "c/a", "B"):
        _write(lake.root, f"t/{name}.csv", f"n\n{name}\n")

    assert lake.get(_table("t")).column("n").to_pylist() == ["B", "a", "b", "c/a"]


def test_small_files_share_a_chunk_and_large_ones_are_cut(lake: Lake) -> None:
    for number in range(10):
        _write(lake.root, f"small/{number}.csv", "n\n" + "1\n" * 10)
    _write(lake.root, "large/1.ndjson", '{"n": 1}\n' * 10_000)

    small = lake.session().reader().split(lake.source(_table("small")), 400)
    large = lake.session().reader().split(lake.source(_table("large")), 10_000)

    assert [len(chunk.bounds["files"]) for chunk in small] == [4, 4, 2]
    assert len(large) == 9
    assert rows_of(lake.session(), lake.source(_table("large")), large).num_rows == 10_000


def test_only_the_wanted_columns_are_read(lake: Lake) -> None:
    _write(lake.root, "t.csv", "good,bad\n1,x\n")
    declared = Lake(lake.root, {"types": "bad: int64"})

    assert declared.rows(_table("t"), columns=("good",)) == [(1,)]


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("a >", SpecError, "cannot be read as SQL expression"),
        ("nope = 1", SpecError, "names 'nope', which is no column of table t"),
        ("a + 1", SpecError, "gives Int64, not true or false"),
        ("a = 'x'", SpecError, "cannot be evaluated"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named(lake: Lake, where: str, error: type[Exception], message: str) -> None:
    _write(lake.root, "t.csv", "a\n1\n")

    with pytest.raises(error, match=message):
        lake.get(_table("t"), where=where)


def test_filters_compare_exactly(lake: Lake) -> None:
    _write(lake.root, "t.csv", "i,d\n9007199254740993,1.10\n9007199254740992,1.11\n,\n")

    assert lake.rows(_table("t"), columns=("i",), where="i = 9007199254740993") == [(9007199254740993,)]
    assert lake.rows(_table("t"), columns=("i",), where="d > 1.1") == [(9007199254740992,)]
    assert lake.rows(_table("t"), columns=("i",), where="d is null") == [(None,)]
    assert lake.session().reader().count(lake.source(_table("t"), where="true")) == 3


def test_a_window_leaves_out_row_groups_without_opening_their_rows(lake: Lake) -> None:
    lake.put(orders(*range(10_000)), options={"row_group_rows": 1000})
    source = lake.source()
    path = next((lake.root / "public.orders").glob("*.parquet"))
    groups = pq.ParquetFile(path).metadata

    assert groups.num_row_groups == 10
    from penstock.core.load import CursorValue, Window

    window = Window("id", CursorValue("int64", "2500"), CursorValue("int64", "2600"))
    found = rows_of(lake.session(), Source(source.table, columns=source.columns, window=window), [Chunk(0)])
    assert found.column("id").to_pylist() == list(range(2500, 2601))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formt": "csv"}, "connection 'lake' has no option 'formt'; did you mean 'format'?"),
        ({"format": "xml"}, "option 'format' of connection 'lake' is 'xml'"),
        (
            {"format": "parquet", "delimiter": ";"},
            "option 'delimiter' of connection 'lake' does not apply to format 'parquet'",
        ),
        (
            {"format": "csv", "compression": "snappy"},
            "compression 'snappy' of connection 'lake' does not exist for format",
        ),
        ({"format": "csv", "delimiter": ";;"}, "delimiter ';;' of connection 'lake' is not one ASCII character"),
        ({"format": "csv", "decimal_comma": True}, "needs another delimiter"),
        ({"format": "csv", "encoding": "utf-42"}, "encoding 'utf-42' of connection 'lake' is unknown"),
        ({"format": "parquet", "compression_level": 99}, "compression_level 99"),
        ({"format": "parquet", "row_group_rows": 0}, "row_group_rows of connection 'lake' is 0"),
        ({"types": "a text"}, "option 'types' of connection 'lake' has 'a text'"),
    ],
)
def test_options_that_do_not_fit_are_refused(lake: Lake, options: dict[str, object], message: str) -> None:
    _write(lake.root, "t.csv", "a\n1\n")

    with pytest.raises(SpecError) as caught:
        lake.session(**options).catalog().describe([_table("t")], TypePolicy())
    assert message in str(caught.value)


def test_job_options_that_do_not_apply_to_the_format_are_refused(lake: Lake) -> None:
    with pytest.raises(SpecError, match="option 'delimiter' of connection 'lake' does not apply to format 'parquet'"):
        lake.put(orders(1), options={"delimiter": ";"})
    Lake(lake.root, {"delimiter": ";"}).put(orders(1))
    assert lake.rows() == [(1, "x")]


def test_url_options_are_converted(lake: Lake) -> None:
    from penstock.connectors.files.connector import connector
    from penstock.core.spec import ConnectionSpec

    spec = ConnectionSpec("lake", "file:./?format=csv&delimiter=%3B&header=no", base_dir=str(lake.root))
    session = connector.open(spec)
    load = lake.load(orders(1))
    session.writer().prepare(load)
    session.writer().write(load, "0", iter(orders(1).to_batches()))

    [staged] = list((lake.root / ".penstock").rglob("*.staged"))
    assert staged.read_text() == "1;x\n"
    with pytest.raises(SpecError, match="names a host"):
        connector.open(ConnectionSpec("lake", "file://server/x", base_dir=str(lake.root)))


@pytest.mark.parametrize(
    ("keeper", "note"),
    [
        ("Delta Lake", "_delta_log/00000000000000000000.json"),
        ("Apache Iceberg", "metadata/v1.metadata.json"),
        ("Apache Hudi", ".hoodie/hoodie.properties"),
    ],
)
def test_a_table_that_a_table_format_keeps_is_not_taken_for_a_folder_of_files(
    lake: Lake, tmp_path: Path, keeper: str, note: str
) -> None:
    """Its folder holds files of rows that are gone."""
    pq_folder = tmp_path / "kept" / "data"
    pq_folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1]}), pq_folder / "old.parquet")
    (tmp_path / "kept" / note).parent.mkdir(exist_ok=True)
    (tmp_path / "kept" / note).write_text("{}")
    pq.write_table(pa.table({"id": [2]}), tmp_path / "plain.parquet")
    kept = TableName(("kept",))

    infos = {str(info.name): info.kind for info in lake.session().catalog().tables()}

    assert infos == {"kept": f"{keeper} table", "plain": "files"}
    with pytest.raises(NotSupported, match=f"table of {keeper}"):
        lake.describe(kept)
    with pytest.raises(NotSupported, match=f"table of {keeper}"):
        lake.put(pa.table({"id": [3]}), table=kept, options={"adopt": True})
    assert lake.rows(TableName(("plain",))) == [(2,)]
