"""File formats on binary streams: Parquet, CSV, NDJSON and Arrow IPC, for folders and object stores alike."""
