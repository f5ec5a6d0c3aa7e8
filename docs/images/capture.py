"""Takes docs/images/terminal.svg from a real run: a copy of PostgreSQL tables is killed half-way and goes on.

`python docs/images/capture.py`, from the root of the repository; starts a PostgreSQL of its own.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.parts.postgres import PostgresServer

COLUMNS = 104
ORDERS = 2_000_000
IMAGE = Path(__file__).with_name("terminal.svg")

_SHOP = f"""
CREATE TABLE customers (customer_id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
CREATE TABLE orders (order_id bigint PRIMARY KEY, customer_id int NOT NULL, amount numeric(12, 2) NOT NULL,
                     status text NOT NULL, updated_at timestamptz NOT NULL);
INSERT INTO customers SELECT i, 'Customer ' || i, 'customer' || i || '@example.com' FROM generate_series(1, 50000) AS s (i);
INSERT INTO orders SELECT i, 1 + i % 50000, (i % 10000) / 7.0, (ARRAY['open', 'paid', 'sent'])[1 + i % 3],
                          timestamptz '2026-01-01' + i * interval '13 seconds' FROM generate_series(1, {ORDERS}) AS s (i);
ANALYZE;
"""
_PROJECT = """
version: 1
connections:
  shop: {url: "%s"}
  lake: {url: "file:./lake"}
jobs:
  raw: {kind: copy, source: shop, target: lake, tables: ["public.*"], chunk_size: 4MiB}
"""
_MIDNIGHT = TerminalTheme(
    (24, 28, 36),
    (212, 218, 228),
    [(24, 28, 36), (240, 113, 120), (134, 204, 122), (229, 192, 96), (110, 168, 254), (198, 140, 230), (86, 194, 208),
     (212, 218, 228)],
    [(92, 100, 116), (240, 113, 120), (134, 204, 122), (229, 192, 96), (110, 168, 254), (198, 140, 230), (86, 194, 208),
     (255, 255, 255)],
)  # fmt: skip
_FRAME = "\r\x1b[2K\x1b[1A\x1b[2K"
_PERCENT = re.compile(r"(\d+) %")


def shown(folder: Path, *arguments: str, kill_at_percent: int = 101) -> str:
    """What `penstock` writes to a terminal; killed without warning when its progress says so."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        program = [sys.executable, "-m", "penstock", *arguments]
        os.execve(sys.executable, program, {**os.environ, "TERM": "xterm-256color"})  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    data = b""
    while True:
        try:
            data += os.read(terminal, 65536)
        except OSError:
            break
        if any(int(number) >= kill_at_percent for number in _PERCENT.findall(data.decode(errors="replace"))):
            os.kill(pid, signal.SIGKILL)
            break
    os.waitpid(pid, 0)
    os.close(terminal)
    return data.decode(errors="replace")


def last_frame(output: str) -> str:
    """The progress as it stood when the output ended."""
    return output.rpartition(_FRAME)[2].replace("\x1b[1A\x1b[2K", "").replace("\r", "").rstrip() + "\n"


def after_progress(output: str) -> str:
    """What stays on the screen when the progress has cleaned up after itself."""
    return output.rpartition("\x1b[2K")[2].replace("\r", "")


def main() -> int:
    server = PostgresServer(settings={})
    try:
        server.create_database("shop")
        for statement in _SHOP.split(";\n"):
            if statement.strip():
                server.execute(statement, "shop")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "penstock.yml").write_text(_PROJECT % server.dsn("shop"))
            killed = last_frame(shown(folder, "run", kill_at_percent=55))
            resumed = after_progress(shown(folder, "run"))
            status = after_progress(shown(folder, "status"))
    finally:
        server.remove()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    prompt = "\x1b[36m$\x1b[0m "
    parts = [f"{prompt}penstock run\n", killed, "Killed\n", f"{prompt}penstock run\n", resumed]
    parts += [f"{prompt}penstock status\n", status]
    console.print(Text.from_ansi("".join(parts).rstrip()))
    svg = console.export_svg(title="copy a PostgreSQL schema to Parquet, killed half-way", theme=_MIDNIGHT)
    # No fonts from elsewhere: the page that shows the picture may not load them.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(
        "Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"
    )
    IMAGE.write_text(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
