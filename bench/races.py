"""The races: Penstock, raw floors and peers side by side in one run, interleaved, every result checked.

`python -m bench.races [--race NAME ...] [--rounds N] [--rows N] [--write-docs]`
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psycopg

from bench import measure, tables, verify
from tests.parts.postgres import PostgresServer

HERE = Path(__file__).parent
PEERS = Path(os.environ.get("PENSTOCK_BENCH_PEERS", str(HERE / ".work" / "peers")))
PROGRAMS = HERE / "programs"


@dataclass(frozen=True)
class Contender:
    """One way to do a race's job. `floor` marks a path that keeps no types or proves nothing: a bound, not a rival.

    `clean` brings the target back to empty before each run; `check` returns '' or what is wrong with the result.
    """

    name: str
    command: list[str]
    clean: Callable[[], None]
    check: Callable[[], str] | None = None
    floor: bool = False
    rounds: int | None = None


@dataclass
class Row:
    """All runs of one contender."""

    name: str
    floor: bool
    runs: list[measure.Measured] = field(default_factory=list)
    wrong: str = ""

    def median(self, what: str) -> float:
        return statistics.median(getattr(run, what) for run in self.runs)

    def least(self, what: str) -> float:
        return min(getattr(run, what) for run in self.runs)


@dataclass
class Race:
    name: str
    title: str
    contenders: list[Contender]


class Arena:
    """The server, the folders and the names that contenders share."""

    def __init__(self, work: Path, server: PostgresServer, mixed_rows: int, number_rows: int, small: int) -> None:
        self.work = work
        self.server = server
        self.dsn = server.dsn("race")
        self.target_dsn = server.dsn("race_target")
        self.small = small
        server.create_database("race")
        server.create_database("race_target")
        tables.make(self.dsn, mixed_rows, number_rows, small)
        self.reference = {table: self._reference(table) for table in ("mixed15", "numbers5")}

    def _reference(self, table: str) -> Path:
        """The table as Parquet with exact types, written by the server's own text and DuckDB: slow and trusted."""
        import duckdb

        csv, file = self.work / f"{table}.csv", self.work / f"{table}.parquet"
        with psycopg.connect(self.dsn) as connection, connection.cursor() as cursor, csv.open("wb") as out:
            with cursor.copy(f"COPY {table} TO STDOUT (FORMAT csv, HEADER, NULL '~~')") as copy:  # type: ignore[call-overload]
                for data in copy:
                    out.write(data)
            cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [table])
            names = [name for (name,) in cursor.fetchall()]
        columns = "{" + ", ".join(f"'{n}': '{k}'" for n, k in zip(names, verify.TYPES[table], strict=True)) + "}"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                f"COPY (FROM read_csv('{csv}', header=true, nullstr='~~', columns={columns})) "
                f"TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
            )
        csv.unlink()
        return file

    def empty_folder(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def drop(self, *names: str) -> None:
        with psycopg.connect(self.target_dsn, autocommit=True) as connection:
            for name in names:
                kind = "SCHEMA" if name.startswith("schema:") else "TABLE"
                connection.execute(f"DROP {kind} IF EXISTS {name.removeprefix('schema:')} CASCADE")  # type: ignore[call-overload]
            connection.execute("CHECKPOINT")


def penstock(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock", *arguments, "--quiet"]


def peer(program: str, *arguments: str) -> list[str]:
    return [str(PEERS / "bin" / "python"), str(PROGRAMS / program), *arguments]


def has_peers() -> bool:
    return (PEERS / "bin" / "python").exists()


def to_parquet(arena: Arena, table: str, dlt_rounds: int) -> Race:
    """PostgreSQL to Parquet: the cheapest bare library path is the mark."""
    folder = arena.work / "out"

    def clean() -> None:
        arena.empty_folder("out")

    def check() -> str:
        files = sorted(file for file in folder.rglob("*.parquet") if "/_dlt" not in str(file))
        return verify.parquet(files, arena.reference[table], table)

    file = str(folder / "out.parquet")
    found = [
        Contender(
            f"penstock, {workers} worker{'s' if workers > 1 else ''}",
            penstock(
                "copy", arena.dsn, f"file:{folder}", "--table", f"public.{table}", "--workers", str(workers), "--fresh"
            ),
            clean,
            check,
        )
        for workers in (1, 2)
    ]
    out = arena.work / "out" / "raw"
    found.append(
        Contender(
            "psql binary COPY (floor: bytes only)",
            ["psql", arena.dsn, "-qc", f"\\copy {table} TO '{out}' (FORMAT binary)"],
            clean,
            None,
            True,
        )
    )
    if has_peers():
        for method in ("adbc", "connectorx", "connectorx2", "connectorx-stream", "duckdb", "duckdb2"):
            found.append(Contender(method, peer("read.py", method, arena.dsn, table, file), clean, check))
        found.append(
            Contender(
                "psycopg raw COPY (floor: bytes only)",
                peer("read.py", "psycopg-raw", arena.dsn, table, file),
                clean,
                None,
                True,
            )
        )
        for backend in ("connectorx", "pyarrow"):
            found.append(
                Contender(
                    f"dlt, {backend}",
                    peer("dlt_copy.py", backend, arena.dsn, "public", table, str(folder)),
                    clean,
                    check,
                    False,
                    dlt_rounds,
                )
            )
    return Race(f"to-parquet-{table}", f"PostgreSQL to Parquet, {tables.TITLES[table]}", found)


def to_postgres(arena: Arena, table: str, dlt_rounds: int) -> Race:
    """PostgreSQL to PostgreSQL: the bare binary pipe is the floor."""

    def clean() -> None:
        arena.drop(table, "schema:copied", "schema:pgcopydb", "_penstock_ledger")

    def check() -> str:
        return verify.tables(arena.dsn, table, arena.target_dsn, table)

    def check_dlt() -> str:
        return verify.tables(arena.dsn, table, arena.target_dsn, f"copied.{table}")

    found = [
        Contender(
            f"penstock, {workers} worker{'s' if workers > 1 else ''}",
            penstock(
                "copy", arena.dsn, arena.target_dsn, "--table", f"public.{table}", "--workers", str(workers), "--fresh"
            ),
            clean,
            check,
        )
        for workers in (1, 2)
    ]
    definition = _definition(arena, table)
    pipe = (
        f"psql -q '{arena.target_dsn}' -c '{definition}' && "
        f"psql -q '{arena.dsn}' -c 'COPY {table} TO STDOUT (FORMAT binary)' | "
        f"psql -q '{arena.target_dsn}' -c 'COPY {table} FROM STDIN (FORMAT binary)'"
    )
    found.append(Contender("binary pipe, psql | psql (floor)", ["bash", "-c", pipe], clean, check, True))
    dump = (
        f"rm -rf {arena.work}/dump && pg_dump -Fd -j2 -Z0 -t {table} -f {arena.work}/dump '{arena.dsn}' && "
        f"pg_restore -j2 -d '{arena.target_dsn}' {arena.work}/dump"
    )
    found.append(Contender("pg_dump -j2, pg_restore -j2", ["bash", "-c", dump], clean, check))
    if shutil.which("pgcopydb"):
        found.append(_pgcopydb(arena, table, clean, check))
    if has_peers():
        found.append(
            Contender(
                "dlt, pyarrow",
                peer(
                    "dlt_copy.py",
                    "pyarrow",
                    arena.dsn,
                    "public",
                    table,
                    arena.target_dsn.replace("postgres@", "postgres:any@"),
                ),
                clean,
                check_dlt,
                False,
                dlt_rounds,
            )
        )
    return Race(f"to-postgres-{table}", f"PostgreSQL to PostgreSQL, {tables.TITLES[table]}", found)


def _definition(arena: Arena, table: str) -> str:
    with psycopg.connect(arena.dsn) as connection:
        rows = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            [table],
        ).fetchall()
    return f"CREATE TABLE {table} (" + ", ".join(f"{name} {kind}" for name, kind in rows) + ")"


def _pgcopydb(arena: Arena, table: str, clean: Callable[[], None], check: Callable[[], str]) -> Contender:
    filters = arena.work / "pgcopydb.ini"
    filters.write_text(f"[include-only-table]\npublic.{table}\n")
    command = (
        f"rm -rf {arena.work}/pgcopydb && pgcopydb clone --dir {arena.work}/pgcopydb --source '{arena.dsn}' "
        f"--target '{arena.target_dsn}' --table-jobs 2 --index-jobs 1 --filters {filters} --no-owner --no-acl --skip-extensions"
    )
    return Contender("pgcopydb clone, 2 jobs", ["bash", "-c", command], clean, check)


def from_parquet(arena: Arena, table: str) -> Race:
    """Parquet to a new PostgreSQL table: the cheapest bare library path is the mark."""
    lake = arena.empty_folder("lake")
    (lake / table).mkdir()
    # The same rows in several files, as a lake has them, for Penstock's second worker; peers read one file.
    shutil.copy(arena.reference[table], lake / table / "part-000001.parquet")

    def clean() -> None:
        arena.drop(table, "_penstock_ledger")

    def check() -> str:
        # A Parquet file made by another program says neither json nor varchar(10).
        return verify.tables(arena.dsn, table, arena.target_dsn, table, text_serves=True)

    found = [
        Contender(
            f"penstock, {workers} worker{'s' if workers > 1 else ''}",
            penstock("copy", f"file:{lake}", arena.target_dsn, "--table", table, "--workers", str(workers), "--fresh"),
            clean,
            check,
        )
        for workers in (1, 2)
    ]
    if has_peers():
        for method in ("adbc", "pgpq", "duckdb", "duckdb2"):
            found.append(
                Contender(
                    method,
                    peer("write.py", method, str(arena.reference[table]), arena.target_dsn, table),
                    clean,
                    check,
                )
            )
    return Race(f"from-parquet-{table}", f"Parquet to PostgreSQL, {tables.TITLES[table]}", found)


def small_tables(arena: Arena) -> Race:
    """Many small tables to Parquet: what starting, planning and publishing cost."""
    folder = arena.work / "out"

    def clean() -> None:
        arena.empty_folder("out")

    def check() -> str:
        import duckdb

        files = [str(f) for f in folder.rglob("*.parquet") if "/_dlt" not in str(f)]
        with duckdb.connect() as connection:
            rows = connection.execute(
                "SELECT count(*), sum(id) FROM read_parquet($1, union_by_name=true)", [files]
            ).fetchone()
        wanted = (1000 * arena.small, 500500 * arena.small)
        return "" if rows == wanted else f"{rows} instead of {wanted}"

    found = [
        Contender(
            f"penstock, {workers} worker{'s' if workers > 1 else ''}",
            penstock("copy", arena.dsn, f"file:{folder}", "--table", "small.*", "--workers", str(workers), "--fresh"),
            clean,
            check,
        )
        for workers in (1, 2)
    ]
    if has_peers():
        for backend, shown in (
            ("connectorx", "connectorx"),
            ("pyarrow", "pyarrow"),
            ("sqlalchemy", "sqlalchemy (its default)"),
        ):
            found.append(
                Contender(
                    f"dlt, {shown}",
                    peer("dlt_copy.py", backend, arena.dsn, "small", "*", str(folder)),
                    clean,
                    check,
                    False,
                    1,
                )
            )
    return Race("small-tables", f"{arena.small} small tables to Parquet", found)


def checked(check: Callable[[], str]) -> str:
    """What `check` says; a result that is not there at all is wrong as well."""
    try:
        return check()
    except (psycopg.Error, OSError) as error:
        return str(error).partition("\n")[0]


def run(race: Race, arena: Arena, rounds: int) -> list[Row]:
    """All contenders in turn, round by round, so that a slow minute of the machine hits each alike."""
    rows = {contender.name: Row(contender.name, contender.floor) for contender in race.contenders}
    postmaster = arena.server.pid
    for number in range(rounds):
        for contender in race.contenders:
            row = rows[contender.name]
            if number >= (contender.rounds or rounds) or (row.wrong and not row.wrong.startswith("types lost")):
                continue
            contender.clean()
            measured = measure.run(contender.command, postmaster)
            if measured.exit_code:
                row.wrong = f"exit {measured.exit_code}: {measured.output.strip().splitlines()[-1:] or ''}"
            elif number == 0 and contender.check:
                row.wrong = checked(contender.check)
            row.runs.append(measured)
            print(f"  {race.name} {number + 1}/{rounds} {contender.name}: {measured.wall_s:.2f} s wall, "
                  f"{measured.client_cpu_s:.2f}+{measured.server_cpu_s:.2f} CPU s, {measured.peak_bytes / 2**20:.0f} MB {row.wrong}",
                  file=sys.stderr, flush=True)  # fmt: skip
    return list(rows.values())


def table(race: Race, rows: list[Row]) -> str:
    """The race as a Markdown table; ratios are to Penstock with one worker, in CPU and wall."""
    ours = rows[0]
    lines = [
        f"### {race.title}",
        "",
        "| | CPU s (client + server) | CPU, ratio | wall s | wall, ratio | peak MB | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if not row.runs:
            continue
        result = row.wrong or ("" if row.floor else "equal")
        lines.append(
            f"| {_cell(row.name)} | {row.median('client_cpu_s'):.2f} + {row.median('server_cpu_s'):.2f} = {row.median('cpu_s'):.2f} "
            f"| {row.median('cpu_s') / ours.median('cpu_s'):.2f} | {row.median('wall_s'):.2f} "
            f"| {row.median('wall_s') / ours.median('wall_s'):.2f} | {row.median('peak_bytes') / 2**20:.0f} | {_cell(result or 'floor')} |"
        )
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def machine() -> str:
    """What the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 2**20
    return f"{os.cpu_count()} cores ({cpu}), {memory} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--race", action="append", help="only races whose name holds this text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dlt-rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--number-rows", type=int, default=5_000_000)
    parser.add_argument("--small", type=int, default=200)
    parser.add_argument("--write-docs", action="store_true", help="keep the results in docs/reference/benchmarks.md")
    chosen = parser.parse_args()
    # Peers were compiled when they were installed; a checkout is compiled here, so that no contender compiles in a race.
    compileall.compile_dir(HERE.parent / "src", quiet=1)
    work = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    work.chmod(0o755)
    # Some peers open a connection for each table.
    server = PostgresServer(settings={"max_wal_size": "4GB", "max_connections": "400"})
    try:
        arena = Arena(work, server, chosen.rows, chosen.number_rows, chosen.small)
        races = [
            *(to_parquet(arena, name, chosen.dlt_rounds) for name in ("mixed15", "numbers5")),
            *(to_postgres(arena, name, chosen.dlt_rounds) for name in ("mixed15", "numbers5")),
            *(from_parquet(arena, name) for name in ("mixed15", "numbers5")),
            small_tables(arena),
        ]
        how = f"Medians of {chosen.rounds} rounds, dlt {chosen.dlt_rounds}; ratios are to Penstock with one worker."
        where = f"{machine()}; PostgreSQL {server.version}, server durability as installed"
        text = [f"Measured {date.today()} on {where}. {how}", ""]
        for race in races:
            if not chosen.race or any(part in race.name for part in chosen.race):
                if race.name.startswith("from-parquet"):
                    race = from_parquet(arena, race.name.removeprefix("from-parquet-"))
                text.append(table(race, run(race, arena, chosen.rounds)))
        print("\n".join(text))
        if chosen.write_docs:
            write_docs("\n".join(text))
    finally:
        server.remove()
        shutil.rmtree(work, ignore_errors=True)


def write_docs(text: str) -> None:
    """Keep the last results where readers find them; what other programs measured stands below the second mark."""
    place = HERE.parent / "docs" / "reference" / "benchmarks.md"
    head, begin, rest = place.read_text().partition("<!-- results -->\n")
    _, end, tail = rest.partition("<!-- end of results -->\n")
    place.write_text(head + begin + text + "\n" + end + tail)


if __name__ == "__main__":
    main()
