"""The races of MySQL: Penstock and dlt read a MariaDB table into Parquet and load it from there, every result checked.

`python -m bench.mysql [--race NAME ...] [--rounds N] [--rows N]`
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import duckdb

from bench import races, verify
from bench.races import Contender, Race, penstock
from tests.parts.mariadb import MariadbServer

# The 15 columns of the other races, as MariaDB has them.
TABLE = """
CREATE TABLE mixed15 (
    id BIGINT NOT NULL PRIMARY KEY, customer_id INT, status SMALLINT, is_paid TINYINT, amount_raw DECIMAL(18,4),
    price DECIMAL(12,2), weight DOUBLE, name VARCHAR(40), token CHAR(32), note TEXT, state VARCHAR(10), ordered_on DATE,
    created_at DATETIME, updated_at TIMESTAMP(6) NULL, extra JSON
) DEFAULT CHARACTER SET utf8mb4
"""
ROWS = """
INSERT INTO mixed15 SELECT
    seq, seq * 7919 % 100000, seq % 7, seq % 3 = 0, seq * 13 % 100000 / 7, seq * 37 % 10000000 / 100, RAND(42),
    CONCAT('customer ', seq * 7919 % 100000), MD5(seq), IF(seq % 10 > 0, REPEAT('note ', seq % 8), NULL),
    ELT(seq % 3 + 1, 'paid', 'open', 'void'), DATE '2020-01-01' + INTERVAL seq % 2000 DAY,
    TIMESTAMP '2020-01-01 00:00:00' + INTERVAL seq * 37 SECOND,
    TIMESTAMP '2021-01-01 00:00:00' + INTERVAL seq * 91000123 MICROSECOND,
    IF(seq % 10 <> 5, JSON_OBJECT('k', seq % 100, 'tags', JSON_ARRAY('a', seq % 5)), NULL)
FROM seq_1_to_{rows}
"""
CSV = """
SELECT id, customer_id, status, is_paid, amount_raw, price, weight, name, token, COALESCE(note, '~~'), state, ordered_on,
    created_at, updated_at, COALESCE(extra, '~~')
FROM mixed15 INTO OUTFILE '{file}' CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' ENCLOSED BY '"' ESCAPED BY '"'
    LINES TERMINATED BY '\\n'
"""
NAMES = (
    "id", "customer_id", "status", "is_paid", "amount_raw", "price", "weight", "name", "token", "note", "state",
    "ordered_on", "created_at", "updated_at", "extra",
)  # fmt: skip
# Values brought to one form, so that only values count and not types.
SUM = """
SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', id, customer_id, status, is_paid, CAST(amount_raw AS DECIMAL(18,4)),
    CAST(price AS DECIMAL(18,4)), CAST(weight AS DOUBLE), name, token, COALESCE(note, '~'), state, ordered_on,
    CAST(created_at AS DATETIME(6)), CAST(updated_at AS DATETIME(6)), COALESCE(REPLACE(extra, ' ', ''), '~')))) FROM {table}
"""


class Arena:
    """The server, the folders and the names that contenders share."""

    def __init__(self, work: Path, server: MariadbServer, rows: int) -> None:
        self.work = work
        self.server = server
        server.execute("CREATE DATABASE race CHARACTER SET utf8mb4", "CREATE DATABASE target CHARACTER SET utf8mb4")
        server.execute(
            "SET time_zone = '+00:00'", TABLE, ROWS.format(rows=rows), "ANALYZE TABLE mixed15", database="race"
        )
        self.sum = server.execute("SET time_zone = '+00:00'", SUM.format(table="race.mixed15"))
        self.reference = self._reference()

    def _reference(self) -> Path:
        """The table as Parquet with exact types, written by the server's own text and DuckDB: slow and trusted."""
        csv, file = self.server.folder / "mixed15.csv", self.work / "mixed15.parquet"
        self.server.execute("SET time_zone = '+00:00'", CSV.format(file=csv), database="race")
        columns = (
            "{" + ", ".join(f"'{n}': '{k}'" for n, k in zip(NAMES, verify.TYPES["mixed15_mysql"], strict=True)) + "}"
        )
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                f"COPY (FROM read_csv('{csv}', header=false, delim=',', quote='\"', escape='\"', nullstr='~~', columns={columns}))"
                f" TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
            )
        csv.unlink()
        return file

    def empty_folder(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def drop(self) -> None:
        self.server.execute("DROP DATABASE IF EXISTS copied", "DROP DATABASE target", "CREATE DATABASE target")

    def check(self, table: str) -> str:
        found = self.server.execute("SET time_zone = '+00:00'", SUM.format(table=table))
        return "" if found == self.sum else f"rows or values differ: {found} instead of {self.sum}"


def to_parquet(arena: Arena, dlt_rounds: int) -> Race:
    """MariaDB to Parquet."""
    folder = arena.work / "out"

    def clean() -> None:
        arena.empty_folder("out")

    def check() -> str:
        files = sorted(file for file in folder.rglob("*.parquet") if "/_dlt" not in str(file))
        return verify.parquet(files, arena.reference, "mixed15_mysql")

    url = arena.server.url("race")
    found = [
        Contender(
            f"penstock, {workers} worker{'s' if workers > 1 else ''}",
            penstock("copy", url, f"file:{folder}", "--table", "mixed15", "--workers", str(workers), "--fresh"),
            clean,
            check,
        )
        for workers in (1, 2)
    ]
    if races.has_peers():
        for backend in ("connectorx", "pyarrow"):
            command = races.peer("dlt_mysql.py", "read", backend, url, "mixed15", str(folder))
            found.append(Contender(f"dlt, {backend}", command, clean, check, False, dlt_rounds))
    return Race("mysql-to-parquet", "MariaDB to Parquet, mixed15", found)


def from_parquet(arena: Arena, dlt_rounds: int) -> Race:
    """Parquet to a new MariaDB table."""
    lake = arena.empty_folder("lake")
    (lake / "mixed15").mkdir()
    shutil.copy(arena.reference, lake / "mixed15" / "part-000001.parquet")
    url = arena.server.url("target")
    found = [
        Contender(
            f"penstock, {workers} worker{'s' if workers > 1 else ''}",
            penstock("copy", f"file:{lake}", url, "--table", "mixed15", "--workers", str(workers), "--fresh"),
            arena.drop,
            lambda: arena.check("target.mixed15"),
        )
        for workers in (1, 2)
    ]
    if races.has_peers():
        command = races.peer(
            "dlt_mysql.py", "write", "arrow", str(arena.reference), "mixed15", arena.server.url("target")
        )
        found.append(
            Contender("dlt, arrow", command, arena.drop, lambda: arena.check("copied.mixed15"), False, dlt_rounds)
        )
    return Race("mysql-from-parquet", "Parquet to MariaDB, mixed15", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--race", action="append", help="only races whose name holds this text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dlt-rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000_000)
    chosen = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    work.chmod(0o755)
    server = MariadbServer(settings={"innodb-buffer-pool-size": "1G"})
    try:
        arena = Arena(work, server, chosen.rows)
        text = [f"Measured on {races.machine()}; MariaDB {server.version}, {chosen.rows:,} rows.", ""]
        for race in (to_parquet(arena, chosen.dlt_rounds), from_parquet(arena, chosen.dlt_rounds)):
            if not chosen.race or any(part in race.name for part in chosen.race):
                text.append(races.table(race, races.run(race, arena, chosen.rounds)))
        sys.stdout.write("\n".join(text))
    finally:
        server.remove()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
