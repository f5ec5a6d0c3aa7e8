"""Runs the marked blocks of a page in order, in one shell, in a folder of its own.

`python -m tests.docs.running PAGE...` does so and puts what the commands really showed into those output blocks of the page
that no longer hold; with --anew into all that leave no lines out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.docs.pages import ROOT, Block, blocks, differs, leaves_out
from tests.parts.postgres import PostgresServer, find_bin

# What pages call the server; a test puts the address of its own server there.
SERVER = "localhost:5432"
DATABASES = ("shop", "dwh")
HOME = "/home/ada"  # what pages call the folder that they are run in
PASSWORD = "docs-5f0c"  # of the role `app`; in no page
_SHOP = Path(__file__).with_name("shop.sql")


@dataclass(frozen=True)
class Shown:
    """What a run block did."""

    block: Block
    code: int
    out: str
    err: str


def needs_postgres(page: Path) -> bool:
    """Whether a runnable block of the page talks to a server."""
    found = blocks(page)
    return any(block.mark == "run" for block in found) and any(SERVER in b.text for b in found if b.mark)


def run(page: Path, folder: Path, server: PostgresServer | None) -> list[Shown]:
    """Run the page's blocks in `folder`; with a server, its databases are made anew and dropped afterwards."""
    if server is None:
        return _run(page, folder, {}, os.environ)
    with _databases(server) as names:
        places = {f"{SERVER}/{name}": f"{server.host}:{server.port}/{real}" for name, real in names.items()}
        places[SERVER] = f"{server.host}:{server.port}"
        secrets = {f"{name.upper()}_PASSWORD": PASSWORD for name in DATABASES}
        found = _run(page, folder, places, {**os.environ, **secrets, "PGPASSWORD": PASSWORD})
    back = {real: name for name, real in places.items()} | {real: name for name, real in names.items()}
    return [Shown(one.block, one.code, _replaced(one.out, back), one.err) for one in found]


def _run(page: Path, folder: Path, places: Mapping[str, str], environ: Mapping[str, str]) -> list[Shown]:
    program, results, work = folder / "bin" / "penstock", folder / "results", folder / "work"
    for made in (program.parent, results, work):
        made.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m penstock "$@"\n')
    program.chmod(0o755)
    environment = {
        **environ,
        "PATH": f"{program.parent}:{Path(sys.executable).parent}:{environ['PATH']}:{_postgres_bin() if places else ''}",
        "XDG_STATE_HOME": str(folder / "state"),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }
    marked = [block for block in blocks(page) if block.mark in ("file", "run")]
    script = "\n".join(_step(number, block, results, places) for number, block in enumerate(marked))
    subprocess.run(
        ["bash", "-c", script], cwd=work, env=environment, stdin=subprocess.DEVNULL, check=False, timeout=600
    )
    shown = [(block, *_result(results, number)) for number, block in enumerate(marked) if block.mark == "run"]
    return [Shown(block, code, out.replace(str(work), HOME), err) for block, code, out, err in shown]


def _step(number: int, block: Block, results: Path, places: Mapping[str, str]) -> str:
    text = _replaced(block.text, places)
    if block.mark == "file":
        return f"cat >{block.value} <<'END_OF_FILE'\n{text}END_OF_FILE"
    return f'{{\n{text}}} >"{results}/{number}.out" 2>"{results}/{number}.err"\necho $? >"{results}/{number}.code"'


def _result(results: Path, number: int) -> tuple[int, str, str]:
    code = results / f"{number}.code"
    if not code.exists():
        return -1, "", "the shell ended before this block"
    return int(code.read_text()), (results / f"{number}.out").read_text(), (results / f"{number}.err").read_text()


def _replaced(text: str, places: Mapping[str, str]) -> str:
    for name, real in places.items():
        text = text.replace(name, real)
    return text


def _postgres_bin() -> str:
    return str(find_bin())


@contextmanager
def _databases(server: PostgresServer) -> Iterator[dict[str, str]]:
    """Fresh databases that belong to the role app: shop with tables and rows, dwh without."""
    with psycopg.connect(server.dsn()) as connection:
        has_role = connection.execute("SELECT FROM pg_roles WHERE rolname = 'app'").fetchone() is not None
    if not has_role:
        server.create_user("app", PASSWORD)
    names = {name: server.create_database() for name in DATABASES}
    try:
        for real in names.values():
            server.execute(f'ALTER DATABASE "{real}" OWNER TO app')
        with psycopg.connect(server.dsn(names["shop"]), autocommit=True) as connection:
            connection.execute("SET SESSION AUTHORIZATION app")
            connection.execute(_SHOP.read_text())  # type: ignore[call-overload]
        yield names
    finally:
        for real in names.values():
            server.drop_database(real)


# ---- the pages' outputs, made anew


def refreshed(page: Path, shown: list[Shown], is_anew: bool) -> str:
    """The page's text with what was shown in the output blocks that no longer hold, or in all that leave no lines out."""
    outputs = {one.block.start: one.out for one in shown}
    text, last = page.read_text(encoding="utf-8"), ""
    changes = []
    for block in blocks(page):
        if block.mark == "run":
            last = outputs[block.start]
        elif block.mark == "output" and (differs(block.text, last) or (is_anew and not leaves_out(block.text))):
            changes.append((block, last.rstrip() + "\n"))
    for block, output in reversed(changes):
        text = text[: block.start] + output + text[block.end :]
    return text


def main(arguments: list[str]) -> int:
    failed = 0
    for name in arguments:
        if name == "--anew":
            continue
        page = Path(name).resolve()
        server = PostgresServer() if needs_postgres(page) else None
        try:
            with tempfile.TemporaryDirectory() as folder:
                shown = run(page, Path(folder), server)
        finally:
            if server is not None:
                server.remove()
        for one in shown:
            if one.code != one.block.exit_code:
                failed += 1
                sys.stderr.write(f"{one.block}: exit code {one.code}\n{one.block.text}{one.out}{one.err}\n")
        page.write_text(refreshed(page, shown, "--anew" in arguments), encoding="utf-8")
        sys.stderr.write(f"{page.relative_to(ROOT)}: {len(shown)} blocks run\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
