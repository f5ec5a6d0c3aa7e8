"""Moving many tables: the plan of the predecessor's authors, line by line, and where each line is tested.

| line | tests |
| --- | --- |
| 10 to 200 and more tables from one template, with defaults and what differs | `acceptance/test_copy.py` (500 tables), `jobs/test_settings.py`, `hygge/test_expected.py` |
| a pool of 3 for 10 tables, of 5 for 50; used again, none leaked | `movement/test_pools.py` |
| 50 tables below 500 MB | `movement/test_pools.py` |
| Parquet to a database and back | `movement/test_shapes.py`; from PostgreSQL `acceptance/test_round_trips.py` |
| 1, 10, 50 tables; 100 to 10 million rows; sizes of batches; 2, 4, 8, 16 tables at once | `movement/test_sizes.py` (equal), `python -m bench.movement` (how fast, how much memory) |
| what waits between reader and writer is bounded | by bytes: `engine/test_limits_slots.py`; there is no queue to size |
| missing files and folders, damaged files, no permission | `movement/test_bad_ends.py`, `files/test_sources.py`, `formats/test_parquet.py` |
| disk full | `files/test_disk_full.py`, `duckdb/test_crashes.py`, `faults/test_server.py` |
| interrupted | `movement/test_bad_ends.py`, `faults/test_kill.py`, `files/test_crashes.py`, `postgres/test_crashes.py` |
| empty, one row, wide, narrow, mixed, NULL | `movement/test_shapes.py`, `formats/test_round_trips.py` |
"""
