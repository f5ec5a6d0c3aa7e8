"""Publishing folders: what is there afterwards, what stays, what is refused, what a second run does."""

from __future__ import annotations

import json
import os
import resource
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.core.errors import CountMismatch, DataError, Locked, Missing, SpecError
from penstock.core.load import Expected, Mode
from penstock.core.names import TableName
from penstock.core.schema import TypePolicy
from tests.files.lake import ORDERS, Lake, orders

FORMATS = ["parquet", "arrow", "csv", "ndjson"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_second_run_neither_overwrites_nor_doubles(lake: Lake, format_name: str) -> None:
    options = {"format": format_name}
    parts = (orders(3, 4), orders(1, 2))

    for _ in range(3):
        lake.put(*parts, options=options)
        assert lake.rows() == [(1, "x"), (2, "x"), (3, "x"), (4, "x")]
    for run in range(1, 4):
        published = lake.put(*parts, mode=Mode.APPEND, options=options)
        assert published.rows_after == 4 + 4 * run
        assert len(lake.rows()) == published.rows_after


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("parts", [0, 1, 3])
def test_an_empty_source_gives_an_empty_table_with_its_columns(lake: Lake, format_name: str, parts: int) -> None:
    lake.put(orders(1), options={"format": format_name})
    load = lake.load(orders(), options={"format": format_name})

    expected = lake.stage(load, *[orders()] * parts)
    published = lake.session().writer().publish(load, expected)

    assert (published.rows_before, published.rows_deleted, published.rows_after) == (1, 1, 0)
    assert [column.name for column in lake.describe().columns] == ["id", "note"]
    assert lake.rows() == []
    assert [name for name in lake.files() if name != "_penstock.json"] != []
    assert len(lake.files()) == 2


def test_an_append_of_nothing_leaves_the_files_alone(lake: Lake) -> None:
    lake.put(orders(1))
    before = lake.files()

    lake.put(orders(), mode=Mode.APPEND)

    after = lake.files()
    assert {name: data for name, data in after.items() if name != "_penstock.json"} == {
        name: data for name, data in before.items() if name != "_penstock.json"
    }


def test_kept_files_are_linked_and_not_copied(lake: Lake) -> None:
    lake.put(orders(1))
    path = lake.root / "public.orders" / "part-000001-000000.parquet"
    inode = path.stat().st_ino

    lake.put(orders(2), mode=Mode.APPEND)

    assert path.stat().st_ino == inode
    assert sorted(lake.files()) == ["_penstock.json", "part-000001-000000.parquet", "part-000002-000000.parquet"]


def test_a_name_of_one_version_never_means_another_file_in_the_next(lake: Lake) -> None:
    seen: set[str] = set()
    for _ in range(4):
        lake.put(orders(1), orders(2))
        names = {name for name in lake.files() if name.startswith("part")}
        assert not names & seen
        seen |= names


def test_the_manifest_says_what_the_table_consists_of(lake: Lake) -> None:
    lake.put(orders(1, 2), orders(3))
    first = json.loads((lake.root / "public.orders" / "_penstock.json").read_text())
    lake.put(orders(4), mode=Mode.APPEND)
    second = json.loads((lake.root / "public.orders" / "_penstock.json").read_text())

    assert first["table"] == ["public", "orders"]
    assert [column["name"] for column in first["columns"]] == ["id", "note"]
    assert first["rows"] == 3
    assert [(file["path"], file["rows"]) for file in first["files"]] == [
        ("part-000001-000000.parquet", 2),
        ("part-000001-000001.parquet", 1),
    ]
    assert all(len(file["checksum"]) == 32 for file in first["files"])
    assert second["previous_load_id"] == first["load_id"]
    assert second["generation"] == 2
    for file in second["files"]:
        assert (lake.root / "public.orders" / file["path"]).stat().st_size == file["size_bytes"]


def test_a_publish_says_how_it_went(lake: Lake) -> None:
    first, second = lake.put(orders(1)), lake.put(orders(2))
    file = lake.put(orders(3), table=TableName(("f",)), options={"layout": "file"})

    assert first.how == "renamed the new folder into place"
    assert second.how == "exchanged the old folder for the new one in one step"
    assert file.how == "replaced the file in one step"


def test_no_rows_are_left_in_the_state_folder(lake: Lake) -> None:
    for mode in (Mode.REPLACE, Mode.APPEND, Mode.UPSERT):
        lake.put(orders(1), mode=mode, key=("id",))

    left = [path for path in (lake.root / ".penstock").rglob("*") if path.is_file()]
    assert all(path.parent.parent.name == "retired" and pq.read_table(path).num_rows == 0 for path in left)
    assert left


def test_a_previous_version_is_kept_where_it_is_asked_for(lake: Lake) -> None:
    lake.put(orders(1))
    lake.put(orders(2), options={"keep_previous": True})

    previous = lake.root / ".penstock" / "previous" / "public.orders"
    assert pq.read_table(previous / "part-000001-000000.parquet").column("id").to_pylist() == [1]
    assert lake.rows() == [(2, "x")]
    assert [info.name for info in lake.session().catalog().tables()] == [ORDERS]

    lake.put(orders(3))
    assert not previous.exists()


def test_files_of_other_programs_are_never_deleted(lake: Lake) -> None:
    lake.put(orders(1))
    folder = lake.root / "public.orders"
    (folder / "README.txt").write_text("mine")
    (folder / "notes").mkdir()
    (folder / "notes" / ".hidden").write_text("mine too")

    for mode in (Mode.REPLACE, Mode.APPEND, Mode.UPSERT):
        lake.put(orders(2), mode=mode, key=("id",))

    assert (folder / "README.txt").read_text() == "mine"
    assert (folder / "notes" / ".hidden").read_text() == "mine too"


@pytest.mark.parametrize("mode", [Mode.REPLACE, Mode.APPEND])
def test_foreign_data_files_are_an_error_unless_they_are_adopted(lake: Lake, mode: Mode) -> None:
    folder = lake.root / "public.orders"
    folder.mkdir()
    pq.write_table(orders(7), folder / "foreign.parquet")
    load = lake.load(orders(1), mode)

    with pytest.raises(
        SpecError, match=r"holds 1 data files that Penstock did not write, .*foreign\.parquet"
    ) as caught:
        lake.session().writer().plan(load)
    assert "adopt: true" in caught.value.hint
    assert sorted(os.listdir(folder)) == ["foreign.parquet"]

    published = lake.put(orders(1), mode=mode, options={"adopt": True})

    assert published.rows_before == 1
    assert lake.rows() == [(1, "x")] + ([(7, "x")] if mode is Mode.APPEND else [])


def test_staging_that_does_not_hold_what_was_sent_is_not_published(lake: Lake) -> None:
    lake.put(orders(1))
    load = lake.load(orders(2))
    expected = lake.stage(load, orders(2), orders(3))
    staged = next((lake.root / ".penstock").rglob("000001.parquet.staged"))

    with pytest.raises(CountMismatch, match=r"holds 2 parts with 2 rows, not 2 parts with 3 rows"):
        lake.session().writer().publish(load, Expected(2, 3))
    pq.write_table(orders(3, 4), staged)
    with pytest.raises(DataError, match=r"staged file 000001\.parquet of part '000001' is not what was written"):
        lake.session().writer().publish(load, expected)

    assert lake.rows() == [(1, "x")]


def test_a_load_that_was_not_prepared_is_named(lake: Lake) -> None:
    load = lake.load(orders(1))

    with pytest.raises(Missing, match="is not prepared"):
        lake.session().writer().write(load, "000000", iter(orders(1).to_batches()))
    with pytest.raises(Missing, match="is not prepared"):
        lake.session().writer().publish(load, Expected(0, 0))


def test_leftovers_of_the_same_job_go_and_those_of_other_jobs_stay(lake: Lake) -> None:
    mine, theirs, elsewhere = (
        lake.load(orders(1)),
        lake.load(orders(1), job="other"),
        lake.load(orders(1), table=TableName(("other",))),
    )
    for load in (mine, theirs, elsewhere):
        lake.stage(load, orders(1))

    newer = lake.load(orders(1))
    lake.session().writer().prepare(newer)

    left = sorted(name.partition("-")[2] for name in os.listdir(lake.root / ".penstock" / "staging"))
    assert left == sorted([theirs.load_id, elsewhere.load_id, newer.load_id])


def test_a_table_keeps_its_layout_and_format_until_it_is_replaced(lake: Lake) -> None:
    lake.put(orders(1))

    with pytest.raises(SpecError, match="is stored as parquet, layout folder"):
        lake.put(orders(2), mode=Mode.APPEND, options={"format": "csv"})
    with pytest.raises(
        SpecError, match=r"is stored as public\.orders in .* and would be written as public\.orders\.parquet"
    ):
        lake.put(orders(2), options={"layout": "file"})
    lake.put(orders(2), options={"format": "csv"})

    assert sorted(lake.files()) == ["_penstock.json", "part-000002-000000.csv"]


def test_a_claim_names_its_holder_and_ends_with_the_session(lake: Lake) -> None:
    holder, other = lake.session(), lake.session()
    holder.writer().claim(lake.load(orders(1), job="nightly"))

    with pytest.raises(Locked, match=rf"is being loaded by job 'nightly' \(process {os.getpid()} on "):
        other.writer().claim(lake.load(orders(1), job="hourly"))
    holder.close()
    other.writer().claim(lake.load(orders(1), job="hourly"))
    other.close()


def test_a_state_folder_that_leads_out_of_the_root_is_refused(
    lake: Lake, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (lake.root / ".penstock").symlink_to(outside)

    with pytest.raises(SpecError, match="leads out of"):
        lake.put(orders(1))
    assert os.listdir(outside) == []


def test_a_table_folder_that_is_a_link_is_refused(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (lake.root / "public.orders").symlink_to(outside)

    with pytest.raises(SpecError, match="leads out of"):
        lake.put(orders(1))
    assert os.listdir(outside) == []


@pytest.mark.parametrize(
    "name", ["..", "../x", "/etc/x", "a/b", ".penstock", "_penstock.json", "CON", "a\\b", "x" * 200]
)
def test_any_name_stays_inside_the_root(lake: Lake, name: str) -> None:
    table = TableName((name,))

    lake.put(orders(1), table=table)

    assert lake.rows(table) == [(1, "x")]
    assert [info.name for info in lake.session().catalog().tables()] == [table]
    assert not (lake.root.parent / "x").exists()
    assert len([each for each in os.listdir(lake.root) if each != ".penstock"]) == 1


def test_hidden_column_meanings_come_back(lake: Lake) -> None:
    field = pa.field("j", pa.string(), False, {b"penstock.logical": b"json", b"penstock.native": b"postgresql:jsonb"})
    data = pa.table([pa.array(["{}"])], schema=pa.schema([field]))
    for format_name in FORMATS:
        table = TableName((format_name,))
        lake.put(data, table=table, options={"format": format_name})

        column = lake.session().catalog().describe([table], TypePolicy())[table].columns[0]
        assert (column.logical, column.native, column.nullable) == ("json", "postgresql:jsonb", False)


def test_the_whole_root_may_be_copied(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> None:
    lake.put(orders(1), options={"format": "csv"})
    lake.put(orders(2), table=TableName(("single",)), options={"format": "csv", "layout": "file"})
    moved = Lake(tmp_path_factory.mktemp("elsewhere"))
    shutil.copytree(lake.root, moved.root, copy_function=shutil.copyfile, dirs_exist_ok=True)

    assert str(moved.describe().column("id").type) == "int64"  # type: ignore[union-attr]
    assert moved.rows(TableName(("single",))) == [(2, "x")]


def test_a_session_holds_more_tables_than_files_may_be_open_at_first(lake: Lake) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/dev/fd"))
    session = lake.session()
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 40, hard))
    try:
        for number in range(200):
            session.writer().claim(lake.load(orders(1), table=TableName((f"t{number}",))))
        with pytest.raises(Locked, match="table t199"):
            lake.session().writer().claim(lake.load(orders(1), job="other", table=TableName(("t199",))))
    finally:
        session.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
