"""Parquet file to a new PostgreSQL table by one library: `python write.py METHOD FILE DSN TABLE`."""

from __future__ import annotations

import sys

import pyarrow.parquet as pq

_, method, file, dsn, table = sys.argv

if method == "adbc":
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa

    source = pq.ParquetFile(file)
    reader = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches(65536))
    with adbc.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(table, reader, mode="create_append")
        connection.commit()
elif method == "pgpq":
    import pgpq
    import psycopg

    source = pq.ParquetFile(file)
    encoder = pgpq.ArrowToPostgresBinaryEncoder(source.schema_arrow)
    columns = ", ".join(
        f'"{name}" {column.data_type.ddl()}'
        for name, column in zip(source.schema_arrow.names, encoder.schema().columns, strict=True)
    )
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
            copy.write(encoder.write_header())
            for batch in source.iter_batches(65536):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
elif method in ("duckdb", "duckdb2"):
    from pathlib import Path

    import duckdb
    import duckdb_extension_postgres_scanner as extension

    path = next(Path(extension.__file__).parent.rglob("*.duckdb_extension"))
    connection = duckdb.connect(
        config={"threads": 2 if method == "duckdb2" else 1, "allow_unsigned_extensions": "true"}
    )
    connection.execute(f"LOAD '{path}'")
    connection.execute(f"ATTACH '{dsn}' AS pg (TYPE postgres)")
    connection.execute(f"CREATE TABLE IF NOT EXISTS pg.public.{table} AS FROM '{file}' LIMIT 0")
    connection.execute(f"INSERT INTO pg.public.{table} FROM '{file}'")
else:
    raise SystemExit(f"unknown method {method!r}")
