"""dlt with MySQL: `dlt_mysql.py read BACKEND URL TABLE FOLDER`, or `dlt_mysql.py write arrow FILE TABLE URL`."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

_, way, backend, source, table, target = sys.argv

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["DLT_DATA_DIR"] = tempfile.mkdtemp(prefix="dlt-")

import dlt  # noqa: E402

data: Any
if way == "read":
    from dlt.sources.sql_database import sql_database

    # ConnectorX has names of its own for drivers; SQLAlchemy wants one that is installed.
    url = source.replace("mysql://", "mysql+pymysql://")
    kwargs = {"return_type": "arrow_stream", "batch_size": 65536} if backend == "connectorx" else None
    if backend == "connectorx":
        kwargs = {**kwargs, "conn": source}  # type: ignore[dict-item]
    data = sql_database(url, table_names=[table], backend=backend, chunk_size=65536, backend_kwargs=kwargs)
    destination: Any = dlt.destinations.filesystem(f"file://{target}")
    options = {"loader_file_format": "parquet"}
else:
    import pyarrow.parquet as pq

    @dlt.resource(name=table)
    def rows() -> Any:
        yield from pq.ParquetFile(source).iter_batches(65536)

    data = rows()
    destination = dlt.destinations.sqlalchemy(target.replace("mysql://", "mysql+pymysql://"))
    options = {}
pipeline = dlt.pipeline(
    "race", destination=destination, dataset_name="copied", pipelines_dir=tempfile.mkdtemp(prefix="dlt-")
)
print(pipeline.run(data, write_disposition="replace", **options))
