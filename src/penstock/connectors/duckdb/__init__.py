"""DuckDB: one database instance a file and process, rows in and out as Arrow streams."""
