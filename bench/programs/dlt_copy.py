"""dlt from PostgreSQL: `python dlt_copy.py BACKEND DSN SCHEMA TABLES TARGET`; TARGET is a folder or a DSN."""

from __future__ import annotations

import os
import sys
import tempfile

_, backend, dsn, schema, tables, target = sys.argv

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["DLT_DATA_DIR"] = tempfile.mkdtemp(prefix="dlt-")

import dlt  # noqa: E402
from dlt.sources.sql_database import sql_database  # noqa: E402

if target.startswith("postgresql"):
    destination = dlt.destinations.postgres(target)
    file_format = "csv"
else:
    destination = dlt.destinations.filesystem(f"file://{target}")
    file_format = "parquet"
source = sql_database(
    dsn,
    schema=schema,
    table_names=tables.split(",") if tables != "*" else None,
    backend=backend,
    chunk_size=65536,
    backend_kwargs={"return_type": "arrow_stream", "batch_size": 65536} if backend == "connectorx" else None,
)
pipeline = dlt.pipeline(
    "race", destination=destination, dataset_name="copied", pipelines_dir=tempfile.mkdtemp(prefix="dlt-")
)
print(pipeline.run(source, loader_file_format=file_format, write_disposition="replace"))
