"""Objects as tables: whatever lies there, however large, and nothing of two contents."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.connectors.objects.bucket import PART_BYTES, in_parallel
from penstock.core.errors import Busy, DataError, Missing, NotSupported, SpecError
from penstock.core.load import BatchSize, Chunk, Mode, Source
from penstock.core.names import TableName
from penstock.core.schema import Column
from tests.files.lake import ORDERS, orders, rows_of
from tests.objects.lake import Bay, bay
from tests.parts.objects import S3, Azure
from tests.parts.proxy import Proxy

ID = Column.from_field(orders(1).schema.field("id"))


def put_parquet(lake: Bay, key: str, table: pa.Table, **options: int) -> None:
    held = io.BytesIO()
    pq.write_table(table, held, **options)
    lake.bucket.put(f"house/{key}", held.getvalue())


def test_objects_of_others_are_tables(lake: Bay) -> None:
    put_parquet(lake, "people.parquet", orders(1, 2))
    put_parquet(lake, "sales/year=2025/a.parquet", orders(3))
    put_parquet(lake, "sales/year=2026/b.parquet", orders(4))
    lake.bucket.put("house/notes/read.me", b"no data")
    lake.bucket.put("house/logs/x.ndjson", b'{"a": 1}\n')
    lake.bucket.put("house/logs/_hidden.ndjson", b"?")

    found = {str(info.name) for info in lake.session().catalog().tables()}

    assert found == {"people", "sales", "logs"}
    assert lake.rows(TableName(("people",))) == [(1, "x"), (2, "x")]
    assert lake.rows(TableName(("sales",))) == [(3, "x", 2025), (4, "x", 2026)]
    assert lake.rows(TableName(("logs",))) == [(1,)]


def test_a_table_may_be_a_glob(lake: Bay) -> None:
    for number, region in enumerate(("eu", "us", "asia")):
        put_parquet(lake, f"in/{region}/day/{number}.parquet", orders(number))
    globbed = bay(lake.spec, tables="some: in/?s/**/*.parquet; every: in/**/*.parquet")

    assert globbed.rows(TableName(("some",))) == [(1, "x")]
    assert globbed.rows(TableName(("every",))) == [(0, "x"), (1, "x"), (2, "x")]


def test_a_url_may_name_one_object(lake: Bay, s3: S3) -> None:
    put_parquet(lake, "people.parquet", orders(1, 2))
    one = bay(s3.connection(lake.spec.url.removeprefix("s3://"), "people.parquet"))

    assert one.rows(TableName(("people",))) == [(1, "x"), (2, "x")]
    with pytest.raises(SpecError, match="cannot be a target"):
        one.put(orders(1))


def test_a_table_that_is_not_there_is_suggested(lake: Bay) -> None:
    put_parquet(lake, "people.parquet", orders(1))

    with pytest.raises(Missing, match="did you mean people"):
        lake.session().reader().split(Source(TableName(("poeple",))), 1)


def test_text_is_cut_at_row_ends_over_ranges(lake: Bay) -> None:
    rows = "".join(f"{at},{'y' * (at % 90)}\n" for at in range(60_000))
    lake.bucket.put("house/wide.csv", f"id,note\n{rows}".encode())
    source = lake.source(TableName(("wide",)))
    session = bay(lake.spec, newlines_in_values="false").session()

    chunks = session.reader().split(source, 2**20)

    assert len(chunks) > 2
    got = rows_of(session, source, chunks)
    assert got.column("id").to_pylist() == list(range(60_000))


def test_few_requests_read_a_small_object_and_none_repeat_bytes_of_a_large_one(far_lake: Bay, proxy: Proxy) -> None:
    put_parquet(far_lake, "small.parquet", orders(*range(1000)))
    small = far_lake.source(TableName(("small",)))
    proxy.reset()
    far_lake.get(TableName(("small",)))
    reads = [seen for seen in proxy.seen if seen.path.endswith("small.parquet")]
    numbers = pa.table({f"c{at}": pa.array(range(at, 400_000 + at), pa.int64()) for at in range(4)})
    put_parquet(far_lake, "large.parquet", numbers, row_group_size=50_000)
    large = far_lake.source(TableName(("large",)))
    proxy.reset()

    got = rows_of(far_lake.session(), large)

    ranges = [seen for seen in proxy.seen if seen.path.endswith("large.parquet") and seen.method == "GET"]
    assert small.table is not None
    assert len(reads) <= 4
    assert got.num_rows == 400_000
    assert len(ranges) < 16


def test_an_object_that_changes_during_a_run_is_noticed(lake: Bay) -> None:
    put_parquet(lake, "people.parquet", orders(1, 2))
    session, source = lake.session(), lake.source(TableName(("people",)))
    chunks = session.reader().split(source, 2**20)
    put_parquet(lake, "people.parquet", orders(1, 3))

    with pytest.raises(DataError, match="changed during the run"):
        list(session.reader().read(source, chunks[0], BatchSize()))
    lake.bucket.delete(["house/people.parquet"])
    with pytest.raises(DataError, match="removed during the run"):
        list(session.reader().read(source, chunks[0], BatchSize()))


def test_a_version_that_goes_while_it_is_read_is_read_again(lake: Bay) -> None:
    lake.put(orders(1), orders(2))
    reading = lake.session().reader().read(lake.source(), Chunk(0), BatchSize())
    next(reading)
    lake.put(orders(3), orders(4))

    with pytest.raises(Busy, match="read it again"):
        list(reading)


def test_bad_rows_are_set_aside_in_the_bucket(lake: Bay) -> None:
    lake.bucket.put("house/people.csv", b"id,name\n1,Ann\nx,Bob\n")
    strict = bay(lake.spec, types="id: int64", bad_rows="quarantine")

    assert strict.rows(TableName(("people",))) == [(1, "Ann")]
    assert strict.session().check().notes == ("1 rows of people are in quarantine",)
    lake.bucket.put("house/people.csv", b"id,name\n1,Ann\n2,Bob\n")
    assert strict.rows(TableName(("people",))) == [(1, "Ann"), (2, "Bob")]
    assert strict.session().check().notes == ()


@pytest.mark.parametrize("keys", [1_100, pytest.param(10_500, marks=pytest.mark.slow)])
def test_large_prefixes_are_listed_whole(lake: Bay, keys: int) -> None:
    put_parquet(lake, "many/template.parquet", orders(1))
    bucket = lake.bucket
    names = [f"house/many/d{at % 7}/{at:06d}.parquet" for at in range(keys)]
    in_parallel(lambda name: bucket.copy("house/many/template.parquet", name), names, lambda: None)

    session = lake.session()
    [found] = session.catalog().tables()
    chunks = session.reader().split(Source(TableName(("many",)), columns=(ID,)), 2**30)

    assert found.name == TableName(("many",))
    assert sum(len(chunk.bounds["files"]) for chunk in chunks) == keys + 1
    assert found.size_bytes == sum(chunk.size_bytes or 0 for chunk in chunks)


@pytest.mark.parametrize("store", ["s3", "azure"])
def test_a_large_part_goes_up_in_several_pieces(store: str, request: pytest.FixtureRequest) -> None:
    server: S3 | Azure = request.getfixturevalue(store)
    where = server.new_bucket() if isinstance(server, S3) else server.new_container()
    lake = bay(server.connection(where))
    data = pa.table({"id": pa.array(range(150_000), pa.int64()), "note": [f"{at:0150d}" for at in range(150_000)]})

    lake.put(data, options={"format": "csv", "compression": "none"})

    stored = [one for one in lake.bucket.objects("") if one.key.endswith(".csv")]
    assert sum(one.size_bytes for one in stored) > PART_BYTES
    assert lake.get().num_rows == 150_000
    assert lake.get().column("id").to_pylist() == list(range(150_000))


def test_an_append_adds_to_what_is_there(lake: Bay) -> None:
    lake.put(orders(1), orders(2))

    lake.put(orders(3), mode=Mode.APPEND)

    assert lake.rows(ORDERS) == [(1, "x"), (2, "x"), (3, "x")]


def test_a_table_that_a_table_format_keeps_is_not_taken_for_a_folder_of_files(lake: Bay) -> None:
    """Its prefix holds objects of rows that are gone."""
    put_parquet(lake, "kept/part-0.parquet", orders(1))
    lake.bucket.put("house/kept/_delta_log/00000000000000000000.json", b"{}")
    put_parquet(lake, "ice/data/a.parquet", orders(1))
    lake.bucket.put("house/ice/metadata/v1.metadata.json", b"{}")

    infos = {str(info.name): info.kind for info in lake.session().catalog().tables()}

    assert infos == {"kept": "Delta Lake table", "ice": "Apache Iceberg table"}
    for name in ("kept", "ice"):
        with pytest.raises(NotSupported, match="cannot be read or written yet"):
            lake.describe(TableName((name,)))
        with pytest.raises(NotSupported, match="cannot be read or written yet"):
            lake.put(orders(1), table=TableName((name,)), options={"adopt": True})
