"""Is the result the same as the source? Checksums independent of order; a race lost a row or a type has no time."""

from __future__ import annotations

from pathlib import Path

import duckdb
import psycopg

# What each column of mixed15 and numbers5 must be in Parquet to have kept its type.
TYPES = {
    "mixed15": (
        "BIGINT", "INTEGER", "SMALLINT", "BOOLEAN", "DECIMAL(18,4)", "DECIMAL(12,2)", "DOUBLE", "VARCHAR", "VARCHAR",
        "VARCHAR", "VARCHAR", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR",
    ),
    "mixed15_mysql": (
        "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "DECIMAL(18,4)", "DECIMAL(12,2)", "DOUBLE", "VARCHAR", "VARCHAR",
        "VARCHAR", "VARCHAR", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR",
    ),
    "numbers5": ("BIGINT", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE"),
}  # fmt: skip


def parquet(files: list[Path], reference: Path, table: str) -> str:
    """'' when the files hold the rows of `reference` with its exact types; otherwise what is wrong."""
    with duckdb.connect() as connection:
        names = [str(file) for file in files]
        have = connection.execute("DESCRIBE SELECT * FROM read_parquet($1)", [names]).fetchall()
        own = {name: kind.replace("JSON", "VARCHAR") for name, kind, *_ in have if not name.startswith("_dlt")}
        columns = [
            name
            for name, *_ in connection.execute("DESCRIBE SELECT * FROM read_parquet($1)", [[str(reference)]]).fetchall()
        ]
        wrong = [
            f"{name} is {own.get(name, 'missing')}"
            for name, kind in zip(columns, TYPES[table], strict=True)
            if own.get(name) != kind
        ]
        if _digest(connection, names, columns, own) != _digest(connection, [str(reference)], columns, own):
            return "rows or values differ"
        return f"types lost: {', '.join(wrong)}" if wrong else ""


def _digest(
    connection: duckdb.DuckDBPyConnection, files: list[str], columns: list[str], kinds: dict[str, str]
) -> tuple[object, ...]:
    """Rows and the sum of row hashes over values brought to one form, so that only values count here, not types."""
    parts = []
    for name in columns:
        column = f'"{name}"'
        if name in ("amount_raw", "price"):
            column = f"CAST({column} AS DECIMAL(18,4))"
        elif name == "extra":
            column = f"regexp_replace(CAST({column} AS VARCHAR), '\\s', '', 'g')"
        elif name in ("created_at", "updated_at"):
            column = f"epoch_us({column})"
        elif name in kinds and name in ("id", "customer_id", "status"):
            column = f"CAST({column} AS BIGINT)"
        parts.append(f"CAST({column} AS VARCHAR)")
    row = ", ".join(f"coalesce({part}, '~')" for part in parts)
    query = f"SELECT count(*), sum(hash({row})::HUGEINT % 1000000007) FROM read_parquet($1)"
    result = connection.execute(query, [files]).fetchone()
    assert result is not None
    return tuple(result)


def tables(dsn: str, one: str, other_dsn: str, other: str, text_serves: bool = False) -> str:
    """'' when two PostgreSQL tables hold equal rows of equal types, else what differs.

    Unlimited varchar is text; `text_serves` takes text for a limited varchar and for jsonb too.
    """
    sums = []
    for place, table in ((dsn, one), (other_dsn, other)):
        with psycopg.connect(place) as connection:
            columns = connection.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
                "AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\\_dlt%%' ORDER BY attnum",
                [table],
            ).fetchall()
            listed = ", ".join(f'trim_scale("{n}")' if k.startswith("numeric") else f'"{n}"' for n, k in columns)
            query = f"SELECT count(*), sum(hashtextextended(ROW({listed})::text, 0)::numeric) FROM {table}"
            sums.append((columns, connection.execute(query).fetchone()))  # type: ignore[call-overload]
    if sums[0][1] != sums[1][1]:
        return f"rows or values differ: {sums[1][1]} instead of {sums[0][1]}"
    lost = [
        f"{name} is {kind}"
        for (_, wanted), (name, kind) in zip(sums[0][0], sums[1][0], strict=True)
        if kind != wanted
        and not (kind.startswith("numeric") and wanted.startswith("numeric"))
        and not (kind in ("text", "character varying") and (wanted == "text" or text_serves))
    ]
    return f"types lost: {', '.join(lost)}" if lost else ""
