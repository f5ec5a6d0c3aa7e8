"""The tables of the races: 15 mixed columns, 5 numbers, 10 mixed columns, and many small ones."""

from __future__ import annotations

import psycopg

# The 15 columns: integers, texts of several lengths, exact numbers, flags, dates, moments, JSON, a tenth of them NULL.
MIXED_15 = """
CREATE TABLE mixed15 AS
SELECT i::bigint AS id,
       (i * 7919 % 100000)::int AS customer_id,
       (i % 7)::smallint AS status,
       i % 3 = 0 AS is_paid,
       ((i * 13 % 100000)::numeric / 7)::numeric(18, 4) AS amount_raw,
       ((i * 37 % 10000000)::numeric / 100)::numeric(12, 2) AS price,
       random()::float8 AS weight,
       'customer ' || (i * 7919 % 100000) AS name,
       md5(i::text) AS token,
       CASE WHEN i % 10 > 0 THEN repeat('note ', (i % 8)::int) END AS note,
       ('{paid,open,void}'::text[])[i % 3 + 1]::varchar(10) AS state,
       date '2020-01-01' + (i % 2000)::int AS ordered_on,
       timestamp '2020-01-01' + i * interval '37 seconds' AS created_at,
       timestamptz '2021-01-01 00:00+00' + i * interval '91.000123 seconds' AS updated_at,
       CASE WHEN i % 10 <> 5 THEN jsonb_build_object('k', i % 100, 'tags', jsonb_build_array('a', i % 5)) END AS extra
FROM generate_series(1::bigint, %(rows)s) AS i
"""
MIXED_15_TYPES = "ALTER TABLE mixed15 ALTER COLUMN amount_raw TYPE numeric(18,4), ALTER COLUMN id SET NOT NULL"

NUMBERS_5 = """
CREATE TABLE numbers5 AS
SELECT i::bigint AS id, random() AS a, random() * 1000 AS b, (i * 31 %% 1000003)::float8 AS c, -random() AS d
FROM generate_series(1::bigint, %(rows)s) AS i
"""

# With the numbers of rows that the races take unless told otherwise.
TITLES = {"mixed15": "15 mixed columns (1M rows)", "numbers5": "5 numbers (5M rows)"}

SMALL = """
CREATE TABLE small.t{number:03d} AS
SELECT i AS id, 'row ' || i AS label, (i * {number})::numeric(12,2) AS amount, now()::timestamptz(0) AS at
FROM generate_series(1, 1000) AS i
"""


def make(dsn: str, mixed_rows: int, number_rows: int, small_tables: int) -> None:
    """Build all source tables, analysed and settled on disk."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT setseed(0.42)")
        connection.execute(MIXED_15.replace("%(rows)s", str(mixed_rows)))  # type: ignore[call-overload]
        connection.execute(MIXED_15_TYPES)
        connection.execute(NUMBERS_5.replace("%(rows)s", str(number_rows)).replace("%%", "%"))  # type: ignore[call-overload]
        connection.execute("CREATE SCHEMA small")
        for number in range(small_tables):
            connection.execute(SMALL.format(number=number))  # type: ignore[call-overload]
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
