"""PostgreSQL table to a Parquet file by one library: `python read.py METHOD DSN TABLE FILE`."""

from __future__ import annotations

import sys

_, method, dsn, table, file = sys.argv

if method == "adbc":
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow.parquet as pq

    with adbc.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")
        reader = cursor.fetch_record_batch()
        with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
elif method in ("connectorx", "connectorx2"):
    import connectorx
    import pyarrow.parquet as pq

    split = {"partition_on": "id", "partition_num": 2} if method == "connectorx2" else {}
    pq.write_table(
        connectorx.read_sql(dsn, f"SELECT * FROM {table}", return_type="arrow", **split), file, compression="zstd"
    )
elif method == "connectorx-stream":
    import connectorx
    import pyarrow.parquet as pq

    reader = connectorx.read_sql(dsn, f"SELECT * FROM {table}", return_type="arrow_stream", batch_size=65536)
    with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
elif method in ("duckdb", "duckdb2"):
    from pathlib import Path

    import duckdb
    import duckdb_extension_postgres_scanner as extension

    path = next(Path(extension.__file__).parent.rglob("*.duckdb_extension"))
    connection = duckdb.connect(
        config={"threads": 2 if method == "duckdb2" else 1, "allow_unsigned_extensions": "true"}
    )
    connection.execute(f"LOAD '{path}'")
    connection.execute(f"ATTACH '{dsn}' AS pg (TYPE postgres, READ_ONLY)")
    connection.execute(f"COPY (FROM pg.public.{table}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")
elif method == "psycopg-raw":
    import psycopg

    with (
        psycopg.connect(dsn) as connection,
        connection.cursor() as cursor,
        open(file, "wb") as out,
        cursor.copy(f"COPY {table} TO STDOUT (FORMAT binary)") as copy,
    ):
        for data in copy:
            out.write(data)
else:
    raise SystemExit(f"unknown method {method!r}")
